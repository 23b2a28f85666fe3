"""Gaps of a real sensor: which joints it lost together, when, and for how long.

What is kept of a recording is no coordinate, only, person by person, which set of joints was
missing for how many frames, one set after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import SkeletonLayout, joint_sources
from iospstl_train.occlusion.report import gap_lengths

BoolArray = NDArray[np.bool_]

FORMAT = "iospstl-gaps"
VERSION = 1
FEW_FRAMES = 1000
"""Of fewer frames, about half a minute, statistics are rough."""
FEW_GAPS = 100
"""The same for gaps of single joints."""
_N_PAIRS = 3


@dataclass(frozen=True)
class MeasuredGaps:
    """What a sensor lost.

    Attributes
    ----------
    joints : tuple of str
    fps : float
    tracks : tuple of ndarray of shape (n_frames, n_joints), bool
        One for each uninterrupted presence of a person: True where a joint was missing.
    """

    joints: tuple[str, ...]
    fps: float
    tracks: tuple[BoolArray, ...]

    @cached_property
    def missing(self) -> BoolArray:
        """All tracks one after another, (n_frames, n_joints)."""
        return np.concatenate(self.tracks)

    @cached_property
    def first_frames(self) -> NDArray[np.int64]:
        """Where each track begins in `missing`, and its length at the end."""
        return np.cumsum([0, *(len(track) for track in self.tracks)])

    def draw(self, n_frames: int, fps: float, rng: np.random.Generator) -> BoolArray:
        """Draw what a sensor would lose of one person.

        It begins at any frame of the recording, each as likely, and goes on as the recording did;
        where a track ends, any track follows from its beginning. So every frame of the recording
        is as likely at every place, and joints are missing, alone and together, as often as there.

        Parameters
        ----------
        n_frames : int
        fps : float
            Of the sequence: gaps last as many seconds as in the recording.
        rng : numpy.random.Generator

        Returns
        -------
        missing : ndarray of shape (n_frames, n_joints), bool
            Joints as of `joints`.
        """
        n_wanted = int(np.ceil(n_frames * self.fps / fps)) + 1
        first = int(rng.integers(len(self.missing)))
        track = int(np.searchsorted(self.first_frames, first, side="right"))
        rows = [np.arange(first, self.first_frames[track])]
        n_drawn = len(rows[0])
        while n_drawn < n_wanted:
            track = int(rng.integers(len(self.tracks)))
            rows.append(np.arange(self.first_frames[track], self.first_frames[track + 1]))
            n_drawn += len(rows[-1])
        times = (rng.random() + np.arange(n_frames)) * self.fps / fps
        return np.asarray(self.missing[np.concatenate(rows)[times.astype(np.int64)]])

    def lines(self) -> list[str]:
        """Say what was measured."""
        rate = self.missing.mean(axis=0)
        lengths = np.concatenate([gap_lengths(track) for track in self.tracks])
        often = [f"{self.joints[j]} {rate[j]:.1%}" for j in np.argsort(-rate)[:_N_PAIRS]]
        lines = [
            f"measured on {len(self.missing)} frames in {len(self.tracks)} tracks at {self.fps:g} "
            f"fps: {rate.mean():.1%} missing, most often {', '.join(often)}",
            f"measured gaps: {len(lengths)}, median {np.median(lengths) / self.fps:.2f} s, mean "
            f"{lengths.mean() / self.fps:.2f} s; often together: {', '.join(self._pairs())}",
        ]
        if len(self.missing) < FEW_FRAMES or len(lengths) < FEW_GAPS:
            lines.append(
                f"these are rough: expected at least {FEW_FRAMES} frames and {FEW_GAPS} gaps, got "
                f"{len(self.missing)} and {len(lengths)}; record more"
            )
        return lines

    def _pairs(self) -> list[str]:
        """Joints whose gaps coincide most, of those that are neither always nor never there."""
        varies = np.flatnonzero((self.missing.mean(axis=0) > 0) & ~self.missing.all(axis=0))
        if len(varies) < 2:
            return ["none"]
        gaps = self.missing[:, varies].astype(np.float64)
        both, any_of = gaps.T @ gaps, gaps.sum(axis=0)
        overlap = np.triu(both / (any_of[:, None] + any_of - both), 1)
        best = np.argsort(-overlap, axis=None)[:_N_PAIRS]
        pairs = zip(*np.unravel_index(best, overlap.shape), strict=True)
        return [
            f"{self.joints[varies[a]]} and {self.joints[varies[b]]} ({overlap[a, b]:.0%})"
            for a, b in pairs
            if overlap[a, b] > 0
        ] or ["none"]


def measure_gaps(
    xyz: Sequence[NDArray[np.floating]],
    present: Sequence[BoolArray],
    layout: SkeletonLayout,
    fps: float,
    where: str,
) -> tuple[MeasuredGaps, list[str]]:
    """Measure gaps in recordings.

    Parameters
    ----------
    xyz : sequence of ndarray of shape (n_frames, n_persons, n_joints, 3), float
        NaN where a joint was not tracked, or not well enough.
    present : sequence of ndarray of shape (n_frames, n_persons), bool
    layout : SkeletonLayout
    fps : float
    where : str
        What was recorded, for messages.

    Returns
    -------
    gaps : MeasuredGaps
        Without joints that were never tracked: the sensor does not know them.
    notes : list of str
        Which joints these are.

    Raises
    ------
    InputError
        If there is nobody in the recordings, or no joint was ever lost.
    """
    tracks: list[BoolArray] = []
    for sequence, there in zip(xyz, present, strict=True):
        missing = ~np.isfinite(sequence).all(axis=-1)
        for person in range(there.shape[1]):
            tracks += _split(missing[:, person], there[:, person])
    if not tracks:
        raise InputError(f"{where}: expected frames with a person, got none")
    frames = np.concatenate(tracks)
    never = frames.all(axis=0)
    kept = np.flatnonzero(~never)
    gaps = MeasuredGaps(
        tuple(layout.joints[joint] for joint in kept),
        fps,
        tuple(track[:, kept] for track in tracks),
    )
    if not len(kept) or not gaps.missing.any():
        raise InputError(
            f"{where}: expected joints that the sensor lost at times, got none in "
            f"{len(frames)} frames of {len(tracks)} tracks; it needs tracking states or "
            "confidences: a .skeleton file, an .npz archive with 'confidence', or a store that "
            "was prepared with --inferred-is-missing (ntu60, ntu120) or from such an archive"
        )
    unknown = [layout.joints[joint] for joint in np.flatnonzero(never)]
    return gaps, [f"never tracked, left as they are: {', '.join(unknown)}"] if unknown else []


def _split(missing: BoolArray, there: BoolArray) -> list[BoolArray]:
    """Cut one person's frames (n_frames, n_joints) where the person is not there."""
    edges = np.flatnonzero(np.diff(there.astype(np.int8), prepend=0, append=0))
    return [missing[first:end] for first, end in zip(edges[::2], edges[1::2], strict=True)]


def joints_in(gaps: MeasuredGaps, layout: SkeletonLayout, source: SkeletonLayout) -> list[int]:
    """Return which column of the gaps each joint of a layout has; -1 where it has none."""
    columns = {name: column for column, name in enumerate(gaps.joints)}
    found = joint_sources(source, layout)
    return [columns.get(source.joints[joint], -1) if joint >= 0 else -1 for joint in found]


def gaps_to_mapping(gaps: MeasuredGaps) -> dict[str, Any]:
    """Return what `gaps_from_mapping` reads, ready for JSON: short, and readable."""
    patterns: dict[bytes, int] = {}
    names: list[str] = []
    tracks = []
    for track in gaps.tracks:
        changes = np.flatnonzero((track[1:] != track[:-1]).any(axis=1)) + 1
        firsts = [0, *changes.tolist()]
        runs = []
        for first, end in zip(firsts, [*firsts[1:], len(track)], strict=True):
            key = track[first].tobytes()
            if key not in patterns:
                patterns[key] = len(patterns)
                names.append(" ".join(np.array(gaps.joints)[track[first]].tolist()))
            runs.append(f"{patterns[key]}:{end - first}")
        tracks.append(" ".join(runs))
    described = {"format": FORMAT, "version": VERSION, "fps": gaps.fps}
    return {**described, "joints": list(gaps.joints), "patterns": names, "tracks": tracks}


def gaps_from_mapping(data: Mapping[str, Any], where: str) -> MeasuredGaps:
    """Return the gaps that `gaps_to_mapping` described; raise InputError if it did not."""
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise InputError(
            f"{where}: expected measured gaps ({FORMAT}, version {VERSION}), got "
            f"{data.get('format')}, version {data.get('version')}"
        )
    try:
        joints = tuple(str(name) for name in data["joints"])
        fps = float(data["fps"])
        patterns = [
            np.isin(joints, [joints[joints.index(name)] for name in text.split()])
            for text in data["patterns"]
        ]
        tracks = []
        for text in data["tracks"]:
            runs = [(int(a), int(b)) for a, b in (run.split(":") for run in text.split())]
            if not all(0 <= a < len(patterns) and b > 0 for a, b in runs) or not runs:
                raise ValueError(f"track '{text[:40]}'")
            tracks.append(np.repeat([patterns[a] for a, _ in runs], [b for _, b in runs], axis=0))
        if not tracks or not 0 < fps < np.inf:
            raise ValueError(f"{len(tracks)} tracks at {fps} fps")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: expected measured gaps, got damaged ones ({error}); measure them again"
        ) from error
    return MeasuredGaps(joints, fps, tuple(tracks))
