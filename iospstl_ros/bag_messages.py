"""Messages as objects without ROS: those of `rosbags`, made as ROS 2's own are made."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from iospstl_ros.bags import standard_types

_BASE, _NAME, _ARRAY, _SEQUENCE = 1, 2, 3, 4  # rosbags.interfaces.Nodetype

_VISION_MSGS = {
    "Detection3DArray": "std_msgs/Header header\nvision_msgs/Detection3D[] detections",
    "Detection3D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox3D bbox\nstring id"
    ),
    "ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size",
}
"""Fields of the messages of vision_msgs 4 (Humble and newer) that the recogniser writes."""


def types_with_vision() -> Any:
    """Return a type store of ROS 2's own messages and the detections of vision_msgs."""
    from rosbags.typesys import get_types_from_msg

    store = standard_types()
    found: dict[str, Any] = {}
    for name, text in _VISION_MSGS.items():
        found |= get_types_from_msg(text, f"vision_msgs/msg/{name}")
    store.register(found)
    return store


def message_classes(store: Any) -> SimpleNamespace:
    """Return what makes the messages of a type store, by name without package.

    As in ROS 2, fields that are left out are zero or empty, and bytes will do for numbers.
    """

    def maker(message_type: str) -> Callable[..., Any]:
        return lambda **fields: _make(store, message_type, fields)

    return SimpleNamespace(**{name.rpartition("/")[2]: maker(name) for name in store.types})


def _make(store: Any, message_type: str, fields: dict[str, Any]) -> Any:
    values = {}
    for name, description in store.fielddefs[message_type][1]:
        value = fields.pop(name) if name in fields else _zero(store, description)
        if isinstance(value, bytes | bytearray):
            value = np.frombuffer(value, dtype=np.uint8)
        values[name] = value
    if fields:
        raise TypeError(f"{message_type}: has no field {', '.join(fields)}")
    return store.types[message_type](**values)


def _zero(store: Any, description: Any) -> Any:
    """Return the default of a field: 0, empty, or a message of zeros."""
    kind, detail = description
    if kind == _BASE:
        return _zero_number(detail[0])
    if kind == _NAME:
        return _make(store, detail, {})
    item, length = detail
    count = length if kind == _ARRAY else 0
    if item[0] == _BASE and item[1][0] != "string":
        name = item[1][0]
        return np.zeros(count, dtype="uint8" if name in ("char", "byte") else name)
    return [_zero(store, item) for _ in range(count)]


def _zero_number(name: str) -> Any:
    if name == "string":
        return ""
    if name == "bool":
        return False
    return 0.0 if name.startswith("float") else 0
