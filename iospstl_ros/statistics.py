"""What the recogniser counts and measures, and the message that tells it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

_N_RECENT = 200
_RATE_SPAN_S = 3.0


@dataclass(frozen=True)
class Identity:
    """What does not change while the node is configured.

    Attributes
    ----------
    node : str
        Full name.
    bundle : str
        Its folder.
    providers : tuple of str
        What was asked for.
    provider : str
        What is in use.
    """

    node: str
    bundle: str
    providers: tuple[str, ...]
    provider: str

    @property
    def is_fallback(self) -> bool:
        """Whether another provider than the first one asked for is in use."""
        return self.provider != self.providers[0]


@dataclass(frozen=True)
class Report:
    """Counts since configure, and recent times."""

    received: int
    dropped: dict[str, int]
    clock_jumps: int
    inferences: int
    errors: int
    persons: int
    input_rate_hz: float
    inference_ms: tuple[float, ...]
    latency_ms: tuple[float, ...]
    age_ms: tuple[float, ...]


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
    errors: int = 0
    inferences: int = 0
    persons: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    _arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _inference_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
    _latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
    _age_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_N_RECENT))
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

    def add_frame(self, persons: int, is_jump: bool) -> None:
        """Count a frame that was stored."""
        with self._lock:
            self.persons = persons
            self.clock_jumps += is_jump

    def add_inference(self, duration_s: float) -> None:
        """Count a window that was recognised."""
        with self._lock:
            self.inferences += 1
            self._inference_ms.append(duration_s * 1e3)

    def add_output(self, latency_s: float, age_s: float) -> None:
        """Note how long a result took from the callback, and from the header's stamp."""
        with self._lock:
            self._latency_ms.append(latency_s * 1e3)
            self._age_ms.append(age_s * 1e3)

    def add_error(self) -> None:
        """Count an exception in the worker."""
        with self._lock:
            self.errors += 1

    def report(self, now_s: float | None = None) -> Report:
        """Return a consistent copy."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            recent = sum(stamp > now_s - _RATE_SPAN_S for stamp in self._arrivals)
            return Report(
                received=self.received,
                dropped=dict(self.dropped),
                clock_jumps=self.clock_jumps,
                inferences=self.inferences,
                errors=self.errors,
                persons=self.persons,
                input_rate_hz=recent / _RATE_SPAN_S,
                inference_ms=tuple(self._inference_ms),
                latency_ms=tuple(self._latency_ms),
                age_ms=tuple(self._age_ms),
            )


def diagnostic_message(
    stamp: Time, identity: Identity, report: Report, previous: Report, is_active: bool
) -> DiagnosticArray:
    """Return the node's status; what happened since `previous` decides on its level."""
    level, message = _judge(identity, report, previous, is_active)
    values = {
        "provider asked for": ", ".join(identity.providers),
        "provider in use": identity.provider,
        "bundle": identity.bundle,
        "state": "active" if is_active else "inactive",
        "input rate (Hz)": f"{report.input_rate_hz:.1f}",
        "frames received": str(report.received),
        "dropped": str(sum(report.dropped.values())),
        **{f"dropped: {reason}": str(count) for reason, count in sorted(report.dropped.items())},
        "clock jumps": str(report.clock_jumps),
        "persons": str(report.persons),
        "inferences": str(report.inferences),
        **_percentiles("inference (ms)", report.inference_ms),
        **_percentiles("callback to label (ms)", report.latency_ms),
        **_percentiles("header stamp to label (ms)", report.age_ms),
        "errors": str(report.errors),
    }
    status = DiagnosticStatus(
        level=level,
        name=f"{identity.node}: action recognition",
        message=message,
        hardware_id=identity.provider,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _judge(
    identity: Identity, report: Report, previous: Report, is_active: bool
) -> tuple[bytes, str]:
    n_errors = report.errors - previous.errors
    n_dropped = sum(report.dropped.values()) - sum(previous.dropped.values())
    if n_errors:
        return DiagnosticStatus.ERROR, f"{n_errors} windows failed; see the log"
    if not is_active:
        return DiagnosticStatus.OK, "inactive"
    if n_dropped:
        return DiagnosticStatus.WARN, f"{n_dropped} dropped since the last report"
    if report.input_rate_hz == 0:
        return DiagnosticStatus.WARN, "no skeletons come in"
    if identity.is_fallback:
        asked = identity.providers[0]
        return DiagnosticStatus.WARN, f"runs on {identity.provider} instead of {asked}"
    return DiagnosticStatus.OK, "recognising"


def _percentiles(name: str, values: Sequence[float]) -> dict[str, str]:
    if not values:
        return {f"{name} p50": "none yet", f"{name} p95": "none yet"}
    p50, p95 = np.percentile(values, [50, 95])
    return {f"{name} p50": f"{p50:.2f}", f"{name} p95": f"{p95:.2f}"}
