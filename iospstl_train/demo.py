"""``make demo``: generated recordings, the whole pipeline, then the live node over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iospstl_core.errors import InputError
from iospstl_train.cli_options import DEFAULT_PRESET
from iospstl_train.config import load_config
from iospstl_train.data.prepare import prepare
from iospstl_train.data.store import find_store
from iospstl_train.data.synthetic_source import open_synthetic
from iospstl_train.pipeline import run_pipeline
from iospstl_train.pipeline_options import PipelineOptions

DATASET = "synthetic"
OCCLUSION = "realistic"
ROWS = ("clean", "none", "linear", "knn", "restore")
SETTINGS = ("training.epochs=12", "training.warmup_epochs=1", "restorer.steps=800")
N_SEQUENCES = 42
"""Test sequences that are played live: every class from every camera."""
LIVE_WINDOW_S = 60.0
"""Longer than any sequence: windows hold whole ones, as the offline labels are of whole ones."""
LIVE_TIMEOUT_S = 400
_STOP_TIMEOUT_S = 10


def run_demo(out: Path) -> None:
    """Run everything below `out`; an interrupted demo goes on where it stopped.

    Raises
    ------
    InputError
        If the live part did not give a result.
    """
    root = out / "data"
    if not (root / DATASET / "manifest.json").is_file():
        prepare(open_synthetic(), root / DATASET, {"dataset": DATASET})
    store = find_store(DATASET, root)
    options = PipelineOptions(
        store,
        OCCLUSION,
        out,
        load_config(DEFAULT_PRESET, overrides=SETTINGS),
        rows=ROWS,
        bundle_row="restore",
    )
    report = run_pipeline(options)
    for row in report.rows:
        error = "" if row.error_mm is None else f", hidden joints {row.error_mm:.0f} mm off"
        _say(f"{row.name:8} linear accuracy {row.accuracy:.1%}{error}")
    _say(f"report and pictures: {out / 'report.md'}")
    _run_live(out, root / DATASET)


def _run_live(out: Path, store: Path) -> None:
    """Start recogniser, player and listener as processes; wait for the listener's table."""
    truth = out / "truth.jsonl"
    truth.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID", "87"),
    }
    recognizer = ["iospstl_ros.recognizer_node", "--bundle", str(out / "bundle")]
    # what the offline labels say, they say of whole sequences, each alone, always with a class
    recognizer += ["--ros-args", "-p", "smoothing:=0.0", "-p", "score_threshold:=0.0"]
    recognizer += ["-p", f"window_s:={LIVE_WINDOW_S}"]
    check = ["iospstl_ros.live_check", "--truth", str(truth), "--timeout", str(LIVE_TIMEOUT_S)]
    check += ["--offline", str(out / "offline.json"), "--out", str(out / "live.json")]
    player = ["iospstl_ros.player", "--store", str(store), "--occlusion", OCCLUSION]
    player += ["--subset", "test", "--limit", str(N_SEQUENCES), "--wait", "--truth", str(truth)]
    _say("starting the recogniser, a listener and a player as separate processes")
    with (
        _process(recognizer, environment),
        _process(check, environment) as listener,
        _process(player, environment),
    ):
        status = listener.wait()
    if status != 0:
        raise InputError(
            f"{out}: the live recogniser gave too few results (status {status}); its messages are "
            "above; is another program using the same ROS_DOMAIN_ID?"
        )


@contextmanager
def _process(
    module_and_arguments: list[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module in a process of its own and end it with the block."""
    command = [sys.executable, "-m", *module_and_arguments]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
