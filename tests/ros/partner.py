"""A node that stands for a camera and a listener in one."""

import time

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from iospstl_core.skeleton import NTU_25
from iospstl_ros.pointcloud import write_skeletons


class Partner(Node):
    """Sends clouds to the recogniser and keeps what comes back."""

    def __init__(self):
        super().__init__("partner")
        self.heard = {}
        self.clouds = self.create_publisher(PointCloud2, "/camera/people", 200)
        for kind, topic in (
            (String, "/action_label"),
            (PointCloud2, "/recognizer/imputed"),
            (MarkerArray, "/recognizer/markers"),
            (DiagnosticArray, "/diagnostics"),
        ):
            self.heard[kind] = []
            self.create_subscription(kind, topic, self.heard[kind].append, 200)
        self.spinner = SingleThreadedExecutor()
        self.spinner.add_node(self)

    def spin_until(self, condition, timeout_s=10.0):
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.spinner.spin_once(timeout_sec=0.02)
        return condition()

    def spin_for(self, seconds):
        self.spin_until(lambda: False, seconds)

    def send(self, stamp_ns, persons):
        stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        header = Header(stamp=stamp, frame_id="kinect")
        self.clouds.publish(write_skeletons(header, persons, NTU_25))

    def labels(self):
        return [message.data for message in self.heard[String]]

    def diagnostics(self):
        return {item.key: item.value for item in self.heard[DiagnosticArray][-1].status[0].values}
