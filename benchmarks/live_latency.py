"""Latency, losses, processor and memory of the live recogniser, with a bundle as of NTU-60.

    python benchmarks/live_latency.py --work runs/live --json runs/live/latency.json

Needs what `pip install '.[train,ros]'` brings. The first call makes the bundles (1.2 GB in the
folder of --work, two minutes); a call then takes about 7 minutes. People are generated and shown
at 30 Hz over ROS 2 topics on this machine; the recogniser is a process of its own. Labels come at
10 Hz, and latency is the time from the publication of the newest frame of a window to the arrival
of its label. Both processes run on the same two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from live_bundle import N_PERSONS, WINDOW_S, find_bundles
from live_people import FAR_M, FRAME_HZ, NEAR_M, Partner, make_people
from live_process import (
    N_CORES,
    describe_machine,
    forget_files,
    peak_resident_mb,
    processor_s,
    recognizer,
)
from live_timed import note_runs
from numpy.typing import NDArray
from tqdm import tqdm

from iospstl_core.bundle import open_bundle
from iospstl_core.pipeline import Recognizer
from iospstl_core.window import RawWindow

_WARM_S = WINDOW_S + 1.0
_AFTER_S = 2.0
_N_PURE = 60

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """What is measured in one run.

    Attributes
    ----------
    recognizer : {"restore", "knn", "obvious"}
        Imputer of our node, or the baseline.
    persons : int
    is_hidden : bool
        Whether a third of the joints is hidden.
    apart_m : float
        Distance of neighbours.
    is_cold : bool
        Whether the bundle is taken out of the file cache before the start.
    n_threads : int
        Of a network.
    """

    recognizer: str
    persons: int
    is_hidden: bool = True
    apart_m: float = FAR_M
    is_cold: bool = False
    n_threads: int = 1


CASES = (
    Case("restore", 1, is_cold=True),
    Case("restore", 2),
    Case("restore", 2, apart_m=NEAR_M),
    Case("restore", 6),
    Case("restore", 6, n_threads=2),
    Case("restore", 1, is_hidden=False),
    Case("restore", 6, is_hidden=False),
    Case("knn", 1, is_cold=True),
    Case("knn", 2),
    Case("knn", 6),
    Case("obvious", 1),
    Case("obvious", 2),
    Case("obvious", 6),
)


@dataclass(frozen=True)
class Result:
    """What one run gave; times in milliseconds, -1 where they do not apply.

    Attributes
    ----------
    latency_p50_ms, latency_p99_ms : float
        From the publication of a frame to the arrival of the label whose window ends with it.
    besides_p50_ms, besides_p99_ms : float
        Of that, the time in which no network ran.
    pure_p50_ms, pure_p99_ms : float
        Time in the networks for such windows in a process that does nothing else.
    labels_hz : float
    dropped : int
        Frames that were published and entered no window.
    cpu_percent : float
        Of one core, user and system.
    resident_mb : float
        Peak of the recogniser's process, pages of mapped files included.
    ready_s : float
        From the start of the process to its subscription, after which a label is possible.
    status : dict
        The node's last diagnostics.
    """

    case: Case
    latency_p50_ms: float
    latency_p99_ms: float
    besides_p50_ms: float
    besides_p99_ms: float
    pure_p50_ms: float
    pure_p99_ms: float
    labels_hz: float
    dropped: int
    cpu_percent: float
    resident_mb: float
    ready_s: float
    status: dict[str, str]


def main() -> None:
    """Measure all cases and print a table; write JSON if asked to."""
    options = parse_options()
    os.environ.setdefault("ROS_DOMAIN_ID", "64")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["ROS_LOG_DIR"] = str(options.work / "log")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:N_CORES])
    bundles = find_bundles(options.work)
    load = [os.getloadavg()[0]]
    chosen = [case for case in CASES if not options.only or case.recognizer in options.only]
    rclpy.init(args=[])
    try:
        results = [run_case(case, bundles, options) for case in tqdm(chosen, desc="cases")]
    finally:
        rclpy.try_shutdown()
    load.append(os.getloadavg()[0])
    print_table(results)
    if options.json:
        found = {
            "seconds": options.seconds,
            "machine": describe_machine(),
            "load_before_and_after": load,
            "results": [asdict(result) for result in results],
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--work", type=Path, default=Path("runs/live"), help="folder of the bundles and logs")
    add("--seconds", type=float, default=18.0, help="measured in each of the 13 cases")
    add("--only", nargs="+", choices=("restore", "knn", "obvious"), help="just these cases")
    add("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    options.work = options.work.resolve()
    return options


def run_case(case: Case, bundles: dict[str, Path], options: argparse.Namespace) -> Result:
    """Start a recogniser, show people to it and stop it."""
    bundle = bundles.get(case.recognizer, bundles["knn"])
    is_ours = case.recognizer in bundles
    people = make_people(case.persons, case.is_hidden, case.apart_m)
    pure = pure_network_ms(bundle, people, case) if is_ours else np.array([-1.0])
    if case.is_cold:
        forget_files(bundle)
    out = options.work / ("times.npy" if is_ours else "received.json")
    out.unlink(missing_ok=True)
    partner = Partner(people)
    started_s = time.monotonic()
    try:
        with recognizer(command(case, out, bundle), options.work / "recognizer.log") as process:
            ready_s = partner.wait_for_subscriber(lambda: process.poll() is None) - started_s
            partner.spin_until(time.monotonic() + 0.5)  # the other topics are matched later
            partner.show(_WARM_S)
            cpu_s = processor_s(process.pid)
            stamps = partner.show(options.seconds)
            cpu_s = processor_s(process.pid) - cpu_s
            partner.spin_until(time.monotonic() + _AFTER_S)
            resident_mb = peak_resident_mb(process.pid)
        spans = np.load(out) if is_ours else np.zeros((0, 2))
        received = count_received(partner, out, is_ours)
        latency, besides = latencies_ms(partner, set(stamps), spans)
    finally:
        partner.close()
    return Result(
        case,
        *percentiles(latency),
        *(percentiles(besides) if is_ours else (-1.0, -1.0)),
        *percentiles(pure),
        labels_hz=len(latency) / options.seconds,
        dropped=len(partner.published_s) - received,
        cpu_percent=100 * cpu_s / options.seconds,
        resident_mb=resident_mb,
        ready_s=ready_s,
        status=partner.heard.status,
    )


def command(case: Case, out: Path, bundle: Path) -> list[str]:
    """Return script and arguments of the recogniser of a case."""
    if case.recognizer == "obvious":
        return ["live_baseline.py", str(out), "--bundle", str(bundle)]
    threads = ["--ros-args", "-p", f"n_threads:={case.n_threads}"]
    return ["live_timed.py", str(out), "--bundle", str(bundle), *threads]


def latencies_ms(
    partner: Partner, stamps: set[int], spans: Array
) -> tuple[list[float], list[float]]:
    """Return the latency of every label of some frames, and its part without networks."""
    latency, besides = [], []
    for label_s, stamp_ns in zip(partner.heard.label_s, partner.heard.stamp_ns, strict=False):
        if stamp_ns in stamps:
            start_s = partner.published_s[stamp_ns]
            inside = np.minimum(spans[:, 1], label_s) - np.maximum(spans[:, 0], start_s)
            latency.append(1e3 * (label_s - start_s))
            besides.append(latency[-1] - 1e3 * float(np.maximum(inside, 0).sum()))
    return latency, besides


def pure_network_ms(bundle: Path, people: Array, case: Case) -> Array:
    """Return the time in the networks for everybody's windows, 0.1 s apart, (_N_PURE,)."""
    models = Recognizer(open_bundle(bundle), ["CPUExecutionProvider"], n_threads=case.n_threads)
    n_frames, together = round(WINDOW_S * FRAME_HZ), case.apart_m == NEAR_M
    groups = np.split(np.arange(case.persons), case.persons // (N_PERSONS if together else 1))
    spans, total = note_runs(), np.zeros(_N_PURE)
    for index in range(-5, _N_PURE):
        start = 3 * index % (people.shape[1] - n_frames)
        raw = [_cut(people[group, start : start + n_frames]) for group in groups]
        windows = [models.normalize(window) for window in raw]
        spans.clear()
        models.recognize(windows)
        total[index] = 1e3 * sum(end_s - start_s for start_s, end_s in spans)
    return total


def _cut(members: Array) -> RawWindow:
    """Return the window of some people (n, n_frames, 25, 3)."""
    n, n_frames = members.shape[:2]
    xyz = np.full((n_frames, N_PERSONS, *members.shape[2:]), np.nan, dtype=np.float32)
    xyz[:, :n] = members.swapaxes(0, 1)
    present = np.broadcast_to(np.arange(N_PERSONS) < n, xyz.shape[:2])
    return RawWindow(tuple(range(n)), xyz, present, np.arange(n_frames) / FRAME_HZ)


def count_received(partner: Partner, out: Path, is_ours: bool) -> int:
    """Return how many frames entered a window."""
    if not is_ours:
        return int(json.loads(out.read_text())["received"])
    status = partner.heard.status
    return int(status["frames received"]) - int(status["dropped"])


def percentiles(values: Sequence[float] | Array) -> tuple[float, float]:
    """Return median and 99th percentile; -1 of nothing."""
    if not len(values):
        return -1.0, -1.0
    p50, p99 = np.percentile(values, [50, 99])
    return float(p50), float(p99)


def print_table(results: Sequence[Result]) -> None:
    """Print what was measured as Markdown."""
    print(
        "| recogniser | persons | input | p50, ms | p99, ms | besides networks p50 | p99 | "
        "networks alone p50 | p99 | labels/s | dropped | CPU, % | resident, MB | ready, s |"
    )
    print("| --- " * 14 + "|")
    for result in results:
        case = result.case
        persons = f"{case.persons}{', together' if case.apart_m == NEAR_M else ''}"
        persons += f", {case.n_threads} threads" if case.n_threads > 1 else ""
        times = (
            f"{value:.1f}" if value >= 0 else "-"
            for value in (
                *(result.latency_p50_ms, result.latency_p99_ms),
                *(result.besides_p50_ms, result.besides_p99_ms),
                *(result.pure_p50_ms, result.pure_p99_ms),
            )
        )
        print(
            f"| {case.recognizer} | {persons} | {'occluded' if case.is_hidden else 'whole'} | "
            f"{' | '.join(times)} | {result.labels_hz:.1f} | {result.dropped} | "
            f"{result.cpu_percent:.0f} | {result.resident_mb:.0f} | "
            f"{result.ready_s:.1f}{' (cold)' if case.is_cold else ''} |"
        )


if __name__ == "__main__":
    main()
