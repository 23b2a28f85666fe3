"""What else goes wrong on a robot, one function each: clocks, ids, bundles, drivers, GPUs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
from faults_bench import FRAME_NS, NOW_NS, Bench, Outcome
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String

from tests.ros.partner import Partner
from tests.ros.tiny import make_bundle, raised_hand


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


CASES = (
    *(stamps_back, clock_jumps, silence, changing_ids, crowd, missing_bundle, swapped_bundle),
    *(overwritten_bundle, killed_publisher, killed_player, absent_gpu),
)
