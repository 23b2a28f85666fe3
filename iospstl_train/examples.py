"""What a classifier for the robot is fitted and judged on: windows as a robot meets them.

A robot sees the beginning of an action before the whole of it, its windows begin in the middle of
one, and people also do what is no class. All of that is cut from recordings and embedded by the
bundle itself, so that what is fitted here is what the robot runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iospstl_core.errors import InputError
from iospstl_core.normalize import Window, normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.rejection import MIN_OBSERVED
from iospstl_core.skeleton import NTU_25, joint_sources
from iospstl_core.store import Occlusion, Store
from iospstl_train.data.live import Clip, read_clip
from iospstl_train.data.window_kinds import (
    ACTIONS,
    LIVE_KINDS,
    MADE,
    N_DRAWN,
    WITH_PARTNER,
    choose_partner,
    make_live_window,
    make_window,
)

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

MAX_MADE = 2000
"""Sequences of which movement that is no class is made."""

MAX_KEPT = 3000
"""Sequences whose examples go into a bundle."""

_BATCH = 64


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

    def read(self, index: int) -> Clip:
        """Return a recording with all its frames."""
        return read_clip(self.store, int(self.rows[index]), self.occlusion)


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
        own = sequences.read(index)
        kinds = (*ACTIONS, *MADE) if index in made else ACTIONS
        for kind in [each for each in kinds for _ in range(N_DRAWN.get(each, 1))]:
            other: int | None = index
            if kind in WITH_PARTNER:
                other = choose_partner(index, label, sequences.group, rng)
            if other is None:
                continue
            partner = own if other == index else sequences.read(other)
            if kind in LIVE_KINDS:
                clip = make_live_window(kind, own, partner, settings.window_s, fps, rng)
            else:
                clip = make_window(kind, own, partner, rng)
            window = normalize(*_add_absent(clip, settings.n_persons), settings.n_frames)
            if _observed_share(window, sequences.available) >= MIN_OBSERVED:
                facts = (label[index], label[other], kind, sequences.group[index], index)
                yield window, tuple(int(fact) for fact in facts)


def _add_absent(clip: Clip, n_persons: int) -> Clip:
    """Widen the person axis of a clip to that of the bundle with absent persons."""
    missing = n_persons - clip.xyz.shape[1]
    wide = np.pad(clip.xyz, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    return Clip(wide, np.pad(clip.present, ((0, 0), (0, missing))))


def _observed_share(window: Window, available: BoolArray) -> float:
    """Share of the available joints that are seen while a person is there."""
    cells = ~np.isnan(window.xyz[window.present][:, available, 0])
    return float(cells.mean()) if cells.size else 0.0
