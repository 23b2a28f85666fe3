"""The player: a recorded store, or one ``.skeleton`` file, as a live topic of skeletons."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_indices
from iospstl_core.store import find_occlusion, open_store
from iospstl_ros.clips import (
    Clip,
    Take,
    arrange,
    hide_more,
    select_sequences,
    skeleton_clip,
    store_clips,
)
from iospstl_ros.command_line import EXIT_OK, run_until_signal
from iospstl_ros.pointcloud import write_skeletons

DEFAULT_RATE_HZ = 30.0
_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_MATCH_S = 0.5


@dataclass(frozen=True)
class Program:
    """What to play.

    Attributes
    ----------
    layout : SkeletonLayout
        Layout of what is published: that of the recordings.
    rate_hz : float
        Frames a second.
    clips : callable
        Returns all clips once more from the first one.
    """

    layout: SkeletonLayout
    rate_hz: float
    clips: Callable[[], Iterator[Clip]]


def frame_stamps(start_ns: int, n_frames: int, rate_hz: float) -> list[int]:
    """Return start + i / rate for every frame, in whole nanoseconds."""
    return [start_ns + round(index * 1_000_000_000 / rate_hz) for index in range(n_frames)]


class Player(Node):  # type: ignore[misc]
    """Publishes takes frame by frame.

    Owns the publisher and an executor that serves the node between frames.

    Parameters
    ----------
    topic, frame_id : str
    **kwargs
        As of `rclpy.node.Node`.
    """

    def __init__(self, topic: str, frame_id: str, **kwargs: Any) -> None:
        super().__init__("player", **kwargs)
        self._frame_id = frame_id
        self._publisher = self.create_publisher(PointCloud2, topic, _QOS)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Return once somebody listens; raise InputError when nobody comes."""
        deadline = time.monotonic() + timeout_s
        while self._publisher.get_subscription_count() == 0:
            if time.monotonic() > deadline:
                raise InputError(
                    f"wait: expected a subscriber of {self._publisher.topic_name} within "
                    f"{timeout_s:g} s, got none; start the recogniser first, with the same "
                    "ROS_DOMAIN_ID"
                )
            self.wait_until(time.monotonic() + 0.1)
        self.wait_until(time.monotonic() + _MATCH_S)  # the other side learns of us a little later

    def play(self, take: Take, layout: SkeletonLayout, rate_hz: float) -> list[int]:
        """Publish all frames of a take, paced by the wall clock; return their stamps."""
        stamps_ns = frame_stamps(self.get_clock().now().nanoseconds, take.n_frames, rate_hz)
        started = time.monotonic()
        for index, stamp_ns in enumerate(stamps_ns):
            self.wait_until(started + index / rate_hz)
            stamp = Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
            header = Header(stamp=stamp, frame_id=self._frame_id)
            self._publisher.publish(write_skeletons(header, take.persons(index), layout))
        self.wait_until(started + take.n_frames / rate_hz)
        return stamps_ns

    def wait_until(self, deadline: float) -> None:
        """Serve the node until a time of the monotonic clock."""
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Release executor and node."""
        self._executor.shutdown()
        self.destroy_node()


def main(arguments: list[str] | None = None) -> int:
    """Run `iospstl-player`; return the exit status."""
    return run_until_signal(_parser(), sys.argv if arguments is None else arguments, _play_all)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iospstl-player",
        description="Publish recorded skeletons as a live topic. ROS arguments (--ros-args ...) "
        "are understood as well.",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", type=Path, help="folder of a prepared store")
    source.add_argument("--skeleton", type=Path, help="one NTU .skeleton file")
    add(
        "--occlusion",
        metavar="NAME",
        help="hide the joints that this occlusion of the store hides",
    )
    add("--hide-joints", type=_names, default=(), metavar="A,B", help="hide these joints too")
    add(
        "--hide-cells",
        type=_fraction,
        default=0.0,
        metavar="SHARE",
        help="hide this share of the (frame, joint) cells too, drawn at random",
    )
    add("--seed", type=int, default=0, help="of --hide-cells (default: 0)")
    add("--split", metavar="NAME", help="split of the store (default: its first one)")
    add("--subset", choices=("train", "test", "all"), default="all", help="part of the split")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sequences", type=_indices, metavar="3,7,12", help="play just these")
    which.add_argument(
        "--limit", type=_count, help="play that many, spread evenly over the subset"
    )
    add("--rate", type=_positive, metavar="HZ", help="frames a second (default: as recorded)")
    add("--persons", type=_count, default=1, help="sequences that play side by side (default: 1)")
    add("--gap", type=_seconds, default=0.5, metavar="S", help="pause between (default: 0.5)")
    add("--topic", default="skeletons", help="topic (default: skeletons)")
    add("--frame-id", default="camera", help="coordinate frame in the headers (default: camera)")
    add("--loop", action="store_true", help="start again at the end, with new person ids")
    add("--truth", type=Path, metavar="FILE", help="write a JSON line for every sequence played")
    add("--wait", action="store_true", help="wait for a subscriber before the first frame")
    add("--wait-timeout", type=_seconds, default=60.0, metavar="S", help="(default: 60)")
    return parser


def _play_all(options: argparse.Namespace) -> int:
    program = _program(options)
    truth = None if options.truth is None else options.truth.open("w", encoding="utf-8")
    player = Player(options.topic, options.frame_id)
    try:
        if options.wait:
            player.wait_for_subscriber(options.wait_timeout)
        for take in _takes(program, options.persons, options.loop):
            stamps_ns = player.play(take, program.layout, program.rate_hz)
            _write(truth, take.truth(stamps_ns))
            player.wait_until(time.monotonic() + options.gap)
        _write(truth, [{"done": True}])
    finally:
        if truth is not None:
            truth.close()
        if rclpy.ok():
            player.close()
    return EXIT_OK


def _program(options: argparse.Namespace) -> Program:
    program = _skeleton_program(options) if options.skeleton else _store_program(options)
    joint_indices(program.layout, options.hide_joints)  # fails before anything is published
    hiding = program.layout, options.hide_joints, options.hide_cells, options.seed
    return replace(program, clips=lambda: hide_more(program.clips(), *hiding))


def _skeleton_program(options: argparse.Namespace) -> Program:
    for name in ("occlusion", "split", "sequences", "limit"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name}: expected with --store only, got it with --skeleton")
    clip = skeleton_clip(options.skeleton)
    return Program(NTU_25, options.rate or DEFAULT_RATE_HZ, lambda: iter([clip]))


def _store_program(options: argparse.Namespace) -> Program:
    store = open_store(options.store)
    occlusion = None if options.occlusion is None else find_occlusion(store, options.occlusion)
    chosen = select_sequences(
        store, options.split, options.subset, options.sequences, options.limit
    )
    return Program(
        store.layout, options.rate or store.fps, lambda: store_clips(store, chosen, occlusion)
    )


def _takes(program: Program, n_together: int, is_loop: bool) -> Iterator[Take]:
    """Yield all takes, with --loop again and again; ids count up through all rounds."""

    def clips() -> Iterator[Clip]:
        yield from program.clips()
        while is_loop:
            yield from program.clips()

    return arrange(clips(), n_together)


def _write(truth: Any, lines: list[dict[str, object]]) -> None:
    if truth is not None:
        truth.write("".join(json.dumps(line) + "\n" for line in lines))
        truth.flush()


def _indices(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _fraction(text: str) -> float:
    value = _at_least(float(text), 0.0)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected less than 1, got {value:g}")
    return value


def _count(text: str) -> int:
    return int(_at_least(int(text), 1))


def _seconds(text: str) -> float:
    return _at_least(float(text), 0.0)


def _positive(text: str) -> float:
    return _at_least(float(text), 1e-3)


def _at_least(value: float, smallest: float) -> float:
    if not value >= smallest:
        raise argparse.ArgumentTypeError(f"expected at least {smallest:g}, got {value:g}")
    return value


if __name__ == "__main__":
    sys.exit(main())
