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
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import rclpy
from faults_bench import Bench, Outcome
from faults_cases import CASES
from faults_messages import fuzz_here, fuzz_over_dds


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
            for case in CASES:
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
