"""Results to messages: the input's header, both kinds of joints, and what must go away."""

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import read_skeletons
from iospstl_ros.frames import to_source
from iospstl_ros.imputed import imputed_message
from iospstl_ros.outputs import (
    MARKER_NAMESPACES,
    delete_message,
    label_message,
    make_header,
    marker_id,
    marker_message,
)
from tests.ros.people import make_arrival, make_person, make_result


def by_namespace(message):
    return {marker.ns: marker for marker in message.markers}


def imputed(result):
    return imputed_message(result, make_header(result.arrival))


def points(marker):
    return np.array([[point.x, point.y, point.z] for point in marker.points], dtype=np.float32)


def test_the_label_is_that_of_the_nearest_person():
    result = make_result(make_person(1, "sit", z=3.0), make_person(2, "wave", z=2.0))
    assert label_message(result).data == "wave"


def test_there_is_no_label_where_too_little_was_seen_of_everybody():
    assert label_message(make_result(hidden=(1, 2))) is None


def test_imputed_skeletons_keep_header_and_say_what_was_seen():
    one = make_person(2**32 - 1, unfilled=("FootLeft",))
    message = imputed(make_result(one))
    assert message.header.frame_id == "kinect"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_795_000_000, 123_456_789)
    everything = read_skeletons(message, NTU_25).persons[2**32 - 1]
    np.testing.assert_array_equal(everything, one.xyz)
    seen = read_skeletons(message, NTU_25, 1.0).persons[2**32 - 1]
    np.testing.assert_array_equal(~np.isnan(seen[:, 0]), one.observed)


@pytest.mark.parametrize(("min_confidence", "shows"), [(0.2, True), (0.25, True), (0.3, False)])
def test_imputed_joints_carry_their_confidence(min_confidence, shows):
    message = imputed(make_result(make_person()))
    found = read_skeletons(message, NTU_25, min_confidence).persons[1]
    assert np.isfinite(found[NTU_25.index("Head"), 0]) == shows
    assert np.isfinite(np.delete(found, NTU_25.index("Head"), axis=0)).all()


def test_markers_show_observed_imputed_bones_and_label():
    one = make_person(unfilled=("FootLeft",))
    message = marker_message(make_result(one), lifetime_s=1.5)
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
    markers = by_namespace(marker_message(make_result(make_person(hidden=())), 1.0))
    assert markers["imputed"].action == Marker.DELETE
    assert markers["observed"].action == Marker.ADD
    nobody = make_person(unfilled=NTU_25.joints)
    markers = by_namespace(marker_message(make_result(nobody), 1.0))
    assert {marker.action for marker in markers.values()} == {Marker.DELETE}


def test_a_label_without_head_stands_over_what_is_known():
    message = marker_message(make_result(make_person(unfilled=("Head",))), 1.0)
    assert np.isfinite(by_namespace(message)["label"].pose.position.y)


def test_markers_of_people_who_left_are_deleted():
    message = delete_message(make_arrival(), {5, 2**32 - 1})
    found = {(marker.ns, marker.id) for marker in message.markers}
    assert found == {(name, track_id) for name in MARKER_NAMESPACES for track_id in (5, -1)}
    assert {marker.action for marker in message.markers} == {Marker.DELETE}


@pytest.mark.parametrize(
    ("track_id", "expected"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 - 1, -1)]
)
def test_every_person_id_fits_into_a_marker_id(track_id, expected):
    assert marker_id(track_id) == expected


@pytest.mark.parametrize("axes", ["optical", "ros"])
def test_everything_goes_back_to_the_axes_of_the_source(axes):
    one = make_person(unfilled=("FootLeft",))
    result = make_result(one, axes=axes)
    sent = read_skeletons(imputed(result), NTU_25).persons[1]
    np.testing.assert_array_equal(sent, to_source(one.xyz, axes))
    markers = by_namespace(marker_message(result, lifetime_s=1.5))
    np.testing.assert_array_equal(
        points(markers["observed"]), to_source(one.xyz[one.observed], axes)
    )
    place = markers["label"].pose.position
    above = np.array([place.x, place.y, place.z]) - to_source(one.xyz[NTU_25.index("Head")], axes)
    up = {"optical": [0, -0.25, 0], "ros": [0, 0, 0.25]}[axes]
    np.testing.assert_allclose(above, up, atol=1e-6)
