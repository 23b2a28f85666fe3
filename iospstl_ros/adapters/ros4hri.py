"""Adapter `ros4hri`: bodies of ROS4HRI (REP 155): who is there, what is seen, and where.

Who: ``hri_msgs/IdsList`` on the topic ``skeletons`` (remap it to ``/humans/bodies/tracked``). What
is seen: the confidences of each body's ``skeleton2d``. Where: the body's frames on TF, which
inverse kinematics completes, so that they never tell what is missing. A frame of people is
complete with the last body's ``skeleton2d`` of one stamp, or the first of a newer one.

TF is asked for its newest only, and never waited for. A joint whose transform is older than half
a second against its ``skeleton2d`` is not observed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_ros.adapters.adapter import Adapter, AdapterSettings
from iospstl_ros.adapters.joint_map import JointMap
from iospstl_ros.adapters.joint_maps import load_joint_map
from iospstl_ros.adapters.message_fields import (
    MAX_PERSONS,
    IdTable,
    guarded,
    limited,
    number_people,
    numbers,
    read_header,
    text,
)
from iospstl_ros.adapters.message_types import message_class
from iospstl_ros.adapters.people import BoolArray, People, Points, make_frame
from iospstl_ros.frames import SkeletonFrame, stamp_ns_of

_TYPE = "hri_msgs/msg/IdsList"
_SKELETON_TYPE = "hri_msgs/msg/Skeleton2D"
_SKELETON_TOPIC = "/humans/bodies/{}/skeleton2d"
_INSTALL = "sudo apt install ros-$ROS_DISTRO-hri-msgs"
_INSTALL_TF = "sudo apt install ros-$ROS_DISTRO-tf2-ros-py"
_MAX_AGE_NS = 500_000_000
_DEPTH = 10
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

FindTransform = Callable[[str, str], Any]
"""``find(target_frame, source_frame)``: the newest ``TransformStamped``, or None."""


@dataclass(frozen=True)
class BodySkeleton:
    """A ``Skeleton2D`` and the body of its topic, which the message does not tell."""

    body: str
    skeleton: Any


@dataclass
class _Moment:
    """What has come of one stamp: which joints of the models are seen, by body."""

    stamp_ns: int
    frame_id: str
    seen: dict[str, BoolArray] = field(default_factory=dict)


def make_ros4hri(settings: AdapterSettings) -> Adapter:
    """Return the adapter; it sees nobody before `attach`."""
    bodies = Bodies(load_joint_map(settings.joint_map or "ros4hri"), load_joint_map("openpose-18"))
    message_type, install = settings.type_and_install(_TYPE, _INSTALL)

    def attach(node: Any, store: Callable[[Any], object]) -> Callable[[], None]:
        return _attach(bodies, node, store)

    return Adapter(
        name="ros4hri",
        message_type=message_type,
        install=install,
        read=guarded("ros4hri", message_type, bodies.read),
        attach=attach,
    )


class Bodies:
    """The bodies that are tracked, and what was last seen of them.

    Parameters
    ----------
    joint_map : JointMap
        Of the frames on TF, without the id that ends their names.
    landmarks : JointMap
        Of the points of a ``Skeleton2D``.

    Attributes
    ----------
    find_transform : callable
        Where the joints are; nowhere until somebody sets it.
    on_tracked : callable
        Gets the names of the tracked bodies whenever they change.
    """

    def __init__(self, joint_map: JointMap, landmarks: JointMap) -> None:
        self._map = joint_map
        self._landmarks = landmarks
        self._ids = IdTable()
        self.forget()

    def forget(self) -> None:
        """Return to the beginning; only the numbers of people stay."""
        self.find_transform: FindTransform = lambda target, source: None
        self.on_tracked: Callable[[set[str]], None] = lambda names: None
        self._tracked: set[str] = set()
        self._moment: _Moment | None = None

    def read(self, message: Any, min_confidence: float) -> SkeletonFrame | None:
        """Take in an ``IdsList`` or a `BodySkeleton`; return the frame that it completes."""
        if isinstance(message, BodySkeleton):
            return self._read_skeleton(message, min_confidence)
        return self._read_tracked(message)

    def _read_tracked(self, message: Any) -> SkeletonFrame | None:
        stamp_ns, frame_id = read_header(message.header)
        names = {_body_name(name) for name in limited(message.ids, "ids", MAX_PERSONS)}
        if names != self._tracked:
            self._tracked = names
            self.on_tracked(names)
        if names:
            return self._completed()
        self._moment = None
        return make_frame(People(), self._map, stamp_ns, frame_id)

    def _read_skeleton(self, message: BodySkeleton, min_confidence: float) -> SkeletonFrame | None:
        if message.body not in self._tracked:
            return None
        stamp_ns, frame_id = read_header(message.skeleton.header)
        n_points = self._landmarks.n_source
        sure = numbers([point.c for point in message.skeleton.skeleton], "skeleton", (n_points,))
        observed = (sure >= min_confidence) & (sure > 0)
        seen = self._landmarks.seen(observed) | self._landmarks.structural
        done, moment = None, self._moment
        if moment is None or stamp_ns != moment.stamp_ns:
            done = None if moment is None else self._frame(moment)
            moment = self._moment = _Moment(stamp_ns, frame_id)
        moment.seen[message.body] = seen
        return done if done is not None else self._completed()

    def _completed(self) -> SkeletonFrame | None:
        """Return the frame of this moment if nobody's skeleton is awaited any more."""
        moment = self._moment
        if moment is None or not self._tracked <= set(moment.seen):
            return None
        self._moment = None
        return self._frame(moment)

    def _frame(self, moment: _Moment) -> SkeletonFrame:
        names = [name for name in moment.seen if name in self._tracked]
        ids, known_as, has_ids = number_people(names, self._ids)
        points = [self._points(name, moment) for name in names]
        people = People(ids, points, known_as, has_ids)
        frame = make_frame(people, self._map, moment.stamp_ns, moment.frame_id)
        for number, name in known_as.items():
            frame.persons[number][~moment.seen[name]] = np.nan
        return frame

    def _points(self, body: str, moment: _Moment) -> Points:
        n_source = self._map.n_source
        points, observed = np.zeros((n_source, 3)), np.zeros(n_source, dtype=bool)
        for joint, number in self._map.index.items():
            found = self.find_transform(moment.frame_id, f"{joint}_{body}")
            if found is None:
                continue
            if abs(stamp_ns_of(found.header) - moment.stamp_ns) <= _MAX_AGE_NS:
                place = found.transform.translation
                points[number] = place.x, place.y, place.z
                observed[number] = True
        return points, observed


def _body_name(name: Any) -> str:
    """Return a name that can be part of a topic and of a frame."""
    if not _NAME.fullmatch(text(name, "ids")):
        raise InputError(f"ids: expected letters, digits and _, a digit not first, got '{name}'")
    return str(name)


def _attach(bodies: Bodies, node: Any, store: Callable[[Any], object]) -> Callable[[], None]:
    """Let a node listen to TF and to the skeletons of whoever is tracked."""
    try:
        tf2_ros = importlib.import_module("tf2_ros")
    except ImportError as error:
        raise InputError(
            f"adapter ros4hri: expected tf2_ros to be installed, got: {error}; install it with: "
            f"{_INSTALL_TF}"
        ) from error
    skeleton_class = message_class(_SKELETON_TYPE, _INSTALL)
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)
    newest = importlib.import_module("rclpy.time").Time()
    subscriptions: dict[str, Any] = {}

    def find_transform(target: str, source: str) -> Any:
        try:
            return buffer.lookup_transform(target, source, newest)
        except tf2_ros.TransformException:
            return None

    def subscribe(names: set[str]) -> None:
        for name in set(subscriptions) - names:
            node.destroy_subscription(subscriptions.pop(name))
        for name in names - set(subscriptions):
            subscriptions[name] = node.create_subscription(
                skeleton_class,
                _SKELETON_TOPIC.format(name),
                lambda message, name=name: store(BodySkeleton(name, message)),
                _DEPTH,
            )

    def detach() -> None:
        subscribe(set())
        listener.unregister()
        bodies.forget()

    bodies.find_transform, bodies.on_tracked = find_transform, subscribe
    return detach
