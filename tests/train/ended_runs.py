"""Runs that are ended in the middle, and what makes two runs the same."""

import json

import pytest
import torch

from iospstl_train.training import loop
from iospstl_train.training.checkpoint import checkpoint_paths, read_checkpoint, save_checkpoint
from iospstl_train.training.pretrain import pretrain
from iospstl_train.training.run_folder import CHECKPOINT, read_metrics
from tests.train.tiny_training import tiny_config

SHORT = ("training.epochs=3", "training.batch_size=7", "encoder.dropout=0.3")
CONFIG = tiny_config(*SHORT)
"""Three epochs of four steps."""
EACH_STEP = tiny_config(*SHORT, "training.checkpoint_minutes=0", "training.keep_checkpoints=4")


class Killed(BaseException):
    """As SIGKILL: nobody catches it on the way."""


def read_rows(folder):
    rows = [json.loads(line) for line in read_metrics(folder)]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(folder, other):
    assert read_rows(folder) == read_rows(other)
    found, expected = (read_checkpoint(each / CHECKPOINT) for each in (folder, other))
    assert (found["epoch"], found["step"]) == (expected["epoch"], expected["step"])
    for name, value in expected["model"].items():
        assert torch.equal(found["model"][name], value), name
    for index, values in expected["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(found["optimizer"]["state"][index][name], value), (index, name)


def states(path):
    """Epoch and step of a checkpoint and of the older ones beside it."""
    found = [torch.load(each, weights_only=True) for each in checkpoint_paths(path)]
    return [(state["epoch"], state["step"]) for state in found]


def run_with(save, folder, data, monkeypatch, config=EACH_STEP):
    """Run with another way of saving."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save)
        pretrain(data, config, folder, resume=True)


def kill_after(position, folder, data, monkeypatch, config=EACH_STEP):
    """Run until the checkpoint of a position (epoch, step) is saved."""

    def die(path, state, keep):
        save_checkpoint(path, state, keep)
        if (state["epoch"], state["step"]) == position:
            raise Killed

    with pytest.raises(Killed):
        run_with(die, folder, data, monkeypatch, config)
