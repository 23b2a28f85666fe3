"""Run the live recogniser for long, and see whether memory grows or beats are missed.

    python benchmarks/live_soak.py --minutes 30

Two people, a third of their joints hidden, are shown at 30 Hz with the bundle of
`live_latency.py`. Every ten seconds the resident memory
is noted; its slope is that of a straight line through the notes after the first two minutes. A
beat is missed where the next result is more than half a second later.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from live_bundle import find_bundles
from live_people import FRAME_HZ, NEAR_M, Partner, make_people
from live_process import recognizer

PERIOD_S = 10.0
WARM_UP_S = 120.0
BEAT_S = 0.5


def main() -> int:
    """Run, print what was seen, and return 1 if a beat was missed or frames were lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--minutes", type=float, default=30.0)
    add("--work", type=Path, default=Path("runs/live"), help="folder of the bundle")
    add("--imputer", choices=("restore", "knn"), default="restore")
    add("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "65")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    bundle = find_bundles(options.work)[options.imputer]
    rclpy.init(args=[])
    try:
        found = soak(bundle, options.minutes * 60, options.work / "soak.log")
    finally:
        rclpy.try_shutdown()
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(bool(found["missed beats"] or found["frames not received"]))


def soak(bundle: Path, seconds: float, log: Path) -> dict[str, float]:
    """Show people for so long; return what became of memory, beats and frames."""
    script = Path(__file__).resolve().parents[1] / "iospstl_ros" / "recognizer_node.py"
    partner = Partner(make_people(2, is_hidden=True, apart_m=NEAR_M))
    notes: list[tuple[float, float]] = []
    with recognizer([str(script), "--bundle", str(bundle)], log) as process:
        partner.wait_for_subscriber(lambda: process.poll() is None)
        partner.spin_until(time.monotonic() + 1.0)
        start_s = time.monotonic()
        n_frames = 0
        while time.monotonic() - start_s < seconds:
            n_frames += len(partner.show(PERIOD_S))
            notes.append((time.monotonic() - start_s, resident_mb(process.pid)))
        partner.spin_until(time.monotonic() + 2.0)
        heard = partner.heard
    gaps_s = np.diff(heard.label_s)
    memory = np.array(notes)
    steady = memory[memory[:, 0] > min(WARM_UP_S, seconds / 2)]
    slope = np.polyfit(steady[:, 0], steady[:, 1], 1)[0] * 3600 if len(steady) > 1 else 0.0
    received = int(heard.status.get("frames received", 0))
    return {
        "minutes": round(memory[-1, 0] / 60, 1),
        "resident at the start (MB)": round(float(memory[0, 1]), 1),
        "resident at the end (MB)": round(float(memory[-1, 1]), 1),
        "slope (MB an hour)": round(float(slope), 2),
        "frames shown": n_frames,
        "frames not received": n_frames - received,
        "labels": len(heard.label_s),
        "labels a second": round(len(heard.label_s) / memory[-1, 0], 2),
        "missed beats": int((gaps_s > BEAT_S).sum()),
        "longest gap (s)": round(float(gaps_s.max()), 2) if len(gaps_s) else 0.0,
        "errors": int(heard.status.get("errors", 0)),
        "shown at (Hz)": FRAME_HZ,
    }


def resident_mb(pid: int) -> float:
    """Return the memory that a process has resident now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3


if __name__ == "__main__":
    sys.exit(main())
