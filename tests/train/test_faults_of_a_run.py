"""Losses that are no number, and disks that take no more: what was saved stays whole."""

import errno
import os
from pathlib import Path

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.training import loop, stepper
from iospstl_train.training.checkpoint import save_checkpoint
from iospstl_train.training.monitor import Monitor
from iospstl_train.training.pretrain import pretrain
from iospstl_train.training.run_folder import (
    CHECKPOINT,
    METRICS_FILE,
    append_metrics,
    read_metrics,
)
from tests.train.ended_runs import CONFIG, EACH_STEP, assert_same_run, run_with, states
from tests.train.tiny_training import tiny_config


@pytest.mark.usefixtures("counts_steps")
@pytest.mark.parametrize("between_looks", [1, 3, 50])
def test_the_step_of_a_bad_loss_is_named(
    train_data, finished_run, tmp_path, monkeypatch, between_looks
):
    """Whenever it is looked at; what was saved before is whole, and goes on to the same end."""
    folder, forward, calls = tmp_path / "run", stepper.Stepper.forward, []

    def spoil(self, x, batch, generator):
        parts = forward(self, x, batch, generator)
        calls.append(1)
        return {**parts, "loss": parts["loss"] * torch.nan} if len(calls) > 6 else parts

    with monkeypatch.context() as patch:
        patch.setattr(stepper.Stepper, "forward", spoil)
        patch.setattr(loop, "steps_between_looks", lambda _: between_looks)
        with pytest.raises(InputError, match=r"is nan in step 3 of epoch 2; .* after epoch 1 is"):
            pretrain(train_data, CONFIG, folder)
    assert states(folder / CHECKPOINT) == [(1, 0)]
    assert len(read_metrics(folder)) == 1
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)


@pytest.mark.usefixtures("counts_steps")
def test_a_bad_loss_is_found_before_it_is_saved(train_data, tmp_path, monkeypatch):
    forward, calls = stepper.Stepper.forward, []

    def spoil(self, x, batch, generator):
        parts = forward(self, x, batch, generator)
        calls.append(1)
        return {**parts, "loss": parts["loss"] * torch.inf} if len(calls) > 6 else parts

    monkeypatch.setattr(stepper.Stepper, "forward", spoil)
    monkeypatch.setattr(loop, "steps_between_looks", lambda _: 50)
    message = r"is inf in step 3 of epoch 2; what was saved after step 2 of epoch 2 is kept"
    with pytest.raises(InputError, match=message):
        pretrain(train_data, EACH_STEP, tmp_path / "run")
    assert states(tmp_path / "run" / CHECKPOINT)[0] == (1, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_while_a_checkpoint_is_written(train_data, finished_run, tmp_path, monkeypatch):
    """The file that is written is one that takes nothing; it does not stay behind."""
    folder = tmp_path / "run"

    def fill(path, state, keep):
        if state["epoch"] == 2:
            (folder / f".checkpoint.pt.partial-{os.getpid()}.pt").symlink_to("/dev/full")
        save_checkpoint(path, state, keep)

    message = r"checkpoint.pt: could not be written: No space left on device; .* make room"
    with pytest.raises(InputError, match=message) as caught:
        run_with(fill, folder, train_data, monkeypatch, CONFIG)
    assert "\n" not in str(caught.value)
    assert states(folder / CHECKPOINT) == [(1, 0)]
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)


def test_what_the_disk_said_is_told_not_what_torch_makes_of_it(tmp_path, monkeypatch):
    def fail(*_):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1, "step": 0})
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match=r"checkpoint.pt: could not be written: No space left"):
        save_checkpoint(path, {"epoch": 2, "step": 0})
    assert states(path) == [(1, 0)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_fault_is_told_though_closing_fails_too(train_data, tmp_path, monkeypatch):
    def spoil(self, x, batch, generator):
        return {"loss": (x.sum() * torch.nan).requires_grad_()}

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(stepper.Stepper, "forward", spoil)
    monkeypatch.setattr(Monitor, "__exit__", fail)
    with pytest.raises(InputError, match=r"the loss is nan in step 1 of epoch 1") as caught:
        pretrain(train_data, CONFIG, tmp_path / "run")
    assert "could not be written" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_while_metrics_are_written(train_data, tmp_path):
    folder = tmp_path / "run"
    pretrain(train_data, tiny_config("training.epochs=1"), folder)
    (folder / METRICS_FILE).unlink()
    (folder / METRICS_FILE).symlink_to("/dev/full")
    message = r"metrics.jsonl: could not be written: No space left on device"
    with pytest.raises(InputError, match=message):
        append_metrics(folder, "{}")


def test_full_disk_while_events_are_written(train_data, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail_again(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "epoch", fail)
        patch.setattr(Monitor, "__exit__", fail_again)  # as files do when they are closed
        message = r"run: could not be written: No space left on device; what was saved"
        with pytest.raises(InputError, match=message):
            pretrain(train_data, CONFIG, tmp_path / "run")
