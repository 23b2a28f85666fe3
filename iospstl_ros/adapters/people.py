"""From the points of each person in a message to a frame of people in the models' joints."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_ros.adapters.joint_map import UNITS_M, JointMap
from iospstl_ros.adapters.message_fields import (
    MAX_POINTS,
    IdTable,
    integer,
    limited,
    number_people,
    numbers,
    text,
)
from iospstl_ros.adapters.pointcloud import MAX_COORDINATE_M
from iospstl_ros.frames import SkeletonFrame

Doubles = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Points = tuple[Doubles, BoolArray]
"""Points (n_source, 3) of one person, and which of them (n_source,) are observed, if finite."""


@dataclass
class People:
    """The people of one message, as far as they are read.

    Attributes
    ----------
    ids : list of int
    points : list of `Points`
    names : dict of int to str
    has_ids : bool
    """

    ids: list[int] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    has_ids: bool = True


def make_frame(people: People, joint_map: JointMap, stamp_ns: int, frame_id: str) -> SkeletonFrame:
    """Return the frame of these people; raise InputError if somebody is out of any range."""
    axes = joint_map.axes_of(frame_id)
    persons = {}
    if people.ids:
        points = np.stack([points for points, _ in people.points])
        observed = np.stack([observed for _, observed in people.points])
        observed &= np.isfinite(points).all(axis=-1)
        points[~observed] = 0.0
        _check_range(points, people.ids, joint_map)
        joints = joint_map.to_models(points, observed, frame_id)
        persons = dict(zip(people.ids, joints, strict=True))
    return SkeletonFrame(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        persons=persons,
        structural=joint_map.structural,
        axes=axes,
        names=people.names,
        has_ids=people.has_ids,
    )


def _check_range(points: Doubles, ids: Sequence[int], joint_map: JointMap) -> None:
    most = MAX_COORDINATE_M / UNITS_M[joint_map.unit]
    beyond = np.argwhere(np.abs(points) > most)
    if len(beyond):
        row, joint, axis = (int(value) for value in beyond[0])
        raise InputError(
            f"person {ids[row]}, {joint_map.joint_names[joint]}: expected {joint_map.unit} within "
            f"{most:g}, got {'xyz'[axis]} = {points[row, joint, axis]:g}; is the unit right?"
        )


@dataclass(frozen=True)
class PointFields:
    """Where the points of a person are, as dotted paths of fields.

    Attributes
    ----------
    points : str
        In a person: the list.
    point : str
        In a point: what has x, y and z, or is a list of three; empty for the point itself.
    name : str
        In a point: the joint's name; where it is empty, the number counts. Empty for none.
    index : str
        In a point: the joint's number. Empty, with no name either: the order counts.
    first_index : int
        Number of the first joint.
    confidence : str
        In a point; empty for none. 0 is "not seen".
    zero_is_missing : bool
        Whether a point at exactly (0, 0, 0) is "not seen".
    nan_is_sure : bool
        Whether a confidence that is NaN says nothing; else it is "not seen".
    """

    points: str
    point: str = ""
    name: str = ""
    index: str = ""
    first_index: int = 0
    confidence: str = ""
    zero_is_missing: bool = False
    nan_is_sure: bool = False


class PointReader:
    """Reads the points of one person from any message.

    Parameters
    ----------
    fields : PointFields
    joint_map : JointMap
    """

    def __init__(self, fields: PointFields, joint_map: JointMap) -> None:
        self._fields = fields
        self._map = joint_map
        self._numbers = {_plain(name): number for name, number in joint_map.index.items()}
        prefix = f"{fields.point}." if fields.point else ""
        self._xyz = attrgetter(*(prefix + axis for axis in "xyz"))
        self._list = attrgetter(fields.points)

    def read(self, person: Any, min_confidence: float) -> Points:
        """Return points (n_source, 3) and which of them are observed."""
        fields, n_source = self._fields, self._map.n_source
        items = limited(self._list(person), fields.points, MAX_POINTS)
        places = self._places(items)
        xyz = numbers(self._coordinates(items), fields.points, (len(items), 3))
        observed = np.ones(len(items), dtype=bool)
        if fields.zero_is_missing:
            observed &= (xyz != 0).any(axis=1)
        if fields.confidence:
            get = attrgetter(fields.confidence)
            sure = numbers([get(item) for item in items], fields.confidence, (len(items),))
            unsaid = np.isnan(sure) if fields.nan_is_sure else False
            observed &= unsaid | ((sure >= min_confidence) & (sure > 0))
        kept = [row for row, place in enumerate(places) if place >= 0]
        points, seen = np.zeros((n_source, 3)), np.zeros(n_source, dtype=bool)
        found = [places[row] for row in kept]
        points[found], seen[found] = xyz[kept], observed[kept]
        return points, seen

    def _coordinates(self, items: Sequence[Any]) -> list[Any]:
        if not len(items):
            return []
        vector = attrgetter(self._fields.point)(items[0]) if self._fields.point else items[0]
        if hasattr(vector, "x"):
            return [self._xyz(item) for item in items]
        if self._fields.point:
            get = attrgetter(self._fields.point)
            return [get(item) for item in items]
        return list(items)

    def _places(self, items: Sequence[Any]) -> list[int]:
        """Return the number of each point in the map; -1 where the map says it is no joint."""
        fields, names = self._fields, self._map.joint_names
        if not fields.name and not fields.index:
            if len(items) != len(names):
                raise InputError(
                    f"{fields.points}: expected {len(names)} points ({self._map.name}), got "
                    f"{len(items)}; set joint_map to one for this source"
                )
            return [place if name else -1 for place, name in enumerate(names)]
        places = [self._place(item) for item in items]
        found = [place for place in places if place >= 0]
        if len(set(found)) < len(found):
            twice = next(place for place in found if found.count(place) > 1)
            raise InputError(
                f"{fields.points}: expected each joint once, got {names[twice]} again"
            )
        return places

    def _place(self, item: Any) -> int:
        fields = self._fields
        if fields.name:
            name = text(attrgetter(fields.name)(item), fields.name)
            if name or not fields.index:
                return self._place_of(name)
        last = fields.first_index + self._map.n_source - 1
        number = attrgetter(fields.index)(item)
        place = integer(number, fields.index, fields.first_index, last) - fields.first_index
        return place if self._map.joint_names[place] else -1

    def _place_of(self, name: str) -> int:
        place = self._map.index.get(name, self._numbers.get(_plain(name)))
        if place is None:
            close = difflib.get_close_matches(name, self._map.index, n=1)
            hint = f"; the nearest is '{close[0]}'" if close else ""
            raise InputError(
                f"{self._fields.name}: expected a joint of map {self._map.name}, got '{name}'"
                f"{hint}; set joint_map to one for this source"
            )
        return place


def read_people(
    reader: PointReader,
    persons: Sequence[Any],
    known: Sequence[Any],
    min_confidence: float,
    table: IdTable | None = None,
) -> People:
    """Return the people of a message.

    Parameters
    ----------
    reader : PointReader
    persons : sequence
        What the reader reads.
    known, table
        The ids, as of `message_fields.number_people`.
    min_confidence : float
    """
    ids, names, has_ids = number_people(known, table)
    points = [reader.read(person, min_confidence) for person in persons]
    return People(ids, points, names, has_ids)


def _plain(name: str) -> str:
    """Return a joint's name without what only spelling differs in."""
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")
