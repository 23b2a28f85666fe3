"""What a window of a recording may show, and how each kind of it is made."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from iospstl_train.data.live import Clip, action_window, drop_nobody, pause_window, place_of

IntArray = NDArray[np.int64]

MIN_PART = 0.4
"""Shortest part of an action that should still be recognised."""

_JITTER_M = 0.003
_BLOCKS = 6


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

LIVE_KINDS = (Kind.LIVE, Kind.PAUSE)
"""Kinds that `make_live_window` cuts; `make_window` makes the others."""

WITH_PARTNER = (Kind.JOINED, *LIVE_KINDS)
"""Kinds that take a second sequence."""

DESCRIPTIONS = {
    Kind.PAUSE: "pause after an action",
    Kind.STILL: "standing still",
    Kind.JOINED: "end of one action, start of another",
    Kind.SHUFFLED: "action shuffled in time",
}


def choose_partner(
    index: int, label: IntArray, group: IntArray, rng: np.random.Generator
) -> int | None:
    """Return a sequence of another class, of the same group where there is one; None without."""
    others = np.flatnonzero(label != label[index])
    near = others[group[others] == group[index]]
    candidates = near if len(near) else others
    return int(rng.choice(candidates)) if len(candidates) else None


def make_window(kind: Kind, first: Clip, second: Clip, rng: np.random.Generator) -> Clip:
    """Return one kind of window, all but those of `LIVE_KINDS`.

    Parameters
    ----------
    kind : Kind
    first : Clip
        The sequence that the window is of.
    second : Clip
        For JOINED: its first half is moved to where the last half of `first` ends.
    rng : Generator
    """
    xyz, present = first
    n = len(xyz)
    if kind == Kind.STILL:
        seen = np.flatnonzero(~np.isnan(xyz[..., 0]).all(axis=(1, 2)))
        frame = int(rng.choice(seen)) if len(seen) else 0
        noise = rng.normal(0, _JITTER_M, xyz.shape).astype(np.float32)
        return Clip(xyz[frame] + noise, np.repeat(present[frame : frame + 1], n, axis=0))
    if kind == Kind.JOINED:
        half = (len(second.xyz) + 1) // 2
        end, start = xyz[n // 2 :], second.xyz[:half]
        moved = start + (place_of(end[::-1]) - place_of(start))
        there = np.concatenate([present[n // 2 :], second.present[:half]])
        return Clip(np.concatenate([end, moved]), there)
    if kind == Kind.SHUFFLED:
        blocks = np.array_split(np.arange(n), _BLOCKS)
        order = np.concatenate([blocks[block] for block in rng.permutation(_BLOCKS)])
        return Clip(xyz[order], present[order])
    length = n if kind == Kind.WHOLE else max(round(n * rng.uniform(MIN_PART, 1)), min(n, 2))
    begin = int(rng.integers(n - length + 1)) if kind == Kind.MIDDLE else 0
    return Clip(xyz[begin : begin + length], present[begin : begin + length])


def make_live_window(
    kind: Kind,
    sequence: Clip,
    other: Clip,
    window_s: float,
    fps: float,
    rng: np.random.Generator,
) -> Clip:
    """Return a window as the robot cuts it.

    Parameters
    ----------
    kind : {Kind.LIVE, Kind.PAUSE}
        A window of `sequence`, after `other` and a pause; or of the pause after `sequence`.
    sequence, other : Clip
    window_s : float
    fps : float
    rng : Generator
    """
    clip, partner = drop_nobody(sequence), drop_nobody(other)
    n_source = round(window_s * fps) + 1  # frames span the time: one more than steps
    if kind == Kind.LIVE:
        return action_window(partner, clip, fps, n_source, rng)
    return pause_window(clip, partner, fps, n_source, rng)
