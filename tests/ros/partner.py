"""A node that stands for a camera, a listener and an operator in one."""

import json
import time

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import write_skeletons

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive shutdown": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


class Partner(Node):
    """Sends clouds to the recogniser, keeps what comes back, and calls its services."""

    def __init__(self, name="/recognizer", skeletons="/camera/people", label="/action_label"):
        super().__init__("partner")
        self.name = name
        self.heard = {kind: [] for kind in (String, PointCloud2, MarkerArray, DiagnosticArray)}
        self.events = []
        self.clouds = self.create_publisher(PointCloud2, skeletons, 200)
        for kind, topic in (
            (String, label),
            (PointCloud2, f"{name}/imputed"),
            (MarkerArray, f"{name}/markers"),
            (DiagnosticArray, "/diagnostics"),
        ):
            self.create_subscription(kind, topic, self.heard[kind].append, 200)
        self.create_subscription(String, f"{name}/events", self._hear_event, 200)
        self.spinner = SingleThreadedExecutor()
        self.spinner.add_node(self)
        self._known_clients = {}

    def _hear_event(self, message):
        self.events.append(json.loads(message.data))

    def close(self):
        self.spinner.shutdown()
        self.destroy_node()

    def spin_until(self, condition, timeout_s=10.0):
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.spinner.spin_once(timeout_sec=0.02)
        return condition()

    def spin_for(self, seconds):
        self.spin_until(lambda: False, seconds)

    def wait_until_connected(self):
        assert self.spin_until(lambda: self.clouds.get_subscription_count() == 1)
        assert self.spin_until(lambda: self.count_publishers(f"{self.name}/markers") == 1)
        self.spin_for(0.3)

    def send(self, stamp_ns, persons):
        stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        header = Header(stamp=stamp, frame_id="kinect")
        self.clouds.publish(write_skeletons(header, persons, NTU_25))

    def play(self, person, xyz, start_ns, rate_hz=30.0, pause_s=0.01):
        """Send the frames of one person; return the stamp after the last one."""
        for index, frame in enumerate(xyz):
            self.send(start_ns + round(index * 1e9 / rate_hz), {person: frame})
            self.spin_for(pause_s)
        return start_ns + round(len(xyz) * 1e9 / rate_hz)

    def labels(self):
        return [message.data for message in self.heard[String]]

    def deleted(self):
        """Namespaces of the markers that were deleted."""
        markers = [marker for item in self.heard[MarkerArray] for marker in item.markers]
        return {marker.ns for marker in markers if marker.action == Marker.DELETE}

    def diagnostics(self):
        return {item.key: item.value for item in self.status().values}

    def status(self):
        return self.heard[DiagnosticArray][-1].status[0]

    def wait_for_status(self, condition, timeout_s=10.0):
        """Wait for a status whose values fulfil a condition; return them."""
        self.heard[DiagnosticArray].clear()
        found = self.spin_until(
            lambda: self.heard[DiagnosticArray] and condition(self.diagnostics()), timeout_s
        )
        assert found, self.heard[DiagnosticArray] and self.diagnostics()
        return self.diagnostics()

    def call(self, kind, service, timeout_s=20.0, **fields):
        """Call a service of the recogniser and return its response."""
        name = f"{self.name}/{service}"
        if name not in self._known_clients:
            self._known_clients[name] = self.create_client(kind, name)
        client = self._known_clients[name]
        assert self.spin_until(client.service_is_ready, timeout_s), f"no service {name}"
        future = client.call_async(kind.Request(**fields))
        assert self.spin_until(future.done, timeout_s), f"no answer from {name}"
        return future.result()

    def change_state(self, transition):
        number = TRANSITIONS.get(transition, transition)
        return self.call(ChangeState, "change_state", transition=Transition(id=number)).success

    def state(self):
        return self.call(GetState, "get_state").current_state.label

    def available_transitions(self):
        found = self.call(GetAvailableTransitions, "get_available_transitions")
        return {item.transition.label for item in found.available_transitions}

    def set_parameter(self, parameter):
        """Set a `rclpy.parameter.Parameter`; return success and reason."""
        message: ParameterMessage = parameter.to_parameter_msg()
        (result,) = self.call(SetParameters, "set_parameters", parameters=[message]).results
        return result.successful, result.reason

    def get_parameters(self, *names):
        found = self.call(GetParameters, "get_parameters", names=names).values
        return [parameter_value_to_python(value) for value in found]

    def parameter_names(self):
        return set(self.call(ListParameters, "list_parameters").result.names)
