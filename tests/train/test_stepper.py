"""Precision, the compiler, and what a step leaves in single precision."""

import json
import math
import shutil

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.settings import TrainingSettings
from iospstl_train.training import stepper
from iospstl_train.training.batches import training_data
from iospstl_train.training.checkpoint import read_checkpoint
from iospstl_train.training.pretrain import pretrain
from iospstl_train.training.run_folder import CHECKPOINT, read_metrics
from tests.train.tiny_training import tiny_config

MIXER = ("training.encoder=mask-mixer", "mixer.width=12", "mixer.n_layers=1")
HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++", "cl"))


@pytest.fixture(scope="module")
def data(windows):
    return training_data(windows, windows)


def losses(folder):
    return [json.loads(row)["loss"] for row in read_metrics(folder)]


def run(data, folder, *changes):
    config = tiny_config("encoder.dropout=0", "training.batch_size=28", *changes)
    pretrain(data, config, folder)
    return losses(folder)


def test_half_precision_is_near_and_keeps_the_rest_single(data, tmp_path):
    single = run(data, tmp_path / "single")
    half = run(data, tmp_path / "half", "training.precision=bf16")
    assert half != single  # something was computed in half precision
    assert half[0] == pytest.approx(single[0], rel=0.05)
    state = read_checkpoint(tmp_path / "half" / CHECKPOINT)
    tensors = [*state["model"].values()]
    tensors += [value for each in state["optimizer"]["state"].values() for value in each.values()]
    kinds = {value.dtype for value in tensors if value.is_floating_point()}
    assert kinds == {torch.float32}
    assert {value.dtype for value in state["totals"].values()} <= {torch.float32}
    assert all(math.isfinite(loss) for loss in half)


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_compiled_networks_give_the_same_losses(data, tmp_path):
    plain = run(data, tmp_path / "plain", *MIXER)
    compiled = run(data, tmp_path / "compiled", *MIXER, "training.compile=true")
    assert compiled == pytest.approx(plain, rel=1e-3)
    names = [
        set(read_checkpoint(tmp_path / each / CHECKPOINT)["model"])
        for each in ("plain", "compiled")
    ]
    assert names[0] == names[1]  # either goes on with what the other saved


def test_a_missing_compiler_is_told_before_anything_is_computed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(stepper.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler such as g\\+\\+"):
        run(data, tmp_path / "run", *MIXER, "training.compile=true")


def test_the_st_gcn_is_not_compiled(data, tmp_path):
    with pytest.raises(InputError, match="mask-mixer, got st-gcn"):
        run(data, tmp_path / "run", "training.compile=true")


def test_published_optimizer_of_the_contrastive_methods_by_hand():
    """Rate 0.1, momentum 0.9, decay 0.5, gradient 1: twice from 2; what does not learn stays."""
    model = torch.nn.ParameterDict({"learns": torch.full((1,), 2.0), "stays": torch.ones(1)})
    model["stays"].requires_grad_(False)
    settings = TrainingSettings(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    optimizer = stepper.make_optimizer(model, settings, torch.device("cpu"))
    value, velocity = 2.0, 0.0
    for _ in range(2):
        model["learns"].grad = torch.ones(1)
        optimizer.step()
        velocity = 0.9 * velocity + 1 + 0.5 * value
        value -= 0.1 * velocity
    assert float(model["learns"].detach()) == pytest.approx(value)
    assert float(model["stays"]) == 1
