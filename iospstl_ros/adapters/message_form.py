"""The section ``message`` of a joint map: where a message of any type keeps its people.

::

    message:
      header: header                # "" for none: the stamp is the time of reception
      persons: skeletons            # the list of people; left out: the message is one person
      id: id                        # in a person; left out: people are told apart by position
      points: markers               # in a person: the list of joints
      point: center.pose.position   # in a joint: x, y, z, or a list of three; left out: itself
      name: name                    # in a joint: its name; and, or
      index: id                     # in a joint: its number; neither: the order counts
      first_index: 0                # number of the first joint
      confidence: confidence        # in a joint; 0, NaN and below min_confidence are "not seen"
      missing: nan                  # what else is: nan, or also zero for (0, 0, 0)
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iospstl_ros.adapters.people import PointFields

_PATHS = ("header", "persons", "id", "points", "point", "name", "index", "confidence")
_KEYS = (*_PATHS, "first_index", "missing")
_MISSING = ("nan", "zero")
_MAX_FIRST_INDEX = 1000
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class MessageForm:
    """Where a message keeps its people.

    Attributes
    ----------
    points : PointFields
        In a person.
    header, persons : str
        In the message; empty for none.
    id : str
        In a person; empty for none.
    """

    points: PointFields
    header: str = "header"
    persons: str = ""
    id: str = ""


def form_faults(data: Mapping[Any, Any]) -> list[str]:
    """Return all that is wrong with the section, each with its key."""
    faults = [f"message: unknown key {_with_nearest(key)}" for key in data if key not in _KEYS]
    if "points" not in data:
        faults.append("message: points: missing")
    for key in _PATHS:
        path = data.get(key, "points")
        is_left_out = path == "" and key != "points"
        if not is_left_out and not (isinstance(path, str) and _PATH.fullmatch(path)):
            faults.append(
                f"message: {key}: expected fields like center.pose, got {reprlib.repr(path)}"
            )
    first = data.get("first_index", 0)
    if type(first) is not int or not 0 <= first <= _MAX_FIRST_INDEX:
        faults.append(
            f"message: first_index: expected 0 to {_MAX_FIRST_INDEX}, got {reprlib.repr(first)}"
        )
    missing = data.get("missing", "nan")
    if not isinstance(missing, str) or missing not in _MISSING:
        faults.append(
            f"message: missing: expected one of {', '.join(_MISSING)}, got {reprlib.repr(missing)}"
        )
    return faults


def form_from_mapping(data: Mapping[str, Any]) -> MessageForm:
    """Return the form of a section without faults."""
    fields = PointFields(
        points=data["points"],
        point=data.get("point", ""),
        name=data.get("name", ""),
        index=data.get("index", ""),
        first_index=data.get("first_index", 0),
        confidence=data.get("confidence", ""),
        zero_is_missing=data.get("missing") == "zero",
    )
    return MessageForm(
        points=fields,
        header=data.get("header", "header"),
        persons=data.get("persons", ""),
        id=data.get("id", ""),
    )


def _with_nearest(key: Any) -> str:
    close = difflib.get_close_matches(key[:100], _KEYS, n=1) if isinstance(key, str) else []
    return reprlib.repr(key) + (f"; did you mean '{close[0]}'?" if close else "")
