"""The live path's memory: recent frames, and the window of every person in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_STAMP_TOLERANCE_S = 1e-6


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
    """

    def __init__(self, window_s: float, track_timeout_s: float, n_joints: int = 25) -> None:
        self.window_s = window_s
        self.track_timeout_s = track_timeout_s
        self.n_joints = n_joints
        self._frames: deque[tuple[float, dict[int, FloatArray]]] = deque()
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
        self._frames.append((stamp_s, dict(persons)))
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
        """Return the window of one person with the nearest `n_persons` - 1 others.

        It starts with that person's first frame; companions are absent where they were not there.
        """
        group = self._group(track_id, n_persons)
        start = self._started[track_id]
        frames = list(
            dropwhile(lambda frame: frame[0] < start or track_id not in frame[1], self._frames)
        )
        xyz = np.full((len(frames), n_persons, self.n_joints, 3), np.nan, dtype=np.float32)
        present = np.zeros((len(frames), n_persons), dtype=bool)
        for row, (stamp_s, persons) in enumerate(frames):
            for column, member in enumerate(group):
                if member in persons and stamp_s >= self._started[member]:
                    xyz[row, column] = persons[member]
                    present[row, column] = True
        times_s = np.array([stamp_s for stamp_s, _ in frames], dtype=np.float64)
        return RawWindow(group, xyz, present, times_s)

    def _group(self, track_id: int, n_persons: int) -> tuple[int, ...]:
        """Return the person and the nearest others of the newest frame, by appearance."""
        newest = self._frames[-1][1]
        place = _mean_position(newest[track_id])
        others = [
            (float(np.linalg.norm(_mean_position(xyz) - place)), other)
            for other, xyz in newest.items()
            if other != track_id
        ]
        nearest = [other for _, other in sorted(others)[: n_persons - 1]]
        return tuple(sorted([track_id, *nearest], key=self._order))

    def _order(self, track_id: int) -> tuple[float, int]:
        return self._started[track_id], track_id

    def _forget(self, stamp_s: float) -> None:
        """Drop the books of everybody who has left the window."""
        oldest = stamp_s - self.window_s - self.track_timeout_s
        for track_id in [key for key, seen in self._seen.items() if seen < oldest]:
            del self._seen[track_id], self._started[track_id]


def _mean_position(xyz: FloatArray) -> FloatArray:
    """Mean of what is seen of one person (n_joints, 3); far away where nothing is."""
    seen = xyz[~np.isnan(xyz[:, 0])]
    return seen.mean(axis=0) if len(seen) else np.full(3, 1e6, dtype=np.float32)
