"""What lies between the subscription and the publishers: one engine, two threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.serialization import deserialize_message

from iospstl_core.errors import BundleError, InputError
from iospstl_ros.bundle_watch import BundleState, BundleWatch
from iospstl_ros.engine import Engine
from iospstl_ros.live_windows import Added, Arrival
from iospstl_ros.publishers import Publishers

LOG_PERIOD_S = 5.0
_SHORTEST_SILENCE_S = 0.5
_PATIENCE_S = 5.0


class LiveLoop:
    """Stores messages as they come, and recognises and publishes in the worker's thread.

    `work` belongs to the worker's thread, all else to the executor's. The engine is cleared only
    while the worker is not at work.

    Parameters
    ----------
    engine : Engine
    publishers : Publishers
    watch : BundleWatch
        Of the engine's bundle.
    clock, logger
        Of the node.
    """

    def __init__(
        self,
        engine: Engine,
        publishers: Publishers,
        watch: BundleWatch,
        clock: Any,
        logger: Any,
    ) -> None:
        self.engine = engine
        self._publishers = publishers
        self._watch = watch
        self._clock = clock
        self._logger = logger
        self._at_work = threading.Lock()
        self._has_jumped = False

    def receive(self, data: bytes, message_class: Any) -> bool:
        """Decode and store a message; return whether there is something new to recognise.

        Whatever is wrong with it costs only that message, and is counted.
        """
        try:
            message = deserialize_message(data, message_class)
        except Exception as error:  # the middleware's own, and what Python makes of its strings
            self.engine.statistics.add_message(time.monotonic())
            self.engine.statistics.add_drop("undecodable message")
            self._warn(f"message dropped: undecodable: {error}")
            return False
        return self.store(message)

    def store(self, message: Any) -> bool:
        """Store a message; return whether there is something new to recognise."""
        self._forget_after_jump()
        try:
            added = self.engine.receive(message)
        except InputError as error:  # counted by the engine
            self._warn(f"message dropped: {error}")
            return False
        except Exception as error:
            self.engine.statistics.add_drop(f"message that raised {type(error).__name__}")
            self._warn(f"message dropped: {type(error).__name__}: {error}")
            return False
        if added is Added.NOT_NEWER:
            self._warn(f"message dropped: {added.value}")
        if added is Added.CLOCK_JUMP:
            self._warn("the clock of the stamps jumped back: all windows start afresh")
        return added not in (Added.NOT_NEWER, Added.NOTHING)

    def work(self) -> None:
        """Recognise and publish; take back what is over."""
        with self._at_work:
            state = self._watch.state()
            if state is BundleState.OVERWRITTEN:
                raise BundleError(f"the bundle was {state.value}")
            engine = self.engine
            for result in engine.process(self.note_window_error):
                received_s, stamp_ns = result.arrival.received_s, result.arrival.stamp_ns
                if self._publishers.publish_label(result):
                    age_s = (self._clock.now().nanoseconds - stamp_ns) * 1e-9
                    engine.statistics.add_output(time.monotonic() - received_s, age_s)
                self._publishers.publish_rest(result, engine.parameters)
            newest = engine.newest
            if newest is None or self._is_silent(newest):
                self._publishers.take_back_all()
                engine.statistics.clear_persons()
            else:
                self._publishers.take_back(newest, engine.parameters)

    def look(self) -> bool:
        """Return whether the input has fallen silent and something is still shown of it."""
        self._forget_after_jump()
        newest = self.engine.newest
        is_showing = self._publishers.is_showing or self.engine.statistics.persons > 0
        return is_showing and (newest is None or self._is_silent(newest))

    def forget(self, patience_s: float = _PATIENCE_S) -> None:
        """Forget all windows and take back what is shown of them.

        Raises
        ------
        TimeoutError
            If the worker is busy for longer than `patience_s`.
        """
        with self._idle(patience_s):
            self.engine.clear()
            self.engine.statistics.clear_persons()
            self._publishers.take_back_all()

    def note_jump(self, jump: Any) -> None:
        """Remember that the node's clock jumped; the windows are forgotten before the next frame.

        The clock calls this from wherever its time is set, so that it does no more than that.
        """
        self._has_jumped = True

    def bundle_state(self) -> BundleState:
        """Return whether the bundle is still the one on disk."""
        return self._watch.state()

    def note_window_error(self, error: Exception) -> None:
        """Log what one window raised; the engine has counted it."""
        self._logger.error(
            f"a window failed: {type(error).__name__}: {error}",
            throttle_duration_sec=LOG_PERIOD_S,
        )

    def note_error(self, error: Exception) -> None:
        """Count and log what `work` raised."""
        self.engine.statistics.add_error(error)
        self._logger.error(
            f"the worker failed: {type(error).__name__}: {error}",
            throttle_duration_sec=LOG_PERIOD_S,
        )

    def _forget_after_jump(self) -> None:
        if not self._has_jumped:
            return
        try:
            self.forget()
        except TimeoutError as error:
            self._warn(f"the node's clock jumped, but {error}: the windows are not forgotten yet")
            return
        self._has_jumped = False
        self.engine.statistics.add_clock_jump()
        self._warn("the node's clock jumped: all windows start afresh")

    def _is_silent(self, newest: Arrival) -> bool:
        timeout_s = max(self.engine.parameters.track_timeout_s, _SHORTEST_SILENCE_S)
        return time.monotonic() - newest.received_s > timeout_s

    @contextmanager
    def _idle(self, patience_s: float) -> Iterator[None]:
        """Keep the worker from working; raise TimeoutError if it does not stop in time."""
        if not self._at_work.acquire(timeout=patience_s):
            raise TimeoutError(f"the worker has been busy for more than {patience_s:g} s")
        try:
            yield
        finally:
            self._at_work.release()

    def _warn(self, text: str) -> None:
        self._logger.warning(text, throttle_duration_sec=LOG_PERIOD_S)
