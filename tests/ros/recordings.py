"""Recordings of people in bags, and what bags hold, for the tests of bags."""

import json

import numpy as np

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.bag_messages import message_classes
from iospstl_ros.bags import new_bag, open_bag, standard_types
from tests.ros.tiny import FPS, raised_hand

START_NS = 1_795_000_000_000_000_000
LATE_NS = 7_000_000
"""How much later than its stamp the recorder got a message."""
CLOUD = "sensor_msgs/msg/PointCloud2"


def people_at(index):
    """Two people; one comes later, the other leaves; a knee is hidden from the tenth frame."""
    up, down = raised_hand(1, 0.4, index)[0], raised_hand(1, -0.6, index)[0]
    down[:, 0] += 1.5
    if index >= 10:
        up[NTU_25.index("KneeLeft")] = np.nan
    people = {1: up} if index < 50 else {}
    return people | ({2: down} if index >= 20 else {})


def write_recording(path, storage="mcap", n_frames=72, topic="/camera/people", extra=None):
    """A bag of skeletons at 30 Hz, with another topic between them."""
    types = standard_types()
    messages = message_classes(types)
    with new_bag(path, storage) as bag:
        write = bag.add_topic(topic, CLOUD, types)
        note = bag.add_topic("/notes", "std_msgs/msg/String", types)
        if extra is not None:
            extra(bag, types, messages)
        for index in range(n_frames):
            stamp_ns = START_NS + round(index * 1e9 / FPS)
            stamp = messages.Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            header = messages.Header(stamp=stamp, frame_id="kamera")
            cloud = write_skeletons(header, people_at(index), NTU_25, None, messages)
            write(stamp_ns + LATE_NS, cloud)
            if index % 10 == 0:
                note(stamp_ns + LATE_NS + 1, messages.String(data=f"note {index}"))
    return path


def read_topics(path):
    """Return time and bytes of all messages of a bag by topic."""
    found = {}
    with open_bag(path) as bag:
        for item, stamp_ns, raw in bag.messages():
            found.setdefault(item.topic, []).append((stamp_ns, bytes(raw)))
    return found


def read_objects(path, topic):
    with open_bag(path) as bag:
        (connection,) = [item for item in bag.connections if item.topic == topic]
        decode = bag.decoder(connection)
        return [(stamp, decode(raw)) for _, stamp, raw in bag.messages([connection])]


def read_labels(path, topic="/recognizer/labels"):
    return [json.loads(message.data) for _, message in read_objects(path, topic)]


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


BLOCK_ROS = """
import sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("rclpy", "launch") or top.endswith(("_msgs", "_interfaces")) or top == "torch":
            raise ModuleNotFoundError(f"no {name} here", name=name)
sys.meta_path.insert(0, NoRos())
"""
