from dataclasses import replace

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.training import estimate as module
from iospstl_train.training.estimate import Estimate, check_disk, estimate_run
from iospstl_train.training.model import make_model
from iospstl_train.training.stepper import Stepper
from tests.train.tiny_training import tiny_config

CPU = torch.device("cpu")
SHAPE = (70, 50, 1, 25, 3)
ESTIMATE = Estimate(1000, 2000, 10, 6, 2.0, 3_000_000_000, 2_000_000_000, 36_000)


def test_estimate_counts_weights_and_steps():
    config = tiny_config("training.epochs=6", "training.batch_size=14")
    model = make_model(config)
    found = estimate_run(model, config, SHAPE, CPU)
    assert found.n_encoder == sum(p.numel() for p in model.encoder.parameters())
    assert found.n_projector == 16 * 16 * 3 + 4 * 16
    assert (found.n_steps, found.n_epochs) == (5, 6)
    state = sum(value.nbytes for value in model.state_dict().values())
    assert found.checkpoint_bytes == state + 8 * (found.n_encoder + found.n_projector)
    assert found.memory_bytes > 70 * 50 * 25 * 3 * 4 + 4 * found.checkpoint_bytes / 3
    assert found.step_s > 0


def test_estimate_leaves_the_model_as_it_was():
    model = make_model(tiny_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    estimate_run(model, tiny_config(), SHAPE, CPU)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_line_through_two_small_steps_meets_the_whole_batch(monkeypatch):
    def take(_, config, batch):
        return 0.5 + 0.1 * len(batch.x), 1000 + 7 * len(batch.x)

    monkeypatch.setattr(module, "_try_step", take)
    found = module._measure(make_model(tiny_config()), tiny_config(), 64, SHAPE, CPU)
    assert found == (pytest.approx(0.5 + 0.1 * 64), 1000 + 7 * 64)


@pytest.mark.parametrize("n", [2, 8, 32])
def test_batches_of_any_size_are_measured_on_two(monkeypatch, n):
    """The smallest ones too: a line needs two points."""
    tried = []

    def take(_, config, batch):
        tried.append(len(batch.x))
        return float(len(batch.x)), 1

    monkeypatch.setattr(module, "_try_step", take)
    seconds, _ = module._measure(make_model(tiny_config()), tiny_config(), n, SHAPE, CPU)
    assert len(set(tried)) == 2
    assert seconds == pytest.approx(max(n, tried[-1]))


def test_memory_kept_grows_with_the_batch():
    config = tiny_config()
    stepper = Stepper(make_model(config), "fp32", CPU)
    kept = [module._try_step(stepper, config, module._noise(n, SHAPE, CPU))[1] for n in (4, 8, 12)]
    assert kept[2] - kept[1] == pytest.approx(kept[1] - kept[0], rel=0.05)
    assert kept[0] > 4 * 3 * 50 * 25 * 4  # at least what went in


def test_words():
    assert ESTIMATE.lines() == [
        "weights: encoder 1,000, projector 2,000",
        "time: about 20 s an epoch of 10 steps, 2 min for 6 epochs",
        "memory: about 3.0 GB of 2.0 GB free; 36 kB of disk a checkpoint",
        "memory: this may not fit; lower training.batch_size",
    ]
    roomy = replace(ESTIMATE, free_bytes=4_000_000_000)
    assert len(roomy.lines()) == 3
    assert "free" not in "".join(replace(ESTIMATE, free_bytes=None).lines())


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.4, "1 s"), (600, "10 min"), (36000, "10 h"), (864000, "10.0 days")]
)
def test_durations(seconds, words):
    assert module._duration(seconds) == words


def test_full_disk_is_found_before_the_start(tmp_path, monkeypatch):
    check_disk(tmp_path / "not" / "there", ESTIMATE, n_checkpoints=2)
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(InputError, match=r"run: expected 108 kB of free disk .* make room, or"):
        check_disk(tmp_path / "run", ESTIMATE, n_checkpoints=2)
    check_disk(tmp_path / "run", ESTIMATE, n_checkpoints=1)
