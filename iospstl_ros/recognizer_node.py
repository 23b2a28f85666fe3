"""The node: a managed `recognizer` that turns skeletons into actions."""

from __future__ import annotations

import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from iospstl_ros.command_line import run_recognizer
from iospstl_ros.diagnostics import Identity, diagnostic_message
from iospstl_ros.engine import Engine
from iospstl_ros.live_windows import Added
from iospstl_ros.outputs import delete_message, imputed_message, label_message, marker_message
from iospstl_ros.parameters import (
    RecognizerParameters,
    declare_parameters,
    make_set_callback,
    read_parameters,
)
from iospstl_ros.pointcloud import uses_sensor_msgs_py
from iospstl_ros.results import FrameResult
from iospstl_ros.transitions import guard_change_state, guarded
from iospstl_ros.worker import PacedWorker

_INPUT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data, with room for the frames of a few seconds: every frame enters a window."""

_OUTPUT_DEPTH = 10
_LOG_PERIOD_S = 5.0
_REPORT_PERIOD_S = 1.0


class RecognizerNode(LifecycleNode):  # type: ignore[misc]
    """Managed node around an `Engine`.

    Owns, from configure to cleanup, the engine, the publishers and the diagnostics timer; from
    activate to deactivate the subscription and the worker. The subscription's callback only stores
    a frame; the worker recognises and publishes.

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
        self._engine: Engine | None = None
        self._worker: PacedWorker | None = None
        self._subscription: Any = None
        self._publishers_by_name: dict[str, Any] = {}
        self._diagnostics: tuple[Any, Any] | None = None
        self._shown: set[int] = set()
        declare_parameters(self)
        self.add_on_set_parameters_callback(make_set_callback(self, self._accept))
        guard_change_state(self)

    @guarded
    def on_configure(self, state: LifecycleState) -> None:
        """Load the bundle, warm it up and create the publishers."""
        parameters = read_parameters(self)
        engine = Engine(parameters)
        self._engine = engine
        self._describe(engine)
        create = self.create_lifecycle_publisher
        self._publishers_by_name = {
            "label": create(String, "action_label", _OUTPUT_DEPTH),
            "imputed": create(PointCloud2, "~/imputed", _OUTPUT_DEPTH),
            "markers": create(MarkerArray, "~/markers", _OUTPUT_DEPTH),
        }
        self._start_diagnostics(engine)

    @guarded
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe and start the worker."""
        assert self._engine is not None
        rate_hz = self._engine.parameters.infer_rate_hz
        self._worker = PacedWorker(self._work, self._note_error, rate_hz)
        self._worker.start()
        self._subscription = self.create_subscription(
            PointCloud2, "skeletons", self._receive, _INPUT_QOS
        )
        self.get_logger().info(f"listens to {self._subscription.topic_name}")

    @guarded
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe, stop the worker and take the markers away."""
        self.stop()
        self._delete_markers(set())

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
        """Undo configure and activate, as far as they came."""
        self.stop()
        if self._diagnostics is not None:
            timer, publisher = self._diagnostics
            self.destroy_timer(timer)
            self.destroy_publisher(publisher)
        for publisher in self._publishers_by_name.values():
            self._destroy_output(publisher)
        self._diagnostics = None
        self._publishers_by_name = {}
        self._engine = None
        self._shown = set()

    def _destroy_output(self, publisher: Any) -> None:
        if hasattr(self, "destroy_lifecycle_publisher"):
            self.destroy_lifecycle_publisher(publisher)
        else:  # rclpy of Humble has only this one
            self.destroy_publisher(publisher)

    def stop(self) -> None:
        """Undo activate, as far as it came."""
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
        if self._worker is not None and not self._worker.stop():
            self.get_logger().warning("the worker is still busy with a window; left behind")
        self._subscription = None
        self._worker = None

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
        if not uses_sensor_msgs_py():
            self.get_logger().info("no sensor_msgs_py here: numpy alone reads the clouds")

    def _start_diagnostics(self, engine: Engine) -> None:
        publisher = self.create_publisher(DiagnosticArray, "/diagnostics", _OUTPUT_DEPTH)
        identity = Identity(
            node=self.get_fully_qualified_name(),
            bundle=engine.parameters.bundle,
            providers=engine.parameters.providers,
            provider=engine.provider,
        )
        previous = engine.statistics.report()

        def publish() -> None:
            nonlocal previous
            report = engine.statistics.report()
            stamp = self.get_clock().now().to_msg()
            is_active = self._worker is not None
            publisher.publish(diagnostic_message(stamp, identity, report, previous, is_active))
            previous = report

        clock = Clock(clock_type=ClockType.STEADY_TIME)  # also where a simulation stands still
        self._diagnostics = self.create_timer(_REPORT_PERIOD_S, publish, clock=clock), publisher

    def _receive(self, message: PointCloud2) -> None:
        """Store a frame; whatever is wrong with it costs only that frame."""
        engine, worker = self._engine, self._worker
        if engine is None or worker is None:
            return
        try:
            added = engine.receive(message)
        except Exception as error:
            self._warn(f"message dropped: {error}")
            return
        if added is Added.NOT_NEWER:
            self._warn(f"message dropped: {added.value}")
            return
        if added is Added.CLOCK_JUMP:
            self._warn("the clock of the stamps jumped back: all windows start afresh")
        worker.notify()

    def _work(self) -> None:
        """Recognise and publish; runs in the worker's thread."""
        engine = self._engine
        if engine is None:
            return
        for result in engine.process(self._note_window_error):
            self._publish(engine, result)
        newest = engine.newest
        self._delete_markers(set() if newest is None else set(newest.track_ids))

    def _publish(self, engine: Engine, result: FrameResult) -> None:
        parameters = engine.parameters
        publishers = self._publishers_by_name
        publishers["label"].publish(label_message(result))
        age_s = self.get_clock().now().nanoseconds * 1e-9 - result.arrival.stamp_ns * 1e-9
        engine.statistics.add_output(time.monotonic() - result.arrival.received_s, age_s)
        if parameters.publish_imputed:
            publishers["imputed"].publish(imputed_message(result))
        if parameters.publish_markers:
            lifetime_s = max(1.0, parameters.track_timeout_s, 2.0 / parameters.infer_rate_hz)
            publishers["markers"].publish(marker_message(result, lifetime_s))
            self._shown |= {person.track_id for person in result.persons}

    def _delete_markers(self, present: set[int]) -> None:
        """Delete the markers of everybody who is not present."""
        gone = self._shown - present
        newest = self._engine.newest if self._engine is not None else None
        if gone and newest is not None:
            self._publishers_by_name["markers"].publish(delete_message(newest, gone))
        self._shown -= gone

    def _accept(self, parameters: RecognizerParameters) -> None:
        if self._engine is not None:
            self._engine.parameters = parameters
        if self._worker is not None:
            self._worker.rate_hz = parameters.infer_rate_hz

    def _note_window_error(self, error: Exception) -> None:
        self.get_logger().error(
            f"a window failed: {type(error).__name__}: {error}",
            throttle_duration_sec=_LOG_PERIOD_S,
        )

    def _note_error(self, error: Exception) -> None:
        if self._engine is not None and self.context.ok():
            self._engine.statistics.add_error()
            self._note_window_error(error)

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=_LOG_PERIOD_S)


def main(arguments: list[str] | None = None) -> int:
    """Run `iospstl-recognizer`; return the exit status."""
    return run_recognizer(RecognizerNode, sys.argv if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
