"""Adapter `pointcloud`: skeletons as an organised ``sensor_msgs/PointCloud2``.

One row is a person, one column a joint of a named layout. Fields: ``x y z`` (float32, metres, axes
as of Kinect: x to the sensor's left, y up, z away from it; NaN = not observed), ``person``
(uint32, the same in all columns of a row) and optionally ``confidence`` (float32). Other fields
are ignored. A cloud without points is a frame without people.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import (
    NTU_25,
    SkeletonLayout,
    get_layout,
    joint_sources,
    map_joints,
)
from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.message_fields import guarded
from iospstl_ros.frames import FloatArray, SkeletonFrame, stamp_ns_of

try:
    from sensor_msgs_py import point_cloud2 as _sensor_msgs_py
except ImportError:  # not on the Python package index: numpy reads the same
    _sensor_msgs_py = None

MAX_COORDINATE_M = 100.0
"""No camera sees a joint that far away; usually a sign of millimetres."""

MAX_POINTS = 100_000
_FLOAT32, _UINT32 = 7, 6  # data types of sensor_msgs/PointField
_REQUIRED = {
    "x": _FLOAT32,
    "y": _FLOAT32,
    "z": _FLOAT32,
    "person": _UINT32,
}
_TYPE = "sensor_msgs/msg/PointCloud2"
_OPTIONAL = {"confidence": _FLOAT32}
_TYPE_NAMES = {_FLOAT32: "float32", _UINT32: "uint32"}
_FORMATS = {_FLOAT32: "f4", _UINT32: "u4"}
_ITEM_BYTES = 4
_WRITTEN = ("x", "y", "z", "confidence", "person")


def make_pointcloud(settings: AdapterSettings) -> Adapter:
    """Return the adapter for clouds whose columns are the joints of ``settings.layout``."""
    layout = get_layout(settings.layout)

    def read(message: Any, min_confidence: float) -> SkeletonFrame:
        return read_skeletons(message, layout, min_confidence)

    return Adapter(
        name="pointcloud",
        message_type=_TYPE,
        install="sudo apt install ros-$ROS_DISTRO-sensor-msgs",
        read=guarded("pointcloud", _TYPE, read),
    )


def read_skeletons(
    message: Any, layout: SkeletonLayout, min_confidence: float = 0.0
) -> SkeletonFrame:
    """Return the people of a cloud with their joints in the order of `NTU_25`.

    Parameters
    ----------
    message
        ``sensor_msgs/PointCloud2``; either byte order, any offsets and padding.
    layout : SkeletonLayout
        Layout of the columns.
    min_confidence : float, default=0.0
        Joints below it, or with NaN for it, count as not observed; so do infinite coordinates.

    Raises
    ------
    InputError
        If the message is malformed; names all that is wrong with its shape, or the first person
        that is.
    """
    stamp_ns, frame_id = stamp_ns_of(message.header), message.header.frame_id
    structural = joint_sources(layout, NTU_25) < 0
    if message.height * message.width == 0:
        return SkeletonFrame(stamp_ns, frame_id, {}, structural)
    fields = _check_shape(message, layout)
    table = _read_table(message, fields)
    xyz = np.stack([table[name] for name in "xyz"], axis=-1).astype(np.float32)
    unseen = ~np.isfinite(xyz).all(axis=-1)
    if "confidence" in fields:
        unseen |= ~(table["confidence"] >= min_confidence)
    xyz[unseen] = np.nan
    ids = _person_ids(table["person"])
    _check_range(xyz, ids, layout)
    mapped, _ = map_joints(xyz, layout, NTU_25)
    persons = dict(zip(ids, mapped, strict=True))
    return SkeletonFrame(stamp_ns, frame_id, persons, structural)


def write_skeletons(
    header: Any,
    persons: Mapping[int, FloatArray],
    layout: SkeletonLayout,
    confidence: Mapping[int, FloatArray] | None = None,
    messages: Any = None,
) -> Any:
    """Return a cloud that `read_skeletons` reads.

    Parameters
    ----------
    header : std_msgs/Header
        Goes into the cloud.
    persons : mapping of int to ndarray of shape (layout.n_joints, 3), float32
        Joints by person id; NaN where nothing is known.
    layout : SkeletonLayout
    confidence : mapping of int to ndarray of shape (layout.n_joints,), float32, optional
        From 0 to 1. Left out: 1 for every joint that is not NaN, 0 for the others.
    messages : optional
        Namespace with the message classes ``PointCloud2`` and ``PointField``; those of ROS 2 if
        left out.
    """
    if messages is None:
        messages = importlib.import_module("sensor_msgs.msg")
    n_joints = layout.n_joints
    dtype = np.dtype([(name, "<u4" if name == "person" else "<f4") for name in _WRITTEN])
    table = np.zeros((len(persons), n_joints), dtype=dtype)
    for row, (person, xyz) in enumerate(persons.items()):
        known = ~np.isnan(xyz[:, 0])
        table["x"][row], table["y"][row], table["z"][row] = xyz.T
        table["confidence"][row] = known if confidence is None else confidence[person]
        table["person"][row] = person
    fields = [
        messages.PointField(
            name=name,
            offset=index * _ITEM_BYTES,
            datatype=_UINT32 if name == "person" else _FLOAT32,
            count=1,
        )
        for index, name in enumerate(_WRITTEN)
    ]
    return messages.PointCloud2(
        header=header,
        height=len(persons),
        width=n_joints,
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * n_joints,
        data=table.tobytes(),
        is_dense=False,
    )


def uses_sensor_msgs_py() -> bool:
    """Return whether clouds are read with ``sensor_msgs_py`` where it can."""
    return _sensor_msgs_py is not None


def _check_shape(message: Any, layout: SkeletonLayout) -> dict[str, Any]:
    """Return the fields to read by name; raise InputError with all that is wrong."""
    faults = []
    if message.width != layout.n_joints:
        faults.append(
            f"width: expected {layout.n_joints} joints ({layout.name}), got {message.width}"
        )
    fields, field_faults = _find_fields(message)
    faults += field_faults
    row_bytes = message.width * message.point_step
    if message.height > 1 and message.row_step < row_bytes:
        faults.append(
            f"row_step: expected at least {row_bytes} = width x point_step, got {message.row_step}"
        )
    needed = (message.height - 1) * message.row_step + row_bytes
    if len(message.data) < needed:
        faults.append(f"data: expected at least {needed} bytes, got {len(message.data)}")
    if message.height * message.width > MAX_POINTS:
        faults.append(f"height x width: expected at most {MAX_POINTS} points")
    if faults:
        raise InputError("skeleton cloud: " + "; ".join(faults))
    return fields


def _find_fields(message: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the known fields of a cloud by name, and what is wrong with them."""
    known = _REQUIRED | _OPTIONAL
    fields = {field.name: field for field in message.fields if field.name in known}
    missing = [name for name in _REQUIRED if name not in fields]
    faults = [f"fields: expected x y z person, missing {' '.join(missing)}"] if missing else []
    names = [field.name for field in message.fields]
    for name, field in fields.items():
        if names.count(name) > 1:
            faults.append(f"field {name}: expected once, got {names.count(name)} times")
        if field.datatype != known[name] or field.count != 1:
            faults.append(
                f"field {name}: expected one {_TYPE_NAMES[known[name]]} (datatype {known[name]}), "
                f"got {field.count} of datatype {field.datatype}"
            )
        if field.offset + _ITEM_BYTES > message.point_step:
            faults.append(
                f"field {name}: expected its end within point_step {message.point_step}, "
                f"got offset {field.offset}"
            )
    return fields, faults


def _read_table(message: Any, fields: Mapping[str, Any]) -> NDArray[np.void]:
    """Return the points of a checked cloud, structured, of shape (height, width)."""
    if _sensor_msgs_py is not None and _is_plain(message):
        points = _sensor_msgs_py.read_points(message, field_names=list(fields))
        return np.asarray(points).reshape(message.height, message.width)
    return _read_with_numpy(message, fields)


def _is_plain(message: Any) -> bool:
    """Whether ``sensor_msgs_py`` reads a checked cloud right.

    It takes row_step for width x point_step, swaps foreign bytes inside the message itself, and
    refuses names used twice, fields without elements, data types that it does not know, and the
    messages of other libraries.
    """
    names = [field.name for field in message.fields]
    return (
        (message.height == 1 or message.row_step == message.width * message.point_step)
        and not message.is_bigendian
        and sys.byteorder == "little"
        and type(message).__module__.startswith("sensor_msgs.")
        and len(set(names)) == len(names)
        and all(field.count == 1 and field.datatype in _FORMATS for field in message.fields)
        and all(field.offset + _ITEM_BYTES <= message.point_step for field in message.fields)
    )


def _read_with_numpy(message: Any, fields: Mapping[str, Any]) -> NDArray[np.void]:
    """Read any checked cloud, of shape (height, width)."""
    order = ">" if message.is_bigendian else "<"
    dtype = np.dtype(
        {
            "names": list(fields),
            "formats": [order + _FORMATS[field.datatype] for field in fields.values()],
            "offsets": [field.offset for field in fields.values()],
            "itemsize": message.point_step,
        }
    )
    return np.ndarray(
        shape=(message.height, message.width),
        dtype=dtype,
        buffer=message.data,
        strides=(message.row_step if message.height > 1 else 0, message.point_step),
    )


def _person_ids(person: NDArray[np.uint32]) -> list[int]:
    """Return the id of each row (height, width); raise InputError unless each has its own."""
    mixed = np.flatnonzero((person != person[:, :1]).any(axis=1))
    if len(mixed):
        found = sorted(set(person[mixed[0]].tolist()))[:3]
        raise InputError(f"skeleton cloud: person: expected one id in row {mixed[0]}, got {found}")
    ids = [int(value) for value in person[:, 0]]
    twice = [value for value, count in Counter(ids).items() if count > 1][:3]
    if twice:
        raise InputError(
            f"skeleton cloud: person: expected one row for each id, got more: {twice}"
        )
    return ids


def _check_range(xyz: FloatArray, ids: list[int], layout: SkeletonLayout) -> None:
    beyond = np.argwhere(np.abs(np.nan_to_num(xyz)) > MAX_COORDINATE_M)
    if len(beyond):
        row, joint, axis = (int(value) for value in beyond[0])
        raise InputError(
            f"skeleton cloud: person {ids[row]}, {layout.joints[joint]}: expected metres within "
            f"{MAX_COORDINATE_M:g}, got {'xyz'[axis]} = {xyz[row, joint, axis]:g}; are these "
            "millimetres?"
        )
