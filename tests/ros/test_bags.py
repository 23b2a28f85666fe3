"""Bags of both storages without ROS: what is read, written, copied, and what is refused."""

import sqlite3
import sys

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.interfaces import (
    MessageDefinition,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import get_types_from_msg
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters import pointcloud
from iospstl_ros.adapters.pointcloud import read_skeletons, write_skeletons
from iospstl_ros.bag_messages import message_classes, types_with_vision
from iospstl_ros.bags import STORAGES, new_bag, open_bag, standard_types
from tests.ros.tiny import raised_hand

START_NS = 1_795_000_000_123_456_789
FOREVER = QosTime(2**31 - 1, 2**32 - 1)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    7,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
IDL = """================================================================================
IDL: camera_msgs/msg/Note
module camera_msgs { module msg { struct Note { string text; double score; }; }; };
"""


def camera_types():
    """Types of a camera's own, that ROS 2 does not have."""
    store = standard_types()
    text = "std_msgs/Header header\ncamera_msgs/Joint[] joints"
    store.register(
        get_types_from_msg(text, "camera_msgs/msg/Body")
        | get_types_from_msg(
            "float32[3] place\nuint8 kind\nstring[2] names", "camera_msgs/msg/Joint"
        )
    )
    return store


def write_notes(path, storage, texts=("a", "b", "c")):
    """A bag with a String every 10 ms."""
    types = standard_types()
    messages = message_classes(types)
    with new_bag(path, storage) as bag:
        write = bag.add_topic("/notes", "std_msgs/msg/String", types)
        for index, text in enumerate(texts):
            write(START_NS + index * 10_000_000, messages.String(data=text))
    return path


def read_all(path):
    with open_bag(path) as bag:
        return [(item.topic, stamp_ns, bytes(raw)) for item, stamp_ns, raw in bag.messages()]


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_written_is_read(tmp_path, storage):
    folder = write_notes(tmp_path / "deep" / "notes", storage)
    (file,) = set(folder.iterdir()) - {folder / "metadata.yaml"}
    assert file.name == {"mcap": "notes.mcap", "sqlite3": "notes.db3"}[storage]
    for path in (folder, file):
        with open_bag(path) as bag:
            (connection,) = bag.connections
            decode = bag.decoder(connection)
            found = [(stamp, decode(raw).data) for _, stamp, raw in bag.messages()]
            assert bag.storage == storage
            assert (bag.n_messages, bag.start_ns) == (3, START_NS)
            assert bag.duration_s == pytest.approx(0.02)
            assert bag.describe() == "/notes (std_msgs/msg/String)"
        assert found == [
            (START_NS, "a"),
            (START_NS + 10_000_000, "b"),
            (START_NS + 20_000_000, "c"),
        ]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_copy_has_the_same_bytes_times_definitions_and_qos(tmp_path, storage):
    types = camera_types()
    messages = message_classes(types)
    joint = messages.Joint(place=np.float32([1, 2, 3]), kind=4, names=["left", "right"])
    with new_bag(tmp_path / "one", "mcap") as bag:
        write = bag.add_topic("/bodies", "camera_msgs/msg/Body", types)
        write(START_NS, messages.Body(joints=[joint]))
        latched = bag._writer.add_connection(
            "/latched", "std_msgs/msg/String", typestore=types, offered_qos_profiles=[LATCHED]
        )
        bag.write(latched, START_NS + 5, bytes.fromhex("00010000020000006800"))
    with open_bag(tmp_path / "one") as bag, new_bag(tmp_path / "other", storage) as other:
        copies = {item.id: other.copy_connection(item) for item in bag.connections}
        for item, stamp_ns, raw in bag.messages():
            other.write(copies[item.id], stamp_ns, raw)
    assert read_all(tmp_path / "other") == read_all(tmp_path / "one")
    with open_bag(tmp_path / "one") as bag, open_bag(tmp_path / "other") as other:
        for before, after in zip(bag.connections, other.connections, strict=True):
            assert after.msgdef == before.msgdef
            assert after.digest == before.digest
            assert after.ext == before.ext
        assert other.connections[1].ext.offered_qos_profiles == [LATCHED]
        raw = next(iter(other.messages()))[2]
        found = other.decoder(other.connections[0])(raw)
    assert found.joints[0].place.tolist() == [1, 2, 3]
    assert found.joints[0].names == ["left", "right"]


def test_ros_and_the_library_read_each_other(tmp_path):
    """Byte for byte what rclpy writes, and what it reads."""
    types = standard_types()
    people = {3: raised_hand(1, 0.4)[0], 7: raised_hand(1, -0.6)[0]}
    people[7][4] = np.nan
    messages = message_classes(types)
    header = messages.Header(stamp=messages.Time(sec=12, nanosec=34), frame_id="kamera")
    ours = write_skeletons(header, people, NTU_25, None, messages)
    raw = bytes(types.serialize_cdr(ours, "sensor_msgs/msg/PointCloud2"))
    theirs = write_skeletons(
        Header(stamp=Time(sec=12, nanosec=34), frame_id="kamera"), people, NTU_25
    )
    assert deserialize_message(raw, PointCloud2) == theirs
    with new_bag(tmp_path / "bag", "mcap") as bag:
        bag.add_topic("/people", "sensor_msgs/msg/PointCloud2", types)
        connection = bag._writer.connections[0]
        bag.write(connection, START_NS, serialize_message(theirs))
    with open_bag(tmp_path / "bag") as bag:
        (one,) = [bag.decoder(item)(raw) for item, _, raw in bag.messages()]
    frame = read_skeletons(one, NTU_25)
    assert (frame.stamp_ns, frame.frame_id) == (12_000_000_034, "kamera")
    for person, xyz in people.items():
        np.testing.assert_array_equal(frame.persons[person], xyz)


def test_sensor_msgs_py_is_spared_what_it_refuses(monkeypatch):
    """It asserts that a cloud is of ROS 2's own class, which those of a bag are not."""

    class SensorMsgsPy:
        def read_points(self, message, field_names):
            assert isinstance(message, PointCloud2)
            raise NotImplementedError

    monkeypatch.setattr(pointcloud, "_sensor_msgs_py", SensorMsgsPy())
    people = {3: raised_hand(1, 0.4)[0]}
    cloud = write_skeletons(Header(), people, NTU_25)
    with pytest.raises(NotImplementedError):
        read_skeletons(cloud, NTU_25)
    messages = message_classes(standard_types())
    cloud = write_skeletons(messages.Header(), people, NTU_25, None, messages)
    np.testing.assert_array_equal(read_skeletons(cloud, NTU_25).persons[3], people[3])


def test_made_messages_have_defaults_as_in_ros():
    messages = message_classes(types_with_vision())
    array = messages.Detection3DArray()
    assert (array.header.stamp.sec, array.header.frame_id, array.detections) == (0, "", [])
    detection = messages.Detection3D(id="7")
    assert (detection.id, detection.bbox.size.x) == ("7", 0.0)
    hypothesis = messages.ObjectHypothesisWithPose()
    assert hypothesis.pose.covariance.tolist() == [0.0] * 36
    assert hypothesis.hypothesis is not messages.ObjectHypothesisWithPose().hypothesis
    with pytest.raises(TypeError, match="Detection3D: has no field name"):
        messages.Detection3D(name="7")


def test_idl_definitions_are_read_and_copied(tmp_path):
    with new_bag(tmp_path / "bag", "mcap") as bag:
        connection = bag._writer.add_connection(
            "/notes", "camera_msgs/msg/Note", msgdef=IDL, rihs01="RIHS01_0"
        )
        raw = bytes.fromhex("00010000 02000000 6800 0000 000000000000f03f")
        bag.write(connection, START_NS, raw)
    with open_bag(tmp_path / "bag") as bag:
        (connection,) = bag.connections
        plain = MessageDefinition(connection.msgdef.format, IDL.partition("Note\n")[2])
        for one in (connection, connection._replace(msgdef=plain)):
            note = bag.decoder(one)(raw)
            assert (note.text, note.score) == ("h", 1.0)
        with new_bag(tmp_path / "copy", "sqlite3") as copy:
            copy.copy_connection(connection)
    with open_bag(tmp_path / "copy") as bag:
        assert bag.connections[0].msgdef == connection.msgdef


def forget_definitions(folder):
    """What ROS 2 before Iron recorded: no definition of any type."""
    (file,) = folder.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM message_definitions")
    database.close()


def test_without_definitions_ros_s_own_types_are_known_and_others_are_named(tmp_path):
    types = camera_types()
    messages = message_classes(types)
    with new_bag(tmp_path / "old", "sqlite3") as bag:
        write = bag.add_topic("/bodies", "camera_msgs/msg/Body", types)
        write(START_NS, messages.Body())
        note = bag.add_topic("/notes", "std_msgs/msg/String", types)
        note(START_NS + 1, messages.String(data="x"))
    forget_definitions(tmp_path / "old")
    with open_bag(tmp_path / "old") as bag:
        bodies, notes = bag.connections
        raw = next(iter(bag.messages([notes])))[2]
        assert bag.decoder(notes)(raw).data == "x"
        with pytest.raises(InputError, match=r"/bodies holds camera_msgs/msg/Body, which the bag"):
            bag.decoder(bodies)
        with new_bag(tmp_path / "copy", "sqlite3") as copy:
            copies = {item.id: copy.copy_connection(item) for item in bag.connections}
            for item, stamp_ns, raw in bag.messages():
                copy.write(copies[item.id], stamp_ns, raw)
    assert read_all(tmp_path / "copy") == read_all(tmp_path / "old")
    with open_bag(tmp_path / "copy") as bag:
        assert bag.connections[1].msgdef.data == "string data\n"


def damage(path, kind):
    data = bytearray(path.read_bytes())
    if kind == "cut":
        data = data[: len(data) // 2]
    elif kind == "flipped":
        data[40:400] = bytes(value ^ 0x5A for value in data[40:400])
    else:
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty"])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_damaged_file_is_one_sentence(tmp_path, storage, kind):
    folder = write_notes(tmp_path / "notes", storage, ["x" * 1000] * 50)
    (file,) = set(folder.iterdir()) - {folder / "metadata.yaml"}
    damage(file, kind)
    for path in (file, folder):
        with pytest.raises(InputError, match=r"not a complete bag of ROS 2: .*ros2 bag reindex"):
            read_all(path)


@pytest.mark.parametrize("text", ["", "a: [", "a: 1", "rosbag2_bagfile_information: {version: 4}"])
def test_damaged_metadata_is_one_sentence(tmp_path, text):
    folder = write_notes(tmp_path / "notes", "mcap")
    (folder / "metadata.yaml").write_text(text)
    with pytest.raises(InputError, match="notes: not a complete bag of ROS 2"):
        read_all(folder)


def test_what_is_no_bag_is_refused(tmp_path):
    for name, sentence in (
        ("nothing", "expected a bag, found nothing there"),
        ("", "got a folder without metadata.yaml; `ros2 bag reindex` writes it"),
        ("a.txt", "expected a folder, an .mcap or a .db3 file$"),
        ("a.bag", "`rosbags-convert` turns bags of ROS 1 into some"),
    ):
        if "." in name:
            (tmp_path / name).touch()
        with pytest.raises(InputError, match=sentence), open_bag(tmp_path / name):
            pass


def test_a_damaged_message_is_a_fault_of_that_message(tmp_path):
    write_notes(tmp_path / "notes", "mcap")
    rng = np.random.default_rng(0)
    with open_bag(tmp_path / "notes") as bag:
        decode = bag.decoder(bag.connections[0])
        for size in range(40):
            raw = b"\x00\x01\x00\x00" + b"\xff" * (size % 4) + rng.bytes(size)
            with pytest.raises(InputError, match="/notes: damaged message"):
                decode(raw)


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path):
    path = write_notes(tmp_path / "notes", "mcap")
    before = read_all(path)
    with pytest.raises(InputError, match="notes: exists already"):
        write_notes(path, "mcap", ["new"])
    assert read_all(path) == before
    with pytest.raises(KeyboardInterrupt), new_bag(tmp_path / "broken", "sqlite3"):
        raise KeyboardInterrupt
    assert [item.name for item in tmp_path.iterdir()] == ["notes"]


def test_a_full_disk_is_a_fault_of_the_disk(tmp_path):
    def write():
        with new_bag(tmp_path / "full", "sqlite3"):
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(OSError, match="full: database or disk is full"):
        write()


def test_the_missing_library_is_named_with_its_install_command(tmp_path, monkeypatch):
    path = write_notes(tmp_path / "notes", "mcap")
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(InputError, match=r"pip install 'iospstl_ros\[bags\]'"), open_bag(path):
        pass
