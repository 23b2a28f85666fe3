"""Generated people for `live_latency.py`, and a node that shows them to a recogniser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header, String

from iospstl_core.skeleton import NTU_25, joint_indices
from iospstl_ros.adapters.pointcloud import write_skeletons

FRAME_HZ = 30.0
FAR_M, NEAR_M = 2.5, 1.0
"""Distance of neighbours: beyond and within that of two people who share a window."""

_N_FRAMES = 900
_N_WAVES = 6
_DISTANCE_M = 3.0
_BLOCK_FRAMES = 40
_LEGS = [f"{joint}{side}" for joint in ("Knee", "Ankle", "Foot") for side in ("Left", "Right")]
_ARM = ["ShoulderRight", "ElbowRight", "WristRight", "HandRight", "HandTipRight", "ThumbRight"]


def make_people(n: int, is_hidden: bool, apart_m: float, seed: int = 0) -> NDArray[np.float32]:
    """Return people who move smoothly, side by side, (n, n_frames, 25, 3), metres, camera frame.

    Hidden: the legs all the time, and an arm for 40 of every 100 frames: a third of all joints.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(_N_FRAMES)[:, None, None] / FRAME_HZ
    xyz = np.zeros((n, _N_FRAMES, NTU_25.n_joints, 3)) + np.asarray(NTU_25.rest_m)
    for rate_hz in rng.uniform(0.2, 1.2, _N_WAVES):
        amount_m, phase = rng.normal(0, 0.06, (2, n, 1, NTU_25.n_joints, 3))
        xyz += amount_m * np.sin(2 * np.pi * (rate_hz * time_s + 20 * phase))
    xyz[..., 0] += (np.arange(n) * apart_m)[:, None, None]
    xyz[..., 2] += _DISTANCE_M
    if is_hidden:
        block = np.flatnonzero(np.arange(_N_FRAMES) % 100 < _BLOCK_FRAMES)
        xyz[:, :, joint_indices(NTU_25, _LEGS)] = np.nan
        xyz[:, block[:, None], joint_indices(NTU_25, _ARM)] = np.nan
    return xyz.astype(np.float32)


@dataclass
class Heard:
    """What came back.

    Attributes
    ----------
    label_s : list of float
        When each label came, monotonic clock.
    stamp_ns : list of int
        Stamps of the frames that the results are for, in the order of the labels.
    persons : list of int
        People in each result.
    status : dict of str to str
        Values of the last diagnostics.
    """

    label_s: list[float] = field(default_factory=list)
    stamp_ns: list[int] = field(default_factory=list)
    persons: list[int] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)


class Partner(Node):  # type: ignore[misc]
    """Shows people at `FRAME_HZ` and keeps what comes back.

    Attributes
    ----------
    published_s : dict of int to float
        Monotonic clock by the stamp of each frame.
    """

    def __init__(self, people: NDArray[np.float32]) -> None:
        super().__init__("partner")
        self.heard = Heard()
        self.published_s: dict[int, float] = {}
        self._messages = [
            write_skeletons(Header(frame_id="camera"), dict(enumerate(frame)), NTU_25)
            for frame in people.swapaxes(0, 1)
        ]
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._clouds = self.create_publisher(PointCloud2, "skeletons", qos)
        self.create_subscription(String, "action_label", self._hear_label, qos)
        self.create_subscription(PointCloud2, "recognizer/imputed", self._hear_result, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear_status, qos)
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)

    def close(self) -> None:
        """Destroy the node."""
        self._spinner.shutdown()
        self.destroy_node()

    def wait_for_subscriber(self, is_alive: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Return the monotonic clock when somebody listens; raise TimeoutError if nobody does."""
        deadline_s = time.monotonic() + timeout_s
        while not self._clouds.get_subscription_count():
            self._spinner.spin_once(timeout_sec=0.01)
            if time.monotonic() > deadline_s or not is_alive():
                raise TimeoutError("no recogniser subscribed to skeletons")
        return time.monotonic()

    def spin_until(self, deadline_s: float) -> None:
        """Serve the subscriptions until a time of the monotonic clock."""
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._spinner.spin_once(timeout_sec=left_s)

    def show(self, seconds: float) -> list[int]:
        """Publish frames for so long; return their stamps."""
        start_s, start_ns = time.monotonic(), self.get_clock().now().nanoseconds
        first = len(self.published_s)
        stamps = []
        for index in range(round(seconds * FRAME_HZ)):
            self.spin_until(start_s + index / FRAME_HZ)
            message = self._messages[(first + index) % len(self._messages)]
            stamp_ns = start_ns + round(index * 1e9 / FRAME_HZ)
            message.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            self.published_s[stamp_ns] = time.monotonic()
            self._clouds.publish(message)
            stamps.append(stamp_ns)
        self.spin_until(start_s + seconds)
        return stamps

    def _hear_label(self, message: Any) -> None:
        self.heard.label_s.append(time.monotonic())

    def _hear_result(self, message: Any) -> None:
        stamp = message.header.stamp
        self.heard.stamp_ns.append(stamp.sec * 10**9 + stamp.nanosec)
        self.heard.persons.append(message.height)

    def _hear_status(self, message: Any) -> None:
        self.heard.status = {item.key: item.value for item in message.status[0].values}
