"""Frames in, windows out: the memory between the subscription and the worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from iospstl_core.window import FrameBuffer, RawWindow
from iospstl_ros.frames import FloatArray, SkeletonFrame

_MAX_LEFT = 64


class Added(Enum):
    """What became of a frame."""

    STORED = "stored"
    NOT_NEWER = "stamp not newer than the last one"
    CLOCK_JUMP = "clock jumped back"
    SILENCE = "input was silent"
    NOTHING = "message completes no frame"


@dataclass(frozen=True)
class Arrival:
    """A frame as it came in.

    Attributes
    ----------
    stamp_ns, frame_id
        Of its header.
    received_s : float
        Monotonic clock of this machine.
    track_ids : frozenset of int
        Everybody in it.
    axes : str
        Axes of the source, a key of `iospstl_ros.frames.AXES`.
    names : mapping of int to str
        The source's names of people, where they are not their numbers.
    """

    stamp_ns: int
    frame_id: str
    received_s: float
    track_ids: frozenset[int]
    axes: str = "kinect"
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DueWindow:
    """A window to be recognised, and the people it is the window of.

    Attributes
    ----------
    persons : tuple of int
        Members of ``raw.track_ids`` whose own window this is, without those who wait for none.
    raw : RawWindow
    arrival : Arrival
        The newest frame of the window.
    """

    persons: tuple[int, ...]
    raw: RawWindow
    arrival: Arrival


class LiveWindows:
    """A `FrameBuffer` that one thread fills and another one empties.

    Owns the buffer and its lock. Nobody's last frame is lost: who leaves before the worker came
    keeps a window up to that frame.

    Parameters
    ----------
    window_s, track_timeout_s
        As of `FrameBuffer`.
    n_persons : int
        People in a window.

    Attributes
    ----------
    max_gap_s : float
        Silence after which everybody starts afresh.
    """

    def __init__(self, window_s: float, track_timeout_s: float, n_persons: int) -> None:
        self._buffer = FrameBuffer(window_s, track_timeout_s)
        self.max_gap_s = float("inf")
        self._n_persons = n_persons
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self._left: deque[DueWindow] = deque(maxlen=_MAX_LEFT)
        self._newest: Arrival | None = None
        self._origin_ns: int | None = None

    def set_limits(
        self, track_timeout_s: float, max_pair_distance_m: float, max_gap_s: float
    ) -> None:
        """Change what may change while frames come in."""
        with self._lock:
            self._buffer.track_timeout_s = track_timeout_s
            self._buffer.max_pair_distance_m = max_pair_distance_m
            self.max_gap_s = max_gap_s

    def add(self, frame: SkeletonFrame, received_s: float) -> Added:
        """Store a frame; after a jump back of the clock everything older is forgotten."""
        with self._lock:
            if self._origin_ns is None:
                self._origin_ns = frame.stamp_ns
            # relative stamps: a float64 of today's epoch resolves no better than 0.24 us
            stamp_s = (frame.stamp_ns - self._origin_ns) * 1e-9
            leaving = self._windows(self._waiting - frame.persons.keys())
            last_ns = frame.stamp_ns if self._newest is None else self._newest.stamp_ns
            is_silence = frame.stamp_ns - last_ns > self.max_gap_s * 1e9
            if is_silence:
                self._buffer.clear()
            if not self._buffer.add(stamp_s, frame.persons):
                return Added.NOT_NEWER
            is_jump = self._newest is not None and frame.stamp_ns <= last_ns
            if is_jump:
                self._left.clear()
            else:
                self._left.extend(leaving)
            ids = frozenset(frame.persons)
            self._newest = Arrival(
                frame.stamp_ns, frame.frame_id, received_s, ids, frame.axes, frame.names
            )
            self._waiting = set(ids)
            if is_jump:
                return Added.CLOCK_JUMP
            return Added.SILENCE if is_silence else Added.STORED

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._buffer.clear()
            self._left.clear()
            self._waiting.clear()
            self._newest = None

    def take_due(self) -> list[DueWindow]:
        """Return the windows of everybody with a frame since the last call, oldest first."""
        with self._lock:
            due = [*self._left, *self._windows(self._waiting)]
            self._left.clear()
            self._waiting.clear()
            return due

    @property
    def newest(self) -> Arrival | None:
        """The newest frame that was stored."""
        with self._lock:
            return self._newest

    def _windows(self, persons: set[int]) -> list[DueWindow]:
        """Windows of some people of the newest frame; people with the same window share it."""
        if self._newest is None or not persons:
            return []
        shared: dict[int, tuple[RawWindow, list[int]]] = {}
        for person, raw in self._buffer.windows(persons, self._n_persons).items():
            shared.setdefault(id(raw), (raw, []))[1].append(person)
        return [DueWindow(tuple(members), raw, self._newest) for raw, members in shared.values()]


def nearest_persons(persons: dict[int, FloatArray], max_persons: int) -> dict[int, FloatArray]:
    """Return the people (n_joints, 3) nearest to the camera, in their order; ties by id."""
    if len(persons) <= max_persons:
        return persons
    ranked = sorted(persons, key=lambda person: (distance_m(persons[person]), person))
    kept = set(ranked[:max_persons])
    return {person: xyz for person, xyz in persons.items() if person in kept}


def distance_m(xyz: FloatArray) -> float:
    """Distance of the mean of the known joints (n_joints, 3) from the camera; inf with none."""
    known = xyz[~np.isnan(xyz[:, 0])]
    return float(np.linalg.norm(known.mean(axis=0))) if len(known) else float("inf")
