"""Ids for people whose source has none, or none that last: by position, frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_REACH_M = 0.4
_SPEED_M_S = 3.0
"""A brisk run; who moves farther between two frames is taken for somebody else."""


class PositionTracker:
    """Gives people the ids of those who stood nearest a moment ago.

    Two people are as far apart as the joints that are known of both, on average; without a common
    joint, as the means of their joints, seen from above. The nearest two are matched first. Ids
    count up and are never used again.

    Parameters
    ----------
    track_timeout_s : float
        Absence after which a person is forgotten; may be changed at any time.
    """

    def __init__(self, track_timeout_s: float) -> None:
        self.track_timeout_s = track_timeout_s
        self._known: dict[int, tuple[float, FloatArray]] = {}
        self._next_id = 1

    def clear(self) -> None:
        """Forget everybody; ids go on counting."""
        self._known.clear()

    def assign(self, stamp_s: float, people: Sequence[FloatArray]) -> list[int]:
        """Return the ids of people (n_joints, 3), in order; NaN where a joint is not known."""
        self._known = {
            key: (seen_s, xyz)
            for key, (seen_s, xyz) in self._known.items()
            if 0 <= stamp_s - seen_s <= self.track_timeout_s
        }
        pairs = sorted(
            (distance, index, key)
            for key, (seen_s, before) in self._known.items()
            for index, xyz in enumerate(people)
            if (distance := _distance_m(before, xyz)) <= _REACH_M + _SPEED_M_S * (stamp_s - seen_s)
        )
        ids: dict[int, int] = {}
        taken: set[int] = set()
        for _, index, key in pairs:
            if index not in ids and key not in taken:
                ids[index] = key
                taken.add(key)
        for index, xyz in enumerate(people):
            if index not in ids:
                ids[index] = self._next_id
                self._next_id += 1
            if not np.isnan(xyz).all():
                self._known[ids[index]] = stamp_s, xyz
        return [ids[index] for index in range(len(people))]


def _distance_m(one: FloatArray, other: FloatArray) -> float:
    """Mean distance of common joints (n_joints, 3), or that of the means on the floor; or inf."""
    distances = np.linalg.norm(one - other, axis=1)
    common = ~np.isnan(distances)
    if common.any():
        return float(distances[common].mean())
    if np.isnan(one).all() or np.isnan(other).all():
        return float("inf")
    apart = np.nanmean(one, axis=0) - np.nanmean(other, axis=0)
    return float(np.hypot(apart[0], apart[2]))
