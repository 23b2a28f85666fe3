"""A run that was killed goes on as if nothing had been, from checkpoints that rotate."""

import json

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.training import loop
from iospstl_train.training.checkpoint import checkpoint_paths, read_checkpoint, save_checkpoint
from iospstl_train.training.pretrain import load_encoder, pretrain
from iospstl_train.training.run_folder import (
    CHECKPOINT,
    METRICS_FILE,
    append_metrics,
    read_metrics,
)
from tests.train.ended_runs import (
    CONFIG,
    EACH_STEP,
    SHORT,
    Killed,
    assert_same_run,
    kill_after,
    read_rows,
    run_with,
    states,
)
from tests.train.tiny_training import tiny_config


@pytest.mark.parametrize("position", [(0, 1), (1, 3), (2, 0), (2, 2)])
def test_resumed_at_any_step_it_is_the_uninterrupted_run(
    train_data, finished_run, tmp_path, monkeypatch, position
):
    kill_after(position, tmp_path / "run", train_data, monkeypatch)
    torch.rand(5)
    pretrain(train_data, CONFIG, tmp_path / "run", resume=True)  # how often it saves may change
    assert_same_run(tmp_path / "run", finished_run)


@pytest.mark.parametrize("kind", ["before", "half", "moved"])
def test_killed_while_it_saves(train_data, finished_run, tmp_path, monkeypatch, kind):
    """Before anything is written, within the file, and between the two renames."""
    folder = tmp_path / "run"

    def die(path, state, keep):
        if (state["epoch"], state["step"]) == (1, 2):
            if kind == "half":
                (path.parent / ".checkpoint.pt.partial-1.pt").write_bytes(b"half a checkpoint")
            if kind == "moved":
                path.replace(path.with_stem("checkpoint-1"))
            raise Killed
        save_checkpoint(path, state, keep)

    with pytest.raises(Killed):
        run_with(die, folder, train_data, monkeypatch)
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]


def test_streamed_windows_give_the_same_run(train_data, finished_run, tmp_path):
    config = tiny_config(*SHORT, "training.data=streamed")
    pretrain(train_data, config, tmp_path / "run")
    assert_same_run(tmp_path / "run", finished_run)


def test_a_half_written_row_is_nobodys(train_data, finished_run, tmp_path, monkeypatch):
    """Killed while it wrote the row of an epoch, whose weights were not yet saved."""
    folder = tmp_path / "run"

    def die(row_folder, row):
        if '"epoch": 2' in row:
            with (row_folder / METRICS_FILE).open("a") as file:
                file.write(row[:40])
            raise Killed
        append_metrics(row_folder, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "append_metrics", die)
        with pytest.raises(Killed):
            pretrain(train_data, CONFIG, folder)
    assert len(read_metrics(folder)) == 1
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)


def test_lost_rows_come_back_from_the_checkpoint(train_data, finished_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    kill_after((2, 0), folder, train_data, monkeypatch)
    (folder / METRICS_FILE).unlink()
    pretrain(train_data, CONFIG, folder, resume=True)
    assert read_rows(folder) == read_rows(finished_run)


def test_old_checkpoints_rotate(train_data, finished_run, tmp_path):
    assert states(finished_run / CHECKPOINT) == [(3, 0), (2, 0)]
    pretrain(train_data, EACH_STEP, tmp_path / "run")
    assert states(tmp_path / "run" / CHECKPOINT) == [(3, 0), (2, 3), (2, 2), (2, 1)]
    names = [path.name for path in checkpoint_paths(tmp_path / "run" / CHECKPOINT)]
    assert names == ["checkpoint.pt", "checkpoint-1.pt", "checkpoint-2.pt", "checkpoint-3.pt"]


def test_fewer_checkpoints_than_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for number in range(4):
        save_checkpoint(path, {"epoch": number, "step": 0}, keep=3)
    assert states(path) == [(3, 0), (2, 0), (1, 0)]
    save_checkpoint(path, {"epoch": 4, "step": 0}, keep=1)
    assert states(path) == [(4, 0)]
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("kind", ["empty", "cut", "bit"])
def test_a_damaged_checkpoint_is_passed_over(
    train_data, finished_run, tmp_path, monkeypatch, capsys, kind
):
    """One warning; and it does not push out the whole one when the next is saved."""
    folder = tmp_path / "run"
    kill_after((2, 0), folder, train_data, monkeypatch, CONFIG)
    content = (folder / CHECKPOINT).read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "cut": content[:middle],
        "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[kind]
    (folder / CHECKPOINT).write_bytes(damaged)
    capsys.readouterr()
    kill_after((2, 0), folder, train_data, monkeypatch, CONFIG)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "checkpoint.pt: expected a" in warnings[0]
    assert warnings[0].endswith("going on from checkpoint-1.pt")
    assert states(folder / CHECKPOINT) == [(2, 0), (1, 0)]
    assert (folder / "checkpoint-damaged.pt").read_bytes() == damaged
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)


def as_version_1(folder, epoch):
    """Rewrite a run's checkpoint as release 0.3 left it."""
    state = read_checkpoint(folder / CHECKPOINT)
    for path in checkpoint_paths(folder / CHECKPOINT):
        path.unlink()
    generator = torch.Generator().get_state()
    old = {name: state[name] for name in ("model", "optimizer")}
    random = {"generator": generator, "torch_rng": generator}
    torch.save({"version": 1, "epoch": epoch, **old, **random}, folder / CHECKPOINT)


def test_finished_runs_of_older_releases_are_read(train_data, finished_run, tmp_path):
    folder = tmp_path / "old"
    pretrain(train_data, CONFIG, folder)
    rows = read_rows(folder)
    as_version_1(folder, 3)
    described = json.loads((folder / "run.json").read_text())
    for name in ("precision", "compile", "data", "checkpoint_minutes", "keep_checkpoints"):
        del described["config"]["training"][name]
    (folder / "run.json").write_text(json.dumps(described))
    expected, _ = load_encoder(finished_run)
    for encoder in (load_encoder(folder)[0], pretrain(train_data, CONFIG, folder, resume=True)):
        for name, value in expected.state_dict().items():
            assert torch.equal(encoder.state_dict()[name], value)
    assert read_rows(folder) == rows


def test_unfinished_runs_of_older_releases_are_refused(train_data, tmp_path):
    pretrain(train_data, CONFIG, tmp_path / "old")
    as_version_1(tmp_path / "old", 2)
    with pytest.raises(InputError, match="was written by an older release, which only that one"):
        pretrain(train_data, CONFIG, tmp_path / "old", resume=True)
