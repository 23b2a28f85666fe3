"""Which bodies of one Kinect recording are the same person, where ids change hands or are new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iospstl_core.kinect_bodies import Body

MIN_JUMP_M = 0.2
"""A body whose joints move further than this from one frame to the next, on average, jumped."""

MAX_RIVAL_FRAC = 0.5
"""A jump is an exchange where another body was nearer than this share of the jump."""

JOIN_MAX_FRAMES, JOIN_MAX_M = 30, 0.5
"""A new id within so many frames and metres of the pose of a lost one is the same person."""


def undo_swaps(bodies: Sequence[Body]) -> tuple[list[Body], int]:
    """Follow persons through frames in which their ids change hands.

    Where a body jumps to the place of another that jumps too, or that vanishes in that frame, or
    one appears where it was, their ids are exchanged from that frame on.

    Parameters
    ----------
    bodies : sequence of Body
        Of one file; NaN where not observed.

    Returns
    -------
    bodies : list of Body
        As many, in the same order; the same objects where nothing was exchanged.
    n_swaps : int
        Frames with an exchange.
    """
    frames = _frames_with_jumps(bodies)
    if not frames:
        return list(bodies), 0
    present = np.stack([body.present for body in bodies])
    xyz = np.stack([body.xyz for body in bodies])
    state = np.stack([body.state for body in bodies])
    n_swaps = 0
    for frame in frames:
        order = _order_after(xyz[:, frame - 1], xyz[:, frame], present[:, frame - 1 : frame + 1])
        if (order != np.arange(len(bodies))).any():
            n_swaps += 1
            for values in (present, xyz, state):
                values[:, frame:] = values[order, frame:]
    if not n_swaps:
        return list(bodies), 0
    return [Body(*each) for each in zip(present, xyz, state, strict=True)], n_swaps


def join_lost(bodies: Sequence[Body]) -> tuple[list[Body], int]:
    """Join bodies that a new id continues after the Kinect lost somebody.

    Parameters
    ----------
    bodies : sequence of Body
        Of one file, in order of appearance; NaN where not observed.

    Returns
    -------
    bodies : list of Body
        Those that were joined as one.
    n_joined : int
        How many fewer.
    """
    tracks: list[Body] = []
    for body in sorted(bodies, key=_first_frame):
        gaps = [_gap_m(track, body) for track in tracks]
        nearest = int(np.argmin(gaps)) if gaps else -1
        if gaps and gaps[nearest] < JOIN_MAX_M:
            tracks[nearest] = _merge(tracks[nearest], body)
        else:
            tracks.append(body)
    return tracks, len(bodies) - len(tracks)


def _frames_with_jumps(bodies: Sequence[Body]) -> list[int]:
    """Return the frames in which any body lies far from where it was in the frame before."""
    if len(bodies) < 2:
        return []
    jumped = np.zeros(len(bodies[0].present), dtype=np.bool_)
    for body in bodies:
        jumped[1:] |= _is_jump(_distance_m(body.xyz[1:], body.xyz[:-1]))
    frames: list[int] = np.flatnonzero(jumped).tolist()
    return frames


def _is_jump(step_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    jump: NDArray[np.bool_] = np.isfinite(step_m) & (step_m > MIN_JUMP_M)
    return jump


def _order_after(
    before: NDArray[np.float32], after: NDArray[np.float32], present: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return for each body which one continues it; poses (n_bodies, 25, 3), present (.., 2)."""
    step = _distance_m(after, before)
    leaves, comes = present[:, 0] & ~present[:, 1], ~present[:, 0] & present[:, 1]
    olds, news = np.flatnonzero(_is_jump(step) | leaves), np.flatnonzero(_is_jump(step) | comes)
    apart = _distance_m(before[olds, None], after[None, news])
    order = np.arange(len(before))
    if not apart.size:
        return order
    nearest = (apart <= apart.min(axis=0)) & (apart <= apart.min(axis=1, keepdims=True))
    for row, column in np.argwhere(nearest & (apart <= MIN_JUMP_M)):
        old, new = olds[row], news[column]
        jump = min(step[old], step[new])  # infinite: one left and one came; see `join_lost`
        if np.isfinite(jump) and apart[row, column] < MAX_RIVAL_FRAC * jump:
            order[old] = new
    return _complete(order)


def _complete(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the bodies that nobody continues to those that lost theirs; shape (n_bodies,)."""
    everyone = np.arange(len(order))
    moved = order != everyone
    taken = set(order[moved].tolist())
    if len(taken) < moved.sum():
        return everyone  # two claim one body: nothing is certain
    losers = [idx for idx in everyone[~moved].tolist() if idx in taken]
    free = [idx for idx in everyone[moved].tolist() if idx not in taken]
    order[losers] = free
    return order


def _distance_m(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean distance of joints (..., 25, 3) seen in both; infinite where none was."""
    apart = np.sqrt(((one - other).astype(np.float64) ** 2).sum(axis=-1))
    seen = ~np.isnan(apart)
    count = seen.sum(axis=-1)
    total = np.where(seen, apart, 0).sum(axis=-1)
    distance: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    return distance


def _first_frame(body: Body) -> int:
    return int(np.argmax(body.present))


def _gap_m(track: Body, body: Body) -> float:
    """Return how far a body begins from where a track ended; infinite if it cannot be the same."""
    first = _first_frame(body)
    last = int(np.flatnonzero(track.present)[-1])
    if not 0 < first - last <= JOIN_MAX_FRAMES:
        return np.inf
    return float(_distance_m(body.xyz[first], track.xyz[last]))


def _merge(track: Body, body: Body) -> Body:
    here = body.present
    return Body(
        track.present | here,
        np.where(here[:, None, None], body.xyz, track.xyz),
        np.where(here[:, None], body.state, track.state),
    )
