"""Gaps in time: the nearest observed frames of every cell, and the line between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Gaps:
    """The nearest observed frames around every cell.

    Attributes
    ----------
    before, after : ndarray of shape (n, n_frames, ...), int64
        Latest observed frame up to, and first from, each frame. Both are the same one where only
        one side has any; 0 where the joint is never observed.
    weight : ndarray of the same shape, float32
        Share of `after` on the straight line between the two.
    distance : ndarray of the same shape, int64
        Frames to the nearest observed one; `n_frames` where the joint is never observed.
    """

    before: IntArray
    after: IntArray
    weight: FloatArray
    distance: IntArray

    @property
    def seen(self) -> BoolArray:
        """Cells whose joint is observed in some frame, as `before`."""
        return np.asarray(self.distance < self.distance.shape[1])


def find_gaps(observed: BoolArray) -> Gaps:
    """Return the gaps of windows of shape (n, n_frames, ...)."""
    n_frames = observed.shape[1]
    frames = np.arange(n_frames).reshape(-1, *(1,) * (observed.ndim - 2))
    before = np.maximum.accumulate(np.where(observed, frames, -1), axis=1)
    following = np.where(observed, frames, n_frames)[:, ::-1]
    after = np.minimum.accumulate(following, axis=1)[:, ::-1]
    since = np.where(before < 0, n_frames, frames - before)
    until = np.where(after == n_frames, n_frames, after - frames)
    first, last = np.where(before < 0, after, before), np.where(after == n_frames, before, after)
    weight = np.clip((frames - first) / np.maximum(last - first, 1), 0, 1).astype(np.float32)
    distance = np.minimum(since, until)
    start, end = (np.where(distance < n_frames, side, 0) for side in (first, last))
    return Gaps(start, end, weight, distance)


def interpolate(values: FloatArray, gaps: Gaps) -> FloatArray:
    """Return values (n, n_frames, ..., 3) on the lines between observed frames.

    Observed cells keep their value; the first and last observed value are held; joints that are
    never observed take whatever stands in frame 0.
    """
    start, end = (_pick(values, _places(side)) for side in (gaps.before, gaps.after))
    return np.asarray(start + gaps.weight[..., None] * (end - start))


def interpolate_smoothly(values: FloatArray, gaps: Gaps) -> FloatArray:
    """Return values (n, n_frames, ..., 3) on cubics that go on from the sides of each gap.

    Hermite cubics; the slope at a side is that between its two observed neighbours (Catmull and
    Rom, 1974). Like `interpolate` in all else.
    """
    last = values.shape[1] - 1
    before, after = gaps.before, gaps.after
    earlier = before.ravel()[_places(np.maximum(before - 1, 0))]
    later = after.ravel()[_places(np.minimum(after + 1, last))]
    earlier, later = np.minimum(earlier, before), np.maximum(later, after)
    points = [_pick(values, _places(frame)) for frame in (earlier, before, after, later)]
    span = (after - before)[..., None].astype(np.float32)
    leave = span * _slope(points[0], points[2], after - earlier)
    arrive = span * _slope(points[1], points[3], later - before)
    t = gaps.weight[..., None]
    cubic = (leave + arrive - 2 * (points[2] - points[1])) * t
    cubic = (cubic + 3 * (points[2] - points[1]) - 2 * leave - arrive) * t
    return np.asarray(points[1] + (cubic + leave) * t)


def _places(frames: IntArray) -> IntArray:
    """Places of cells (n, n_frames, ...) at other frames, in a flat array of all cells."""
    n, n_frames = frames.shape[:2]
    n_joints = frames[0, 0].size if n else 1
    first = np.arange(n)[:, None] * (n_frames * n_joints) + np.arange(n_joints)
    return np.asarray(frames * n_joints + first.reshape(n, 1, *frames.shape[2:]))


def _pick(values: FloatArray, places: IntArray) -> FloatArray:
    """Values (n, n_frames, ..., 3) at places in a flat array of all cells."""
    return np.asarray(values.reshape(-1, values.shape[-1])[places])


def _slope(start: FloatArray, end: FloatArray, n_frames: IntArray) -> FloatArray:
    """Change a frame; 0 over no frames."""
    return np.asarray((end - start) / np.maximum(n_frames, 1)[..., None].astype(np.float32))
