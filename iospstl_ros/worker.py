"""A thread that works when there is something new, but not more often than asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class PacedWorker:
    """Calls `work` in a thread of its own after every `notify`, at most `rate_hz` times a second.

    Owns the thread. What was notified while `work` ran, or in the pause after it, is worked on
    once the pause is over: the last notification is never lost.

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
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="recognizer", daemon=True)

    def start(self) -> None:
        """Start the thread; a worker starts once."""
        self._thread.start()

    def notify(self) -> None:
        """Say that there is something new."""
        with self._condition:
            self._is_pending = True
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
        earliest = time.monotonic()
        while self._wait(earliest):
            earliest = time.monotonic() + 1.0 / self.rate_hz
            try:
                self._work()
            except Exception as error:
                self._on_error(error)

    def _wait(self, earliest: float) -> bool:
        """Wait for something new and for the pause to end; return False to stop."""
        with self._condition:
            while not self._is_stopping:
                left = earliest - time.monotonic()
                if self._is_pending and left <= 0:
                    self._is_pending = False
                    return True
                self._condition.wait(left if self._is_pending else None)
        return False
