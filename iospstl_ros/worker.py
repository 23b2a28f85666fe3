"""A thread that works when there is something new, but not more often than asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_JITTER = 0.05
"""Share of a period by which a regular notification may be early."""


class PacedWorker:
    """Calls `work` in a thread of its own after every `notify`, at most `rate_hz` times a second.

    Owns the thread. After a pause the next notification starts the work, so that it is about what
    is new: what was notified in the pause is old by then. If nothing comes for another period, the
    last notification of the pause is worked on; none is lost.

    Parameters
    ----------
    work : callable
        Called without arguments.
    on_error : callable
        Gets what `work` raised; the thread goes on.
    rate_hz : float
        May be changed at any time.
    """

    def __init__(
        self, work: Callable[[], None], on_error: Callable[[Exception], None], rate_hz: float
    ) -> None:
        self.rate_hz = rate_hz
        self._work = work
        self._on_error = on_error
        self._condition = threading.Condition()
        self._is_pending = False
        self._notified_s = 0.0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="recognizer", daemon=True)

    def start(self) -> None:
        """Start the thread; a worker starts once."""
        self._thread.start()

    def notify(self) -> None:
        """Say that there is something new."""
        with self._condition:
            self._is_pending = True
            self._notified_s = time.monotonic()
            self._condition.notify()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop after the present piece of work; return whether the thread has ended."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        opens_s = time.monotonic()
        while self._wait(opens_s):
            opens_s = self._next_opening_s(opens_s)
            try:
                self._work()
            except Exception as error:
                self._on_error(error)

    def _next_opening_s(self, opens_s: float) -> float:
        """End of the pause that begins now.

        Notifications that come at regular times are a little early or late: pauses follow each
        other, and what one takes too long, the next one makes up for.
        """
        now_s, period_s = time.monotonic(), 1.0 / self.rate_hz
        if now_s > opens_s + period_s:  # it was idle
            return now_s + (1 - _JITTER) * period_s
        return max(opens_s + period_s, now_s + period_s / 2)

    def _wait(self, opens_s: float) -> bool:
        """Wait for something new after the pause, or else one more period; False to stop."""
        with self._condition:
            while not self._is_stopping:
                left_s = opens_s + 1.0 / self.rate_hz - time.monotonic()
                if self._is_pending and (self._notified_s >= opens_s or left_s <= 0):
                    self._is_pending = False
                    return True
                self._condition.wait(left_s if self._is_pending else None)
        return False
