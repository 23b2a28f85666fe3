"""Kill a pre-training at random moments, go on each time, and compare with one left alone.

    python benchmarks/kill_and_resume.py --kills 10 --seed 1

Runs on generated recordings in a temporary folder; every run is the real command in a process of
its own, ended by SIGKILL. It saves after every step; every second kill waits at its moment for the
next write of a checkpoint. Exits with 1 if any number differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from iospstl_core.errors import InputError
from iospstl_train.training.checkpoint import read_checkpoint
from iospstl_train.training.run_folder import CHECKPOINT, LOCK_FILE, METRICS_FILE, read_metrics

SETTINGS = (
    *("encoder.dropout=0.3", "opstl.projector_width=64", "training.batch_size=16"),
    *("training.epochs=12", "training.warmup_epochs=1", "training.checkpoint_minutes=0"),
)
_POLL_S = 0.002


@dataclass(frozen=True)
class Kill:
    """One kill and what it left.

    Attributes
    ----------
    after_s : float
        Since the process had taken the folder.
    moment : str
        What it was doing.
    epoch, step : int
        Finished epochs and steps of the one under way, by what can be read.
    same_so_far : bool
        Whether all finished epochs are those of the run left alone.
    """

    after_s: float
    moment: str
    epoch: int
    step: int
    same_so_far: bool


def main() -> int:
    """Run, kill, go on; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--subjects", type=int, default=3, help="actors of the recordings")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        prepare(root, options.subjects)
        alone = root / "alone"
        process = start(root, alone)
        began = wait_until_it_works(process, alone)
        finish(process)
        seconds = time.monotonic() - began
        kills, is_same = kill_and_resume(root, alone, options.kills, seconds, options.seed)
    if options.json:
        described = {"kills": [asdict(kill) for kill in kills], "identical": is_same}
        print(json.dumps({**described, "alone_s": seconds, "seed": options.seed}, indent=2))
    else:
        print("\n".join(format_table(kills, is_same)))
    return 0 if is_same and all(kill.same_so_far for kill in kills) else 1


def prepare(root: Path, n_subjects: int) -> None:
    """Make the recordings and hide joints."""
    synthetic = ["--dataset", "synthetic", "--root", str(root), "--workers", "1"]
    finish(run(["prepare", *synthetic, "--subjects", str(n_subjects)]))
    finish(run(["occlude", *synthetic]))


def run(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command, quietly."""
    command = [sys.executable, "-m", "iospstl_train", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a pre-training, or go on with it."""
    data = ["--dataset", "synthetic", "--root", str(root), "--occlusion", "realistic"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return run(
        ["pretrain", "--preset", "small", *data, "--out", str(folder), "--resume", *settings]
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command that must come to its end."""
    if process.wait() != 0:
        raise SystemExit(f"a command failed with status {process.returncode}")


def kill_and_resume(
    root: Path, alone: Path, n_kills: int, seconds: float, seed: int
) -> tuple[list[Kill], bool]:
    """Kill a run at random moments until there were enough; return them, and whether it is equal.

    A run that comes to its end before is compared, and another one begun.
    """
    rng = random.Random(seed)
    kills: list[Kill] = []
    folder, is_same = root / "killed-0", True
    while len(kills) < n_kills:
        process = start(root, folder)
        began = wait_until_it_works(process, folder)
        moment = began + rng.uniform(0, seconds / n_kills)
        is_writing = len(kills) % 2 == 1
        while process.poll() is None and (
            time.monotonic() < moment or (is_writing and not writes_of(process, folder))
        ):
            time.sleep(_POLL_S)
        if process.poll() is not None:
            finish(process)
            is_same &= is_equal(folder, alone)
            folder = root / f"killed-{len(kills)}"
            continue
        process.kill()
        process.wait()
        kills.append(look_at(process, folder, alone, time.monotonic() - began))
    finish(start(root, folder))
    return kills, is_same and is_equal(folder, alone)


def wait_until_it_works(process: subprocess.Popen[bytes], folder: Path) -> float:
    """Wait until a process has taken its folder; return when it had."""
    lock = folder / LOCK_FILE
    mine = f"process {process.pid} "
    while process.poll() is None:
        if lock.is_file() and lock.read_text().startswith(mine):
            break
        time.sleep(_POLL_S)
    return time.monotonic()


def writes_of(process: subprocess.Popen[bytes], folder: Path) -> list[Path]:
    """Return the checkpoint that a process is writing, or was when it was killed."""
    return list(folder.glob(f".checkpoint.pt.partial-{process.pid}.pt"))


def look_at(process: subprocess.Popen[bytes], folder: Path, alone: Path, after_s: float) -> Kill:
    """Return what a killed process left."""
    rows = (folder / METRICS_FILE).read_text() if (folder / METRICS_FILE).is_file() else ""
    if writes_of(process, folder):
        moment = "writing a checkpoint"
    elif not (folder / CHECKPOINT).is_file() and (folder / "checkpoint-1.pt").is_file():
        moment = "renaming checkpoints"
    elif rows and not rows.endswith("\n"):
        moment = "writing metrics"
    elif not (folder / CHECKPOINT).is_file():
        moment = "before the first step was saved"
    else:
        moment = "computing"
    try:
        state = read_checkpoint(folder / CHECKPOINT)
    except InputError:
        state = {"epoch": 0, "step": 0}
    expected = losses(read_metrics(alone))
    found = losses(read_metrics(folder))
    same = found == expected[: len(found)]
    return Kill(after_s, moment, state["epoch"], state["step"], same)


def losses(rows: Sequence[str]) -> list[dict[str, Any]]:
    """Return metrics without what a clock measured."""
    return [
        {name: value for name, value in json.loads(row).items() if name != "seconds"}
        for row in rows
    ]


def is_equal(folder: Path, other: Path) -> bool:
    """Return whether two finished runs have the same losses and weights, bit for bit."""
    if losses(read_metrics(folder)) != losses(read_metrics(other)):
        return False
    models = [read_checkpoint(each / CHECKPOINT)["model"] for each in (folder, other)]
    return all(torch.equal(models[0][name], value) for name, value in models[1].items())


def format_table(kills: Sequence[Kill], is_same: bool) -> list[str]:
    """Return the table as Markdown."""
    lines = [
        "| kill | seconds after its start | while | went on at | finished epochs identical |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, kill in enumerate(kills, 1):
        place = f"epoch {kill.epoch + 1}, step {kill.step + 1}"
        outcome = "yes" if kill.same_so_far else "NO"
        lines.append(f"| {number} | {kill.after_s:.2f} | {kill.moment} | {place} | {outcome} |")
    outcome = "identical, bit for bit" if is_same else "DIFFERENT"
    return [*lines, f"losses and weights at the end: {outcome}"]


if __name__ == "__main__":
    sys.exit(main())
