"""Every adapter on messages of the real shape: the same person comes out of all of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.errors import InputError
from iospstl_core.plausibility import mirror_sign
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters import MAKERS, make_adapter
from iospstl_ros.adapters.adapter import AdapterSettings
from iospstl_ros.adapters.joint_maps import joint_map_to_mapping, load_joint_map
from iospstl_ros.adapters.message_fields import IdTable
from iospstl_ros.frames import to_source
from tests.ros import source_messages as source

PLACE = source.raised_hand()
JOINTS = source.joints_of(PLACE)
CLOCK_NS = 123_456_789


def read_with(name, message, min_confidence=0.3, **settings):
    adapter = make_adapter(AdapterSettings(name, clock_ns=lambda: CLOCK_NS, **settings))
    return adapter.read(message, min_confidence)


def read_ros4hri(people, hidden=()):
    """Read what the topics of ROS4HRI say, one message after the other."""
    adapter = make_adapter(AdapterSettings("ros4hri"))
    bodies = adapter.read.__wrapped__.__self__
    named = {f"b{body}": place for body, place in people.items()}
    bodies.find_transform = source.transforms(named)
    assert adapter.read(source.ids_list(named), 0.3) is None
    frames = [adapter.read(source.skeleton_2d(name, hidden), 0.3) for name in named]
    assert frames[:-1] == [None] * (len(people) - 1)
    return frames[-1]


def zed_reader(body_format):
    return lambda people, hidden=(): read_with("zed", source.zed(people, hidden, body_format))


def yolo_in_base_link(people, hidden=()):
    axes = source.forward_left_up
    return read_with("yolo", source.yolo(people, hidden, "base_link", axes))


SOURCES = {
    "k4a_markers": lambda *args: read_with("k4a_markers", source.k4a_markers(*args)),
    "zed 18": zed_reader(0),
    "zed 34": zed_reader(1),
    "zed 38": zed_reader(2),
    "yolo": lambda *args: read_with("yolo", source.yolo(*args)),
    "yolo in base_link": yolo_in_base_link,
    "hiros": lambda *args: read_with("hiros", source.hiros(*args)),
    "ros4hri": read_ros4hri,
    "nuitrack": lambda *args: read_with("nuitrack", source.nuitrack(*args)),
}
STRUCTURAL = {
    **{"k4a_markers": 0, "zed 18": 8, "zed 34": 0, "zed 38": 0, "yolo": 8},
    **{"yolo in base_link": 8, "hiros": 0, "ros4hri": 8, "nuitrack": 6},
}
AXES = {
    **{"k4a_markers": "optical", "zed 18": "ros", "zed 34": "ros", "zed 38": "ros"},
    **{"yolo": "optical", "yolo in base_link": "ros", "hiros": "optical"},
    **{"ros4hri": "optical", "nuitrack": "openni"},
}


def joints_from(name, place=PLACE):
    """What a source can tell of a person: some have one point for neck and upper spine."""
    joints = source.joints_of(place)
    if name.startswith(("zed 18", "yolo")):
        joints[NTU_25.index("Neck")] = place["SpineShoulder"]
    return joints


def only_person(frame):
    assert len(frame.persons) == 1
    return next(iter(frame.persons.values()))


def lost(frame):
    """Names of the joints that are missing, apart from those that the source never has."""
    missing = np.isnan(only_person(frame)[:, 0]) & ~frame.structural
    return {NTU_25.joints[joint] for joint in np.flatnonzero(missing)}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_person_comes_out_of_every_source(name):
    frame = SOURCES[name]({3: PLACE})
    found = only_person(frame)
    assert found.dtype == np.float32
    assert frame.structural.sum() == STRUCTURAL[name]
    expected = np.where(frame.structural[:, None], np.nan, joints_from(name))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # By hand, in Kinect's axes: who faces the sensor has the right hand at the larger x.
    hand, head, foot = (
        found[NTU_25.index(joint)] for joint in ("WristRight", "Head", "AnkleLeft")
    )
    assert hand[0] > head[0]
    assert hand[1] > head[1] > foot[1]
    assert 1.8 < hand[2] < 2.1


@pytest.mark.parametrize("name", SOURCES)
def test_header_axes_and_way_back(name):
    frame = SOURCES[name]({3: PLACE})
    assert frame.stamp_ns == (CLOCK_NS if name == "nuitrack" else source.STAMP_NS)
    assert frame.frame_id
    assert frame.axes == AXES[name]
    turn = {"optical": source.optical, "ros": source.forward_left_up, "openni": source.openni_mm}
    scale = 0.001 if frame.axes == "openni" else 1.0
    expected = scale * np.array(turn[frame.axes](PLACE["WristRight"]))
    back = to_source(only_person(frame), frame.axes)
    np.testing.assert_allclose(back[NTU_25.index("WristRight")], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["k4a_markers", "zed 34", "zed 38", "hiros"])
def test_a_mirrored_person_is_found_out(name):
    mirrored = {joint: xyz * np.array([-1, 1, 1]) for joint, xyz in PLACE.items()}
    assert mirror_sign(only_person(SOURCES[name]({3: PLACE}))) == -1
    assert mirror_sign(only_person(SOURCES[name]({3: mirrored}))) == 1


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_source_does_not_see_is_missing(name):
    frame = SOURCES[name]({3: PLACE}, ("WristRight", "KneeLeft"))
    assert lost(frame) == {"WristRight", "KneeLeft"}
    seen = ~np.isnan(only_person(frame)[:, 0])
    np.testing.assert_allclose(only_person(frame)[seen], joints_from(name)[seen], atol=1e-5)


@pytest.mark.parametrize("name", ["zed 18", "yolo", "ros4hri"])
def test_half_a_pelvis_is_none(name):
    frame = SOURCES[name]({3: PLACE}, ("HipRight",))
    assert lost(frame) == {"HipRight", "SpineBase", "SpineMid"}


def test_half_a_hand_will_do():
    for hidden in (("BigKnuckleLeft", "SmallToeRight"), ("SmallKnuckleLeft", "BigToeRight")):
        frame = SOURCES["zed 38"]({3: PLACE}, hidden)
        assert lost(frame) == set()
        np.testing.assert_allclose(only_person(frame), JOINTS, atol=0.031)
    assert lost(SOURCES["zed 38"]({3: PLACE}, ("BigToeLeft", "SmallToeLeft"))) == {"FootLeft"}


def test_a_head_without_ears_is_where_the_nose_is():
    for name in ("zed 18", "zed 38", "yolo"):
        head = NTU_25.index("Head")
        one_ear = only_person(SOURCES[name]({3: PLACE}, ("EarLeft",)))[head]
        np.testing.assert_allclose(one_ear, PLACE["EarRight"], atol=1e-5)
        none = only_person(SOURCES[name]({3: PLACE}, ("EarLeft", "EarRight")))[head]
        np.testing.assert_allclose(none, PLACE["Nose"], atol=1e-5)
        assert lost(SOURCES[name]({3: PLACE}, ("EarLeft", "EarRight", "Nose"))) == {"Head"}


@pytest.mark.parametrize("name", SOURCES)
def test_two_people_stay_apart(name):
    other = source.raised_hand(-0.8)
    frame = SOURCES[name]({3: PLACE, 7: other})
    assert frame.has_ids
    ids = list(frame.persons)
    assert ids == ([0, 1] if name.startswith(("yolo", "ros4hri")) else [3, 7])
    first = {"yolo": "37", "ros4hri": ("b3", "b7")}.get(name.split()[0], ())
    assert frame.names == dict(enumerate(first))
    seen = ~frame.structural
    for person, place in zip(ids, (PLACE, other), strict=True):
        expected = joints_from(name, place)[seen]
        np.testing.assert_allclose(frame.persons[person][seen], expected, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "ros4hri"])
def test_a_crowd_beyond_any_camera_is_refused(name):
    crowd = {body: PLACE for body in range(101)}
    with pytest.raises(InputError, match="expected a list of at most"):
        SOURCES[name](crowd)


@pytest.mark.parametrize("name", SOURCES)
def test_what_no_camera_sees_is_refused(name):
    far = PLACE | {"KneeLeft": np.array([0.0, 0.0, 101.0])}
    with pytest.raises(
        InputError, match=r"person \d, .*(?i:knee).*: expected .* is the unit right"
    ):
        SOURCES[name]({3: far})


def test_millimetres_for_metres_are_refused():
    thousandfold = {joint: 1000 * xyz for joint, xyz in PLACE.items()}
    with pytest.raises(InputError, match=r"zed: person 3, .*is the unit right"):
        SOURCES["zed 34"]({3: thousandfold})


class TestAzureKinect:
    def test_markers_that_take_others_away_are_no_joints(self):
        message = source.k4a_markers({3: PLACE})
        for action in (Marker.DELETE, Marker.DELETEALL):
            message.markers.append(Marker(id=999, action=action))
        message.markers.insert(0, Marker(action=Marker.DELETEALL))
        np.testing.assert_allclose(
            only_person(read_with("k4a_markers", message)), JOINTS, atol=1e-5
        )

    def test_an_empty_array_follows_the_last_frame(self):
        adapter = make_adapter(AdapterSettings("k4a_markers"))
        assert adapter.invents_joints
        assert adapter.read(MarkerArray(), 0.0) is None
        adapter.read(source.k4a_markers({3: PLACE}), 0.0)
        empties = [adapter.read(MarkerArray(), 0.0) for _ in range(3)]
        assert [frame.persons for frame in empties] == [{}] * 3
        assert [frame.stamp_ns - source.STAMP_NS for frame in empties] == [1, 2, 3]
        assert {frame.frame_id for frame in empties} == {"depth_camera_link"}
        later = source.k4a_markers({3: PLACE}, stamp_ns=source.STAMP_NS + 200_000_000)
        assert adapter.read(later, 0.0).stamp_ns == source.STAMP_NS + 200_000_000

    def test_the_fork_with_a_header(self):
        array = source.k4a_markers({3: PLACE})
        header = source.header("camera_body", 5)
        stamped = SimpleNamespace(header=header, markers=array.markers)
        fork = "azure_kinect_ros_msgs/msg/MarkerArrayStamped"
        frame = read_with("k4a_markers", stamped, message_type=fork)
        assert (frame.stamp_ns, frame.frame_id) == (5, "camera_body")
        empty = read_with("k4a_markers", SimpleNamespace(header=header, markers=[]))
        assert (empty.stamp_ns, empty.persons) == (5, {})

    def test_joints_that_do_not_exist(self):
        message = source.k4a_markers({3: PLACE})
        message.markers[0].id = 332
        with pytest.raises(InputError, match=r"100 x body \+ joint from 0 to 31, got 332"):
            read_with("k4a_markers", message)
        message.markers[0].id = 301
        with pytest.raises(InputError, match="id: expected each once, got 301 again"):
            read_with("k4a_markers", message)
        message.markers[0].id = -1
        with pytest.raises(InputError, match="id: expected 0 to"):
            read_with("k4a_markers", message)

    def test_markers_of_two_frames(self):
        message = source.k4a_markers({3: PLACE})
        message.markers[5].header = Header(frame_id="map")
        with pytest.raises(InputError, match="expected one frame, got depth_camera_link and map"):
            read_with("k4a_markers", message)


class TestZed:
    def test_who_is_not_tracked_any_more_is_left_out(self):
        message = source.zed({3: PLACE, 7: PLACE, 8: PLACE})
        message.objects[0].tracking_state = 0
        message.objects[2].skeleton_available = False
        assert list(read_with("zed", message).persons) == [7]

    def test_without_tracking_nobody_has_an_id(self):
        message = source.zed({-1: PLACE, -2: PLACE})
        for body in message.objects:
            body.label_id, body.tracking_available, body.tracking_state = 5, False, 0
        frame = read_with("zed", message)
        assert list(frame.persons) == [0, 1]
        assert not frame.has_ids

    def test_one_coordinate_that_is_not_finite_is_a_missing_joint(self):
        message = source.zed({3: PLACE}, body_format=1)
        keypoints = message.objects[0].skeleton_3d.keypoints
        keypoints[source.ZED_34.index("KneeLeft")].kp[2] = np.inf
        assert lost(read_with("zed", message)) == {"KneeLeft"}

    def test_nobody(self):
        frame = read_with("zed", source.zed({}))
        assert frame.persons == {}
        assert frame.stamp_ns == source.STAMP_NS

    def test_formats(self):
        message = source.zed({3: PLACE, 4: PLACE})
        message.objects[0].body_format = 1
        with pytest.raises(InputError, match=r"body_format: expected one for all, got \[1, 2\]"):
            read_with("zed", message)
        message.objects[0].body_format = 3
        with pytest.raises(InputError, match="body_format: expected 0 to 2, got 3"):
            read_with("zed", message)
        message.objects = message.objects[1:]
        del message.objects[0].skeleton_3d.keypoints[30:]
        with pytest.raises(InputError, match=r"expected numbers of shape \(38, 3\)"):
            read_with("zed", message)


class TestYolo:
    def test_scores(self):
        message = source.yolo({3: PLACE})
        message.detections[0].keypoints3d.data[9].score = 0.29
        message.detections[0].keypoints3d.data[10].score = 0.3
        assert lost(read_with("yolo", message)) == {"WristLeft"}
        message.detections[0].keypoints3d.data[9].score = 0.0
        assert lost(read_with("yolo", message, min_confidence=0.0)) == {"WristLeft"}

    def test_who_is_not_tracked_makes_all_be_told_apart_by_position(self):
        message = source.yolo({3: PLACE, 4: PLACE})
        message.detections[1].id = ""
        frame = read_with("yolo", message)
        assert not frame.has_ids
        assert list(frame.persons) == [0, 1]
        assert frame.names == {}

    def test_numbers_of_names_stay(self):
        adapter = make_adapter(AdapterSettings("yolo"))
        for bodies, expected in (("ab", [0, 1]), ("b", [1]), ("cab", [2, 0, 1])):
            frame = adapter.read(source.yolo(dict.fromkeys(bodies, PLACE)), 0.3)
            assert list(frame.persons) == expected
            assert [frame.names[number] for number in expected] == list(bodies)

    def test_the_same_name_twice(self):
        message = source.yolo({3: PLACE, 4: PLACE})
        message.detections[1].id = "3"
        with pytest.raises(InputError, match="id: expected each person once"):
            read_with("yolo", message)

    def test_cups_and_chairs_are_no_people(self):
        message = source.yolo({3: PLACE})
        chair = SimpleNamespace(
            id="9", class_name="chair", keypoints3d=SimpleNamespace(data=[], frame_id="")
        )
        message.detections.insert(0, chair)
        assert len(read_with("yolo", message).persons) == 1
        message.detections = [chair] * 500
        assert read_with("yolo", message).persons == {}

    def test_holes_of_the_depth_image_in_the_frame_of_the_camera(self):
        message = source.yolo({3: PLACE})
        point = message.detections[0].keypoints3d.data[9].point
        point.x, point.y, point.z = 0.0, 0.0, 0.0
        assert lost(read_with("yolo", message)) == {"WristLeft"}
        point.z = 0.02
        assert lost(read_with("yolo", message)) == set()

    def test_holes_of_the_depth_image_in_another_frame(self):
        adapter = make_adapter(AdapterSettings("yolo"))
        camera = np.array([0.1, 0.05, 1.2])  # of a robot: its frame lies elsewhere

        def message_with_holes(*joints):
            message = source.yolo({3: PLACE}, (), "base_link", source.forward_left_up)
            for joint in joints:
                point = message.detections[0].keypoints3d.data[joint].point
                point.x, point.y, point.z = camera
            return message

        assert lost(adapter.read(message_with_holes(9, 10), 0.3)) == set()  # could be clapping
        several = lost(adapter.read(message_with_holes(7, 9, 10), 0.3))
        assert several == {"ElbowLeft", "WristLeft", "WristRight"}
        assert lost(adapter.read(message_with_holes(9), 0.3)) == {"WristLeft"}  # it is known now

    def test_key_points_of_two_frames(self):
        message = source.yolo({3: PLACE, 4: PLACE})
        message.detections[1].keypoints3d.frame_id = "map"
        with pytest.raises(InputError, match="frame_id: expected one for all"):
            read_with("yolo", message)

    def test_key_points_beyond_coco(self):
        message = source.yolo({3: PLACE})
        for number in (0, 18):
            message.detections[0].keypoints3d.data[3].id = number
            with pytest.raises(InputError, match=f"yolo: id: expected 1 to 17, got {number}"):
                read_with("yolo", message)


def test_names_are_forgotten_when_there_are_too_many():
    table = IdTable()
    assert [table.number(str(name)) for name in range(1000)] == list(range(1000))
    assert table.number("0") == 0  # in use again
    assert table.number("new") == 1000
    assert table.number("0") == 0
    assert table.number("1") == 1001  # it made room


class TestHiros:
    def test_names_count_before_numbers_in_any_spelling(self):
        message = source.hiros({3: PLACE})
        names = load_joint_map("k4abt-32").joint_names
        for marker in message.skeletons[0].markers:
            marker.name, marker.id = names[marker.id].lower().replace("_", " "), 77
        message.skeletons[0].markers.reverse()
        np.testing.assert_allclose(only_person(read_with("hiros", message)), JOINTS, atol=1e-5)

    def test_infinity_is_missing_too(self):
        message = source.hiros({3: PLACE})
        knee = message.skeletons[0].markers[source.K4ABT_32.index("KneeLeft")]
        knee.center.pose.position.y = np.inf
        assert lost(read_with("hiros", message)) == {"KneeLeft"}

    def test_markers_that_are_absent_are_missing(self):
        message = source.hiros({3: PLACE})
        del message.skeletons[0].markers[source.K4ABT_32.index("KneeLeft")]
        assert lost(read_with("hiros", message)) == {"KneeLeft"}

    def test_a_confidence_that_was_never_set_says_nothing(self):
        message = source.hiros({3: PLACE})
        for marker in message.skeletons[0].markers:
            marker.confidence = np.nan
        message.skeletons[0].markers[source.K4ABT_32.index("KneeLeft")].confidence = 0.1
        assert lost(read_with("hiros", message)) == {"KneeLeft"}

    def test_a_name_of_another_detector(self):
        message = source.hiros({3: PLACE})
        message.skeletons[0].markers[0].name = "SPINE_CHESTT"
        with pytest.raises(InputError, match="'SPINE_CHESTT'; the nearest is 'SPINE_CHEST'; set"):
            read_with("hiros", message)

    def test_a_map_of_the_user(self, tmp_path):
        data = joint_map_to_mapping(load_joint_map("k4abt-32")) | {"axes": "kinect"}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
        frame = read_with("hiros", source.hiros({3: PLACE}), joint_map=str(tmp_path / "mine.yaml"))
        assert frame.axes == "kinect"
        np.testing.assert_allclose(only_person(frame), JOINTS * [-1, -1, 1], atol=1e-5)


def test_nuitrack_confidences():
    message = source.nuitrack({3: PLACE})
    message.skeletons[0].joints[9].confidence = 0.0  # with a place all the same
    assert lost(read_with("nuitrack", message, min_confidence=0.0)) == {"HandLeft"}
    for joint in message.skeletons[0].joints:
        joint.real = np.array(joint.real, dtype=np.float32)
    assert lost(read_with("nuitrack", message)) == {"HandLeft"}
    message.skeletons[0].joints[3].real = [1.0, 2.0]
    with pytest.raises(InputError, match="nuitrack: joints: expected numbers of shape"):
        read_with("nuitrack", message)


def test_frames_are_not_shared():
    for name, read in SOURCES.items():
        first, second = read({3: PLACE}), read({3: PLACE})
        only_person(first)[:] = 0.0
        assert not (only_person(second) == 0.0).all(), name
        assert replace(first).has_ids


def test_unknown_adapters_are_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"one of pointcloud, k4a_markers, .*custom, got 'kinect'"
    ):
        make_adapter(AdapterSettings("kinect"))


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"pointcloud", "custom"}))
def test_a_type_from_another_package_has_another_way_to_install(name):
    adapter = make_adapter(AdapterSettings(name, message_type="my_msgs/msg/People"))
    assert adapter.message_type == "my_msgs/msg/People"
    assert "my_msgs" in adapter.install
    assert "my_msgs" not in make_adapter(AdapterSettings(name)).install
