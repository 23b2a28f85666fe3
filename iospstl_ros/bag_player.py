"""A bag as live topics, with the recorded timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.serialization import deserialize_message

from iospstl_core.errors import InputError
from iospstl_ros.adapters.message_types import message_class
from iospstl_ros.bags import Bag, open_bag
from iospstl_ros.player_node import Player, running

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

_LEAST_GAP_NS = 1_000_000


@dataclass(frozen=True)
class BagChoice:
    """What to play of a bag.

    Attributes
    ----------
    path : Path
    topics : tuple of str
        Empty: all that hold messages.
    topic : str or None
        Name of the published topic, where only one is played; None: as recorded.
    speed : float
        Times as fast as recorded.
    is_restamped : bool
        Whether headers get stamps of now.
    is_loop : bool
        Whether it starts again at the end, with stamps that go on.
    gap_s : float
        Pause before it starts again.
    """

    path: Path
    topics: tuple[str, ...] = ()
    topic: str | None = None
    speed: float = 1.0
    is_restamped: bool = False
    is_loop: bool = False
    gap_s: float = 0.0


@dataclass(frozen=True)
class Outlet:
    """Where a connection's messages go.

    Attributes
    ----------
    publisher : rclpy.publisher.Publisher
    message_class : type
    """

    publisher: Any
    message_class: Any


class Restamper:
    """Moves the stamps of a recording to another time, evenly; zero stamps stay zero.

    Parameters
    ----------
    start_ns : int or None
        New stamp of the first header; None: its own.
    speed : float
        How much faster the new time is: it shrinks what lies between stamps.

    Attributes
    ----------
    last_ns : int
        Newest stamp that was made.
    """

    def __init__(self, start_ns: int | None, speed: float) -> None:
        self.last_ns = start_ns or 0
        self._start_ns = start_ns
        self._speed = speed
        self._origin_ns: int | None = None

    def apply(self, message: Any) -> None:
        """Change all headers in a message of ROS 2."""
        for header in headers_in(message):
            stamp = header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            if stamp_ns:
                moved_ns = self._move(stamp_ns)
                stamp.sec, stamp.nanosec = divmod(moved_ns, 1_000_000_000)
                self.last_ns = max(self.last_ns, moved_ns)

    def _move(self, stamp_ns: int) -> int:
        if self._origin_ns is None:
            self._origin_ns = stamp_ns
        start_ns = self._origin_ns if self._start_ns is None else self._start_ns
        return start_ns + round((stamp_ns - self._origin_ns) / self._speed)


def play_bag(choice: BagChoice, wait_s: float | None) -> None:
    """Publish a bag, once or for ever.

    Parameters
    ----------
    choice : BagChoice
    wait_s : float or None
        How long to wait for a subscriber; None: not at all.

    Raises
    ------
    InputError
        If bag or topics cannot be used, or a package of messages is missing.
    """
    with open_bag(choice.path) as bag:
        connections = choose_connections(bag, choice)
        kinds = [_class_of(item) for item in connections]
        with running() as player:
            outlets = {
                item.id: Outlet(
                    player.add_publisher(kind, choice.topic or item.topic, _is_latched(item)), kind
                )
                for item, kind in zip(connections, kinds, strict=True)
            }
            if wait_s is not None:
                player.wait_for_subscriber(wait_s)
            for restamper in _rounds(choice, lambda: player.get_clock().now().nanoseconds):
                _play_once(player, bag, outlets, connections, choice.speed, restamper)
                if choice.is_loop:
                    player.wait_until(time.monotonic() + choice.gap_s)


def choose_connections(bag: Bag, choice: BagChoice) -> list[Connection]:
    """Return what to play; raise InputError if a topic is unknown or there are no messages."""
    full = [item for item in bag.connections if item.msgcount]
    if not full:
        raise InputError(f"{bag.path}: expected messages, got none")
    wanted = {topic.strip("/") for topic in choice.topics}
    missing = wanted - {item.topic.strip("/") for item in full}
    if missing:
        raise InputError(
            f"{bag.path}: no messages on {', '.join(sorted(missing))}; topics: {bag.describe()}"
        )
    chosen = [item for item in full if not wanted or item.topic.strip("/") in wanted]
    if choice.topic is not None and len(chosen) > 1:
        raise InputError(
            f"--topic: expected one topic to rename, got {len(chosen)}; choose it with --bag-topic"
        )
    return chosen


def headers_in(message: Any) -> Iterator[Any]:
    """Yield all ``std_msgs/Header`` in a message of ROS 2, however deep."""
    kind: Any = type(message)
    for name, is_header, is_many in _paths_to_headers(kind):
        value = getattr(message, name)
        if is_header:
            yield value
            continue
        for item in value if is_many else (value,):
            yield from headers_in(item)


@lru_cache
def _paths_to_headers(kind: Any) -> tuple[tuple[str, bool, bool], ...]:
    """Return the fields of a class that are headers or hold some: name, is it one, is it many."""
    paths = []
    for name, text in kind.get_fields_and_field_types().items():
        if text == "std_msgs/Header":
            paths.append((name, True, False))
        elif "/" in text:
            plain = text.removeprefix("sequence<").partition(">")[0].partition("[")[0]
            package, _, nested = plain.partition(",")[0].rpartition("/")
            if _paths_to_headers(message_class(f"{package}/msg/{nested}", package)):
                paths.append((name, False, plain != text))
    return tuple(paths)


def _rounds(choice: BagChoice, now_ns: Callable[[], int]) -> Iterator[Restamper | None]:
    """Yield what changes the stamps in each round; None: nothing does."""
    if not choice.is_restamped and not choice.is_loop:
        yield None
        return
    speed = choice.speed if choice.is_restamped else 1.0
    restamper = Restamper(now_ns() if choice.is_restamped else None, speed)
    yield restamper
    while choice.is_loop:
        start_ns = restamper.last_ns + max(round(choice.gap_s * 1e9), _LEAST_GAP_NS)
        if choice.is_restamped:
            start_ns = max(now_ns(), restamper.last_ns + _LEAST_GAP_NS)
        restamper = Restamper(start_ns, speed)
        yield restamper


def _play_once(
    player: Player,
    bag: Bag,
    outlets: Mapping[int, Outlet],
    connections: Sequence[Connection],
    speed: float,
    restamper: Restamper | None,
) -> None:
    """Publish all messages with the recorded timing; without a restamper, byte for byte."""
    started = time.monotonic()
    for connection, bag_ns, raw in bag.messages(connections):
        player.wait_until(started + (bag_ns - bag.start_ns) * 1e-9 / speed)
        outlet = outlets[connection.id]
        if restamper is None:
            outlet.publisher.publish(bytes(raw))
            continue
        message = deserialize_message(bytes(raw), outlet.message_class)
        restamper.apply(message)
        outlet.publisher.publish(message)


def _class_of(connection: Connection) -> Any:
    """Return the class of a connection's messages; raise InputError if it is not installed."""
    package = connection.msgtype.partition("/")[0]
    install = f"sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
    try:
        return message_class(connection.msgtype, install)
    except InputError as error:
        raise InputError(
            f"{connection.topic}: {error}; or choose other topics with --bag-topic"
        ) from error


def _is_latched(connection: Connection) -> bool:
    """Whether late subscribers got the last messages when it was recorded."""
    ext: Any = connection.ext
    return any(qos.durability.name == "TRANSIENT_LOCAL" for qos in ext.offered_qos_profiles)
