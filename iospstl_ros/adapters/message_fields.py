"""Parts of messages, read with care: whatever is malformed ends as InputError, never otherwise."""

from __future__ import annotations

import reprlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_ros.frames import SkeletonFrame

Doubles = NDArray[np.float64]
Read = Callable[[Any, float], SkeletonFrame | None]
Value = TypeVar("Value")

MAX_PERSONS = 100
"""In one message."""
MAX_POINTS = 1000
"""Of one person."""

_MAX_ID = 2**32 - 1  # outputs carry ids as uint32
_MAX_NAMES = 1000
_MAX_NAME_LENGTH = 200
_MAX_SECONDS = 2**31 - 1
_FAULTS = (AttributeError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)


def guarded(name: str, message_type: str, read: Read) -> Read:
    """Return `read` with all that a malformed message makes Python raise turned to InputError."""

    @wraps(read)
    def guarded_read(message: Any, min_confidence: float) -> SkeletonFrame | None:
        try:
            return read(message, min_confidence)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except _FAULTS as error:
            raise InputError(
                f"{name}: expected a message with the fields of {message_type}, got "
                f"{type(error).__name__}: {error}"
            ) from error

    return guarded_read


def read_header(header: Any) -> tuple[int, str]:
    """Return stamp in nanoseconds and frame of a ``std_msgs/Header``."""
    seconds = integer(header.stamp.sec, "header.stamp.sec", 0, _MAX_SECONDS)
    nanoseconds = integer(header.stamp.nanosec, "header.stamp.nanosec", 0, 999_999_999)
    return seconds * 1_000_000_000 + nanoseconds, text(header.frame_id, "header.frame_id")


def integer(value: Any, where: str, least: int, most: int) -> int:
    """Return a whole number within limits."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputError(f"{where}: expected a whole number, got {reprlib.repr(value)}")
    if not least <= value <= most:
        raise InputError(f"{where}: expected {least} to {most}, got {reprlib.repr(int(value))}")
    return int(value)


def text(value: Any, where: str) -> str:
    """Return a text of sensible length."""
    if not isinstance(value, str) or len(value) > _MAX_NAME_LENGTH:
        raise InputError(
            f"{where}: expected a text of at most {_MAX_NAME_LENGTH} characters, got "
            f"{reprlib.repr(value)}"
        )
    return value


def limited(items: Any, where: str, most: int) -> Any:
    """Return a list of a message if it is no longer than sensible."""
    if isinstance(items, str | bytes | dict) or len(items) > most:
        raise InputError(
            f"{where}: expected a list of at most {most}, got "
            f"{len(items)} in a {type(items).__name__}"
        )
    return items


def numbers(rows: Sequence[Any], where: str, shape: tuple[int, ...]) -> Doubles:
    """Return numbers as an array of a shape of one or two axes; texts and lists are none."""
    if len(rows) != shape[0] or (len(shape) == 2 and any(len(row) != shape[1] for row in rows)):
        raise InputError(f"{where}: expected numbers of shape {shape}, got {reprlib.repr(rows)}")
    flat = chain.from_iterable(rows) if len(shape) == 2 else rows
    try:
        values = array("d", flat)
    except (TypeError, OverflowError) as error:
        raise InputError(f"{where}: expected numbers of shape {shape}, got: {error}") from error
    return np.array(values).reshape(shape)


class IdTable:
    """Numbers for people whom the source tells apart by texts.

    A name keeps its number while it is among the last 1000 in use; no number is used twice.
    """

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._next = 0

    def number(self, name: str) -> int:
        """Return the number of a name."""
        if name not in self._numbers:
            self._numbers[name] = self._next
            self._next = (self._next + 1) % (_MAX_ID + 1)
            if len(self._numbers) > _MAX_NAMES:
                self._numbers.popitem(last=False)
        self._numbers.move_to_end(name)
        return self._numbers[name]


def number_people(
    values: Sequence[Any], table: IdTable | None = None
) -> tuple[list[int], dict[int, str], bool]:
    """Return ids, names and whether the ids are the source's.

    Parameters
    ----------
    values : sequence
        The id of each person as the source has it: a number, or a text. None, a negative number
        and an empty text say that the source does not follow this person; then all people of this
        message are only counted.
    table : IdTable, optional
        Where texts get their numbers; left out: texts are refused.
    """
    if any(_is_unknown(value) for value in values):
        return list(range(len(values))), {}, False
    ids, names = [], {}
    for value in values:
        if isinstance(value, str) and table is not None:
            number = table.number(text(value, "id"))
            names[number] = value
        else:
            number = integer(value, "id", 0, _MAX_ID)
        ids.append(number)
    twice = sorted({number for number in ids if ids.count(number) > 1})
    if twice:
        raise InputError(f"id: expected each person once, got more: {twice[:3]}")
    return ids, names, True


def _is_unknown(value: Any) -> bool:
    if isinstance(value, int | np.integer):
        return bool(value < 0)
    return value is None or value == ""
