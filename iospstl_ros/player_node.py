"""The player's node: publishers, and a pace that serves them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from iospstl_core.errors import InputError
from iospstl_core.skeleton import SkeletonLayout
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.clips import Take

_DEPTH = 100
_MATCH_S = 0.5
_DELIVER_S = 2.0


class Player(Node):  # type: ignore[misc]
    """Publishes recordings.

    Owns the publishers and an executor that serves the node between messages.

    Parameters
    ----------
    **kwargs
        As of `rclpy.node.Node`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("player", **kwargs)
        self._added: list[Any] = []
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def add_publisher(self, message_class: Any, topic: str, is_latched: bool = False) -> Any:
        """Return a new publisher; late subscribers get the last messages of a latched one."""
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        if is_latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self._added.append(self.create_publisher(message_class, topic, qos))
        return self._added[-1]

    def add_clouds(self, topic: str) -> Any:
        """Return a new publisher of skeletons."""
        return self.add_publisher(PointCloud2, topic)

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Return once somebody listens; raise InputError when nobody comes."""
        deadline = time.monotonic() + timeout_s
        while not any(publisher.get_subscription_count() for publisher in self._added):
            if time.monotonic() > deadline:
                names = ", ".join(publisher.topic_name for publisher in self._added)
                raise InputError(
                    f"wait: expected a subscriber of {names} within {timeout_s:g} s, got none; "
                    "start the recogniser first, with the same ROS_DOMAIN_ID"
                )
            self.wait_until(time.monotonic() + 0.1)
        self.wait_until(time.monotonic() + _MATCH_S)  # the other side learns of us a little later

    def play(
        self,
        publisher: Any,
        take: Take,
        layout: SkeletonLayout,
        frame_id: str,
        stamps_ns: Sequence[int],
    ) -> None:
        """Publish all frames of a take, paced by the wall clock, until the next would follow."""
        started = time.monotonic()
        period_s = (stamps_ns[1] - stamps_ns[0]) * 1e-9 if len(stamps_ns) > 1 else 0.0
        for index, stamp_ns in enumerate(stamps_ns):
            self.wait_until(started + (stamp_ns - stamps_ns[0]) * 1e-9)
            stamp = Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
            header = Header(stamp=stamp, frame_id=frame_id)
            publisher.publish(write_skeletons(header, take.persons(index), layout))
        self.wait_until(started + (stamps_ns[-1] - stamps_ns[0]) * 1e-9 + period_s)

    def wait_until(self, deadline: float) -> None:
        """Serve the node until a time of the monotonic clock."""
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Release executor and node, once what was published has arrived."""
        deadline = time.monotonic() + _DELIVER_S
        for publisher in self._added:
            left_s = max(deadline - time.monotonic(), 0.0)
            with suppress(RuntimeError):  # not every middleware can tell
                publisher.wait_for_all_acked(Duration(seconds=left_s))
        self._executor.shutdown()
        self.destroy_node()


@contextmanager
def running(**kwargs: Any) -> Iterator[Player]:
    """Yield a player that is closed at the end, if ROS is still there."""
    player = Player(**kwargs)
    try:
        yield player
    finally:
        if rclpy.ok():
            player.close()
