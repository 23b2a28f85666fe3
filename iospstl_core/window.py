"""The live path's memory: recent frames, and the window of every person in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, dropwhile

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25

FloatArray = NDArray[np.float32]

_STAMP_TOLERANCE_S = 1e-6
_TURNED_AWAY = 1.5
"""How much farther two people count who both look elsewhere."""

_PAIR_FRAMES = 16
"""Frames of a window, evenly spread, in which the distance of two people is measured."""

_LEFT = [NTU_25.index(name) for name in ("ShoulderLeft", "HipLeft")]
_RIGHT = [NTU_25.index(name) for name in ("ShoulderRight", "HipRight")]


@dataclass(frozen=True)
class RawWindow:
    """What was received of one person, before normalisation.

    Attributes
    ----------
    track_ids : tuple of int
        The person, and the companions that share the window, in the order of their appearance.
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres, camera frame; NaN where not observed or absent.
    present : ndarray of shape (n_frames, n_persons), bool
    times_s : ndarray of shape (n_frames,), float64
        Stamps of the frames, increasing.
    """

    track_ids: tuple[int, ...]
    xyz: FloatArray
    present: NDArray[np.bool_]
    times_s: NDArray[np.float64]


@dataclass(frozen=True)
class _Seen:
    """One person in one frame: joints (n_joints, 3), their mean and where they face, (3,)."""

    xyz: FloatArray
    place: FloatArray | None
    facing: FloatArray | None


class FrameBuffer:
    """Frames of the last `window_s` seconds.

    A person who was away for longer than `track_timeout_s` starts afresh, also under an old id.

    Parameters
    ----------
    window_s : float
        Longest time that a window covers.
    track_timeout_s : float
        Longest absence that a window bridges.
    n_joints : int
        Joints of a frame.
    max_pair_distance_m : float
        Who is farther away shares no window.
    """

    def __init__(
        self,
        window_s: float,
        track_timeout_s: float,
        n_joints: int = 25,
        max_pair_distance_m: float = float("inf"),
    ) -> None:
        self.window_s = window_s
        self.track_timeout_s = track_timeout_s
        self.n_joints = n_joints
        self.max_pair_distance_m = max_pair_distance_m
        self._frames: deque[tuple[float, dict[int, _Seen]]] = deque()
        self._started: dict[int, float] = {}
        self._seen: dict[int, float] = {}

    def add(self, stamp_s: float, persons: Mapping[int, FloatArray]) -> bool:
        """Store one frame: the joints (n_joints, 3) of everybody in it by track id.

        Returns
        -------
        bool
            False if the frame was dropped because its stamp is not newer than the last one's. A
            stamp older than the whole window is a clock that jumped back: everything is forgotten.
        """
        if self._frames and stamp_s <= self._frames[-1][0]:
            if stamp_s >= self._frames[-1][0] - self.window_s:
                return False
            self.clear()
        seen = {key: _Seen(xyz, _place(xyz), _facing(xyz)) for key, xyz in persons.items()}
        self._frames.append((stamp_s, seen))
        while self._frames[0][0] < stamp_s - self.window_s - _STAMP_TOLERANCE_S:
            self._frames.popleft()
        for track_id in persons:
            if stamp_s - self._seen.get(track_id, -np.inf) > self.track_timeout_s:
                self._started[track_id] = stamp_s
            self._seen[track_id] = stamp_s
        self._forget(stamp_s)
        return True

    def clear(self) -> None:
        """Forget all frames and persons."""
        self._frames.clear()
        self._started.clear()
        self._seen.clear()

    def track_ids(self) -> tuple[int, ...]:
        """Return everybody in the newest frame, in the order of their appearance."""
        return tuple(sorted(self._frames[-1][1], key=self._order)) if self._frames else ()

    def window(self, track_id: int, n_persons: int) -> RawWindow:
        """Return the window of one person with at most `n_persons` - 1 others, see `groups`."""
        return self._cut(track_id, self.groups(n_persons)[track_id], n_persons)

    def windows(self, track_ids: set[int], n_persons: int) -> dict[int, RawWindow]:
        """Return the windows of several people of the newest frame by their id.

        A window starts with that person's first frame; companions are absent where they were not
        there. People with the same window share one object.
        """
        groups = self.groups(n_persons)
        shared: dict[tuple[tuple[int, ...], float], RawWindow] = {}
        found = {}
        for track_id in sorted(track_ids & self._frames[-1][1].keys()):
            group = groups[track_id]
            start = next(
                stamp_s
                for stamp_s, persons in self._frames
                if stamp_s >= self._started[track_id] and track_id in persons
            )
            if (group, start) not in shared:
                shared[group, start] = self._cut(track_id, group, n_persons)
            found[track_id] = shared[group, start]
        return found

    def groups(self, n_persons: int) -> dict[int, tuple[int, ...]]:
        """Return who shares a window with each person of the newest frame, by appearance.

        Windows for two hold pairs: of all people within `max_pair_distance_m` the nearest two
        belong together, then the nearest two of the others, and so on; two who both look elsewhere
        count as farther away. In larger windows everybody has their nearest companions. Distances
        are means over frames that show both. A companion may have left a moment ago
        (`track_timeout_s`).
        """
        newest_s, newest = self._frames[-1]
        oldest_s = newest_s - self.track_timeout_s
        there = [key for key, seen_s in self._seen.items() if seen_s >= oldest_s]
        members: dict[int, list[int]] = {key: [key] for key in there}
        for _, one, other in self._near_pairs(there) if n_persons > 1 else ():
            if n_persons > 2:
                for key, companion in ((one, other), (other, one)):
                    if len(members[key]) < n_persons:
                        members[key].append(companion)
            elif len(members[one]) == len(members[other]) == 1:
                members[one].append(other)
                members[other].append(one)
        return {key: tuple(sorted(members[key], key=self._order)) for key in newest}

    def _near_pairs(self, track_ids: list[int]) -> list[tuple[float, int, int]]:
        """Return pairs within the distance, the nearest first; those of unknown place last."""
        pairs = []
        step = -(-len(self._frames) // _PAIR_FRAMES)
        frames = list(self._frames)[::-1][::step]
        for one, other in combinations(sorted(track_ids), 2):
            start = max(self._started[one], self._started[other])
            costs = [
                _pair_cost(persons[one], persons[other])
                for stamp_s, persons in frames
                if stamp_s >= start and one in persons and other in persons
            ]
            distances = [distance for distance, _ in costs if np.isfinite(distance)]
            distance = float(np.mean(distances)) if distances else np.inf
            if costs and (distance <= self.max_pair_distance_m):
                away = np.mean([factor for _, factor in costs])
                pairs.append((distance * float(away), one, other))
        return sorted(pairs)

    def _cut(self, track_id: int, group: tuple[int, ...], n_persons: int) -> RawWindow:
        start = self._started[track_id]
        frames = list(
            dropwhile(lambda frame: frame[0] < start or track_id not in frame[1], self._frames)
        )
        xyz = np.full((len(frames), n_persons, self.n_joints, 3), np.nan, dtype=np.float32)
        present = np.zeros((len(frames), n_persons), dtype=bool)
        for row, (stamp_s, persons) in enumerate(frames):
            for column, member in enumerate(group):
                if member in persons and stamp_s >= self._started[member]:
                    xyz[row, column] = persons[member].xyz
                    present[row, column] = True
        times_s = np.array([stamp_s for stamp_s, _ in frames], dtype=np.float64)
        return RawWindow(group, xyz, present, times_s)

    def _order(self, track_id: int) -> tuple[float, int]:
        return self._started[track_id], track_id

    def _forget(self, stamp_s: float) -> None:
        """Drop the books of everybody who has left the window."""
        oldest = stamp_s - self.window_s - self.track_timeout_s
        for track_id in [key for key, seen in self._seen.items() if seen < oldest]:
            del self._seen[track_id], self._started[track_id]


def _pair_cost(one: _Seen, other: _Seen) -> tuple[float, float]:
    """Distance of two people in one frame, metres, and the factor for looking elsewhere."""
    if one.place is None or other.place is None:
        return float("inf"), 1.0
    between = other.place - one.place
    looks = [
        side * float(seen.facing @ between) > 0
        for side, seen in ((1, one), (-1, other))
        if seen.facing is not None
    ]
    factor = _TURNED_AWAY if looks and not any(looks) else 1.0
    return float(np.sqrt(between @ between)), factor


def _place(xyz: FloatArray) -> FloatArray | None:
    """Mean of what is seen of one person (n_joints, 3)."""
    seen = xyz[~np.isnan(xyz[:, 0])]
    return np.add.reduce(seen, axis=0) / np.float32(len(seen)) if len(seen) else None


def _facing(xyz: FloatArray) -> FloatArray | None:
    """Horizontal direction, (3,), in which a person (n_joints, 3) faces; None if nobody knows."""
    across = xyz[_LEFT] - xyz[_RIGHT]
    across = across[~np.isnan(across[:, 0])]
    if not len(across):
        return None
    x, _, z = np.add.reduce(across, axis=0)
    return np.array([-z, 0, x], dtype=np.float32)
