"""Faults, one after the other, and what the live recogniser makes of each.

    python benchmarks/faults.py --messages 100000 --json runs/faults.json

Needs what `pip install '.[train,ros,test]'` brings. Damaged messages go through the node's inner
loop in this process, and some thousands of them over DDS to a node of its own; then everything
else that goes wrong on a robot is done to such a node. Takes about six minutes with 100,000
messages, two with the default; the bundle is a tiny one that is made on the spot. Exit status 1 if
anything but the expected happened.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String

from tests.ros import fuzz
from tests.ros.partner import Partner
from tests.ros.processes import Processes, wait_for_text
from tests.ros.rig import Rig
from tests.ros.tiny import make_bundle, raised_hand

NOW_NS = 1_795_000_000 * 10**9
FRAME_NS = 33_000_000
_WORK_EVERY = 10
_DDS_PAUSE_S = 0.004
_N_HYPOTHESIS = 0.1
"""Share of the messages that hypothesis makes: it is slow."""


@dataclass(frozen=True)
class Outcome:
    """What happened.

    Attributes
    ----------
    fault, what : str
    is_expected : bool
    """

    fault: str
    what: str
    is_expected: bool


class Bench:
    """A folder, the partner of all nodes, and their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = make_bundle(folder / "bundle")
        self.processes = Processes(folder)
        self.partner = Partner()

    @contextmanager
    def node(self, *arguments: str, bundle: Path | None = None) -> Iterator[Any]:
        """Run a recogniser for one fault."""
        process = self.processes.start(
            *("recognizer_node", "--bundle", str(bundle or self.bundle)),
            *("--input-topic", "/camera/people", "--ros-args", "-p", "infer_rate_hz:=50.0"),
            *arguments,
        )
        wait_for_text(process, "listens to")
        self.partner.wait_until_connected()
        for heard in self.partner.heard.values():
            heard.clear()
        self.partner.events.clear()
        try:
            yield process
        finally:
            self.processes.stop(process)
            self.partner.spin_until(lambda: self.partner.clouds.get_subscription_count() == 0)

    def recognizes(self, height_m: float = 0.4, start_ns: int = NOW_NS) -> bool:
        """Whether a person with a raised or lowered hand gets the right label."""
        self.partner.heard[String].clear()
        self.partner.play(1, raised_hand(30, height_m), start_ns, pause_s=0.02)
        label = "hand up" if height_m > 0 else "hand down"
        return bool(self.partner.spin_until(lambda: label in self.partner.labels(), 5.0))

    def values(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Return the first diagnostics that fulfil a condition."""
        found: dict[str, str] = self.partner.wait_for_status(condition)
        return found


def fuzz_here(bench: Bench, n_messages: int, seed: int) -> list[Outcome]:
    """Send damaged messages through adapter and engine in this process."""
    kinds = [*fuzz.TYPED, *fuzz.LOOSE, "bytes of a message lost, changed, made up"]
    n_each = int(n_messages * (1 - _N_HYPOTHESIS)) // len(kinds)
    outcomes = []
    for index, kind in enumerate(kinds):
        rng = np.random.default_rng((seed, index))

        def send(rig: Rig, n: int, kind: str = kind, rng: Any = rng) -> bool:
            if kind in fuzz.TYPED or kind in fuzz.LOOSE:
                return bool(rig.loop.store(fuzz.damaged(kind, rng, (1 + n) * FRAME_NS)))
            data = fuzz.damaged_bytes(rng, (1 + n) * FRAME_NS)
            return bool(rig.loop.receive(data, PointCloud2))

        outcomes.append(_fuzz_kind(bench, kind, n_each, send))
    outcomes.append(_fuzz_with_hypothesis(bench, n_messages - n_each * len(kinds), seed))
    return outcomes


def _fuzz_kind(
    bench: Bench, kind: str, n_messages: int, send: Callable[[Rig, int], bool]
) -> Outcome:
    rig, n_stored = Rig(bench.bundle, infer_rate_hz=1000.0), 0
    before_mb = _resident_mb()
    for index in range(n_messages):
        n_stored += send(rig, index)
        if index % _WORK_EVERY == 0:
            rig.loop.work()
        for topic in rig.topics.values():
            topic.sent.clear()
    return _judge(rig, f"{n_messages} x {kind}", n_messages, n_stored, before_mb)


def _fuzz_with_hypothesis(bench: Bench, n_messages: int, seed: int) -> Outcome:
    import hypothesis

    rig, sent = Rig(bench.bundle, infer_rate_hz=1000.0), []
    before_mb = _resident_mb()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n_messages,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(fuzz.any_cloud())
    def send(cloud: Any) -> None:
        sent.append(rig.loop.store(cloud))
        if len(sent) % _WORK_EVERY == 0:
            rig.loop.work()

    send()
    return _judge(rig, f"{len(sent)} x what hypothesis finds", len(sent), sum(sent), before_mb)


def _judge(rig: Rig, fault: str, n_sent: int, n_stored: int, before_mb: float) -> Outcome:
    """Compare what was counted with what was sent, and see whether people are still recognised."""
    report = rig.engine.statistics.report()
    dropped = {k: v for k, v in report.dropped.items() if not k.startswith("persons beyond")}
    is_counted = report.received == n_sent and sum(dropped.values()) == n_sent - n_stored
    rig.loop.forget()
    rig.topics["action_label"].sent.clear()
    rig.play()
    rig.loop.work()
    labels = [message.data for message in rig.topics["action_label"].sent]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    what = (
        f"{n_stored} stored; dropped and counted: {reasons or 'none'}; {report.errors} errors; "
        f"{_resident_mb() - before_mb:+.0f} MB"
    )
    return Outcome(fault, what, is_counted and labels[-1:] == ["hand up"] and report.errors == 0)


def fuzz_over_dds(bench: Bench, n_messages: int, seed: int) -> Outcome:
    """Publish damaged messages, and damaged bytes, to a node of its own."""
    rng = np.random.default_rng((seed, 99))
    partner = bench.partner
    kinds = (*fuzz.TYPED, "bytes", "bytes", "bytes")
    with bench.node() as process:
        for index in range(n_messages):
            kind, stamp_ns = fuzz.pick(rng, kinds), (1 + index) * FRAME_NS
            is_raw = kind == "bytes"
            partner.clouds.publish(
                fuzz.damaged_bytes(rng, stamp_ns) if is_raw else fuzz.damaged(kind, rng, stamp_ns)
            )
            time.sleep(_DDS_PAUSE_S)
            if index % 100 == 0:
                partner.spin_for(0.01)
        partner.spin_for(1.0)
        before = bench.values(lambda values: values["input rate (Hz)"] == "0.0")
        n_received = int(before["frames received"])
        is_well = process.poll() is None and bench.recognizes() and before["errors"] == "0"
        is_well &= n_received > 0.8 * n_messages  # the subscription is best effort
        drops = {k: v for k, v in before.items() if k.startswith("dropped: ")}
        counted = ", ".join(f"{count} {key[9:]}" for key, count in drops.items())
        what = f"{n_received} received; dropped and counted: {counted}; then recognises"
        return Outcome(f"{n_messages} damaged messages and bytes over DDS", what, is_well)


def stamps_back(bench: Bench) -> Outcome:
    """Send stamps that go back by less, and by more, than a window."""
    with bench.node():
        is_well = bench.recognizes(0.4, NOW_NS)
        bench.partner.play(1, raised_hand(10, 0.4), NOW_NS + 5 * FRAME_NS)
        key = "dropped: stamp not newer than the last one"
        values = bench.values(lambda values: key in values)
        n_late = values[key]
        is_well &= bench.recognizes(-0.6, NOW_NS - 10**11)
        values = bench.values(lambda values: values["clock jumps"] != "0")
        what = (
            f"within a window: {n_late} frames dropped and counted; by 100 s: "
            f"{values['clock jumps']} clock jump counted, windows start afresh, then recognises"
        )
        return Outcome("stamps that go backwards", what, is_well)


def clock_jumps(bench: Bench) -> Outcome:
    """Let the simulation start again."""
    partner = bench.partner
    clock = partner.create_publisher(ClockMessage, "/clock", 10)
    with bench.node("-p", "use_sim_time:=true"):
        partner.spin_until(lambda: clock.get_subscription_count() == 1)
        is_well = True
        for start_ns, height_m in ((NOW_NS, 0.4), (NOW_NS - 10**9, -0.6)):
            message = ClockMessage()
            message.clock.sec = start_ns // 10**9
            for _ in range(5):
                clock.publish(message)
                partner.spin_for(0.1)
            is_well &= bench.recognizes(height_m, start_ns)
        values = bench.values(lambda values: True)
    partner.destroy_publisher(clock)
    what = (
        f"the clock goes back by 1 s: windows start afresh, {values['clock jumps']} jump counted, "
        f"{values['dropped']} frames dropped, recognises at once"
    )
    is_well &= (values["clock jumps"], values["dropped"]) == ("1", "0")
    return Outcome("clock of a simulation that jumps back", what, is_well)


def silence(bench: Bench) -> Outcome:
    """Send nothing for ten seconds, and then somebody else."""
    partner = bench.partner
    with bench.node("-p", "publish_events:=true"):
        is_well = bench.recognizes(0.4, NOW_NS)
        started = time.monotonic()
        gone = partner.spin_until(lambda: len(partner.deleted()) == 4, 5.0)
        seconds = time.monotonic() - started
        is_well &= gone and partner.spin_until(
            lambda: partner.events and partner.events[-1]["event"] == "ended", 1.0
        )
        partner.spin_for(10.0 - seconds)
        values = bench.values(lambda values: True)
        level = partner.status().message.partition(";")[0]
        is_well &= values["persons"] == "0" and bench.recognizes(-0.6, NOW_NS + 12 * 10**9)
        values = bench.values(lambda values: values["silences"] != "0")
        what = (
            f"after {seconds:.1f} s markers are taken away and actions end; persons 0; "
            f"WARN '{level}'; then {values['silences']} silence counted, starts afresh, recognises"
        )
        return Outcome("10 s of silence", what, is_well)


def changing_ids(bench: Bench) -> Outcome:
    """Give everybody a new id with every frame, as a bad tracker does."""
    partner, found = bench.partner, {}
    frames = raised_hand(300, 0.4)
    for track_by in ("id", "position"):
        with bench.node("-p", f"track_by:={track_by}") as process:
            for index, xyz in enumerate(frames):
                partner.send(NOW_NS + index * FRAME_NS, {index: xyz})
                partner.spin_for(0.005)
            partner.spin_for(0.3)
            found[track_by] = len(partner.labels())
            is_alive = process.poll() is None
    what = (
        f"followed by id: {found['id']} labels, as nobody is seen long enough; with "
        f"track_by: position: {found['position']} labels"
    )
    is_well = is_alive and found["id"] == 0 and found["position"] > 0
    return Outcome("ids that change with every frame", what, is_well)


def crowd(bench: Bench) -> Outcome:
    """Show fifty people for three seconds at 30 Hz."""
    partner = bench.partner
    steps = [np.float32([person % 10 - 5, 0, 1 + person // 10]) for person in range(50)]
    with bench.node():
        for index, xyz in enumerate(raised_hand(90, 0.4)):
            partner.send(
                NOW_NS + index * FRAME_NS, {i: xyz + step for i, step in enumerate(steps)}
            )
            partner.spin_for(0.033)
        values = bench.values(lambda values: int(values["frames received"]) >= 90)
        what = (
            f"the nearest {values['persons']} are followed, {values['labels']} labels; "
            f"{values['dropped: persons beyond max_persons']} persons beyond max_persons counted; "
            f"callback to label {values['callback to label (ms) p95']} ms at p95"
        )
        is_well = values["persons"] == "6" and "hand up" in partner.labels()
        return Outcome("50 people at once", what, is_well)


def missing_bundle(bench: Bench) -> Outcome:
    """Name no bundle, one that was changed by a byte, and one that lacks a file."""
    damaged = bench.folder / "damaged"
    shutil.copytree(bench.bundle, damaged)
    data = bytearray((damaged / "classifier.onnx").read_bytes())
    data[100] ^= 1
    (damaged / "classifier.onnx").write_bytes(data)
    lacking = bench.folder / "lacking"
    shutil.copytree(bench.bundle, lacking)
    (lacking / "centroids.npy").unlink()
    statuses, words = [], []
    for folder in (bench.folder / "nowhere", damaged, lacking):
        process = bench.processes.start("recognizer_node", "--bundle", str(folder))
        statuses.append(process.wait(60))
        words.append(process.log.read_text().splitlines()[-1].partition(f"{folder}")[2])
    is_well = statuses == [2, 2, 2] and "sha256" in words[1] and "missing" in words[2]
    what = f"exit status 2 and one sentence each: {' | '.join(word[:60] for word in words)}"
    return Outcome("bundle missing, changed by a byte, lacking a file", what, is_well)


def swapped_bundle(bench: Bench) -> Outcome:
    """Rename another bundle over the one in use."""
    folder = make_bundle(bench.folder / "swapped")
    partner = bench.partner
    with bench.node(bundle=folder):
        is_well = bench.recognizes(0.4, NOW_NS)
        folder.rename(bench.folder / "swapped-old")
        make_bundle(folder, classes=("one", "two", "three"))
        is_well &= bench.recognizes(0.4, NOW_NS + 2 * 10**9)
        bench.values(lambda values: values["bundle on disk"].startswith("replaced"))
        steps = ("deactivate", "cleanup", "configure", "activate")
        started = time.monotonic()
        is_well &= all(partner.change_state(step) for step in steps)
        seconds = time.monotonic() - started
        partner.wait_until_connected()
        partner.play(1, raised_hand(30, 0.4), NOW_NS + 4 * 10**9)
        is_well &= bool(partner.spin_until(lambda: "one" in partner.labels(), 5.0))
        what = (
            f"the old one goes on, WARN; cleanup and configure load the new one ({seconds:.2f} s)"
        )
        return Outcome("bundle swapped while in use", what, is_well)


def overwritten_bundle(bench: Bench) -> Outcome:
    """Cut off the bundle in use in place; who reads what was mapped of it dies."""
    folder = make_bundle(bench.folder / "overwritten")
    partner = bench.partner
    with bench.node(bundle=folder) as process:
        is_well = bench.recognizes(0.4, NOW_NS)
        for path in (folder / "bank").glob("*.npy"):
            os.truncate(path, 0)
        partner.spin_for(0.2)
        partner.heard[String].clear()
        partner.play(1, raised_hand(30, 0.4), NOW_NS + 2 * 10**9)
        bench.values(lambda values: values["bundle on disk"].startswith("overwritten"))
        is_error = partner.status().level == b"\x02"
        is_well &= is_error and partner.labels() == [] and process.poll() is None
        return Outcome(
            "bundle overwritten in place while in use",
            "no more labels, ERROR with the remedy, the node lives",
            is_well,
        )


def killed_publisher(bench: Bench) -> Outcome:
    """Destroy the driver's node and start another one."""
    partner = bench.partner
    with bench.node("-p", "publish_events:=true"):
        found = []
        for start_s in (0, 30):
            driver = Partner("/recognizer", "/camera/people")
            driver.wait_until_connected()
            partner.heard[String].clear()
            driver.play(1, raised_hand(30, 0.4), NOW_NS + start_s * 10**9, pause_s=0.02)
            found.append(partner.spin_until(lambda: "hand up" in partner.labels(), 5.0))
            driver.close()
            values = bench.values(lambda values: values["persons"] == "0")
        what = "markers and actions end, persons 0; recognises again when it is back, no error"
        return Outcome("driver's node gone and back", what, all(found) and values["errors"] == "0")


def killed_player(bench: Bench) -> Outcome:
    """Kill a process that publishes with SIGKILL and start another one."""
    script = bench.folder / "one.skeleton"
    shutil.copy(_skeleton_file(bench.folder), script)
    partner, found = bench.partner, []
    with bench.node("-p", "score_threshold:=0.0") as process:
        for _ in range(2):
            partner.heard[String].clear()
            player = bench.processes.start(
                *("player", "--skeleton", str(script), "--loop", "--topic", "/camera/people")
            )
            found.append(partner.spin_until(lambda: len(partner.labels()) > 3, 15.0))
            player.send_signal(signal.SIGKILL)
            player.wait()
        is_alive = process.poll() is None
    what = "labels from both, the same subscription"
    return Outcome("player killed with SIGKILL and restarted", what, all(found) and is_alive)


def _skeleton_file(folder: Path) -> Path:
    """Write a person with a raised hand as NTU's text files have it."""
    lines = ["60"]
    for frame in raised_hand(60, 0.4):
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.1 0.2 2", "25"]
        lines += [f"{x} {y} {z} 0 0 0 0 0 0 0 1 2" for x, y, z in frame.tolist()]
    path = folder / "person.skeleton"
    path.write_text("\n".join(lines) + "\n")
    return path


def absent_gpu(bench: Bench) -> Outcome:
    """Ask for the GPU, and require it."""
    partner = bench.partner
    with bench.node():
        values = bench.values(lambda values: True)
        warning = partner.status().message
    is_absent = values["provider in use"] == "CPUExecutionProvider"
    process = bench.processes.start(
        *("recognizer_node", "--bundle", str(bench.bundle), "--ros-args"),
        *("-p", "require_gpu:=true"),
    )
    if not is_absent:
        process.kill()
        process.wait()
        return Outcome("GPU asked for and absent", "there is one here", True)
    status = process.wait(60)
    text = process.log.read_text().splitlines()[-1]
    what = f"runs on the CPU, WARN '{warning[:70]}...'; with require_gpu exit status {status}: "
    is_well = status == 2 and "require_gpu" in text and "instead of" in warning
    return Outcome("GPU asked for and absent", what + f"{text[:90]}...", is_well)


_CASES = (
    *(stamps_back, clock_jumps, silence, changing_ids, crowd, missing_bundle, swapped_bundle),
    *(overwritten_bundle, killed_publisher, killed_player, absent_gpu),
)


def _resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _show(outcome: Outcome) -> None:
    mark = "as expected" if outcome.is_expected else "NOT AS EXPECTED"
    print(f"| {outcome.fault} | {outcome.what} | {mark} |", flush=True)


def main() -> int:
    """Do everything that can go wrong; return 1 if something else than expected happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000, help="damaged messages in process")
    parser.add_argument("--dds-messages", type=int, default=4000, help="the same over DDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    print("| fault | what happens | |\n|---|---|---|")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        rclpy.init()
        bench = Bench(Path(folder))
        try:
            for outcome in fuzz_here(bench, options.messages, options.seed):
                outcomes.append(outcome)
                _show(outcome)
            outcomes.append(fuzz_over_dds(bench, options.dds_messages, options.seed))
            _show(outcomes[-1])
            for case in _CASES:
                outcomes.append(case(bench))
                _show(outcomes[-1])
        finally:
            bench.processes.close()
            bench.partner.close()
            rclpy.try_shutdown()
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(item) for item in outcomes], indent=2) + "\n")
    print(f"\n{sum(item.is_expected for item in outcomes)} of {len(outcomes)} as expected")
    return 0 if all(item.is_expected for item in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
