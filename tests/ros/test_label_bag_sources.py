"""Recordings of cameras' own messages: the bag carries their definitions, the labels are right."""

import json

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters import MAKERS
from iospstl_ros.adapters.pointcloud import read_skeletons
from iospstl_ros.bags import new_bag, open_bag, standard_types
from iospstl_ros.frames import to_models
from iospstl_ros.label_bag import Job, label_bag
from iospstl_ros.settings import RecognizerParameters
from tests.ros import source_messages as source
from tests.ros.recordings import read_objects, stamp_of

START_NS = 1_795_000_000_000_000_000
PERIOD_NS = 33_333_333
LATE_NS = 4_000_000

ZED = {
    "zed_msgs/msg/ObjectsStamped": "std_msgs/Header header\nzed_msgs/Object[] objects",
    "zed_msgs/msg/Object": (
        "string label\nint16 label_id\nfloat32 confidence\nbool tracking_available\n"
        "int8 tracking_state\nbool skeleton_available\nint8 body_format\n"
        "zed_msgs/Skeleton3D skeleton_3d"
    ),
    "zed_msgs/msg/Skeleton3D": "zed_msgs/Keypoint3D[70] keypoints",
    "zed_msgs/msg/Keypoint3D": "float32[3] kp",
}
YOLO = {
    "yolo_msgs/msg/DetectionArray": "std_msgs/Header header\nyolo_msgs/Detection[] detections",
    "yolo_msgs/msg/Detection": (
        "int32 class_id\nstring class_name\nfloat64 score\nstring id\n"
        "yolo_msgs/KeyPoint3DArray keypoints3d"
    ),
    "yolo_msgs/msg/KeyPoint3DArray": "yolo_msgs/KeyPoint3D[] data\nstring frame_id",
    "yolo_msgs/msg/KeyPoint3D": "int32 id\ngeometry_msgs/Point point\nfloat64 score",
}
HIROS = {
    "hiros_skeleton_msgs/msg/SkeletonGroup": (
        "std_msgs/Header header\nhiros_skeleton_msgs/Skeleton[] skeletons"
    ),
    "hiros_skeleton_msgs/msg/Skeleton": (
        "int32 id\nfloat64 confidence\nhiros_skeleton_msgs/Marker[] markers"
    ),
    "hiros_skeleton_msgs/msg/Marker": (
        "int32 id\nstring name\nfloat64 confidence\nhiros_skeleton_msgs/KinematicState center"
    ),
    "hiros_skeleton_msgs/msg/KinematicState": "geometry_msgs/Pose pose",
}
NUITRACK = {
    "nuitrack_msgs/msg/Skeletons": "nuitrack_msgs/Skeleton[] skeletons",
    "nuitrack_msgs/msg/Skeleton": "int32 id\nnuitrack_msgs/Joint[] joints",
    "nuitrack_msgs/msg/Joint": (
        "int32 type\nfloat32 confidence\nfloat32[3] real\nfloat32[3] projection\n"
        "float32[9] orientation"
    ),
}
SOURCES = {
    "k4a_markers": (source.k4a_markers, {}),
    "zed": (source.zed, ZED),
    "yolo": (source.yolo, YOLO),
    "hiros": (source.hiros, HIROS),
    "nuitrack": (source.nuitrack, NUITRACK),
}


def test_every_source_is_here():
    others = {"pointcloud", "custom", "ros4hri"}  # test_label_bag; a map's own; several topics
    assert set(SOURCES) | others == set(MAKERS)


def convert(store, message_type, fake):
    """Return a message of a type store with the fields of another object, or zeros."""
    values = {}
    for name, description in store.fielddefs[message_type][1]:
        values[name] = _convert_field(store, description, getattr(fake, name, None))
    return store.types[message_type](**values)


def _convert_field(store, description, value):
    kind, detail = description
    if kind == 1:
        zero = {"string": "", "bool": False}.get(detail[0], 0)
        return zero if value is None else value
    if kind == 2:
        return convert(store, detail, value)
    item, length = detail
    if item[0] == 2:
        return [convert(store, item[1], one) for one in (() if value is None else value)]
    size = length if kind == 3 else 0
    if item[1][0] == "string":
        return [""] * size
    return np.zeros(size, item[1][0]) if value is None else np.asarray(value, item[1][0])


def restamp(message, stamp_ns):
    for one in (message, *getattr(message, "markers", ())):
        if hasattr(one, "header"):
            one.header.stamp.sec, one.header.stamp.nanosec = divmod(stamp_ns, 10**9)


def write_camera(path, message_type, make, definitions, hidden):
    store = standard_types()
    types = {}
    for name, text in definitions.items():
        types |= get_types_from_msg(text, name)
    if types:
        store.register(types)
    fake = make({7: source.raised_hand()}, hidden)
    with new_bag(path, "mcap") as bag:
        write = bag.add_topic("/camera/bodies", message_type, store)
        for index in range(30):
            stamp_ns = START_NS + index * PERIOD_NS
            message = convert(store, message_type, fake)
            restamp(message, stamp_ns)
            write(stamp_ns + LATE_NS, message)


@pytest.mark.parametrize("name", SOURCES)
def test_a_camera_s_bag_gets_the_right_labels_in_its_own_axes(tmp_path, bundle, name):
    make, definitions = SOURCES[name]
    message_type = next(iter(definitions), "visualization_msgs/msg/MarkerArray")
    hidden = ("KneeLeft", "AnkleLeft")
    write_camera(tmp_path / "in", message_type, make, definitions, hidden)
    parameters = RecognizerParameters(bundle=str(bundle), adapter=name, smoothing=0.0)
    summary = label_bag(Job(tmp_path / "in", tmp_path / "out"), parameters)
    assert summary.faults == {}
    assert summary.labels == 9
    rows = [
        json.loads(item.data) for _, item in read_objects(tmp_path / "out", "/recognizer/labels")
    ]
    assert {row["name"] for row in rows} == {"7"}
    if name != "yolo":  # it has no hands, in which the classes differ
        assert {row["label"] for row in rows} == {"hand up"}
    late_ns = LATE_NS if name == "nuitrack" else 0  # no stamp: when it was recorded
    assert rows[-1]["stamp_ns"] == START_NS + 29 * PERIOD_NS + late_ns
    bag_ns, cloud = read_objects(tmp_path / "out", "/recognizer/imputed")[-1]
    assert bag_ns == START_NS + 29 * PERIOD_NS + LATE_NS
    assert stamp_of(cloud) == rows[-1]["stamp_ns"]
    (xyz,) = read_skeletons(cloud, NTU_25).persons.values()
    turned = to_models(xyz, {"zed": "ros", "nuitrack": "openni"}.get(name, "optical"))
    place = source.raised_hand()
    for joint in ("WristRight", "ShoulderLeft", "KneeRight"):
        np.testing.assert_allclose(turned[NTU_25.index(joint)], place[joint], atol=1e-5)
    assert np.isfinite(turned[NTU_25.index("KneeLeft")]).all()


def test_several_topics_are_refused_with_the_way_around_it(tmp_path, bundle):
    store = standard_types()
    store.register(
        get_types_from_msg("std_msgs/Header header\nstring[] ids", "hri_msgs/msg/IdsList")
    )
    with new_bag(tmp_path / "in", "mcap") as bag:
        bag.add_topic("/humans/bodies/tracked", "hri_msgs/msg/IdsList", store)
    parameters = RecognizerParameters(bundle=str(bundle), adapter="ros4hri")
    with pytest.raises(
        ValueError, match=r"ros4hri: needs more than one topic.*iospstl-player --bag"
    ):
        label_bag(Job(tmp_path / "in", tmp_path / "out"), parameters)
    with open_bag(tmp_path / "in"):
        assert not (tmp_path / "out").exists()
