"""Results to messages, in the axes and the frame of the input; nothing here knows a node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.skeleton import NTU_25
from iospstl_ros.frames import FloatArray, to_source
from iospstl_ros.live_windows import Arrival
from iospstl_ros.results import FrameResult, PersonResult

MARKER_NAMESPACES = ("observed", "imputed", "bones", "label")

_JOINT_SIZE_M = 0.05
_BONE_WIDTH_M = 0.015
_TEXT_HEIGHT_M = 0.15
_TEXT_ABOVE_HEAD_M = np.array(
    [0.0, 0.25, 0.0], dtype=np.float32
)  # up is +y in the axes of the models
_COLORS = {
    "observed": ColorRGBA(r=0.1, g=0.6, b=1.0, a=1.0),
    "imputed": ColorRGBA(r=1.0, g=0.55, b=0.0, a=1.0),
    "bones": ColorRGBA(r=0.8, g=0.8, b=0.8, a=0.8),
    "label": ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
}


def make_header(arrival: Arrival) -> Header:
    """Return the header that came with a frame."""
    seconds, nanoseconds = divmod(arrival.stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=arrival.frame_id)


def label_message(result: FrameResult) -> String | None:
    """Return the label of the most salient person; None if nobody was seen well enough."""
    person = result.most_salient
    return None if person is None else String(data=person.label)


def marker_message(result: FrameResult, lifetime_s: float) -> MarkerArray:
    """Return joints, bones and label of everybody; marker ids are person ids."""
    header = make_header(result.arrival)
    lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
    markers = []
    for person in result.persons:
        markers += _person_markers(person, result.arrival.axes)
    for marker in markers:
        marker.header = header
        marker.lifetime = lifetime
    return MarkerArray(markers=markers)


def delete_message(arrival: Arrival, track_ids: Iterable[int]) -> MarkerArray:
    """Return markers that delete those of some people."""
    markers = [
        _marker(namespace, track_id, Marker.DELETE)
        for track_id in sorted(track_ids)
        for namespace in MARKER_NAMESPACES
    ]
    for marker in markers:
        marker.header = make_header(arrival)
    return MarkerArray(markers=markers)


def marker_id(track_id: int) -> int:
    """Return a person id (uint32) as a marker id (int32), one to one."""
    return track_id - (1 << 32) if track_id >= 1 << 31 else track_id


def label_text(person: PersonResult) -> str:
    """Return what the label marker shows; `live_check` takes it apart again."""
    return f"{person.label} {person.score:.2f}"


def _person_markers(person: PersonResult, axes: str) -> list[Marker]:
    xyz = to_source(person.xyz, axes)
    known = ~np.isnan(xyz[:, 0])
    bones = [end for pair in NTU_25.bones if known[list(pair)].all() for end in pair]
    points = {
        "observed": xyz[known & person.observed],
        "imputed": xyz[known & ~person.observed],
        "bones": xyz[bones],
    }
    return [
        *(_points_marker(name, person.track_id, part) for name, part in points.items()),
        _text_marker(person, axes),
    ]


def _points_marker(namespace: str, track_id: int, xyz: FloatArray) -> Marker:
    """Spheres or lines through points (n, 3); without any, what was shown is deleted."""
    if not len(xyz):
        return _marker(namespace, track_id, Marker.DELETE)
    marker = _marker(namespace, track_id, Marker.ADD)
    marker.type = Marker.LINE_LIST if namespace == "bones" else Marker.SPHERE_LIST
    size = _BONE_WIDTH_M if namespace == "bones" else _JOINT_SIZE_M
    marker.scale.x = marker.scale.y = marker.scale.z = size
    marker.points = _points(xyz.tolist())
    return marker


def _text_marker(person: PersonResult, axes: str) -> Marker:
    if np.isnan(person.xyz).all():
        return _marker("label", person.track_id, Marker.DELETE)
    head = person.xyz[NTU_25.index("Head")]
    place = head if not np.isnan(head[0]) else np.nanmean(person.xyz, axis=0)
    marker = _marker("label", person.track_id, Marker.ADD)
    marker.type = Marker.TEXT_VIEW_FACING
    marker.scale.z = _TEXT_HEIGHT_M
    marker.pose.position = _points([to_source(place + _TEXT_ABOVE_HEAD_M, axes).tolist()])[0]
    marker.text = label_text(person)
    return marker


def _marker(namespace: str, track_id: int, action: int) -> Marker:
    marker = Marker(ns=namespace, id=marker_id(track_id), action=action, color=_COLORS[namespace])
    marker.pose.orientation.w = 1.0
    return marker


def _points(xyz: Sequence[Sequence[float]]) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in xyz]
