"""Adapter `custom`: any message with named or numbered points, told by a joint map.

The map's section ``message`` says which fields hold what; see `message_form`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from iospstl_core.errors import InputError
from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.joint_map import JointMap
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.message_fields import (
    MAX_PERSONS,
    IdTable,
    Read,
    guarded,
    limited,
    read_header,
)
from iospstl_ros.adapters.message_form import MessageForm, form_from_mapping
from iospstl_ros.adapters.people import PointReader, make_frame, read_people
from iospstl_ros.frames import SkeletonFrame


def make_custom(settings: AdapterSettings) -> Adapter:
    """Return the adapter that ``settings.joint_map`` and ``settings.message_type`` describe."""
    if not settings.joint_map or not settings.message_type:
        raise InputError(
            "adapter custom: expected joint_map (a YAML file with a section 'message') and "
            f"message_type (package/msg/Name), got '{settings.joint_map}' and "
            f"'{settings.message_type}'"
        )
    joint_map = load_joint_map(settings.joint_map)
    if not joint_map.message:
        raise InputError(
            f"{settings.joint_map}: expected a section 'message' that says where messages keep "
            "their points, got none"
        )
    message_type, install = settings.type_and_install("", "")
    read = _make_read(form_from_mapping(joint_map.message), joint_map, settings)
    return Adapter(
        name="custom",
        message_type=message_type,
        install=install,
        read=guarded("custom", message_type, read),
    )


def _make_read(form: MessageForm, joint_map: JointMap, settings: AdapterSettings) -> Read:
    reader = PointReader(form.points, joint_map)
    table = IdTable()

    def read(message: Any, min_confidence: float) -> SkeletonFrame:
        stamp_ns, frame_id = settings.clock_ns(), ""
        if form.header:
            stamp_ns, frame_id = read_header(attrgetter(form.header)(message))
        persons = [message]
        if form.persons:
            persons = limited(attrgetter(form.persons)(message), form.persons, MAX_PERSONS)
        known = [attrgetter(form.id)(person) if form.id else None for person in persons]
        people = read_people(reader, persons, known, min_confidence, table)
        return make_frame(people, joint_map, stamp_ns, frame_id)

    return read
