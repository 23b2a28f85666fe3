"""Sensor: gaps as a real sensor leaves them, drawn from what was measured on a recording of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_core.kinect_bodies import TRACKED
from iospstl_core.skeleton import NTU_25, SkeletonLayout, layout_from_mapping, layout_to_mapping
from iospstl_core.skeleton_file import read_skeleton_file
from iospstl_core.store import Store, open_store
from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence, Source
from iospstl_train.occlusion.measured_gaps import (
    FORMAT,
    MeasuredGaps,
    gaps_from_mapping,
    gaps_to_mapping,
    joints_in,
    measure_gaps,
)

_Sequence = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""xyz (n_frames, n_persons, n_joints, 3), NaN where lost, and present (n_frames, n_persons)."""

KINECT_FPS = 30.0
_ANY_SPLIT = "train: label in 0; test: label not in 0"
NEEDED = (
    "expected a recording with tracking states or confidences: a .skeleton file or a folder of "
    "them, an .npz archive with 'confidence', a prepared store, or the manifest.json of an "
    "earlier occlusion of this kind"
)


@dataclass(frozen=True)
class SensorSettings:
    """Of the kind ``sensor``; all numbers but these are measured."""

    times: float = 1.0
    """How many draws lie over each other: 1 has the measured rates, 0.5 hides nothing of half of
    the persons, 2 has about twice as many gaps."""
    min_confidence: float = 0.5
    """.npz: a joint of lower confidence was lost. Sources that give 0 or 1 need no other."""
    inferred_is_missing: bool = True
    """.skeleton and stores of them: a joint that the Kinect inferred was lost; False: only what it
    did not track."""
    layout: str = "ntu-25"
    """.npz: joints of the archive, a layout by name or a YAML joint list."""
    fps: float = 30.0
    """.npz: frames per second of the archive."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.times <= 10:
            raise ValueError(f"times: expected 0 to 10, got {self.times:g}")
        if not self.fps > 0:
            raise ValueError(f"fps: expected more than 0, got {self.fps:g}")
        if not 0 <= self.min_confidence < np.inf:
            raise ValueError(f"min_confidence: expected at least 0, got {self.min_confidence:g}")


class _Gaps(NamedTuple):
    measured: MeasuredGaps
    columns: NDArray[np.int64]  # of the gaps, for each joint of the store; -1 for none


def _hide(
    sequence: SkeletonSequence, settings: SensorSettings, content: _Gaps, rng: np.random.Generator
) -> Masked:
    """Draw for each person."""
    hidden: NDArray[np.bool_] = np.zeros(sequence.xyz.shape[:-1], dtype=np.bool_)
    has_gaps = content.columns >= 0
    for person in range(hidden.shape[1]):
        for _ in range(int(settings.times + rng.random())):
            drawn = content.measured.draw(len(hidden), sequence.fps, rng)
            hidden[:, person, has_gaps] |= drawn[:, content.columns[has_gaps]]
    return Masked(hidden, {})


def _open(
    path: Path | None, earlier: Mapping[str, Any] | None, store: Store, settings: SensorSettings
) -> Source:
    """Measure a recording, or take what was measured from an earlier occlusion."""
    if path is None and earlier is None:
        raise InputError(f"--recording: the kind 'sensor' needs it: {NEEDED}")
    if path is None or path.suffix == ".json":
        manifest = dict(earlier or {}) if path is None else read_json(path)
        where = "the manifest" if path is None else str(path)
        if manifest.get("gaps", {}).get("format") != FORMAT:
            raise InputError(f"{where}: {NEEDED}; got a file without measured gaps")
        gaps = gaps_from_mapping(manifest["gaps"], where)
        layout = layout_from_mapping(manifest["gaps_layout"], where)
        notes: list[str] = []
    else:
        gaps, layout, notes = _measure(path, settings)
    columns = np.array(joints_in(gaps, store.layout, layout))
    if not (columns >= 0).any():
        raise InputError(
            f"{path}: expected joints of the layout {store.layout.name}, got "
            f"{', '.join(gaps.joints)}; a YAML layout names its 'equivalents'"
        )
    without = [store.layout.joints[joint] for joint in np.flatnonzero(columns < 0)]
    if without:
        notes = [*notes, f"never hidden, not measured: {', '.join(without)}"]
    described = {"gaps": gaps_to_mapping(gaps), "gaps_layout": layout_to_mapping(layout)}
    return Source(_Gaps(gaps, columns), described, (*gaps.lines(), *notes))


def _measure(
    path: Path, settings: SensorSettings
) -> tuple[MeasuredGaps, SkeletonLayout, list[str]]:
    """Read a recording of any kind."""
    if (path / "manifest.json").is_file():
        store = open_store(path)
        return _of(_of_store(store, settings), store.layout, store.fps, path)
    if path.is_dir() or path.suffix == ".skeleton":
        files = sorted(path.rglob("*.skeleton")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: {NEEDED}; got a folder without any")
        is_missing = settings.inferred_is_missing
        found = (read_skeleton_file(file, inferred_is_missing=is_missing) for file in files)
        sequences = [(persons.xyz, persons.present) for persons in found]
        return _of(sequences, NTU_25, KINECT_FPS, path)
    if path.suffix == ".npz":
        return _measure_archive(path, settings)
    got = "another file" if path.exists() else "nothing there"
    raise InputError(f"{path}: {NEEDED}; got {got}")


def _of_store(store: Store, settings: SensorSettings) -> list[_Sequence]:
    """All sequences of a store; joints that were only inferred as lost, where it says which."""
    sequences = [store.sequence(index) for index in range(len(store))]
    if store.tracking is None or not settings.inferred_is_missing:
        return sequences
    states = (store.tracking[store.frames(index)] for index in range(len(store)))
    return [
        (np.where((state == TRACKED)[..., None], xyz, np.float32(np.nan)), present)
        for (xyz, present), state in zip(sequences, states, strict=True)
    ]


def _measure_archive(
    path: Path, settings: SensorSettings
) -> tuple[MeasuredGaps, SkeletonLayout, list[str]]:
    """Read a neutral archive, joints of low confidence as lost."""
    from iospstl_train.data.npz import open_npz, read_sequence
    from iospstl_train.data.open import read_layout
    from iospstl_train.data.recording import Recording

    layout = read_layout(settings.layout)
    source = open_npz(path, layout, _ANY_SPLIT, fps=settings.fps)
    sequences = []
    for item in source.items:
        sure = None
        if item.confidence is not None:
            sure = np.nan_to_num(item.confidence) >= settings.min_confidence
        recording = read_sequence(item._replace(confidence=sure))
        if isinstance(recording, Recording):
            sequences.append((recording.xyz, recording.present))
    return _of(sequences, layout, settings.fps, path)


def _of(
    sequences: list[_Sequence],
    layout: SkeletonLayout,
    fps: float,
    path: Path,
) -> tuple[MeasuredGaps, SkeletonLayout, list[str]]:
    xyz, present = [item[0] for item in sequences], [item[1] for item in sequences]
    gaps, notes = measure_gaps(xyz, present, layout, fps, str(path))
    return gaps, layout, notes


SENSOR = Kind(
    text="what a sensor lost, drawn from a recording of it (--recording)",
    settings=SensorSettings,
    hide=_hide,
    severity="times",
    severity_text="draws over each other; 1 is as measured",
    open_source=_open,
    source_option="--recording",
)
