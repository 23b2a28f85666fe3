"""Adapter `k4a_markers`: Azure Kinect and Femto, as markers of Azure_Kinect_ROS_Driver.

``visualization_msgs/MarkerArray``, one sphere a joint, its id 100 x body + joint; a fork of the
driver publishes a ``MarkerArrayStamped`` with a header of its own. The driver never says which
joints it does not see: what it makes up must be found by its bones and jumps.

An array without markers is a frame without people, but has no stamp. It gets the last stamp plus
a nanosecond: newer than the frame before it and older than any that follows, in the source's own
time, however fast a recording is played. Before the first people there is no frame at all.
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
    numbers,
    read_header,
)
from iospstl_ros.adapters.people import People, make_frame
from iospstl_ros.frames import SkeletonFrame

_TYPE = "visualization_msgs/msg/MarkerArray"
_INSTALL = "sudo apt install ros-$ROS_DISTRO-visualization-msgs"
_ADD = 0  # of visualization_msgs/Marker; all other actions take markers away
_IDS_PER_BODY = 100
_MAX_MARKER_ID = 2**31 - 1


def make_k4a_markers(settings: AdapterSettings) -> Adapter:
    """Return the adapter; ``settings.message_type`` names the type of the fork."""
    reader = _MarkerReader(load_joint_map(settings.joint_map or "k4abt-32"))
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)
    return Adapter(
        name="k4a_markers",
        message_type=message_type,
        install=install,
        read=guarded("k4a_markers", message_type, reader.read),
        invents_joints=True,
    )


class _MarkerReader:
    """Reads markers, and keeps the last stamp and frame for arrays that have none."""

    def __init__(self, joint_map: JointMap) -> None:
        self._map = joint_map
        self._last: tuple[int, str] | None = None

    def read(self, message: Any, min_confidence: float) -> SkeletonFrame | None:
        most = MAX_PERSONS * self._map.n_source
        markers = [
            marker for marker in limited(message.markers, "markers", most) if marker.action == _ADD
        ]
        header = self._header(message, markers)
        if header is None:
            return None
        frame = make_frame(self._people(markers), self._map, *header)
        self._last = header
        return frame

    def _header(self, message: Any, markers: list[Any]) -> tuple[int, str] | None:
        if hasattr(message, "header"):
            return read_header(message.header)
        if markers:
            stamp_ns, frame_id = read_header(markers[0].header)
            others = {marker.header.frame_id for marker in markers} - {frame_id}
            if others:
                raise InputError(f"markers: expected one frame, got {frame_id} and {others.pop()}")
            return stamp_ns, frame_id
        if self._last is None:
            return None
        return self._last[0] + 1, self._last[1]

    def _people(self, markers: list[Any]) -> People:
        n_source = self._map.n_source
        positions = [marker.pose.position for marker in markers]
        xyz = numbers([(at.x, at.y, at.z) for at in positions], "pose.position", (len(markers), 3))
        people = People()
        for marker, point in zip(markers, xyz, strict=True):
            body, joint = divmod(integer(marker.id, "id", 0, _MAX_MARKER_ID), _IDS_PER_BODY)
            if joint >= n_source:
                raise InputError(
                    f"id: expected {_IDS_PER_BODY} x body + joint from 0 to {n_source - 1}, got "
                    f"{marker.id}"
                )
            if body not in people.ids:
                people.ids.append(body)
                people.points.append((np.zeros((n_source, 3)), np.zeros(n_source, dtype=bool)))
            points, observed = people.points[people.ids.index(body)]
            if observed[joint]:
                raise InputError(f"id: expected each once, got {marker.id} again")
            points[joint], observed[joint] = point, True
        return people
