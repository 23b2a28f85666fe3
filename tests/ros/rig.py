"""The node's inner loop without a node: an engine, and topics that only remember."""

import json

from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.bundle_watch import BundleWatch
from iospstl_ros.engine import Engine
from iospstl_ros.live_loop import LiveLoop
from iospstl_ros.publishers import Publishers
from iospstl_ros.settings import RecognizerParameters
from tests.ros.tiny import raised_hand


class Topic:
    """Stands for a publisher."""

    def __init__(self, kind, n_listeners):
        self.kind, self.n_listeners, self.sent = kind, n_listeners, []

    def publish(self, message):
        self.sent.append(message)

    def get_subscription_count(self):
        return self.n_listeners


class Log:
    """Stands for a node's logger."""

    def __init__(self):
        self.warnings, self.errors = [], []

    def warning(self, text, throttle_duration_sec):
        self.warnings.append(text)

    def error(self, text, throttle_duration_sec):
        self.errors.append(text)


class Clock:
    """Stands for a node's clock."""

    nanoseconds = 1_795_000_001 * 10**9

    def now(self):
        return self


class Rig:
    """A loop without a node."""

    def __init__(self, bundle, **changes):
        self.topics, self.log = {}, Log()

        def create(kind, topic, depth):
            self.topics[topic] = Topic(kind, 1)
            return self.topics[topic]

        values = {"bundle": str(bundle), "publish_events": True, "track_timeout_s": 0.5}
        self.engine = Engine(RecognizerParameters(**{**values, **changes}))
        watch = BundleWatch(bundle)
        self.loop = LiveLoop(self.engine, Publishers(create), watch, Clock(), self.log)

    def send(self, index, persons, header=None):
        if header is None:
            header = Header(frame_id="kinect")
            header.stamp.sec = 1_795_000_000 + index // 30
            header.stamp.nanosec = index % 30 * 33_000_000
        cloud = write_skeletons(header, persons, NTU_25)
        return self.loop.receive(serialize_message(cloud), PointCloud2)

    def play(self, n_frames=20, start=0):
        for index in range(start, start + n_frames):
            assert self.send(index, {1: raised_hand(1, 0.4, index)[0]})


def counts(topics):
    return {name: len(topic.sent) for name, topic in topics.items()}


def deleted_ids(topics):
    """Ids of the people whose markers were deleted."""
    return [
        marker.id
        for message in topics["~/markers"].sent
        for marker in message.markers
        if marker.action == marker.DELETE and marker.ns == "label"
    ]


def events(topics):
    """What was told on ~/events: event, person and label."""
    told = [json.loads(message.data) for message in topics["~/events"].sent]
    return [(item["event"], item["person"], item["label"]) for item in told]
