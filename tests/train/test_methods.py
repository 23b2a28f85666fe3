"""What holds of every method: it trains, goes on where it was, and leaves an encoder."""

import typing

import numpy as np
import pytest
import torch

from iospstl_train.settings import MethodName
from iospstl_train.training.batches import training_data
from iospstl_train.training.checkpoint import read_checkpoint
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import CHECKPOINT, load_encoder, make_model, pretrain
from tests.train.ended_runs import SHORT, assert_same_run, kill_after, read_rows
from tests.train.tiny_training import tiny_config

METHODS = [name for name in typing.get_args(MethodName) if name != "auto"]
STAGES = ("contrast.queue_size=20", "crossclr.cross_epoch=1", "aimclr.mining_epoch=1")
EACH_STEP = ("training.checkpoint_minutes=0", "training.keep_checkpoints=4")


def config_of(method, *changes):
    """Three epochs of four steps, with dropout; methods with stages change them after one."""
    return tiny_config(*SHORT, *STAGES, f"training.method={method}", *changes)


@pytest.fixture(scope="module")
def data(windows):
    return training_data(windows, windows)


@pytest.fixture(scope="module", params=METHODS)
def finished(request, data, tmp_path_factory):
    """Name of a method, and the folder of a run of it."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    pretrain(data, config_of(request.param), folder)
    return request.param, folder


def test_losses_are_numbers_and_weights_change(finished):
    method, folder = finished
    rows = read_rows(folder)
    assert len(rows) == 3
    assert all(np.isfinite(value) for row in rows for value in row.values())
    torch.manual_seed(1)
    untrained = make_model(config_of(method)).encoder.state_dict()
    state = read_checkpoint(folder / CHECKPOINT)["model"]
    weights = [name for name in untrained if name.endswith("weight")]
    changed = [not torch.equal(untrained[name], state[f"encoder.{name}"]) for name in weights]
    assert all(changed)


def test_killed_run_goes_on_bit_for_bit(finished, data, tmp_path, monkeypatch):
    """Weights, keys, queues and stages; in the middle of the second epoch."""
    method, expected = finished
    folder = tmp_path / "run"
    kill_after((1, 2), folder, data, monkeypatch, config_of(method, *EACH_STEP))
    torch.rand(5)
    pretrain(data, config_of(method), folder, resume=True)
    assert_same_run(folder, expected)


def test_encoder_of_a_run_embeds(finished, data):
    method, folder = finished
    encoder, config = load_encoder(folder)
    assert config.training.method_name == method
    features = embed(encoder, data.xyz, config.training.stream)
    assert features.shape[0] == len(data.xyz)
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


@pytest.mark.parametrize("stage", ["crossclr.cross_epoch", "aimclr.mining_epoch"])
def test_stages_begin_when_they_are_told_to(data, tmp_path, stage):
    losses = []
    for epoch in (1, 9):
        config = config_of(stage.partition(".")[0], "training.epochs=2", f"{stage}={epoch}")
        pretrain(data, config, tmp_path / str(epoch))
        losses.append([row["loss"] for row in read_rows(tmp_path / str(epoch))])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]
