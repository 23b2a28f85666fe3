"""Adapter `zed`: body tracking of zed-ros2-wrapper, ``zed_msgs/ObjectsStamped``.

The format of the bodies (18, 34 or 38 joints) is told by the message. A joint is missing where it
is not finite. People whose tracking is off are left out; without tracking nobody has an id. Turn
``enable_body_fitting`` off in the wrapper, or it makes up what it does not see.
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
    guarded,
    integer,
    limited,
    number_people,
    numbers,
    read_header,
)
from iospstl_ros.adapters.people import People, Points, make_frame
from iospstl_ros.frames import SkeletonFrame

_TYPE = "zed_msgs/msg/ObjectsStamped"
_INSTALL = "sudo apt install ros-$ROS_DISTRO-zed-msgs"
_MAPS = ("zed-18", "zed-34", "zed-38")  # by body_format
_TRACKING_OFF = 0


def make_zed(settings: AdapterSettings) -> Adapter:
    """Return the adapter; a joint map in the settings takes the place of all three formats."""
    maps = [load_joint_map(settings.joint_map or name) for name in _MAPS]
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)

    def read(message: Any, min_confidence: float) -> SkeletonFrame:
        return _read(message, maps)

    return Adapter(
        name="zed",
        message_type=message_type,
        install=install,
        read=guarded("zed", message_type, read),
    )


def _read(message: Any, maps: list[JointMap]) -> SkeletonFrame:
    stamp_ns, frame_id = read_header(message.header)
    bodies = [
        body
        for body in limited(message.objects, "objects", MAX_PERSONS)
        if body.skeleton_available
        and not (body.tracking_available and body.tracking_state == _TRACKING_OFF)
    ]
    formats = {integer(body.body_format, "body_format", 0, len(maps) - 1) for body in bodies}
    if len(formats) > 1:
        raise InputError(f"body_format: expected one for all, got {sorted(formats)}")
    joint_map = maps[formats.pop()] if formats else maps[0]
    known = [body.label_id if body.tracking_available else None for body in bodies]
    ids, names, has_ids = number_people(known)
    points = [_points(body, joint_map) for body in bodies]
    return make_frame(People(ids, points, names, has_ids), joint_map, stamp_ns, frame_id)


def _points(body: Any, joint_map: JointMap) -> Points:
    """Return the joints of the format; the array behind them always has 70."""
    keypoints = body.skeleton_3d.keypoints[: joint_map.n_source]
    xyz = numbers([point.kp for point in keypoints], "skeleton_3d", (joint_map.n_source, 3))
    return xyz, np.ones(len(xyz), dtype=bool)
