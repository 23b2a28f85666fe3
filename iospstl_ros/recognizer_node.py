"""The node: a managed `recognizer` that turns skeletons into actions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.qos import QoSProfile, ReliabilityPolicy

from iospstl_core.errors import BundleError
from iospstl_ros.adapters.message_types import message_class
from iospstl_ros.adapters.pointcloud import uses_sensor_msgs_py
from iospstl_ros.bundle_watch import BundleState, BundleWatch
from iospstl_ros.command_line import run_recognizer
from iospstl_ros.diagnostics import Condition, Identity, diagnostic_message
from iospstl_ros.engine import Engine
from iospstl_ros.live_loop import LiveLoop
from iospstl_ros.parameters import declare_parameters, make_set_callback, read_parameters
from iospstl_ros.publishers import Publishers
from iospstl_ros.services import create_services
from iospstl_ros.settings import RecognizerParameters
from iospstl_ros.transitions import guard_change_state, guarded
from iospstl_ros.worker import PacedWorker

INPUT_TOPIC = "skeletons"
_INPUT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data, with room for the frames of a few seconds: every frame enters a window."""

_REPORT_PERIOD_S = 1.0
_LOOK_PERIOD_S = 0.25
_BACKWARD = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))


class RecognizerNode(LifecycleNode):  # type: ignore[misc]
    """Managed node around an `Engine`.

    Owns, from configure to cleanup, the engine, the publishers, the services, the timers and the
    diagnostics; from activate to deactivate the worker; and, while it is also enabled, the
    subscriptions. A subscription's callback only stores a frame; the worker recognises and
    publishes.

    Parameters
    ----------
    **kwargs
        As of `rclpy.node.Node`.

    Attributes
    ----------
    fault : str
        Why the last transition failed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("recognizer", **kwargs)
        self.fault = ""
        self._configured, self._activated = ExitStack(), ExitStack()
        self._subscribed = ExitStack()
        self._message_class: Any = None
        self._loop: LiveLoop | None = None
        self._worker: PacedWorker | None = None
        self._is_enabled = True
        declare_parameters(self)
        self.add_on_set_parameters_callback(make_set_callback(self, self._accept))
        guard_change_state(self)

    @guarded
    def on_configure(self, state: LifecycleState) -> None:
        """Load the bundle, warm it up and create publishers, services and timers."""
        with ExitStack() as undo:
            engine, watch = _load(read_parameters(self), self._now_ns)
            adapter = engine.adapter
            self._message_class = message_class(adapter.message_type, adapter.install)
            publishers = Publishers(partial(self._create_output, undo))
            loop = LiveLoop(engine, publishers, watch, self.get_clock(), self.get_logger())
            self._loop = loop
            undo.callback(setattr, self, "_loop", None)
            jumps = self.get_clock().create_jump_callback(_BACKWARD, post_callback=loop.note_jump)
            undo.callback(jumps.unregister)
            services = create_services(self, self._reset, self._enable)
            for service in services:
                undo.callback(self.destroy_service, service)
            self._create_timer(undo, _LOOK_PERIOD_S, self._look)
            self._start_diagnostics(undo, engine)
            self._is_enabled = True
            self._describe(engine)
            self._describe_absent(publishers, bool(services))
            self._configured = undo.pop_all()

    @guarded
    def on_activate(self, state: LifecycleState) -> None:
        """Start the worker and subscribe."""
        loop = self._loop
        assert loop is not None
        with ExitStack() as undo:
            rate_hz = loop.engine.parameters.infer_rate_hz
            worker = PacedWorker(loop.work, loop.note_error, rate_hz)
            undo.callback(self._end_worker, worker, loop)
            worker.start()
            self._worker = worker
            undo.callback(setattr, self, "_worker", None)
            if self._is_enabled:
                self._subscribe(loop)
            self._activated = undo.pop_all()

    @guarded
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe, stop the worker, forget everybody and take the markers away."""
        self.stop()

    @guarded
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release the models and everything that configure made."""
        self.release()

    @guarded
    def on_shutdown(self, state: LifecycleState) -> None:
        """Release everything."""
        self.release()

    @guarded
    def on_error(self, state: LifecycleState) -> None:
        """Release everything; the node is unconfigured again."""
        self.release()

    def release(self) -> None:
        """Undo configure and activate, as far as they came; go on where a part of it raises."""
        try:
            self.stop()
        finally:
            self._configured.close()

    def stop(self) -> None:
        """Undo activate, as far as it came; go on where a part of it raises."""
        try:
            self._subscribed.close()
        finally:
            self._activated.close()

    def _create_output(self, undo: ExitStack, kind: Any, topic: str, depth: int) -> Any:
        publisher = self.create_lifecycle_publisher(kind, topic, depth)
        undo.callback(self._destroy_output, publisher)
        return publisher

    def _destroy_output(self, publisher: Any) -> None:
        if hasattr(self, "destroy_lifecycle_publisher"):
            self.destroy_lifecycle_publisher(publisher)
        else:  # rclpy of Humble has only this one
            self.destroy_publisher(publisher)

    def _create_timer(self, undo: ExitStack, period_s: float, callback: Any) -> None:
        """Start a timer that also runs where a simulation stands still."""
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        undo.callback(self.destroy_timer, self.create_timer(period_s, callback, clock=clock))

    def _subscribe(self, loop: LiveLoop) -> None:
        """Subscribe to what the adapter reads; undecoded, so that what is wrong is counted."""

        def receive(data: bytes) -> None:
            self._notify(loop.receive(data, self._message_class))

        def store(message: Any) -> None:
            self._notify(loop.store(message))

        with ExitStack() as undo:
            subscription = self.create_subscription(
                self._message_class, INPUT_TOPIC, receive, _INPUT_QOS, raw=True
            )
            undo.callback(self.destroy_subscription, subscription)
            attach = loop.engine.adapter.attach
            if attach is not None:
                undo.callback(attach(self, store))
            self.get_logger().info(f"listens to {subscription.topic_name}")
            self._subscribed = undo.pop_all()

    def _notify(self, is_new: bool) -> None:
        if is_new and self._worker is not None:
            self._worker.notify()

    def _look(self) -> None:
        if self._loop is not None:
            self._notify(self._loop.look())

    def _end_worker(self, worker: PacedWorker, loop: LiveLoop) -> None:
        if worker.stop():
            loop.forget()
        else:
            self.get_logger().warning("the worker is still busy with a window; left behind")

    def _reset(self) -> str:
        assert self._loop is not None
        self._loop.forget()
        return "all windows are forgotten"

    def _enable(self, is_enabled: bool) -> str:
        """Subscribe or unsubscribe: some drivers compute only while somebody listens."""
        loop, was_enabled = self._loop, self._is_enabled
        assert loop is not None
        self._is_enabled = is_enabled
        word = "enabled" if is_enabled else "paused"
        if self._worker is None:
            return f"{word} from the next activation on"
        if is_enabled == was_enabled:
            return f"was {word} already"
        if is_enabled:
            self._subscribe(loop)
        else:
            self._subscribed.close()
            loop.forget()
        return word

    def _describe(self, engine: Engine) -> None:
        settings, asked = engine.settings, engine.parameters.providers
        self.get_logger().info(
            f"bundle {engine.parameters.bundle}: {len(settings.classes)} classes "
            f"({', '.join(settings.classes)}), windows of {engine.window_s:g} s, imputer "
            f"{settings.imputer}"
        )
        text = f"runs on {engine.provider}; asked for {', '.join(asked)}"
        if engine.provider == asked[0]:
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)

    def _describe_absent(self, publishers: Publishers, has_services: bool) -> None:
        """Say, once for each time it is configured, what is missing here and what that costs."""
        if not uses_sensor_msgs_py():
            self.get_logger().info("no sensor_msgs_py here: numpy alone reads the clouds")
        if not publishers.has_actions:
            self.get_logger().info("no vision_msgs here: ~/actions is not published")
        if not has_services:
            self.get_logger().info("no std_srvs here: there is no ~/reset and no ~/enable")

    def _start_diagnostics(self, undo: ExitStack, engine: Engine) -> None:
        publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        undo.callback(self.destroy_publisher, publisher)
        identity = Identity(
            node=self.get_fully_qualified_name(),
            bundle=engine.parameters.bundle,
            providers=engine.parameters.providers,
            provider=engine.provider,
            adapter=engine.adapter.name,
        )
        previous = engine.statistics.report()

        def publish() -> None:
            nonlocal previous
            report = engine.statistics.report()
            stamp = self.get_clock().now().to_msg()
            message = diagnostic_message(stamp, identity, self._condition(), report, previous)
            publisher.publish(message)
            previous = report

        self._create_timer(undo, _REPORT_PERIOD_S, publish)

    def _condition(self) -> Condition:
        loop = self._loop
        bundle = BundleState.SAME if loop is None else loop.bundle_state()
        if self._worker is None:
            return Condition("inactive", bundle)
        return Condition("active" if self._is_enabled else "paused", bundle)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _accept(self, parameters: RecognizerParameters) -> None:
        if self._loop is not None:
            self._loop.engine.parameters = parameters
        if self._worker is not None:
            self._worker.rate_hz = parameters.infer_rate_hz


def _load(
    parameters: RecognizerParameters, clock_ns: Callable[[], int]
) -> tuple[Engine, BundleWatch]:
    """Load the models; raise BundleError if their files change meanwhile."""
    watch = BundleWatch(Path(parameters.bundle).expanduser())
    engine = Engine(parameters, clock_ns)
    if watch.state() is not BundleState.SAME:
        raise BundleError(
            f"{parameters.bundle}: expected files that stay as they are while they are loaded, "
            "got others afterwards; configure again once they are written"
        )
    return engine, watch


def main(arguments: list[str] | None = None) -> int:
    """Run `iospstl-recognizer`; return the exit status."""
    return run_recognizer(RecognizerNode, sys.argv if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
