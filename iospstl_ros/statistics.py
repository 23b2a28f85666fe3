"""What the recogniser counts and measures while it runs."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iospstl_ros.live_windows import Added
from iospstl_ros.results import PersonResult

_N_RECENT = 200
_RATE_SPAN_S = 3.0


@dataclass(frozen=True)
class Report:
    """Counts since configure, and recent values.

    Attributes
    ----------
    received, inferences, persons, results, unknown, hidden, invented : int
        Messages; windows; people in the newest frame; labels, and those of them that were the
        unknown one; people of whom too little was seen; joints that were taken out.
    errors : int
        Exceptions in the worker.
    errors_by_kind : dict of str to int
        The same by the names of their classes.
    dropped : dict of str to int
        Messages, windows or persons that were not used, by reason.
    clock_jumps, silences : int
    mirrored : int
        Of the recent `mirror_checks` skeletons, those with left and right exchanged.
    input_rate_hz : float
    input_age_s : float
        Since the last message; inf without one.
    stage_ms : dict of str to tuple of float
        Recent durations by stage.
    latency_ms, age_ms : tuple of float
        Recent times from the callback, and from the header's stamp, to the published result.
    observed_ratio : tuple of float
        Recent shares of observed joints.
    unknown_share : float
        Of the recent labels, the share of the unknown one; NaN without any.
    imputation_m : tuple of float
        Recent expected errors of completed joints, where the imputer knows them.
    """

    received: int
    dropped: dict[str, int]
    clock_jumps: int
    silences: int
    inferences: int
    errors: int
    errors_by_kind: dict[str, int]
    persons: int
    results: int
    unknown: int
    hidden: int
    invented: int
    mirrored: int
    mirror_checks: int
    input_rate_hz: float
    input_age_s: float
    stage_ms: dict[str, tuple[float, ...]]
    latency_ms: tuple[float, ...]
    age_ms: tuple[float, ...]
    observed_ratio: tuple[float, ...]
    unknown_share: float
    imputation_m: tuple[float, ...]


def _recent() -> deque[float]:
    return deque(maxlen=_N_RECENT)


@dataclass
class Statistics:
    """Counters that the callback and the worker both write.

    Attributes
    ----------
    persons : int
        People in the newest frame.
    """

    received: int = 0
    clock_jumps: int = 0
    silences: int = 0
    inferences: int = 0
    persons: int = 0
    results: int = 0
    unknown: int = 0
    hidden: int = 0
    invented: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    _unknown: deque[bool] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
    _mirrored: deque[bool] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
    _arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _stages: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(_recent))
    _latency_ms: deque[float] = field(default_factory=_recent)
    _age_ms: deque[float] = field(default_factory=_recent)
    _ratios: deque[float] = field(default_factory=_recent)
    _imputation_m: deque[float] = field(default_factory=_recent)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_message(self, now_s: float) -> None:
        """Count a message that came in, whatever becomes of it."""
        with self._lock:
            self.received += 1
            self._arrivals.append(now_s)

    def add_drop(self, reason: str, count: int = 1) -> None:
        """Count messages or persons that were not used."""
        with self._lock:
            self.dropped[reason] += count

    def add_frame(self, persons: int, added: Added) -> None:
        """Count a frame that was stored."""
        with self._lock:
            self.persons = persons
            self.clock_jumps += added is Added.CLOCK_JUMP
            self.silences += added is Added.SILENCE

    def clear_persons(self) -> None:
        """Note that nobody is there any more."""
        with self._lock:
            self.persons = 0

    def add_clock_jump(self) -> None:
        """Count a jump of the node's own clock."""
        with self._lock:
            self.clock_jumps += 1

    def add_stage(self, name: str, duration_s: float) -> None:
        """Note how long a stage took."""
        with self._lock:
            self._stages[name].append(duration_s * 1e3)

    def add_mirror(self, sign: float | None) -> None:
        """Note the mirror check of a skeleton: below 0 is right; None if it could not be made."""
        if sign is not None:
            with self._lock:
                self._mirrored.append(sign >= 0)

    def add_invented(self, count: int) -> None:
        """Count joints that cannot be where the driver says."""
        with self._lock:
            self.invented += count

    def add_hidden(self, count: int) -> None:
        """Count people of whom too little was seen for a label."""
        with self._lock:
            self.hidden += count

    def add_inference(self, n_windows: int, duration_s: float) -> None:
        """Count windows that were recognised together."""
        if n_windows:
            with self._lock:
                self.inferences += n_windows
                self._stages["recognize"].append(duration_s * 1e3)

    def add_result(self, result: PersonResult, error_m: NDArray[np.float32] | None) -> None:
        """Note one person's result; `error_m` is NaN where the imputer knows nothing."""
        expected = None if error_m is None else error_m[error_m > 0]  # 0 where observed
        with self._lock:
            self.results += 1
            self.unknown += not result.is_known
            self._unknown.append(not result.is_known)
            self._ratios.append(result.observed_ratio)
            if expected is not None and len(expected):
                self._imputation_m.append(float(expected.mean()))

    def add_output(self, latency_s: float, age_s: float) -> None:
        """Note how long a result took from the callback, and from the header's stamp."""
        with self._lock:
            self._latency_ms.append(latency_s * 1e3)
            self._age_ms.append(age_s * 1e3)

    def add_error(self, error: Exception) -> None:
        """Count an exception in the worker."""
        with self._lock:
            self.errors[type(error).__name__] += 1

    def report(self, now_s: float | None = None) -> Report:
        """Return a consistent copy."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            recent = sum(stamp > now_s - _RATE_SPAN_S for stamp in self._arrivals)
            return Report(
                received=self.received,
                dropped=dict(self.dropped),
                clock_jumps=self.clock_jumps,
                silences=self.silences,
                inferences=self.inferences,
                errors=self.errors.total(),
                errors_by_kind=dict(self.errors),
                persons=self.persons,
                results=self.results,
                unknown=self.unknown,
                hidden=self.hidden,
                invented=self.invented,
                mirrored=sum(self._mirrored),
                mirror_checks=len(self._mirrored),
                input_rate_hz=recent / _RATE_SPAN_S,
                input_age_s=now_s - self._arrivals[-1] if self._arrivals else float("inf"),
                stage_ms={name: tuple(values) for name, values in self._stages.items()},
                latency_ms=tuple(self._latency_ms),
                age_ms=tuple(self._age_ms),
                observed_ratio=tuple(self._ratios),
                unknown_share=float(np.mean(self._unknown)) if self._unknown else float("nan"),
                imputation_m=tuple(self._imputation_m),
            )
