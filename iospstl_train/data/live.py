"""What a robot would see of recorded clips: one after another, with pauses in between.

A clip of a dataset begins and ends with its action. Live, a window ends somewhere in the middle of
an action, begins in whatever was before it, or holds no action at all. A classifier that is to
work live learns from such windows too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25, map_joints
from iospstl_core.store import Occlusion, Store, hide

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

NO_CLIP = -1
JOIN_S = 0.4
"""Way from the last pose of a clip to the first pose of the next one."""
PAUSE_S = (0.5, 1.5)
"""Shortest and longest time that a person stands still before a clip."""
_SWAY_M = 0.003
_ON_FLOOR = np.array([1, 0, 1], dtype=np.float32)

_FIRST_PROGRESS = 0.5
"""From here on a window that ends in an action is a window of that action."""

AFTER_S = 0.3
"""So long after a clip its label is not wrong yet."""


class Clip(NamedTuple):
    """One recorded sequence, or a window of it.

    Attributes
    ----------
    xyz : ndarray of shape (n_frames, n_persons, 25, 3), float32
        Metres, camera frame; NaN where not observed.
    present : ndarray of shape (n_frames, n_persons), bool
    """

    xyz: FloatArray
    present: BoolArray


@dataclass(frozen=True)
class Stream:
    """Clips one after another.

    Attributes
    ----------
    xyz, present
        As of `Clip`, for all frames.
    clip : ndarray of shape (n_frames,), int64
        Index of the clip that a frame belongs to; `NO_CLIP` in pauses and on the way.
    progress : ndarray of shape (n_frames,), float64
        From above 0 to 1 over a clip; 0 outside.
    """

    xyz: FloatArray
    present: BoolArray
    clip: IntArray
    progress: NDArray[np.float64]


def read_clip(store: Store, index: int, occlusion: Occlusion | None) -> Clip:
    """Return one sequence of a store in the joints of the models."""
    xyz, present = store.sequence(index)
    if occlusion is not None:
        xyz = hide(xyz, occlusion.hidden[store.frames(index)])
    return Clip(map_joints(xyz, store.layout, NTU_25)[0], present)


def drop_nobody(clip: Clip) -> Clip:
    """Return a clip without the frames of nobody; one without anybody as it is."""
    there = clip.present.any(axis=1)
    return Clip(clip.xyz[there], clip.present[there]) if there.any() else clip


def join_clips(clips: Sequence[Clip], fps: float, rng: Generator) -> Stream:
    """Let one person, or one group, do all clips in order.

    Before each clip they go to its first pose and hold it; clips are moved along the floor so that
    each begins where the last one ended. What is hidden in the first pose is hidden in the pause.

    Parameters
    ----------
    clips : sequence of Clip
        With the same number of person slots.
    fps : float
    rng : Generator
        Of the lengths of pauses, and of a sway of some millimetres.
    """
    parts: list[tuple[FloatArray, BoolArray, int]] = []
    for number, clip in enumerate(clips):
        if not len(clip.xyz):
            continue
        xyz = clip.xyz
        n_pause = max(round(rng.uniform(*PAUSE_S) * fps), 1)
        if parts:
            last_xyz, last_present, _ = parts[-1]
            xyz = xyz + _ON_FLOOR * (place_of(last_xyz[::-1]) - place_of(xyz))
            way = _way(last_xyz[-1], xyz[0], round(JOIN_S * fps))
            there = np.repeat((last_present[-1] & clip.present[0])[None], len(way), axis=0)
            parts.append((way, there, NO_CLIP))
        hold = np.repeat(xyz[:1], n_pause, axis=0)
        hold = hold + rng.normal(0, _SWAY_M, hold.shape).astype(np.float32)
        parts.append((hold, np.repeat(clip.present[:1], n_pause, axis=0), NO_CLIP))
        parts.append((xyz, clip.present, number))
    present = np.concatenate([there for _, there, _ in parts])
    xyz = np.concatenate([part for part, _, _ in parts])
    return Stream(
        xyz=np.where(present[..., None, None], xyz, np.float32(np.nan)),
        present=present,
        clip=np.concatenate([np.full(len(part), number) for part, _, number in parts]),
        progress=np.concatenate([_progress(len(part), number) for part, _, number in parts]),
    )


def _way(first: FloatArray, last: FloatArray, n_frames: int) -> FloatArray:
    """Poses between two (n_persons, 25, 3), without these; NaN where either is."""
    weight = np.linspace(0, 1, n_frames + 2, dtype=np.float32)[1:-1, None, None, None]
    return (1 - weight) * first + weight * last


def _progress(n_frames: int, number: int) -> NDArray[np.float64]:
    if number == NO_CLIP:
        return np.zeros(n_frames)
    return np.arange(1, n_frames + 1) / n_frames


def place_of(xyz: FloatArray) -> FloatArray:
    """Mean position (3,) in the first frame of (n_frames, n_persons, 25, 3) that shows anything.

    0 where no frame does.
    """
    for frame in xyz:
        seen = frame[~np.isnan(frame[..., 0])]
        if len(seen):
            return np.asarray(seen.mean(axis=0), dtype=np.float32)
    return np.zeros(3, dtype=np.float32)


def cut_window(stream: Stream, end: int, n_source: int) -> Clip:
    """Return at most `n_source` frames that end with frame `end`, as the robot's window would.

    It begins with the first frame that shows the first person; where that one is absent now,
    with the first that shows anybody.
    """
    rows = slice(max(end - n_source + 1, 0), end + 1)
    present = stream.present[rows]
    column = present[:, 0] if present[-1, 0] else present.any(axis=1)
    start = int(column.argmax())
    return Clip(stream.xyz[rows][start:], present[start:])


def action_window(before: Clip, clip: Clip, fps: float, n_source: int, rng: Generator) -> Clip:
    """Return a window that ends in the second half of a clip, at its last frame at the latest.

    What the clip is too short for was before it: a pause, and the end of another clip.

    Parameters
    ----------
    before, clip : Clip
        With the same number of person slots.
    fps : float
    n_source : int
        Frames of the window, at most.
    rng : Generator
        Of the end and of the pause.
    """
    stream = join_clips([before, clip], fps, rng)
    ends = np.flatnonzero((stream.clip == 1) & (stream.progress > _FIRST_PROGRESS))
    return cut_window(stream, int(rng.choice(ends)), n_source)


def pause_window(before: Clip, clip: Clip, fps: float, n_source: int, rng: Generator) -> Clip:
    """Return a window that ends between two clips: on the way, or standing still.

    Parameters as of `action_window`; it ends `AFTER_S` after the first clip at the earliest.
    """
    stream = join_clips([before, clip], fps, rng)
    last = int(np.flatnonzero(stream.clip == 0)[-1])
    first = int(np.flatnonzero(stream.clip == 1)[0])
    earliest = min(last + 1 + round(AFTER_S * fps), first - 1)
    return cut_window(stream, int(rng.integers(earliest, first)), n_source)
