"""Stores, settings and runs so small that a test makes them in a second or two."""

from iospstl_train.config import load_config
from iospstl_train.data.prepare import prepare
from iospstl_train.data.store import find_store
from iospstl_train.data.synthetic import SyntheticSettings
from iospstl_train.data.synthetic_source import open_synthetic

SETTINGS = (
    "encoder.widths=[8, 16]",
    "encoder.strides=[2, 2]",
    "encoder.temporal_kernel=3",
    "opstl.projector_width=16",
    "opstl.offdiag_weight=0.05",
    "training.epochs=2",
    "training.warmup_epochs=1",
    "training.batch_size=14",
    "linear.epochs=20",
    "restorer.width=16",
    "restorer.n_layers=1",
    "restorer.steps=20",
    "restorer.batch_size=8",
)


def tiny_config(*changes):
    """Return settings for seconds of training; later ones win."""
    return load_config(overrides=[*SETTINGS, *changes])


def prepare_synthetic(root, n_views=1):
    """Write the store of three generated subjects, two of which train, and open it."""
    settings = SyntheticSettings(n_subjects=3, n_views=n_views)
    prepare(open_synthetic(settings), root / "synthetic", {"dataset": "synthetic"}, 1)
    return find_store("synthetic", root)
