"""Adapter `yolo`: ``yolo_msgs/DetectionArray`` of yolo_ros, its topic ``detections_3d``.

Key points in three dimensions, numbered from 1 in the order of COCO; a missing one is left out.
Their frame is the one that yolo_ros turns them to (`target_frame`, not that of the header): names
that end in ``_optical_frame`` or ``_optical`` have optical axes, all others those of a robot.

Where the depth image has a hole, yolo_ros puts the joint on the camera's own origin. In the
camera's frame that is (0, 0, 0); in another frame it is a place of its own, where all such joints
coincide. Both are missing joints.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.joint_map import JointMap
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.message_fields import (
    MAX_PERSONS,
    IdTable,
    guarded,
    limited,
    number_people,
    read_header,
    text,
)
from iospstl_ros.adapters.people import (
    BoolArray,
    Doubles,
    People,
    PointFields,
    PointReader,
    Points,
    make_frame,
)
from iospstl_ros.frames import SkeletonFrame

_TYPE = "yolo_msgs/msg/DetectionArray"
_INSTALL = (
    "git clone https://github.com/mgonzs13/yolo_ros into the src of your workspace, then "
    "colcon build --packages-select yolo_msgs"
)
_FIELDS = PointFields(
    points="keypoints3d.data", point="point", index="id", first_index=1, confidence="score"
)
_MAX_DETECTIONS = 1000  # of all classes; only those with key points are people
_ORIGIN_M = 0.01
_MIN_COINCIDING = 3
"""So many joints in one place are the camera's origin; two can be hands that meet."""


def make_yolo(settings: AdapterSettings) -> Adapter:
    """Return the adapter for the joints of ``settings.joint_map``, else of COCO."""
    reader = _DetectionReader(load_joint_map(settings.joint_map or "coco-17"))
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)
    return Adapter(
        name="yolo",
        message_type=message_type,
        install=install,
        read=guarded("yolo", message_type, reader.read),
    )


class _DetectionReader:
    """Reads detections, and keeps the numbers of ids and the place of the camera's origin."""

    def __init__(self, joint_map: JointMap) -> None:
        self._map = joint_map
        self._points = PointReader(_FIELDS, joint_map)
        self._ids = IdTable()
        self._origins = {"": np.zeros(3)}

    def read(self, message: Any, min_confidence: float) -> SkeletonFrame:
        stamp_ns, frame_id = read_header(message.header)
        detections = limited(message.detections, "detections", _MAX_DETECTIONS)
        people = [found for found in detections if len(found.keypoints3d.data)]
        limited(people, "detections with key points", MAX_PERSONS)
        frames = {text(one.keypoints3d.frame_id, "keypoints3d.frame_id") for one in people}
        if len(frames) > 1:
            raise InputError(f"keypoints3d.frame_id: expected one for all, got {sorted(frames)}")
        frame_id = frames.pop() if frames else frame_id
        points = [self._points.read(one, min_confidence) for one in people]
        self._hide_holes(points, frame_id)
        ids, names, has_ids = number_people([text(one.id, "id") for one in people], self._ids)
        return make_frame(People(ids, points, names, has_ids), self._map, stamp_ns, frame_id)

    def _hide_holes(self, points: list[Points], frame_id: str) -> None:
        """Mark joints on the camera's origin as not observed."""
        if not points:
            return
        xyz = np.concatenate([one for one, _ in points])
        observed = np.concatenate([one for _, one in points])
        origin = _coinciding(xyz[observed])
        if origin is not None:
            self._origins = {"": np.zeros(3), frame_id: origin}
        for one, seen in points:
            for where in (self._origins[""], self._origins.get(frame_id)):
                if where is not None:
                    np.logical_and(seen, _are_away(one, where), out=seen)


def _coinciding(xyz: Doubles) -> Doubles | None:
    """Return the place where several of the points (n, 3) lie, if there is one."""
    if len(xyz) < _MIN_COINCIDING:
        return None
    places, count = np.unique(xyz, axis=0, return_counts=True)
    most = int(count.argmax())
    return places[most] if count[most] >= _MIN_COINCIDING else None


def _are_away(xyz: Doubles, origin: Doubles) -> BoolArray:
    return np.asarray((np.abs(xyz - origin) > _ORIGIN_M).any(axis=1))
