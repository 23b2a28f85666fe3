"""Results to messages: the input's header, both kinds of joints, and what must go away."""

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from iospstl_core.skeleton import NTU_25
from iospstl_ros.live_windows import Arrival
from iospstl_ros.outputs import (
    MARKER_NAMESPACES,
    delete_message,
    imputed_message,
    label_message,
    marker_id,
    marker_message,
)
from iospstl_ros.pointcloud import read_skeletons
from iospstl_ros.results import FrameResult, PersonResult

ARRIVAL = Arrival(1_795_000_000_123_456_789, "kinect", 0.0, frozenset({1, 2}))


def person(track_id=1, label="wave", score=0.934, z=2.0, unfilled=(), hidden=("Head",)):
    xyz = np.array(NTU_25.rest_m, dtype=np.float32) + np.float32([0, 0, z])
    observed = np.ones(25, dtype=bool)
    observed[[NTU_25.index(name) for name in (*hidden, *unfilled)]] = False
    xyz[[NTU_25.index(name) for name in unfilled]] = np.nan
    confidence = np.where(observed, 1, np.where(np.isnan(xyz[:, 0]), 0, 0.25))
    return PersonResult(track_id, label, score, xyz, observed, confidence.astype(np.float32))


def by_namespace(message):
    return {marker.ns: marker for marker in message.markers}


def points(marker):
    return np.array([[point.x, point.y, point.z] for point in marker.points], dtype=np.float32)


def test_the_label_is_that_of_the_nearest_person():
    result = FrameResult(ARRIVAL, (person(1, "sit", z=3.0), person(2, "wave", z=2.0)))
    assert label_message(result).data == "wave"


def test_imputed_skeletons_keep_header_and_say_what_was_seen():
    one = person(2**32 - 1, unfilled=("FootLeft",))
    message = imputed_message(FrameResult(ARRIVAL, (one,)))
    assert message.header.frame_id == "kinect"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_795_000_000, 123_456_789)
    everything = read_skeletons(message, NTU_25).persons[2**32 - 1]
    np.testing.assert_array_equal(everything, one.xyz)
    seen = read_skeletons(message, NTU_25, 1.0).persons[2**32 - 1]
    np.testing.assert_array_equal(~np.isnan(seen[:, 0]), one.observed)


@pytest.mark.parametrize(("min_confidence", "shows"), [(0.2, True), (0.25, True), (0.3, False)])
def test_imputed_joints_carry_their_confidence(min_confidence, shows):
    message = imputed_message(FrameResult(ARRIVAL, (person(),)))
    found = read_skeletons(message, NTU_25, min_confidence).persons[1]
    assert np.isfinite(found[NTU_25.index("Head"), 0]) == shows
    assert np.isfinite(np.delete(found, NTU_25.index("Head"), axis=0)).all()


def test_markers_show_observed_imputed_bones_and_label():
    one = person(unfilled=("FootLeft",))
    message = marker_message(FrameResult(ARRIVAL, (one,)), lifetime_s=1.5)
    markers = by_namespace(message)
    assert tuple(markers) == MARKER_NAMESPACES
    for marker in message.markers:
        assert marker.header.frame_id == "kinect"
        assert marker.header.stamp.nanosec == 123_456_789
        assert (marker.id, marker.action) == (1, Marker.ADD)
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)
        assert marker.pose.orientation.w == 1.0
        assert marker.color.a > 0
    np.testing.assert_array_equal(points(markers["observed"]), one.xyz[one.observed])
    np.testing.assert_array_equal(points(markers["imputed"]), one.xyz[[NTU_25.index("Head")]])
    assert markers["bones"].type == Marker.LINE_LIST
    assert len(markers["bones"].points) == 2 * (len(NTU_25.bones) - 1)
    assert markers["observed"].color != markers["imputed"].color
    assert markers["label"].text == "wave 0.93"
    assert markers["label"].pose.position.y > one.xyz[NTU_25.index("Head"), 1]


def test_nothing_to_show_is_deleted_instead_of_sent_empty():
    markers = by_namespace(marker_message(FrameResult(ARRIVAL, (person(hidden=()),)), 1.0))
    assert markers["imputed"].action == Marker.DELETE
    assert markers["observed"].action == Marker.ADD
    nobody = person(unfilled=NTU_25.joints)
    markers = by_namespace(marker_message(FrameResult(ARRIVAL, (nobody,)), 1.0))
    assert {marker.action for marker in markers.values()} == {Marker.DELETE}


def test_a_label_without_head_stands_over_what_is_known():
    message = marker_message(FrameResult(ARRIVAL, (person(unfilled=("Head",)),)), 1.0)
    assert np.isfinite(by_namespace(message)["label"].pose.position.y)


def test_markers_of_people_who_left_are_deleted():
    message = delete_message(ARRIVAL, {5, 2**32 - 1})
    found = {(marker.ns, marker.id) for marker in message.markers}
    assert found == {(name, track_id) for name in MARKER_NAMESPACES for track_id in (5, -1)}
    assert {marker.action for marker in message.markers} == {Marker.DELETE}


@pytest.mark.parametrize(
    ("track_id", "expected"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 - 1, -1)]
)
def test_every_person_id_fits_into_a_marker_id(track_id, expected):
    assert marker_id(track_id) == expected
