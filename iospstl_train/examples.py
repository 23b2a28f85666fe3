"""What a classifier for the robot is fitted and judged on: windows as a robot meets them.

A robot sees the beginning of an action before the whole of it, its windows begin in the middle of
one, and people also do what is no class. All of that is cut from recordings and embedded by the
bundle itself, so that what is fitted here is what the robot runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iospstl_core.errors import InputError
from iospstl_core.normalize import Window, normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.skeleton import NTU_25, joint_sources, map_joints
from iospstl_core.store import Occlusion, Store, hide
from iospstl_train.data.live import Clip, action_window, pause_window

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
RawSequence = tuple[FloatArray, BoolArray]

MIN_PART = 0.4
"""Shortest part of an action that should still be recognised."""

MIN_OBSERVED = 0.1
"""Windows of which less is seen get no label from the robot."""

MAX_MADE = 2000
"""Sequences of which movement that is no class is made."""

MAX_KEPT = 3000
"""Sequences whose examples go into a bundle."""

_JITTER_M = 0.003
_BLOCKS = 6
_BATCH = 64


class Kind(IntEnum):
    """What a window shows."""

    WHOLE = 0
    START = 1
    MIDDLE = 2
    STILL = 3
    JOINED = 4
    SHUFFLED = 5
    LIVE = 6
    PAUSE = 7


ACTIONS = (Kind.WHOLE, Kind.START, Kind.MIDDLE, Kind.LIVE)
MADE = (Kind.STILL, Kind.JOINED, Kind.SHUFFLED, Kind.PAUSE)
N_DRAWN = {Kind.LIVE: 3, Kind.PAUSE: 2}
"""Windows of a kind that are cut from a sequence, where it is more than one."""

_WITH_PARTNER = (Kind.JOINED, Kind.LIVE, Kind.PAUSE)

DESCRIPTIONS = {
    Kind.PAUSE: "pause after an action",
    Kind.STILL: "standing still",
    Kind.JOINED: "end of one action, start of another",
    Kind.SHUFFLED: "action shuffled in time",
}


@dataclass(frozen=True)
class Sequences:
    """Recordings of known classes, read one at a time.

    Attributes
    ----------
    store : Store
    rows : ndarray of shape (n,), int64
        Sequences of the store.
    group : ndarray of shape (n,), int64
        Sequences of one group are held out together: a person's.
    occlusion : Occlusion, optional
    """

    store: Store
    rows: IntArray
    group: IntArray
    occlusion: Occlusion | None = None

    @property
    def label(self) -> IntArray:
        """Class of each sequence."""
        return self.store.label[self.rows]

    @property
    def available(self) -> BoolArray:
        """Joints (25,) that the source has."""
        return np.asarray(joint_sources(self.store.layout, NTU_25) >= 0)

    def read(self, index: int) -> RawSequence:
        """Return xyz (n_frames, n_persons, 25, 3) in the camera frame, and present."""
        row = int(self.rows[index])
        xyz, present = self.store.sequence(row)
        if self.occlusion is not None:
            xyz = hide(xyz, self.occlusion.hidden[self.store.frames(row)])
        return map_joints(xyz, self.store.layout, NTU_25)[0], present


@dataclass(frozen=True)
class ExampleSet:
    """Embedded windows.

    Attributes
    ----------
    embedding : ndarray of shape (n, n_features), float32
    label : ndarray of shape (n,), int64
        Class of the recording that a window was cut from or made of.
    partner : ndarray of shape (n,), int64
        The other class of a joined window; `label` elsewhere.
    kind : ndarray of shape (n,), int64
        A `Kind`.
    group : ndarray of shape (n,), int64
    sequence : ndarray of shape (n,), int64
        Recording that a window comes from.
    """

    embedding: FloatArray
    label: IntArray
    partner: IntArray
    kind: IntArray
    group: IntArray
    sequence: IntArray

    @property
    def is_action(self) -> BoolArray:
        """Windows that show one action, or a part of one."""
        return np.isin(self.kind, ACTIONS)

    def __getitem__(self, rows: BoolArray | IntArray) -> ExampleSet:
        return ExampleSet(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return small arrays for a bundle, of `MAX_KEPT` recordings spread over all."""
        sequences = np.unique(self.sequence)
        step = np.linspace(0, len(sequences) - 1, min(MAX_KEPT, len(sequences)))
        kept = self[np.isin(self.sequence, sequences[step.round().astype(np.int64)])]
        arrays = {item.name: getattr(kept, item.name) for item in fields(self)}
        return {**arrays, "embedding": kept.embedding.astype(np.float16)}


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> ExampleSet:
    """Return what `ExampleSet.to_arrays` gave."""
    names = [item.name for item in fields(ExampleSet)][1:]
    facts = {name: np.asarray(arrays[name], dtype=np.int64) for name in names}
    return ExampleSet(arrays["embedding"].astype(np.float32), **facts)


def join_examples(parts: Sequence[ExampleSet]) -> ExampleSet:
    """Return examples one after another."""
    names = [item.name for item in fields(ExampleSet)]
    return ExampleSet(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def choose_sequences(
    store: Store, chosen: BoolArray, occlusion: Occlusion | None = None, limit: int | None = None
) -> Sequences:
    """Return some sequences of a store, and who belongs together when some are held out.

    People are held out whole where everybody is known and no class has a single performer; else
    every sequence is a group of its own.
    """
    rows = np.flatnonzero(chosen)
    if limit is not None and len(rows) > limit:
        rows = rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]
    subject, label = store.fields["subject"][rows], store.label[rows]
    performers = {(int(a), int(b)) for a, b in zip(label, subject, strict=True)}
    n_performers = np.bincount([a for a, _ in performers], minlength=1)
    by_person = bool((subject >= 0).all() and (n_performers[np.unique(label)] > 1).all())
    return Sequences(store, rows, subject if by_person else np.arange(len(rows)), occlusion)


def make_examples(
    recognizer: Recognizer, sequences: Sequences, seed: int = 0, max_made: int = MAX_MADE
) -> ExampleSet:
    """Cut windows from sequences, make others of them, and embed all with a bundle.

    Parameters
    ----------
    recognizer : Recognizer
        Completes and embeds windows as on the robot.
    sequences : Sequences
    seed : int
        Of cuts and of what is made; each sequence draws from its own generator.
    max_made : int
        Sequences of which movement that is no class is made.

    Returns
    -------
    ExampleSet
        Of every sequence the whole, a part from its start, a part from anywhere, and windows as
        the robot cuts them, with what was before the action; of up to `max_made`, windows of each
        of `MADE`. Windows of which less than `MIN_OBSERVED` is seen are left out.
    """
    _check_persons(recognizer, sequences.store)
    columns: dict[str, list[Any]] = {item.name: [] for item in fields(ExampleSet)}
    batch: list[tuple[Window, tuple[int, ...]]] = []
    for window, facts in _windows(sequences, seed, max_made, recognizer):
        batch.append((window, facts))
        if len(batch) == _BATCH:
            _embed(recognizer, batch, columns)
    _embed(recognizer, batch, columns)
    if not columns["label"]:
        raise InputError(
            f"{sequences.store.folder}: expected sequences in which people are seen, got none"
        )
    embedding = np.stack(columns.pop("embedding"))
    numbers = {name: np.asarray(column, dtype=np.int64) for name, column in columns.items()}
    return ExampleSet(embedding, **numbers)


def _check_persons(recognizer: Recognizer, store: Store) -> None:
    n_persons = recognizer.settings.n_persons
    if store.n_persons > n_persons:
        raise InputError(
            f"{store.folder}: expected at most {n_persons} persons in a recording, as the bundle "
            f"takes them, got {store.n_persons}; export a bundle for {store.n_persons}"
        )


def _embed(
    recognizer: Recognizer,
    batch: list[tuple[Window, tuple[int, ...]]],
    columns: dict[str, list[Any]],
) -> None:
    """Append the embeddings of a batch and its facts to columns, and empty the batch."""
    names = [item.name for item in fields(ExampleSet)][1:]
    results = recognizer.recognize([window for window, _ in batch])
    for result, (_, facts) in zip(results, batch, strict=True):
        columns["embedding"].append(result.embedding)
        for name, value in zip(names, facts, strict=True):
            columns[name].append(value)
    batch.clear()


def _windows(
    sequences: Sequences, seed: int, max_made: int, recognizer: Recognizer
) -> Iterator[tuple[Window, tuple[int, ...]]]:
    """Yield normalised windows with label, partner, kind, group and sequence."""
    settings, label, fps = recognizer.settings, sequences.label, sequences.store.fps
    n = len(label)
    made = np.linspace(0, n - 1, min(max_made, n)).round().astype(np.int64)
    for index in tqdm(range(n), desc="cut and embed", leave=False, disable=None):
        rng = np.random.default_rng([seed, index])
        kinds = (*ACTIONS, *MADE) if index in made else ACTIONS
        for kind in np.repeat(kinds, [N_DRAWN.get(kind, 1) for kind in kinds]):
            other: int | None = index
            if kind in _WITH_PARTNER:
                other = choose_partner(index, label, sequences.group, rng)
            if other is None:
                continue
            pair = sequences.read(index), sequences.read(other)
            if kind in (Kind.LIVE, Kind.PAUSE):
                xyz, present = make_live_window(kind, *pair, settings.window_s, fps, rng)
            else:
                xyz, present = make_window(kind, *pair, rng)
            xyz, present = _add_absent(xyz, present, settings.n_persons)
            window = normalize(xyz, present, settings.n_frames)
            if _observed_share(window, sequences.available) >= MIN_OBSERVED:
                facts = (label[index], label[other], kind, sequences.group[index], index)
                yield window, tuple(int(fact) for fact in facts)


def choose_partner(
    index: int, label: IntArray, group: IntArray, rng: np.random.Generator
) -> int | None:
    """Return a sequence of another class, of the same group where there is one; None without."""
    others = np.flatnonzero(label != label[index])
    near = others[group[others] == group[index]]
    candidates = near if len(near) else others
    return int(rng.choice(candidates)) if len(candidates) else None


def make_window(
    kind: Kind, first: RawSequence, second: RawSequence, rng: np.random.Generator
) -> RawSequence:
    """Return xyz (n, n_persons, n_joints, 3) and present (n, n_persons) of one kind of window.

    Parameters
    ----------
    kind : Kind
    first : (xyz, present)
        The sequence that the window is of.
    second : (xyz, present)
        For JOINED: its first half is moved to where the last half of `first` ends.
    rng : Generator
    """
    xyz, present = first
    n = len(xyz)
    if kind == Kind.STILL:
        seen = np.flatnonzero(~np.isnan(xyz[..., 0]).all(axis=(1, 2)))
        frame = int(rng.choice(seen)) if len(seen) else 0
        noise = rng.normal(0, _JITTER_M, xyz.shape).astype(np.float32)
        return xyz[frame] + noise, np.repeat(present[frame : frame + 1], n, axis=0)
    if kind == Kind.JOINED:
        half = (len(second[0]) + 1) // 2
        end, start = xyz[n // 2 :], second[0][:half]
        moved = start + (_place(end[::-1]) - _place(start))
        return np.concatenate([end, moved]), np.concatenate([present[n // 2 :], second[1][:half]])
    if kind == Kind.SHUFFLED:
        blocks = np.array_split(np.arange(n), _BLOCKS)
        order = np.concatenate([blocks[block] for block in rng.permutation(_BLOCKS)])
        return xyz[order], present[order]
    length = n if kind == Kind.WHOLE else max(round(n * rng.uniform(MIN_PART, 1)), min(n, 2))
    begin = int(rng.integers(n - length + 1)) if kind == Kind.MIDDLE else 0
    return xyz[begin : begin + length], present[begin : begin + length]


def make_live_window(
    kind: Kind,
    sequence: RawSequence,
    other: RawSequence,
    window_s: float,
    fps: float,
    rng: np.random.Generator,
) -> RawSequence:
    """Return xyz (n, n_persons, n_joints, 3) and present (n, n_persons) as the robot cuts them.

    Parameters
    ----------
    kind : {Kind.LIVE, Kind.PAUSE}
        A window of `sequence`, after `other` and a pause; or of the pause after `sequence`.
    sequence, other : (xyz, present)
    window_s : float
    fps : float
    rng : Generator
    """
    clip, partner = _clip(sequence), _clip(other)
    n_source = round(window_s * fps) + 1  # frames span the time: one more than steps
    if kind == Kind.LIVE:
        return action_window(partner, clip, fps, n_source, rng)
    return pause_window(clip, partner, fps, n_source, rng)


def _clip(sequence: RawSequence) -> Clip:
    """Return a sequence without the frames of nobody; one without anybody as it is."""
    xyz, present = sequence
    there = present.any(axis=1)
    return Clip(xyz[there], present[there]) if there.any() else Clip(xyz, present)


def _place(xyz: FloatArray) -> FloatArray:
    """Mean position (3,) in the first frame that shows anything; 0 without one."""
    seen = ~np.isnan(xyz[..., 0])
    shown = np.flatnonzero(seen.any(axis=(1, 2)))
    if not len(shown):
        return np.zeros(3, dtype=np.float32)
    return np.asarray(xyz[shown[0]][seen[shown[0]]].mean(axis=0), dtype=np.float32)


def _add_absent(xyz: FloatArray, present: BoolArray, n_persons: int) -> RawSequence:
    """Widen the person axis of a sequence to that of the bundle with absent persons."""
    missing = n_persons - xyz.shape[1]
    wide = np.pad(xyz, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    return wide, np.pad(present, ((0, 0), (0, missing)))


def _observed_share(window: Window, available: BoolArray) -> float:
    """Share of the available joints that are seen while a person is there."""
    cells = ~np.isnan(window.xyz[window.present][:, available, 0])
    return float(cells.mean()) if cells.size else 0.0
