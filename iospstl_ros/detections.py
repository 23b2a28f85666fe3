"""Results as ``vision_msgs/Detection3DArray``: who does what, and where; no ROS needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from iospstl_ros.frames import FloatArray, to_source
from iospstl_ros.results import FrameResult, PersonResult


def detection_message(result: FrameResult, top_k: int, messages: Any, header: Any) -> Any:
    """Return everybody's best classes and the box around their completed joints.

    The first hypothesis is the label that ``/action_label`` would say. Where that is the unknown
    one, its score is the share of known actions that look less strange than this movement, and
    the best classes follow.

    Parameters
    ----------
    result : FrameResult
    top_k : int
        Classes of a person.
    messages : module
        ``vision_msgs.msg``, which not every system has.
    header : std_msgs/Header
        Goes into the messages.
    """
    detections = []
    for person in result.persons:
        xyz = to_source(person.xyz, result.arrival.axes)
        box = _box(xyz, messages)
        hypotheses = [
            _hypothesis(name, score, box.center, messages)
            for name, score in _ranked(person, top_k)
        ]
        detections.append(
            messages.Detection3D(header=header, results=hypotheses, bbox=box, id=person.name)
        )
    return messages.Detection3DArray(header=header, detections=detections)


def _ranked(person: PersonResult, top_k: int) -> list[tuple[str, float]]:
    """Return the label and the best of the other classes with their scores."""
    others = [pair for pair in person.top if pair[0] != person.label]
    if person.is_known:
        return [(person.label, person.score), *others[: top_k - 1]]
    return [(person.label, 1.0 - person.known), *person.top[:top_k]]


def _hypothesis(name: str, score: float, center: Any, messages: Any) -> Any:
    item = messages.ObjectHypothesisWithPose()
    item.hypothesis.class_id = name
    item.hypothesis.score = float(score)
    item.pose.pose = center
    return item


def _box(xyz: FloatArray, messages: Any) -> Any:
    """Box along the axes around points (n, 3); without any known one, of size 0 at the origin."""
    box = messages.BoundingBox3D()
    box.center.orientation.w = 1.0
    known = xyz[~np.isnan(xyz[:, 0])]
    if len(known):
        low, high = known.min(axis=0).tolist(), known.max(axis=0).tolist()
        for axis, start, end in zip("xyz", low, high, strict=True):
            setattr(box.center.position, axis, (start + end) / 2)
            setattr(box.size, axis, end - start)
    return box
