"""Everybody's classes and boxes as ``vision_msgs/Detection3DArray``."""

import numpy as np
import pytest

from iospstl_core.skeleton import NTU_25
from iospstl_ros.detections import detection_message
from iospstl_ros.frames import to_source
from iospstl_ros.outputs import make_header
from tests.ros import fake_vision_msgs
from tests.ros.people import make_person, make_result


def detect(*persons, top_k=2, **arrival):
    result = make_result(*persons, **arrival)
    header = make_header(result.arrival)
    return detection_message(result, top_k, fake_vision_msgs, header), header


def hypotheses(detection):
    return [(item.hypothesis.class_id, item.hypothesis.score) for item in detection.results]


def point(position):
    return [position.x, position.y, position.z]


def test_everybody_is_there_with_the_header_of_the_input():
    message, header = detect(make_person(1), make_person(7, name="body_seven"))
    assert message.header == header
    assert [item.id for item in message.detections] == ["1", "body_seven"]
    assert all(item.header == header for item in message.detections)


def test_the_label_comes_first_even_where_smoothing_holds_on_to_it():
    message, _ = detect(make_person(1), make_person(2, "sit", 0.05), make_person(3), top_k=2)
    assert hypotheses(message.detections[0]) == [("wave", 0.934), ("sit", 0.05)]
    assert hypotheses(message.detections[1]) == [("sit", 0.05), ("wave", 0.934)]
    message, _ = detect(make_person(1), top_k=1)
    assert hypotheses(message.detections[0]) == [("wave", 0.934)]


def test_the_unknown_label_is_not_hidden_behind_the_best_class():
    message, _ = detect(make_person(1, "unknown", known=0.02))
    assert hypotheses(message.detections[0]) == [
        ("unknown", pytest.approx(0.98)),
        ("wave", 0.934),
        ("sit", 0.05),
    ]


@pytest.mark.parametrize("axes", ["kinect", "optical", "ros"])
def test_the_box_holds_all_known_joints_in_the_axes_of_the_source(axes):
    person = make_person(1, unfilled=("FootLeft",))
    message, _ = detect(person, axes=axes)
    box = message.detections[0].bbox
    xyz = to_source(np.delete(person.xyz, NTU_25.index("FootLeft"), axis=0), axes)
    np.testing.assert_allclose(
        point(box.center.position), (xyz.min(axis=0) + xyz.max(axis=0)) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(point(box.size), np.ptp(xyz, axis=0), rtol=1e-6)
    assert box.center.orientation.w == 1.0
    for item in message.detections[0].results:
        assert item.pose.pose == box.center


def test_a_person_of_whom_nothing_is_known_has_an_empty_box():
    message, _ = detect(make_person(1, unfilled=NTU_25.joints))
    box = message.detections[0].bbox
    assert point(box.size) == point(box.center.position) == [0, 0, 0]
