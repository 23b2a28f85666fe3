"""ROS4HRI: who is tracked, what is seen and where things are come apart and are put together."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters import make_adapter
from iospstl_ros.adapters.adapter import AdapterSettings
from iospstl_ros.adapters.joint_map import JointRule
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.ros4hri import Bodies, BodySkeleton
from tests.ros import source_messages as source

PLACE = source.raised_hand()
LATER_NS = source.STAMP_NS + 100_000_000


def make_bodies(people):
    bodies = Bodies(load_joint_map("ros4hri"), load_joint_map("openpose-18"))
    bodies.find_transform = source.transforms(people)
    return bodies


def lost(xyz):
    seen = ~np.isnan(xyz[:, 0]) | load_joint_map("ros4hri").structural
    return {NTU_25.joints[joint] for joint in np.flatnonzero(~seen)}


def test_a_frame_is_complete_with_the_last_body():
    bodies = make_bodies({"abc": PLACE, "xyz": PLACE})
    assert bodies.read(source.ids_list(["abc", "xyz"]), 0.3) is None
    assert bodies.read(source.skeleton_2d("xyz"), 0.3) is None
    frame = bodies.read(source.skeleton_2d("abc"), 0.3)
    assert frame.names == {0: "xyz", 1: "abc"}
    assert frame.stamp_ns == source.STAMP_NS
    assert frame.frame_id == "camera_optical_frame"


def test_whoever_stays_away_is_not_waited_for():
    bodies = make_bodies({"abc": PLACE, "xyz": PLACE})
    bodies.read(source.ids_list(["abc", "xyz"]), 0.3)
    assert bodies.read(source.skeleton_2d("xyz"), 0.3) is None
    frame = bodies.read(source.skeleton_2d("xyz", stamp_ns=LATER_NS), 0.3)
    assert (frame.stamp_ns, list(frame.names.values())) == (source.STAMP_NS, ["xyz"])
    frame = bodies.read(source.ids_list(["xyz"], LATER_NS), 0.3)
    assert (frame.stamp_ns, list(frame.names.values())) == (LATER_NS, ["xyz"])


def test_nobody_is_a_frame_without_people():
    bodies = make_bodies({"abc": PLACE})
    bodies.read(source.ids_list(["abc"]), 0.3)
    frame = bodies.read(source.ids_list([], LATER_NS), 0.3)
    assert (frame.stamp_ns, frame.persons) == (LATER_NS, {})
    assert bodies.read(source.skeleton_2d("abc", stamp_ns=LATER_NS), 0.3) is None


def test_confidence_is_the_mask_though_inverse_kinematics_fills_all():
    bodies = make_bodies({"abc": PLACE})
    bodies.read(source.ids_list(["abc"]), 0.3)
    frame = bodies.read(source.skeleton_2d("abc", ("AnkleLeft", "AnkleRight")), 0.3)
    assert lost(frame.persons[0]) == {"AnkleLeft", "AnkleRight"}
    message = source.skeleton_2d("abc", stamp_ns=LATER_NS)
    for point in message.skeleton.skeleton:
        point.c = 0.4
    assert lost(bodies.read(message, 0.3).persons[0]) == set()
    message.skeleton.header = source.header("camera_optical_frame", LATER_NS + 1)
    assert len(lost(bodies.read(message, 0.5).persons[0])) == 17


def test_joints_that_a_skeleton_2d_never_has_are_as_tf_has_them():
    plain = load_joint_map("ros4hri")
    with_hand = replace(plain, rules={**plain.rules, "HandLeft": JointRule(("l_wrist",))})
    bodies = Bodies(with_hand, load_joint_map("openpose-18"))
    bodies.find_transform = source.transforms({"abc": PLACE})
    bodies.read(source.ids_list(["abc"]), 0.3)
    found = bodies.read(source.skeleton_2d("abc", ("WristLeft",)), 0.3).persons[0]
    np.testing.assert_allclose(found[NTU_25.index("HandLeft")], PLACE["WristLeft"], atol=1e-5)


def test_a_frame_that_tf_does_not_have_is_a_missing_joint():
    bodies = make_bodies({"abc": PLACE})
    everything = bodies.find_transform
    bodies.find_transform = lambda target, link: (
        None if link == "l_knee_abc" else everything(target, link)
    )
    bodies.read(source.ids_list(["abc"]), 0.3)
    frame = bodies.read(source.skeleton_2d("abc"), 0.3)
    assert lost(frame.persons[0]) == {"KneeLeft"}


@pytest.mark.parametrize(("age_ns", "n_lost"), [(0, 0), (400_000_000, 0), (600_000_000, 17)])
def test_a_transform_that_is_old_is_a_missing_joint(age_ns, n_lost):
    bodies = make_bodies({})
    bodies.find_transform = source.transforms({"abc": PLACE}, source.STAMP_NS - age_ns)
    bodies.read(source.ids_list(["abc"]), 0.3)
    frame = bodies.read(source.skeleton_2d("abc"), 0.3)
    assert len(lost(frame.persons[0])) == n_lost


def test_a_skeleton_of_another_length_is_refused():
    adapter = make_adapter(AdapterSettings("ros4hri"))
    adapter.read(source.ids_list(["abc"]), 0.3)
    message = source.skeleton_2d("abc")
    del message.skeleton.skeleton[3]
    with pytest.raises(InputError, match=r"ros4hri: skeleton: expected numbers of shape \(18,\)"):
        adapter.read(message, 0.3)


class FakeNode:
    """Keeps its subscriptions by topic."""

    def __init__(self):
        self.callbacks = {}

    def create_subscription(self, message_class, topic, callback, depth):
        assert message_class.__name__ == "Skeleton2D"
        self.callbacks[topic] = callback
        return topic

    def destroy_subscription(self, topic):
        del self.callbacks[topic]


@pytest.fixture
def packages(monkeypatch):
    """What stands for tf2_ros and hri_msgs; returns the listeners that are made."""
    listeners = []

    class TransformException(Exception):
        pass

    class Buffer:
        def lookup_transform(self, target, link, time):
            assert time.nanoseconds == 0
            found = source.transforms({"abc": PLACE, "xyz": PLACE})(target, link)
            if found is None:
                raise TransformException(link)
            return found

    class TransformListener:
        def __init__(self, buffer, node):
            listeners.append(self)

        def unregister(self):
            listeners.remove(self)

    tf2_ros, hri_msgs = ModuleType("tf2_ros"), ModuleType("hri_msgs.msg")
    tf2_ros.Buffer, tf2_ros.TransformListener = Buffer, TransformListener
    tf2_ros.TransformException = TransformException
    hri_msgs.Skeleton2D = type("Skeleton2D", (), {})
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)
    monkeypatch.setitem(sys.modules, "hri_msgs", ModuleType("hri_msgs"))
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", hri_msgs)
    return listeners


def test_a_node_listens_to_whoever_is_tracked(packages):
    adapter, node, frames = make_adapter(AdapterSettings("ros4hri")), FakeNode(), []
    detach = adapter.attach(node, lambda message: frames.append(adapter.read(message, 0.3)))
    assert len(packages) == 1
    adapter.read(source.ids_list(["abc", "xyz"]), 0.3)
    assert set(node.callbacks) == {f"/humans/bodies/{name}/skeleton2d" for name in ("abc", "xyz")}
    for name in ("abc", "xyz"):
        node.callbacks[f"/humans/bodies/{name}/skeleton2d"](source.skeleton_2d(name).skeleton)
    assert frames[0] is None
    assert set(frames[1].names.values()) == {"abc", "xyz"}
    assert lost(frames[1].persons[0]) == set()
    adapter.read(source.ids_list(["xyz"], LATER_NS), 0.3)
    assert set(node.callbacks) == {"/humans/bodies/xyz/skeleton2d"}
    detach()
    assert node.callbacks == {}
    assert packages == []
    adapter.read(source.ids_list(["abc"], LATER_NS), 0.3)
    assert node.callbacks == {}


def test_every_name_on_the_list_makes_one_valid_topic(packages):
    adapter, node = make_adapter(AdapterSettings("ros4hri")), FakeNode()
    adapter.attach(node, lambda message: None)
    for name in ("", "a/b", "a b", "~", "../x", "1; rm", "1abc"):
        with pytest.raises(
            InputError, match="ros4hri: ids: expected letters, digits and _, a digit not first"
        ):
            adapter.read(source.ids_list([name]), 0.3)
    assert node.callbacks == {}


@pytest.mark.parametrize(
    ("missing", "command"), [("tf2_ros", "tf2-ros-py"), ("hri_msgs.msg", "hri-msgs")]
)
def test_missing_packages_are_named_with_their_remedy(packages, monkeypatch, missing, command):
    monkeypatch.setitem(sys.modules, missing, None)
    node = FakeNode()
    with pytest.raises(InputError, match=f"{missing}.*; install it with: sudo apt .*{command}"):
        make_adapter(AdapterSettings("ros4hri")).attach(node, lambda message: None)
    assert packages == []


def test_a_skeleton_without_its_body_is_refused():
    adapter = make_adapter(AdapterSettings("ros4hri"))
    with pytest.raises(InputError, match="fields of hri_msgs/msg/IdsList, got AttributeError"):
        adapter.read(source.skeleton_2d("abc").skeleton, 0.3)
    adapter.read(source.ids_list(["abc"]), 0.3)
    with pytest.raises(InputError, match="got AttributeError"):
        adapter.read(BodySkeleton("abc", SimpleNamespace()), 0.3)
