"""Adapter `nuitrack`: ``nuitrack_msgs/Skeletons`` of ros2-nuitrack.

The messages have no header: the stamp is the time of reception. Millimetres; a joint is missing
where its confidence is 0.
"""

from __future__ import annotations

from typing import Any

from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.message_fields import (
    MAX_PERSONS,
    guarded,
    limited,
)
from iospstl_ros.adapters.people import PointFields, PointReader, make_frame, read_people
from iospstl_ros.frames import SkeletonFrame

_TYPE = "nuitrack_msgs/msg/Skeletons"
_INSTALL = (
    "git clone https://github.com/SpaceMaster85/ros2-nuitrack into the src of your workspace, "
    "then colcon build --packages-select nuitrack_msgs"
)
_FRAME = "nuitrack_depth_frame"
_FIELDS = PointFields(points="joints", point="real", index="type", confidence="confidence")


def make_nuitrack(settings: AdapterSettings) -> Adapter:
    """Return the adapter; ``settings.clock_ns`` gives the stamps."""
    joint_map = load_joint_map(settings.joint_map or "nuitrack")
    reader = PointReader(_FIELDS, joint_map)
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)

    def read(message: Any, min_confidence: float) -> SkeletonFrame:
        stamp_ns = settings.clock_ns()
        skeletons = limited(message.skeletons, "skeletons", MAX_PERSONS)
        known = [one.id for one in skeletons]
        people = read_people(reader, skeletons, known, min_confidence)
        return make_frame(people, joint_map, stamp_ns, _FRAME)

    return Adapter(
        name="nuitrack",
        message_type=message_type,
        install=install,
        read=guarded("nuitrack", message_type, read),
    )
