"""What the command line says of a pre-training before, while and after it runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from iospstl_train.training import loop
from tests.integration.commands import TINY, data, list_all

HOLD = """
import sys
from pathlib import Path
from iospstl_train.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def arguments(root, tmp_path):
    return (
        *("pretrain", *data(root), "--occlusion", "random", "--out", tmp_path / "run"),
        *(*TINY, "--set", "training.epochs=3", "--set", "training.probe_epochs=1"),
    )


@pytest.fixture
def stopped(command, arguments, tmp_path, monkeypatch):
    """A run that ended after two of three epochs."""
    save = loop.save_checkpoint

    def stop_after_second(path, state, keep):
        save(path, state, keep)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stop_after_second)
        assert command(*arguments)[0] == 130
    return tmp_path / "run"


def test_dry_run_says_what_is_needed_and_writes_nothing(command, arguments, tmp_path):
    status, out, faults = command(*arguments, "--dry-run")
    assert (status, faults) == (0, [])
    weights, time, memory = out.splitlines()
    assert weights.startswith("weights: encoder ")
    assert time.endswith("for 3 epochs")
    assert " of disk a checkpoint" in memory
    assert list_all(tmp_path) == []


def test_needs_are_told_before_a_run(arguments, capfd):
    from iospstl_train.cli import main

    assert main([str(argument) for argument in arguments]) == 0
    told = capfd.readouterr().err
    assert "run: weights: encoder " in told
    assert told.index("run: time: about ") < told.index("100%|")


def test_info_says_how_to_go_on(command, stopped):
    status, out, _ = command("info", stopped)
    assert status == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
    assert out.startswith("pre-training run, 2 of 3 epochs in ")
    assert lines["state"].startswith("stopped; go on with: ")
    assert "min left" in lines["time"]
    assert lines["loss"].endswith(" in the last")
    assert "embedding_rank " in lines["last epoch"]
    assert "neighbor_accuracy " in lines["last epoch"]
    checkpoints = [line for line in out.splitlines() if line.startswith("checkpoint: ")]
    assert [line.split()[1] for line in checkpoints] == ["checkpoint.pt,", "checkpoint-1.pt,"]


def test_info_of_a_finished_run(command, stopped, arguments):
    assert command(*arguments, "--resume")[0] == 0
    out = command("info", stopped)[1]
    assert "\nstate: finished\n" in out
    assert "left" not in out


def test_info_names_who_works_in_the_folder(command, stopped):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(stopped)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        assert f"\nstate: under way, process {holder.pid} on " in command("info", stopped)[1]
    finally:
        holder.communicate("")
    assert "\nstate: stopped; " in command("info", stopped)[1]


def test_info_before_the_first_epoch(command, stopped):
    (stopped / "metrics.jsonl").write_text("")
    assert "\nlast epoch: none yet\n" in command("info", stopped)[1]
