"""Commands that several processes share, started as people start them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from iospstl_train.training.checkpoint import checkpoint_paths
from tests.integration import commands

HERE = Path(__file__).parents[2]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
SETTINGS = (
    "training.encoder=st-gcn",
    *("encoder.widths=[8,16]", "encoder.strides=[2,2]", "encoder.temporal_kernel=3"),
    *("encoder.dropout=0", "opstl.projector_width=16", "training.batch_size=14"),
    *("training.epochs=4", "training.warmup_epochs=1", "linear.epochs=20"),
)
TIMEOUT_S = 250


def words(name, root, *more, settings=SETTINGS):
    data = ("--dataset", "synthetic", "--root", root, "--occlusion", "random")
    return (name, *data, *more, *(word for each in settings for word in ("--set", each)))


def start(module, *arguments, **environment):
    """Start a module as a command, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", *module, *(str(word) for word in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", **environment},
    )


def finish(process):
    """Return status, output and faults of a command; progress is left out of the faults."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    lines = [line.rpartition("\r")[2] for line in err.split("\n")]
    return process.returncode, out, commands.faults(lines)


def wait_for(path, process):
    deadline = time.monotonic() + TIMEOUT_S
    while not path.is_file():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read_rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def read_first_step(folder):
    """The averages of Adam after one step: a tenth of the gradients."""
    path = checkpoint_paths(folder / "checkpoint.pt")[-1]
    state = torch.load(path, weights_only=True)
    assert (state["epoch"], state["step"]) == (0, 1)
    return {index: each["exp_avg"] for index, each in state["optimizer"]["state"].items()}


def test_two_processes_give_the_losses_and_gradients_of_one(command, root, tmp_path):
    """Batch norm and correlation are those of the whole batch."""
    each_step = ("training.checkpoint_minutes=0", "training.keep_checkpoints=40")
    slow = ("training.batch_size=6", "training.learning_rate=0.0005")  # keeps rounding small
    settings = (*SETTINGS, *each_step, *slow)
    arguments = words("pretrain", root, settings=settings)
    assert command(*arguments, "--out", tmp_path / "one")[0] == 0
    shared = start((*TORCHRUN, "iospstl_train"), *arguments, "--out", tmp_path / "two")
    status, out, faults = finish(shared)
    assert status == 0, faults
    assert out.startswith(f"{tmp_path / 'two'}: trained on ")
    assert out.count("\n") == 1
    gradients = [read_first_step(tmp_path / name) for name in ("one", "two")]
    scale = max(float(expected.abs().max()) for expected in gradients[0].values())
    for index, expected in gradients[0].items():
        error = float((gradients[1][index] - expected).abs().max())
        assert error <= 1e-4 * float(expected.abs().max()) + 1e-5 * scale, index
    losses = [[row["loss"] for row in read_rows(tmp_path / name)] for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert len(set(losses[0])) == 4


def test_a_pipeline_of_two_processes_is_stopped_and_goes_on(root, tmp_path):
    out = tmp_path / "run"
    rows = ("--rows", "none,linear", "--bundle-row", "linear", "--out", out)
    arguments = (*words("pipeline", root, *rows), "--processes", "2")
    process = start(("iospstl_train",), *arguments)
    wait_for(out / "stage1-none" / "checkpoint.pt", process)
    process.send_signal(signal.SIGTERM)
    status, printed, faults = finish(process)
    assert status == 143, faults
    assert printed == ""
    assert len(faults) == 1
    assert faults[0].startswith("iospstl-train: stopped by SIGTERM")
    status, printed, faults = finish(start(("iospstl_train",), *arguments))
    assert status == 0, faults
    assert faults == []
    assert printed.count("linear accuracy") == 1
    assert printed.count("report: ") == 1
    assert {"report.md", "offline.json"} <= {path.name for path in out.iterdir()}
    assert (out / "bundle" / "classifier.onnx").is_file()
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_a_fault_of_all_is_told_once(root, tmp_path):
    arguments = words("pretrain", root, "--processes", "2", "--out", tmp_path / "run")
    settings = ("--set", "training.batch_size=7")
    status, out, faults = finish(start(("iospstl_train",), *arguments, *settings))
    assert status == 2
    assert out == ""
    assert len(faults) == 1
    assert "training.batch_size: expected a multiple of the 2 processes, got 7" in faults[0]


def children_of(process):
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in path.read_text().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
def test_a_process_that_is_killed_ends_the_others(command, root, tmp_path):
    out = tmp_path / "run"
    settings = (*SETTINGS, "training.epochs=2000")
    arguments = words("pretrain", root, "--processes", "2", "--out", out, settings=settings)
    process = start(("iospstl_train",), *arguments)
    wait_for(out / "checkpoint.pt", process)
    os.kill(children_of(process)[1], signal.SIGKILL)
    status, _, faults = finish(process)
    assert status in (2, 128 + signal.SIGKILL), faults
    assert "another process of this run has gone without a word" in faults[0]
    assert len([line for line in faults if line.startswith("iospstl-train: ")]) == 1
    assert not [line for line in faults if "Traceback" in line]
    before = len(read_rows(out))
    arguments = words("pretrain", root, "--out", out, "--resume", settings=settings)
    assert before >= 1
    process = start(("iospstl_train",), *arguments)  # in one: how many there are may change
    while len(read_rows(out)) <= before:
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, _, faults = finish(process)
    assert status == 128 + signal.SIGTERM, faults


def test_srun_starts_processes_too(command, root, tmp_path):
    out = tmp_path / "run"
    assert command(*words("pretrain", root, "--out", out))[0] == 0
    status, expected, _ = command(*words("evaluate", root, "--encoder", out, settings=()))
    assert status == 0
    slurm = {
        **{"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2"},
        **{"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"},
        **{"SLURM_STEP_NUM_TASKS": "2", "SLURM_NODELIST": "127.0.0.1"},
        "MASTER_PORT": str(29000 + os.getpid() % 1000),
    }
    processes = [
        start(
            *(("iospstl_train",), *words("evaluate", root, "--encoder", out, settings=())),
            **{**slurm, "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)},
        )
        for index in range(2)
    ]
    found = [finish(process) for process in processes]
    assert [status for status, _, _ in found] == [0, 0], found
    assert [printed for _, printed, _ in found] == [expected, ""]


def test_commands_of_one_process_say_so(command, root, tmp_path, monkeypatch):
    arguments = words("impute", root, "--encoder", tmp_path, "--out", tmp_path / "o", settings=())
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index in (0, 1):
        monkeypatch.setenv("RANK", str(index))
        status, out, faults = command(*arguments)
        assert status == 2
        assert out == ""
        expected = "iospstl-train: this command runs in one process; start it without torchrun"
        assert [line.startswith(expected) for line in faults] == ([True] if index == 0 else [])


def test_a_number_of_processes_below_one_is_refused(command, root, tmp_path):
    arguments = words("pretrain", root, "--out", tmp_path / "run", "--processes", "0")
    status, _, faults = command(*arguments)
    assert status == 2
    assert faults == ["iospstl-train: --processes: expected a number from 1 on, got 0"]
