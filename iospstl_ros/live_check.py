"""Compare what the live recogniser says with the truth and with the offline result.

Listens while `iospstl-player --truth FILE` plays: of every sequence it takes the label that the
recogniser published for exactly the last frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.errors import EXIT_FAILED, EXIT_OK, InputError
from iospstl_core.files import read_json, write_json
from iospstl_ros.command_line import run_until_signal
from iospstl_ros.outputs import marker_id

REQUIRED_SHARE = 0.95
"""Share of the sequences that must have got a result."""

_POLL_S = 0.1


@dataclass(frozen=True)
class Heard:
    """A label of one person in one frame."""

    label: str
    score: float


@dataclass
class Comparison:
    """Labels heard and sequences played, put together as both come in.

    Attributes
    ----------
    offline : mapping of str to str
        Label by sequence.
    results : list of dict
        One for each sequence with a result, in the order of their results.
    is_done : bool
        Whether the player has played everything.
    """

    offline: Mapping[str, str]
    results: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    is_done: bool = False
    _heard: dict[tuple[int, int], Heard] = field(default_factory=dict)

    def hear(self, markers: MarkerArray) -> None:
        """Keep the label of every person in a marker message."""
        for marker in markers.markers:
            if marker.ns == "label" and marker.action == Marker.ADD:
                stamp = marker.header.stamp
                label, _, score = marker.text.rpartition(" ")
                key = (stamp.sec * 1_000_000_000 + stamp.nanosec, marker.id)
                self._heard[key] = Heard(label, float(score))

    def add_truth(self, line: Mapping[str, Any]) -> None:
        """Take a line of the player's truth file."""
        if line.get("done"):
            self.is_done = True
            return
        if line["sequence"] not in self.offline:
            raise InputError(f"offline: expected a label for '{line['sequence']}', got none")
        self.waiting.append(dict(line))

    def match(self) -> list[dict[str, Any]]:
        """Move sequences whose last frame has a label to the results; return the new ones."""
        found = []
        for line in list(self.waiting):
            keys = [(line["last_stamp_ns"], marker_id(person)) for person in line["persons"]]
            heard = next((self._heard[key] for key in keys if key in self._heard), None)
            if heard is not None:
                self.waiting.remove(line)
                offline = self.offline[line["sequence"]]
                found.append(
                    {
                        "sequence": line["sequence"],
                        "truth": line["label"],
                        "live": heard.label,
                        "score": heard.score,
                        "offline": offline,
                        "equal": heard.label == offline,
                    }
                )
        self.results += found
        return found

    @property
    def n_played(self) -> int:
        """Sequences that the player has finished."""
        return len(self.results) + len(self.waiting)

    def summary(self) -> dict[str, Any]:
        """Return the counts; a sequence without a result is a wrong one."""
        offline_right = [item["offline"] == item["truth"] for item in self.results]
        offline_right += [self.offline[line["sequence"]] == line["label"] for line in self.waiting]
        n_right = sum(item["live"] == item["truth"] for item in self.results)
        n_played = self.n_played
        return {
            "n_windows": n_played,
            "n_results": len(self.results),
            "n_equal": sum(item["equal"] for item in self.results),
            "live_accuracy": n_right / n_played if n_played else 0.0,
            "offline_accuracy": sum(offline_right) / n_played if n_played else 0.0,
        }


class TruthTail:
    """Reads a file that another process is still writing, whole lines only.

    What was already there when this started, from an earlier run, does not count.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._started_s = time.time()

    def read(self) -> list[dict[str, Any]]:
        """Return the lines that are new since the last call."""
        try:
            if self._offset == 0 and self._path.stat().st_mtime < self._started_s - 1.0:
                return []
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [json.loads(line) for line in complete.splitlines()]


class Listener(Node):  # type: ignore[misc]
    """Subscribes to the recogniser's outputs."""

    def __init__(self, options: argparse.Namespace, comparison: Comparison) -> None:
        super().__init__("live_check")
        self.n_labels = 0
        self.create_subscription(String, options.label_topic, self._count_label, 100)
        self.create_subscription(MarkerArray, options.markers_topic, comparison.hear, 100)

    def _count_label(self, message: String) -> None:
        self.n_labels += 1


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    return run_until_signal(_parser(), sys.argv if arguments is None else arguments, _check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iospstl_ros.live_check", description=__doc__)
    add = parser.add_argument
    add("--truth", type=Path, required=True, help="file that the player writes")
    add("--offline", type=Path, required=True, help='JSON: {"sequence": "label", ...}')
    add("--out", type=Path, default=Path("live.json"), help="result (default: live.json)")
    add("--timeout", type=float, default=300.0, metavar="S", help="(default: 300)")
    add("--grace", type=float, default=5.0, metavar="S", help="wait after the end (default: 5)")
    add("--label-topic", default="/action_label")
    add("--markers-topic", default="/recognizer/markers")
    return parser


def _check(options: argparse.Namespace) -> int:
    comparison = Comparison(read_json(options.offline))
    listener = Listener(options, comparison)
    is_complete = _listen(options, listener, comparison)
    summary = comparison.summary()
    write_json(
        options.out,
        {
            **summary,
            "n_action_labels": listener.n_labels,
            "sequences": comparison.results,
            "without_result": [line["sequence"] for line in comparison.waiting],
        },
    )
    fault = _fault(summary, listener.n_labels, is_complete, options.timeout)
    if fault:
        sys.stderr.write(f"live_check: {fault}\n")
    n_windows = summary["n_windows"]
    _say(f"live equals offline in {summary['n_equal']} of {n_windows} windows")
    _say(
        f"live accuracy: {summary['live_accuracy']:.3f} (offline: "
        f"{summary['offline_accuracy']:.3f}) over {n_windows} windows"
    )
    return EXIT_FAILED if fault else EXIT_OK


def _listen(options: argparse.Namespace, listener: Listener, comparison: Comparison) -> bool:
    """Spin until everything is there; return False when the time is over before."""
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    tail = TruthTail(options.truth)
    deadline = time.monotonic() + options.timeout
    next_poll = 0.0
    while (now := time.monotonic()) < deadline:
        executor.spin_once(timeout_sec=_POLL_S)
        if now < next_poll:
            continue
        next_poll = now + _POLL_S
        was_done = comparison.is_done
        for line in tail.read():
            comparison.add_truth(line)
        for item in comparison.match():
            score = f"{item['live']} {item['score']:.2f}"
            _say(f"{item['sequence']}  truth: {item['truth']}  live: {score}")
        if comparison.is_done and not comparison.waiting:
            return True
        if comparison.is_done and not was_done:
            deadline = min(deadline, now + options.grace)
    return comparison.is_done


def _fault(
    summary: Mapping[str, Any], n_labels: int, is_complete: bool, timeout_s: float
) -> str | None:
    """Return why this was no success, None if it was one."""
    n_windows, n_results = summary["n_windows"], summary["n_results"]
    if not is_complete:
        return f"the player had not finished after {timeout_s:g} s ({n_windows} windows played)"
    if not n_windows:
        return "the player played nothing"
    if n_results < REQUIRED_SHARE * n_windows:
        return (
            f"expected results for {REQUIRED_SHARE:.0%} of {n_windows} windows, got {n_results}; "
            "does the recogniser run, and does it keep up?"
        )
    if not n_labels:
        return "results came as markers, but nothing on the label topic"
    return None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
