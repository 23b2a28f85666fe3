"""The adapter `custom`: whatever a joint map describes can be read."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters import make_adapter
from iospstl_ros.adapters.adapter import AdapterSettings
from iospstl_ros.adapters.joint_maps import joint_map_to_mapping, load_joint_map
from tests.ros import source_messages as source

ROOT = Path(__file__).parents[2]
PLACE = source.raised_hand()
JOINTS = source.joints_of(PLACE)
POSES = {"points": "poses", "point": "position"}
HIROS = {
    "persons": "skeletons",
    "id": "id",
    "points": "markers",
    "point": "center.pose.position",
    "index": "id",
    "confidence": "confidence",
}
NUITRACK = {
    "header": "",
    "persons": "skeletons",
    "points": "joints",
    "point": "real",
    "index": "type",
    "confidence": "confidence",
}


@pytest.fixture
def adapter(tmp_path):
    """Return a function: the adapter for a map of ours with a section `message`."""

    def make(base, message, **changes):
        data = joint_map_to_mapping(load_joint_map(base)) | {"message": message} | changes
        path = tmp_path / "map.yaml"
        path.write_text(yaml.safe_dump(data))
        settings = AdapterSettings("custom", "", str(path), "my_msgs/msg/People", lambda: 77)
        return make_adapter(settings)

    return make


def lost(frame):
    missing = np.isnan(next(iter(frame.persons.values()))[:, 0]) & ~frame.structural
    return {NTU_25.joints[joint] for joint in np.flatnonzero(missing)}


def assert_joints(frame, person, expected=JOINTS):
    seen = ~frame.structural
    seen[NTU_25.index("Neck")] = False  # COCO has none of its own
    np.testing.assert_allclose(frame.persons[person][seen], expected[seen], atol=1e-5)


def test_one_person_a_message_told_by_the_order_of_its_points(adapter):
    ours = adapter("coco-17", POSES)
    assert (ours.name, ours.message_type) == ("custom", "my_msgs/msg/People")
    assert "my_msgs" in ours.install
    frame = ours.read(source.pose_array(PLACE), 0.0)
    assert_joints(frame, 0)
    assert not frame.has_ids
    assert (frame.stamp_ns, frame.frame_id, frame.axes) == (source.STAMP_NS, "base_link", "ros")


def test_an_order_of_another_length_is_refused(adapter):
    message = source.pose_array(PLACE)
    message.poses = message.poses[:-1]
    with pytest.raises(InputError, match=r"custom: poses: expected 17 points \(coco-17\), got 16"):
        adapter("coco-17", POSES).read(message, 0.0)


@pytest.mark.parametrize(("missing", "expected"), [("nan", set()), ("zero", {"KneeLeft"})])
def test_zero_is_a_place_unless_the_map_says_otherwise(adapter, missing, expected):
    message = source.pose_array(PLACE)
    knee, wrist = (
        message.poses[source.COCO_17.index(n)].position for n in ("KneeLeft", "WristLeft")
    )
    knee.x = knee.y = knee.z = 0.0
    wrist.y = float("nan")
    frame = adapter("coco-17", {**POSES, "missing": missing}).read(message, 0.0)
    assert lost(frame) == expected | {"WristLeft"}


def test_several_people_by_number(adapter):
    other = source.raised_hand(-0.8)
    frame = adapter("k4abt-32", HIROS).read(source.hiros({3: PLACE, 7: other}), 0.3)
    assert frame.has_ids
    assert_joints(frame, 3)
    assert_joints(frame, 7, source.joints_of(other))


def test_names_of_people(adapter):
    message = source.hiros({3: PLACE, 7: PLACE})
    message.skeletons[0].id, message.skeletons[1].id = "Ada", "Bob"
    frame = adapter("k4abt-32", HIROS).read(message, 0.3)
    assert frame.names == {0: "Ada", 1: "Bob"}


def test_confidence(adapter):
    message = source.hiros({3: PLACE})
    for joint, sure in (("KneeLeft", 0.0), ("KneeRight", np.nan), ("HipLeft", 0.29)):
        message.skeletons[0].markers[source.K4ABT_32.index(joint)].confidence = sure
    ours = adapter("k4abt-32", HIROS)
    assert lost(ours.read(message, 0.3)) == {"KneeLeft", "KneeRight", "HipLeft"}
    assert lost(ours.read(message, 0.0)) == {"KneeLeft", "KneeRight"}


def test_by_name(adapter):
    points = [
        SimpleNamespace(label=name, at=list(source.optical(PLACE[joint])))
        for name, joint in zip(
            load_joint_map("k4abt-32").joint_names, source.K4ABT_32, strict=True
        )
        if joint != "KneeLeft"
    ]
    message = SimpleNamespace(header=source.header(), points=points[::-1])
    ours = adapter("k4abt-32", {"points": "points", "point": "at", "name": "label"})
    frame = ours.read(message, 0.0)
    assert lost(frame) == {"KneeLeft"}
    message.points.append(message.points[0])
    with pytest.raises(InputError, match="points: expected each joint once, got EAR_RIGHT again"):
        ours.read(message, 0.0)
    message.points[-1] = SimpleNamespace(label="", at=[0, 0, 0])
    with pytest.raises(InputError, match="label: expected a joint of map k4abt-32, got ''"):
        ours.read(message, 0.0)


def test_without_header_and_ids_in_millimetres(adapter):
    frame = adapter("nuitrack", NUITRACK).read(source.nuitrack({3: PLACE, 4: PLACE}), 0.3)
    assert frame.stamp_ns == 77
    assert list(frame.persons) == [0, 1]
    assert not frame.has_ids
    assert_joints(frame, 1)


def test_numbers_from_one(adapter):
    message = source.yolo({3: PLACE}).detections[0].keypoints3d
    message.header = source.header("camera_optical")
    form = {"points": "data", "point": "point", "index": "id", "first_index": 1}
    assert_joints(adapter("coco-17", form).read(message, 0.0), 0)
    with pytest.raises(InputError, match="id: expected 0 to 16, got 17"):
        adapter("coco-17", {**form, "first_index": 0}).read(message, 0.0)


def test_points_that_are_lists_themselves(adapter):
    points = [list(source.forward_left_up(PLACE[name])) for name in source.COCO_17]
    message = SimpleNamespace(header=source.header("base_link"), rows=points)
    assert_joints(adapter("coco-17", {"points": "rows"}).read(message, 0.0), 0)


def test_what_must_be_given():
    for given in ({}, {"joint_map": "coco-17"}, {"message_type": "my_msgs/msg/People"}):
        with pytest.raises(
            InputError, match=r"adapter custom: expected joint_map .* message_type"
        ):
            make_adapter(AdapterSettings("custom", **given))
    settings = AdapterSettings("custom", "", "coco-17", "my_msgs/msg/People")
    with pytest.raises(InputError, match="coco-17: expected a section 'message'"):
        make_adapter(settings)


def test_a_field_that_does_not_exist_is_named(adapter):
    with pytest.raises(InputError, match=r"fields of my_msgs/msg/People.*'people'"):
        adapter("coco-17", {"persons": "people", "points": "x"}).read(
            source.pose_array(PLACE), 0.0
        )


def test_the_map_in_the_documentation_is_one(tmp_path):
    text = (ROOT / "docs" / "node.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "my-camera.yaml"
    path.write_text(block)
    ours = make_adapter(AdapterSettings("custom", "", str(path), "my_msgs/msg/People"))
    places = [(0, -0.6, 2), (0, -0.4, 2), (-0.2, -0.3, 2), (0.2, -0.3, 2)]
    joints = [
        SimpleNamespace(position=SimpleNamespace(x=x, y=y, z=z), score=0.9) for x, y, z in places
    ]
    person = SimpleNamespace(track_id=5, joints=joints)
    header = source.pose_array(PLACE).header
    frame = ours.read(SimpleNamespace(header=header, people=[person]), 0.3)
    assert frame.has_ids
    seen = {name: frame.persons[5][NTU_25.index(name)] for name in ("Head", "SpineShoulder")}
    np.testing.assert_allclose(seen["Head"], [0, 0.6, 2], atol=1e-6)
    np.testing.assert_allclose(seen["SpineShoulder"], [0, 0.3, 2], atol=1e-6)
