"""The player: bags over DDS as they were recorded, and recordings as bags without ROS."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.typesys import get_types_from_msg
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, hide, open_store
from iospstl_ros.adapters.pointcloud import read_skeletons, write_skeletons
from iospstl_ros.bag_messages import message_classes
from iospstl_ros.bag_player import BagChoice, Restamper, choose_connections, headers_in
from iospstl_ros.bags import new_bag, open_bag, standard_types
from iospstl_ros.player_node import running
from tests.ros.recordings import BLOCK_ROS
from tests.ros.test_bags import LATCHED
from tests.ros.tiny import FPS, raised_hand

ROOT = Path(__file__).parents[2]
START_NS = 1_795_000_000_000_000_000
CLOUD = "sensor_msgs/msg/PointCloud2"


def write_recording(path, n_frames=12, period_s=0.05):
    """A bag with skeletons, markers with stamps of their own, and a latched text."""
    types = standard_types()
    messages = message_classes(types)
    with new_bag(path, "mcap") as bag:
        cloud = bag.add_topic("/camera/people", CLOUD, types)
        markers = bag.add_topic("/camera/markers", "visualization_msgs/msg/MarkerArray", types)
        latched = bag._writer.add_connection(
            "/about", "std_msgs/msg/String", typestore=types, offered_qos_profiles=[LATCHED]
        )
        text = types.serialize_cdr(messages.String(data="a camera"), "std_msgs/msg/String")
        bag.write(latched, START_NS, text)
        for index in range(n_frames):
            stamp_ns = START_NS + round(index * period_s * 1e9)
            stamp = messages.Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            header = messages.Header(stamp=stamp, frame_id="kamera")
            people = {5: raised_hand(1, 0.4, index)[0]}
            cloud(stamp_ns, write_skeletons(header, people, NTU_25, None, messages))
            marker = messages.Marker(header=header, id=index)
            markers(stamp_ns, messages.MarkerArray(markers=[marker, messages.Marker(id=-1)]))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("bags") / "recording")


def read_raw(path, topic):
    with open_bag(path) as bag:
        chosen = [item for item in bag.connections if item.topic == topic]
        return [bytes(raw) for _, _, raw in bag.messages(chosen)]


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


class Listener(Node):
    """Keeps the bytes of everything that it hears, and when."""

    def __init__(self):
        super().__init__("listener")
        self.heard = {}
        self.times = []
        self.spinner = SingleThreadedExecutor()
        self.spinner.add_node(self)

    def listen(self, kind, topic, is_latched=False):
        self.heard[topic] = []
        qos = QoSProfile(depth=200)
        if is_latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL

        def hear(data):
            self.heard[topic].append(bytes(data))
            self.times.append(time.monotonic())

        self.create_subscription(kind, topic, hear, qos, raw=True)

    def spin_until(self, condition, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.spinner.spin_once(timeout_sec=0.02)
        return condition()

    def clouds(self, topic):
        return [deserialize_message(data, PointCloud2) for data in self.heard[topic]]


@pytest.fixture
def listener(ros):
    node = Listener()
    yield node
    node.spinner.shutdown()
    node.destroy_node()


@pytest.mark.dds
def test_a_bag_is_published_byte_for_byte_with_its_timing(processes, listener, recording):
    listener.listen(PointCloud2, "/camera/people")
    listener.listen(MarkerArray, "/camera/markers")
    player = processes.start("player", "--bag", recording, "--wait")
    assert listener.spin_until(lambda: player.poll() is not None)
    assert player.returncode == 0, player.log.read_text()
    topics = ("/camera/people", "/camera/markers")
    listener.spin_until(lambda: all(len(listener.heard[topic]) == 12 for topic in topics))
    for topic in topics:
        for heard, raw in zip(listener.heard[topic], read_raw(recording, topic), strict=True):
            assert heard[: len(raw)] == raw
            assert not any(heard[len(raw) :])  # DDS fills up to four bytes
    assert listener.times[-1] - listener.times[0] == pytest.approx(11 * 0.05, abs=0.2)


def test_it_ends_once_everything_has_arrived(ros):
    asked = []

    class Silent:
        def wait_for_all_acked(self, timeout):
            asked.append(timeout)
            raise RuntimeError("this middleware cannot tell")

    with running() as player:
        player.add_publisher(String, "/about")
        player._added.append(Silent())
    assert len(asked) == 1


@pytest.mark.dds
def test_it_can_be_faster_under_another_name_and_latched_topics_stay(
    processes, listener, recording
):
    listener.listen(PointCloud2, "/skeletons")
    player = processes.start(
        *("player", "--bag", recording, "--bag-topic", "camera/people", "--topic", "skeletons"),
        *("--speed", 10, "--loop", "--gap", 30, "--wait"),
    )
    assert listener.spin_until(lambda: len(listener.heard["/skeletons"]) == 12)
    assert listener.times[-1] - listener.times[0] < 0.4
    processes.stop(player)
    about = processes.start(
        "player", "--bag", recording, "--bag-topic", "/about", "--loop", "--gap", 30
    )
    listener.spin_until(lambda: listener.count_publishers("/about"))
    listener.listen(String, "/about", is_latched=True)
    assert listener.spin_until(lambda: listener.heard["/about"])
    assert processes.stop(about)[0] == 0


@pytest.mark.dds
def test_a_loop_goes_on_in_time(processes, listener, recording):
    listener.listen(PointCloud2, "/camera/people")
    player = processes.start(
        *("player", "--bag", recording, "--bag-topic", "/camera/people", "--speed", 20),
        *("--loop", "--gap", "0.1", "--wait"),
    )
    assert listener.spin_until(lambda: len(listener.heard["/camera/people"]) > 30)
    assert processes.stop(player, signal.SIGTERM)[0] == 0
    stamps = [stamp_of(cloud) for cloud in listener.clouds("/camera/people")]
    assert stamps[0] == START_NS
    assert (np.diff(stamps[:12]) == 50_000_000).all()
    assert stamps[12] - stamps[11] == 100_000_000
    assert (np.diff(stamps) > 0).all()


@pytest.mark.dds
def test_stamps_of_now_keep_their_distances(processes, listener, recording):
    listener.listen(PointCloud2, "/camera/people")
    listener.listen(MarkerArray, "/camera/markers")
    started_ns = time.time_ns()
    player = processes.start(
        "player", "--bag", recording, "--restamp", "--speed", 2, "--wait", "--loop", "--gap", 0
    )
    assert listener.spin_until(lambda: len(listener.heard["/camera/markers"]) >= 25)
    processes.stop(player)
    clouds = listener.clouds("/camera/people")
    stamps = [stamp_of(cloud) for cloud in clouds]
    assert started_ns < stamps[0] < time.time_ns()
    assert (np.diff(stamps[:12]) == 25_000_000).all()
    assert (np.diff(stamps) > 0).all()
    before = [
        deserialize_message(raw, PointCloud2) for raw in read_raw(recording, "/camera/people")
    ]
    assert [cloud.data for cloud in clouds[:12]] == [cloud.data for cloud in before]
    markers = [deserialize_message(raw, MarkerArray) for raw in listener.heard["/camera/markers"]]
    assert [stamp_of(message.markers[0]) for message in markers[:24]] == stamps[:24]
    assert {stamp_of(message.markers[1]) for message in markers} == {0}  # no stamp stays none


def test_headers_are_found_however_deep():
    assert list(headers_in(String())) == []
    cloud = PointCloud2()
    assert list(headers_in(cloud)) == [cloud.header]
    array = MarkerArray(markers=[Marker(), Marker()])
    expected = {id(marker.header) for marker in array.markers}
    expected |= {id(marker.texture.header) for marker in array.markers}
    assert {id(header) for header in headers_in(array)} == expected
    poses = PoseArray()
    assert list(headers_in(poses)) == [poses.header]
    assert len(list(headers_in(TransformStamped()))) == 1


def test_stamps_move_evenly():
    restamper = Restamper(1_000_000_000_000, 2.0)
    array = MarkerArray(markers=[Marker(), Marker(), Marker()])
    for marker, seconds in zip(array.markers, (100, 0, 104), strict=True):
        marker.header.stamp.sec = seconds
    restamper.apply(array)
    assert [stamp_of(marker) for marker in array.markers] == [10**12, 0, 10**12 + 2 * 10**9]
    assert restamper.last_ns == 10**12 + 2 * 10**9
    kept = Restamper(None, 1.0)
    kept.apply(array)
    assert stamp_of(array.markers[2]) == kept.last_ns == 10**12 + 2 * 10**9


def test_topics_are_chosen(recording, tmp_path):
    with open_bag(recording) as bag:
        everything = choose_connections(bag, BagChoice(recording))
        assert [item.topic for item in everything] == [
            "/camera/people",
            "/camera/markers",
            "/about",
        ]
        (one,) = choose_connections(bag, BagChoice(recording, ("about",), "hello"))
        assert one.topic == "/about"
        with pytest.raises(InputError, match=r"no messages on nowhere; topics: /camera/people \("):
            choose_connections(bag, BagChoice(recording, ("nowhere", "/about")))
        with pytest.raises(InputError, match="--topic: expected one topic to rename, got 3"):
            choose_connections(bag, BagChoice(recording, (), "hello"))
    with new_bag(tmp_path / "empty", "mcap") as bag:
        bag.add_topic("/people", CLOUD, standard_types())
    with open_bag(tmp_path / "empty") as bag, pytest.raises(InputError, match="expected messages"):
        choose_connections(bag, BagChoice(tmp_path / "empty"))


def write_foreign(path):
    types = standard_types()
    types.register(get_types_from_msg("int32 a", "camera_msgs/msg/Thing"))
    messages = message_classes(types)
    with new_bag(path, "mcap") as bag:
        bag.add_topic("/things", "camera_msgs/msg/Thing", types)(START_NS, messages.Thing(a=1))
    return path


def test_a_user_s_fault_is_one_sentence_and_status_2(processes, recording, tmp_path):
    foreign = write_foreign(tmp_path / "foreign")
    store_only = "expected with --store or --skeleton only, got it with --bag"
    faults = (
        (["--bag", "nowhere"], "nowhere: expected a bag, found nothing there"),
        (["--bag", recording, "--bag-topic", "/x"], "no messages on x; topics: /camera/people"),
        (["--bag", recording, "--rate", 10], f"--rate: {store_only}"),
        (["--bag", recording, "--hide-joints", "Head"], f"--hide-joints: {store_only}"),
        (["--bag", recording, "--truth", "t"], f"--truth: {store_only}"),
        (
            ["--bag", recording, "--to-bag", "x"],
            "--to-bag: expected --store or --skeleton, and no",
        ),
        (["--bag", foreign], "/things: message_type: expected camera_msgs/msg/Thing to be inst"),
        (["--skeleton", "x", "--speed", 2], "--speed: expected with --bag only"),
        (["--skeleton", "x", "--loop", "--to-bag", "x"], "and no --loop"),
        (["--skeleton", "x", "--to-bag", recording], "x: "),
    )
    started = [processes.start("player", *arguments) for arguments, _ in faults]
    for process, (_, sentence) in zip(started, faults, strict=True):
        assert process.wait(timeout=60) == 2, process.log.read_text()
        text = process.log.read_text()
        assert text.startswith("iospstl-player: "), text
        assert sentence in text
        assert "Traceback" not in text
    text = started[6].log.read_text()
    assert "sudo apt install ros-$ROS_DISTRO-camera-msgs" in text
    assert "choose other topics with --bag-topic" in text


def run_without_ros(*arguments):
    code = (
        f"{BLOCK_ROS}\nfrom iospstl_ros.player import main\nsys.exit(main({['', *arguments]!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_store_becomes_a_bag_without_ros(tmp_path, store_folder):
    out, truth = tmp_path / "out", tmp_path / "truth.jsonl"
    arguments = ["--store", str(store_folder), "--occlusion", "legs", "--sequences", "1,4"]
    arguments += ["--to-bag", str(out), "--truth", str(truth), "--topic", "people", "--gap", "2"]
    done = run_without_ros(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    store = open_store(store_folder)
    shown = []
    for index in (1, 4):
        hidden = find_occlusion(store, "legs").hidden[store.frames(index)]
        shown += list(hide(store.sequence(index)[0], hidden)[:, 0])
    with open_bag(out) as bag:
        (connection,) = bag.connections
        assert (connection.topic, connection.msgtype) == ("/people", CLOUD)
        decode = bag.decoder(connection)
        frames = [read_skeletons(decode(raw), NTU_25) for _, _, raw in bag.messages()]
        times = [stamp_ns for _, stamp_ns, _ in bag.messages()]
    assert [frame.stamp_ns for frame in frames] == times
    n_first = len(store.sequence(1)[0])
    steps = np.diff(times) * 1e-9
    assert steps[n_first - 1] == pytest.approx(2 + 1 / FPS)
    np.testing.assert_allclose(np.delete(steps, n_first - 1), 1 / FPS, atol=1e-8)
    for index, (frame, xyz) in enumerate(zip(frames, shown, strict=True)):
        np.testing.assert_array_equal(frame.persons[1 if index < n_first else 2], xyz)
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [line.get("sequence") for line in lines] == ["hand down 1", "hand down 2", None]
    assert lines[1]["last_stamp_ns"] == times[-1]
    again = run_without_ros(*arguments)
    assert again.returncode == 2
    assert again.stderr == (
        f"iospstl-player: {out}: exists already; choose another name or take it away\n"
    )
