"""The player: a store, a ``.skeleton`` file or a bag as live topics; or as a bag, without ROS."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iospstl_core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_FAULT, InputError
from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_indices
from iospstl_core.store import find_occlusion, open_store
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.bag_messages import message_classes
from iospstl_ros.bags import new_bag, standard_types
from iospstl_ros.clips import (
    Clip,
    Take,
    arrange,
    hide_more,
    select_sequences,
    skeleton_clip,
    store_clips,
)

PROGRAM = "iospstl-player"
DEFAULT_RATE_HZ = 30.0
DEFAULT_TOPIC = "skeletons"

_OF_STORES = ("occlusion", "split", "sequences", "limit")
_OF_BAGS = ("bag_topic", "speed", "restamp")
_NOT_OF_BAGS = (
    *_OF_STORES,
    *("hide_joints", "hide_cells", "subset", "rate", "persons", "frame_id", "truth", "to_bag"),
)


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


def main(arguments: list[str] | None = None) -> int:
    """Run `iospstl-player`; return the exit status."""
    words = sys.argv if arguments is None else arguments
    if any(word.partition("=")[0] == "--to-bag" for word in words):
        return _run_without_ros(words[1:])
    from iospstl_ros.command_line import run_until_signal

    return run_until_signal(_parser(), words, _play)


def _run_without_ros(words: Sequence[str]) -> int:
    options = _parser().parse_args(words)
    try:
        write_bag(options)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return EXIT_USER_FAULT
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted; nothing was written\n")
        return EXIT_INTERRUPTED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Publish recorded skeletons as a live topic. ROS arguments (--ros-args ...) "
        "are understood as well.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", type=Path, help="folder of a prepared store")
    source.add_argument("--skeleton", type=Path, help="one NTU .skeleton file")
    source.add_argument("--bag", type=Path, help="ROS 2 bag: a folder, or one .mcap or .db3 file")
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
    add("--topic", help=f"topic (default: {DEFAULT_TOPIC}; of a bag: as recorded)")
    add("--frame-id", default="camera", help="coordinate frame in the headers (default: camera)")
    add(
        "--loop",
        action="store_true",
        help="start again at the end, with new person ids (a bag: with stamps that go on)",
    )
    add("--truth", type=Path, metavar="FILE", help="write a JSON line for every sequence played")
    add("--to-bag", type=Path, metavar="OUT", help="write an MCAP bag instead; needs no ROS")
    add("--wait", action="store_true", help="wait for a subscriber before the first frame")
    add("--wait-timeout", type=_seconds, default=60.0, metavar="S", help="(default: 60)")
    bag = parser.add_argument_group("bags")
    bag.add_argument(
        "--bag-topic", action="append", metavar="T", help="play this topic; repeat it for more"
    )
    bag.add_argument("--speed", type=_positive, metavar="X", help="X times as fast as recorded")
    bag.add_argument("--restamp", action="store_true", help="stamps of now in all headers")
    return parser


def _play(options: argparse.Namespace) -> int:
    """Publish; everything that can be wrong with the options is found before the node starts."""
    from iospstl_ros import player_node

    if options.bag is not None:
        _refuse(options, _NOT_OF_BAGS, "with --store or --skeleton only, got it with --bag")
        from iospstl_ros.bag_player import BagChoice, play_bag

        choice = BagChoice(
            path=options.bag,
            topics=tuple(options.bag_topic or ()),
            topic=options.topic,
            speed=options.speed or 1.0,
            is_restamped=options.restamp,
            is_loop=options.loop,
            gap_s=options.gap,
        )
        play_bag(choice, options.wait_timeout if options.wait else None)
        return 0
    program = _program(options)
    takes = _takes(program, options.persons, options.loop)
    with _truth_file(options.truth) as note, player_node.running() as player:
        publisher = player.add_clouds(options.topic or DEFAULT_TOPIC)
        if options.wait:
            player.wait_for_subscriber(options.wait_timeout)
        for take in takes:
            now_ns = player.get_clock().now().nanoseconds
            stamps_ns = frame_stamps(now_ns, take.n_frames, program.rate_hz)
            player.play(publisher, take, program.layout, options.frame_id, stamps_ns)
            note(take.truth(stamps_ns))
            player.wait_until(time.monotonic() + options.gap)
        note([{"done": True}])
    return 0


def write_bag(options: argparse.Namespace) -> None:
    """Write what would be published into a bag, at full speed and without ROS."""
    if options.bag is not None or options.loop:
        raise InputError("--to-bag: expected --store or --skeleton, and no --loop")
    program = _program(options)
    types = standard_types()
    messages = message_classes(types)
    topic = "/" + (options.topic or DEFAULT_TOPIC).lstrip("/")
    now_ns = time.time_ns()
    with _truth_file(options.truth) as note, new_bag(options.to_bag, "mcap") as bag:
        write = bag.add_topic(topic, "sensor_msgs/msg/PointCloud2", types)
        for take in _takes(program, options.persons, False):
            stamps_ns = frame_stamps(now_ns, take.n_frames + 1, program.rate_hz)
            for index, stamp_ns in enumerate(stamps_ns[:-1]):
                seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
                stamp = messages.Time(sec=seconds, nanosec=nanoseconds)
                header = messages.Header(stamp=stamp, frame_id=options.frame_id)
                people = take.persons(index)
                write(stamp_ns, write_skeletons(header, people, program.layout, None, messages))
            note(take.truth(stamps_ns))
            now_ns = stamps_ns[-1] + round(options.gap * 1e9)
        note([{"done": True}])


@contextmanager
def _truth_file(path: Path | None) -> Iterator[Callable[[list[dict[str, object]]], None]]:
    """Yield what writes JSON lines to a file, at once, or nowhere."""
    if path is None:
        yield lambda lines: None
        return
    with path.open("w", encoding="utf-8") as file:

        def note(lines: list[dict[str, object]]) -> None:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()

        yield note


def _refuse(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Raise InputError if one of some options was given."""
    parser = _parser()
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            raise InputError(f"--{name.replace('_', '-')}: expected {reason}")


def _program(options: argparse.Namespace) -> Program:
    _refuse(options, _OF_BAGS, "with --bag only")
    program = _skeleton_program(options) if options.skeleton else _store_program(options)
    joint_indices(program.layout, options.hide_joints)  # fails before anything is published
    hiding = program.layout, options.hide_joints, options.hide_cells, options.seed
    return replace(program, clips=lambda: hide_more(program.clips(), *hiding))


def _skeleton_program(options: argparse.Namespace) -> Program:
    _refuse(options, _OF_STORES, "with --store only, got it with --skeleton")
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
