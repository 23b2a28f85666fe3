"""Bundles as large as those of NTU RGB+D 60, without the data set: for `live_latency.py`.

The networks have the published size and random weights: no label means anything, but every
product and every byte is there. The bank holds generated people.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from imputer_scale import make_windows, simulate
from numpy.typing import NDArray
from torch import nn

from iospstl_core.bundle import RESTORER, BundleSettings, open_bundle, write_bundle
from iospstl_core.errors import BundleError
from iospstl_core.normalize import estimate_body_frame, to_body_frame
from iospstl_core.rejection import Rejection
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_core.streams import to_network
from iospstl_train.bank_on_disk import build_bank_on_disk
from iospstl_train.data.windows import WindowSet
from iospstl_train.export import Classifier
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.models.stgcn import EncoderSettings, StgcnEncoder
from iospstl_train.training.onnx_file import to_onnx
from iospstl_train.training.restore import train_restorer

N_CLASSES = 60
N_SEQUENCES = 40091
"""Training sequences of the cross-subject split."""
N_FRAMES, N_PERSONS = 50, 2
WINDOW_S = 3.0
IMPUTERS = ("restore", "knn")

_N_RESTORER_WINDOWS = 200
_RESTORER_STEPS = 20
"""The network is as fast after twenty steps as after five thousand."""


def find_bundles(work: Path) -> dict[str, Path]:
    """Return a bundle for every imputer below a folder; what cannot be opened is made again."""
    folders = {name: work / f"bundle-{name}" for name in IMPUTERS}
    if not all(_is_usable(folder) for folder in folders.values()):
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="live-bundle-", dir=work) as name:
            _make_bundles(folders, Path(name))
    return folders


def _is_usable(folder: Path) -> bool:
    try:
        open_bundle(folder)
    except BundleError:  # missing, or of another release
        return False
    return True


def make_networks(seed: int = 0) -> tuple[StgcnEncoder, Classifier]:
    """Return encoder and classifier of the published size, with random weights."""
    torch.manual_seed(seed)
    encoder, second = StgcnEncoder(EncoderSettings()), StgcnEncoder(EncoderSettings())
    for module in (*encoder.modules(), *second.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # as if it had been trained
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    classifier = Classifier(second, nn.Linear(EncoderSettings().widths[-1], N_CLASSES))
    return encoder.eval(), classifier.eval()


def _make_bundles(folders: dict[str, Path], temporary: Path) -> None:
    xyz, _, cluster = simulate(temporary, N_SEQUENCES, N_CLASSES)
    (temporary / "bank").mkdir()
    bank = build_bank_on_disk(temporary / "bank", xyz, cluster, N_CLASSES)
    encoder, classifier = make_networks()
    first = [int(np.flatnonzero(cluster == index)[0]) for index in range(N_CLASSES)]
    sample = to_network(np.asarray(xyz[first]))
    example = {"x": torch.from_numpy(sample[:2])}
    free = {4: "m"}  # as `iospstl_train.export` does
    networks = [
        to_onnx(encoder, example, ["embedding"], free),
        to_onnx(classifier, example, ["logits", "embedding"], free),
    ]
    (temporary / "encoder.onnx").write_bytes(networks[0])
    model = OnnxModel(temporary / "encoder.onnx", ["CPUExecutionProvider"])
    centroids = model.run_windows(sample)[0]
    rejection = _some_rejection(centroids)
    restorer = _train_restorer(temporary / "restorer")
    for imputer, folder in folders.items():
        settings = BundleSettings(
            layout=NTU_25.name,
            n_frames=N_FRAMES,
            n_persons=N_PERSONS,
            window_s=WINDOW_S,
            classes=tuple(f"action {index + 1:02}" for index in range(N_CLASSES)),
            imputer=imputer,
            n_neighbors=5,
            training={"note": "random weights and generated donors: only its size is real"},
        )
        network = (restorer / RESTORER).read_bytes() if imputer == "restore" else None
        write_bundle(folder, settings, *networks, centroids, bank, network, rejection)


def _some_rejection(means: NDArray[np.float32]) -> Rejection:
    """Return a rejection of the size that a fitted one has."""
    whitening = np.eye(means.shape[1], dtype=np.float32)
    quantiles = np.linspace(-100, 100, 101, dtype=np.float32)
    return Rejection(means, whitening, means.mean(axis=0), whitening, quantiles)


def _train_restorer(folder: Path) -> Path:
    """Train a restorer of the default size for a moment, on generated people."""
    xyz, present = generated_windows(_N_RESTORER_WINDOWS, np.random.default_rng(1))
    n = len(xyz)
    windows = WindowSet(
        xyz=xyz,
        truth=xyz,
        present=present,
        label=np.zeros(n, dtype=np.int64),
        is_train=np.ones(n, dtype=bool),
        is_test=np.zeros(n, dtype=bool),
        names=tuple(map(str, range(n))),
        class_names=("any",),
    )
    train_restorer(windows, RestorerSettings(steps=_RESTORER_STEPS), folder)
    return folder


def generated_windows(n: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return windows of people as in the bank, and who is there."""
    action = rng.normal(0, 0.15, (n, N_PERSONS, 6, NTU_25.n_joints * 3))
    xyz, present = make_windows(action, rng)
    return np.stack([to_body_frame(one, estimate_body_frame(one)) for one in xyz]), present
