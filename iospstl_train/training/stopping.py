"""Signals: a training that is told to end finishes its step, saves, and says how to go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)
"""What ends a run: `kill`, Ctrl+C, and the notice that Slurm gives before it takes a node away."""

_Handler = Callable[[int, FrameType | None], None]


class Interrupted(BaseException):
    """The run ends because a signal said so; no fault, so `except Exception` lets it pass.

    Parameters
    ----------
    number : int
        Of the signal.
    saved : str
        What is safe, for people; empty where there was nothing to save.
    """

    def __init__(self, number: int, saved: str = "") -> None:
        self.number = number
        self.saved = saved
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}" + (f"; {saved}" if saved else ""))

    @property
    def status(self) -> int:
        """Exit status by the shell's custom: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


class StopRequest:
    """Whether a signal has come; a second one of the same kind ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.number == number:
            raise Interrupted(number)
        self.number = number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yield what collects signals in the block, where only the block decides when to end."""
    request = StopRequest()
    with _handlers(request._take):
        yield request


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` for signals in the block, so that what is half-done is cleaned up."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handlers(interrupt):
        yield


@contextmanager
def _handlers(handler: _Handler) -> Iterator[None]:
    """Handle signals in the block; those that are ignored stay so, as in a shell's background."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        else:  # a forked worker ends as if nothing had been changed
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in handled.items():
            signal.signal(number, old or signal.SIG_DFL)
