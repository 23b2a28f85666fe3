"""Runs that are ended from outside, through the real command in processes of their own."""

import json
import random
import signal
import time

import pytest
import torch

from tests.integration.killed import Commands, wait_for

N_KILLS = 10
SETTINGS = (
    "training.encoder=st-gcn",
    *("encoder.widths=[8,16]", "encoder.strides=[2,2]", "encoder.temporal_kernel=3"),
    *("encoder.dropout=0.3", "opstl.projector_width=16", "training.batch_size=7"),
    *("training.epochs=30", "training.warmup_epochs=1"),
)


@pytest.fixture(scope="module")
def commands():
    made = Commands()
    yield made
    made.end()


def words(root, out, *more):
    settings = [word for setting in (*SETTINGS, *more) for word in ("--set", setting)]
    data = ("--dataset", "synthetic", "--root", root, "--occlusion", "realistic")
    return ("pretrain", *data, "--out", out, "--resume", *settings)


@pytest.fixture(scope="module")
def finished(command, root, tmp_path_factory):
    """The run that nobody interrupted."""
    out = tmp_path_factory.mktemp("killed") / "finished"
    assert command(*words(root, out))[0] == 0
    return out


def read_rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same_run(folder, other):
    assert read_rows(folder) == read_rows(other)
    found, expected = (
        torch.load(each / "checkpoint.pt", weights_only=True) for each in (folder, other)
    )
    for name, value in expected["model"].items():
        assert torch.equal(found["model"][name], value), name


def change_of(path):
    """What changes when a file is replaced."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.is_file() else None


def test_killed_at_ten_random_moments_it_is_the_uninterrupted_run(
    commands, root, finished, tmp_path
):
    """Saves after every step, so that many a kill falls into a write."""
    rng = random.Random(1)
    folder, n_kills = tmp_path / "run-0", 0
    often = "training.checkpoint_minutes=0"
    while n_kills < N_KILLS:
        log = tmp_path / "log"
        process = commands.start(log, *words(root, folder, often))
        checkpoint = folder / "checkpoint.pt"
        for _ in range(rng.randrange(4)):
            before = change_of(checkpoint)
            wait_for(lambda old=before: change_of(checkpoint) != old, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            n_kills += 1
            continue
        assert process.exitcode == 0, log.read_text()  # it was faster: another one is killed
        assert_same_run(folder, finished)
        folder = tmp_path / f"run-{n_kills}"
    process = commands.start(log, *words(root, folder, often))
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(folder, finished)
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]


def test_sigterm_saves_and_says_how_to_go_on(commands, command, root, finished, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    process = commands.start(log, *words(root, folder))
    assert wait_for((folder / "checkpoint.pt").is_file, process), log.read_text()
    process.terminate()
    process.join()
    assert process.exitcode == 143, log.read_text()
    last = log.read_text().splitlines()[-1]
    assert last.startswith(f"iospstl-train: stopped by SIGTERM; {folder}: saved after ")
    assert last.endswith("go on with the same command and --resume")
    assert command(*words(root, folder))[0] == 0
    assert_same_run(folder, finished)


def test_sigterm_between_the_trainings_of_a_pipeline(commands, root, tmp_path):
    """While it loads or clusters nothing needs saving; the exit status is the same."""
    folder, log = tmp_path / "run", tmp_path / "log"
    data = ("--dataset", "synthetic", "--root", root, "--occlusion", "random")
    rows = ("--rows", "none,linear", "--bundle-row", "linear", "--out", folder)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    arguments = ("pipeline", *data, *rows, *settings)
    process = commands.start(log, *arguments)
    assert wait_for((folder / "pipeline.json").is_file, process), log.read_text()
    refused = commands.start(tmp_path / "second", *arguments)
    refused.join()
    assert refused.exitcode == 2
    assert f"process {process.pid} on" in (tmp_path / "second").read_text()
    process.terminate()
    process.join()
    assert process.exitcode == 143, log.read_text()
    assert "go on with the same command\n" in log.read_text()
