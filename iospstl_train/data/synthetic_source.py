"""The generated dataset as a source like any other."""

from __future__ import annotations

from functools import partial

from iospstl_core.skeleton import NTU_25
from iospstl_train.data.source import Source
from iospstl_train.data.synthetic import (
    SYNTHETIC_CLASSES,
    SyntheticSettings,
    make_recording,
    recording_count,
)

_DEFAULTS = SyntheticSettings()


def open_synthetic(settings: SyntheticSettings = _DEFAULTS) -> Source:
    """Return generated recordings; by default two thirds of the subjects train."""
    n_train = max(settings.n_subjects * 2 // 3, 1)
    return Source(
        dataset="synthetic",
        layout=NTU_25,
        class_names=SYNTHETIC_CLASSES,
        n_persons=2,
        fps=settings.fps,
        splits={
            "xsub": f"train: subject in 1-{n_train}; test: subject not in 1-{n_train}",
            "xview": "train: view in 2,3; test: view in 1",
        },
        items=range(recording_count(settings)),
        read=partial(make_recording, settings=settings),
    )
