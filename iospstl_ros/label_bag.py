"""``iospstl-train label-bag``: a recording with labels and completed skeletons added; no ROS."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iospstl_core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_FAULT, InputError
from iospstl_ros.adapters import MAKERS
from iospstl_ros.adapters.adapter import Adapter
from iospstl_ros.bag_outputs import BagOutputs, output_topics
from iospstl_ros.bags import STORAGES, Bag, NewBag, new_bag, open_bag, refuse_existing
from iospstl_ros.engine import Engine
from iospstl_ros.labeler import BagClock, Labeler, Summary
from iospstl_ros.settings import RecognizerParameters
from iospstl_ros.settings_file import make_settings, parse_assignments, read_params_file

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

PROGRAM = "iospstl-train label-bag"

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Job:
    """What to label, and where to.

    Attributes
    ----------
    source, target : Path
        Bags.
    topic : str
        Of the skeletons; empty: the only one with the adapter's type of message.
    storage : str
        One of `iospstl_ros.bags.STORAGES`; empty: that of the source.
    namespace : str
        In front of the output topics; empty or with a leading slash.
    """

    source: Path
    target: Path
    topic: str = ""
    storage: str = ""
    namespace: str = ""


def label_bag(
    job: Job,
    parameters: RecognizerParameters,
    progress: Progress = lambda messages, total: messages,
) -> Summary:
    """Write a bag with everything of another one and what the recogniser says of it.

    Parameters
    ----------
    job : Job
    parameters : RecognizerParameters
    progress : callable
        Wraps the messages, given their number, to show how far it is.

    Raises
    ------
    InputError
        If a bag, the topic, every message or the bundle cannot be used, or the target exists.
    """
    refuse_existing(job.target)
    with open_bag(job.source) as bag:
        _refuse_known(bag, parameters, job.namespace)
        clock = BagClock()
        engine = Engine(parameters, clock)
        chosen = find_topic(bag, engine.adapter, job.topic)
        decode = bag.decoder(chosen)
        summary = Summary(recorded_s=bag.duration_s)
        started_s = time.monotonic()
        with new_bag(job.target, job.storage or bag.storage) as new:
            outputs = BagOutputs(new, parameters, job.namespace)
            labeler = Labeler(engine, outputs, summary, clock)
            copies = _copy_connections(bag, new)
            for connection, bag_ns, raw in progress(bag.messages(), bag.n_messages):
                new.write(copies[connection.id], bag_ns, raw)
                if connection.id == chosen.id:
                    labeler.feed(decode, raw, bag_ns)
            if summary.malformed == summary.messages:
                raise InputError(
                    f"{bag.path}: {chosen.topic}: none of {summary.messages} messages can be "
                    f"read: {next(iter(summary.faults), 'it ends before the first one')}"
                )
            labeler.finish()
        summary.spent_s = time.monotonic() - started_s
    return summary


def find_topic(bag: Bag, adapter: Adapter, topic: str = "") -> Connection:
    """Return the connection that an adapter reads.

    Parameters
    ----------
    bag : Bag
    adapter : Adapter
    topic : str
        Of the skeletons; empty: the only one with the adapter's type of message.

    Raises
    ------
    InputError
        If there is no such topic, or more than one, or nothing in it; says what there is. If the
        adapter needs more than one topic.
    """
    if adapter.attach is not None:
        raise InputError(
            f"adapter {adapter.name}: needs more than one topic and a running ROS 2; play the bag "
            "to the recogniser with iospstl-player --bag, and record what it says"
        )
    kind = adapter.message_type
    found = [item for item in bag.connections if item.msgtype == kind]
    if topic:
        found = [item for item in found if item.topic.strip("/") == topic.strip("/")]
        _check_topic(bag, adapter, topic, found)
    elif not found:
        raise InputError(
            f"{bag.path}: expected a topic with {kind} (adapter {adapter.name}), got "
            f"{bag.describe()}; --adapter names another source"
        )
    elif len(found) > 1:
        names = ", ".join(item.topic for item in found)
        raise InputError(f"{bag.path}: more than one topic with {kind}: {names}; choose --topic")
    if not found[0].msgcount:
        raise InputError(f"{bag.path}: {found[0].topic} holds no message")
    return found[0]


def _check_topic(bag: Bag, adapter: Adapter, topic: str, found: list[Connection]) -> None:
    """Raise InputError unless the topic was found with the adapter's type."""
    if found:
        return
    others = [item for item in bag.connections if item.topic.strip("/") == topic.strip("/")]
    if others:
        raise InputError(
            f"{bag.path}: {topic} holds {others[0].msgtype}, adapter {adapter.name} reads "
            f"{adapter.message_type}; --adapter names another source"
        )
    raise InputError(f"{bag.path}: expected a topic {topic}, got {bag.describe()}")


def _refuse_known(bag: Bag, parameters: RecognizerParameters, namespace: str) -> None:
    """Raise InputError if the bag has one of the topics that are to be written."""
    written = {topic for topic, _ in output_topics(parameters, namespace).values()}
    known = sorted(written & {item.topic for item in bag.connections})
    if known:
        raise InputError(
            f"{bag.path}: has {', '.join(known)} already, of a recogniser that was running; put "
            "the new ones below a name with --namespace"
        )


def _copy_connections(bag: Bag, new: NewBag) -> dict[int, Any]:
    return {item.id: new.copy_connection(item) for item in bag.connections}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 after a fault of the user's, or 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        job, parameters = _read_options(options)
        summary = label_bag(job, parameters, _progress_bar)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return EXIT_USER_FAULT
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted; nothing was written\n")
        return EXIT_INTERRUPTED
    sys.stdout.write("".join(f"{line}\n" for line in summary.lines(job.target)))
    return EXIT_OK


def _read_options(options: argparse.Namespace) -> tuple[Job, RecognizerParameters]:
    values = {} if options.params_file is None else read_params_file(options.params_file)
    named = {
        "bundle": options.bundle,
        "adapter": options.adapter,
        "joint_map": options.joint_map,
        "layout": options.layout,
        "infer_rate_hz": options.rate,
    }
    values |= {name: value for name, value in named.items() if value is not None}
    values |= parse_assignments(options.set)
    namespace = options.namespace.strip("/")
    job = Job(
        options.source,
        options.target,
        options.topic or "",
        options.storage or "",
        f"/{namespace}" if namespace else "",
    )
    return job, make_settings(values)


def _progress_bar(messages: Iterable[Any], total: int) -> Iterable[Any]:
    """Show a bar on a terminal where `tqdm` is installed."""
    if importlib.util.find_spec("tqdm") is None:
        return messages
    from tqdm import tqdm

    return tqdm(messages, total=total, unit=" messages", disable=None)


def _parser() -> argparse.ArgumentParser:
    default = RecognizerParameters
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Copy a ROS 2 bag (sqlite3 or MCAP) and add what the recogniser says of its "
        "skeletons, at the times of the frames: /action_label, and below /recognizer labels "
        "(JSON, everybody), imputed, actions (vision_msgs) and, with --set publish_events=true, "
        "events. Needs no ROS.",
    )
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="bag: a folder, or one .mcap or .db3 file")
    add("target", metavar="OUT", type=Path, help="folder of the new bag; must not exist")
    add("--bundle", metavar="DIR", help="folder of the bundle to run")
    add("--topic", metavar="T", help="topic of the skeletons (default: the only one of its type)")
    add("--adapter", choices=tuple(MAKERS), help=f"their source (default: {default.adapter})")
    add("--joint-map", metavar="M", help="joint map by name or file, instead of the adapter's own")
    add("--layout", metavar="L", help=f"columns of a pointcloud (default: {default.layout})")
    add(
        "--rate",
        type=float,
        metavar="HZ",
        help=f"inferences a second of the stamps (default: {default.infer_rate_hz:g})",
    )
    add("--params-file", type=Path, metavar="F", help="YAML file with parameters of the node")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter of the node, such as smoothing=0; may be repeated",
    )
    add("--storage", choices=STORAGES, help="of the new bag (default: as the old one)")
    add("--namespace", default="", metavar="NS", help="in front of the new topics")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # takes what is half written away
    sys.exit(main())
