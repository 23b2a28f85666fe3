"""Adapter `hiros`: ``hiros_skeleton_msgs/SkeletonGroup`` of Hi-ROS.

A marker is found by its name, in any spelling, or by its id where it has none. A joint is missing
where it is NaN or has no marker; a confidence that is NaN was never set and says nothing. Hi-ROS
takes any detector: name the one in use with `joint_map` if it is not the Azure Kinect.
"""

from __future__ import annotations

from typing import Any

from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.message_fields import (
    MAX_PERSONS,
    guarded,
    limited,
    read_header,
)
from iospstl_ros.adapters.people import PointFields, PointReader, make_frame, read_people
from iospstl_ros.frames import SkeletonFrame

_TYPE = "hiros_skeleton_msgs/msg/SkeletonGroup"
_INSTALL = (
    "git clone -b ros2-humble https://github.com/HiROS-unipd/skeleton_msgs into the src of your "
    "workspace, then colcon build"
)
_FIELDS = PointFields(
    points="markers",
    point="center.pose.position",
    name="name",
    index="id",
    confidence="confidence",
    nan_is_sure=True,
)


def make_hiros(settings: AdapterSettings) -> Adapter:
    """Return the adapter for the joints of ``settings.joint_map``, else of the Azure Kinect."""
    joint_map = load_joint_map(settings.joint_map or "k4abt-32")
    reader = PointReader(_FIELDS, joint_map)
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)

    def read(message: Any, min_confidence: float) -> SkeletonFrame:
        stamp_ns, frame_id = read_header(message.header)
        skeletons = limited(message.skeletons, "skeletons", MAX_PERSONS)
        known = [one.id for one in skeletons]
        people = read_people(reader, skeletons, known, min_confidence)
        return make_frame(people, joint_map, stamp_ns, frame_id)

    return Adapter(
        name="hiros",
        message_type=message_type,
        install=install,
        read=guarded("hiros", message_type, read),
    )
