"""Run the pipeline with several seeds and print mean and spread of every row.

    python benchmarks/pipeline_seeds.py
    python benchmarks/pipeline_seeds.py --dataset nw-ucla --out runs/nw-ucla

Without arguments it runs on generated recordings, which it prepares if they are missing. A seed
that is finished is not run again, an interrupted one goes on. Options after ``--`` go to
``iospstl-train pipeline``. The spread is the sample standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iospstl_train.cli import main as run_command


def main() -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="synthetic", help="name of a prepared store")
    parser.add_argument("--root", type=Path, default=Path("runs/data"))
    parser.add_argument("--out", type=Path, help="gets a folder a seed; runs/bench-DATASET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("pipeline", nargs="*", help="options for the pipeline, after --")
    options = parser.parse_args()
    options.out = options.out or Path("runs") / f"bench-{options.dataset}"
    if options.dataset == "synthetic" and not (options.root / "synthetic").exists():
        run_command(["prepare", "--dataset", "synthetic", "--root", str(options.root)])
    for seed in options.seeds:
        status = _run_seed(options, seed)
        if status != 0:
            return status
    reports = [_read_report(options.out, seed) for seed in options.seeds]
    rows = summarize(reports)
    print(json.dumps(rows, indent=2) if options.json else format_table(rows, options.seeds))
    return 0


def _run_seed(options: argparse.Namespace, seed: int) -> int:
    folder = options.out / f"seed-{seed}"
    if (folder / "report.json").is_file():
        return 0
    command = ["pipeline", "--dataset", options.dataset, "--root", str(options.root)]
    command += ["--out", str(folder), "--seed", str(seed), *options.pipeline]
    return run_command(command)


def _read_report(out: Path, seed: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / f"seed-{seed}" / "report.json").read_text())
    return data


def summarize(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return name, and mean and spread of error and accuracy, of every row."""
    rows = []
    for index, first in enumerate(reports[0]["rows"]):
        same = [report["rows"][index] for report in reports]
        row: dict[str, Any] = {"name": first["name"], "n_seeds": len(same)}
        for key in ("error_mm", "accuracy", "seconds"):
            values = [item[key] for item in same if item[key] is not None]
            row[key] = statistics.mean(values) if values else None
            row[f"{key}_spread"] = statistics.stdev(values) if len(values) > 1 else None
        rows.append(row)
    return rows


def format_table(rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return a Markdown table."""
    lines = [
        f"| row (seeds {', '.join(map(str, seeds))}) | hidden-joint error, mm | "
        "linear accuracy, % | seconds |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        error = _with_spread(row["error_mm"], row["error_mm_spread"], 1, 0)
        accuracy = _with_spread(row["accuracy"], row["accuracy_spread"], 100, 1)
        lines.append(f"| {row['name']} | {error} | {accuracy} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def _with_spread(mean: float | None, spread: float | None, factor: float, digits: int) -> str:
    if mean is None:
        return "-"
    text = f"{mean * factor:.{digits}f}"
    return text if spread is None else f"{text} ± {spread * factor:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
