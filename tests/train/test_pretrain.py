import json
import math
import shutil

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.config import load_config
from iospstl_train.methods import opstl
from iospstl_train.settings import TrainingSettings
from iospstl_train.training import loop
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import (
    CHECKPOINT,
    METRICS_FILE,
    RUN_FILE,
    PretrainData,
    find_device,
    learning_rate,
    load_encoder,
    make_model,
    pretrain,
    training_seconds,
)
from tests.train.tiny_training import tiny_config

CONFIG = tiny_config("training.epochs=4", "encoder.dropout=0.3")


@pytest.fixture(scope="module")
def data(windows):
    train = windows.is_train
    return PretrainData(windows.xyz[train], windows.hidden_frac()[train])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of four epochs in one go."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    pretrain(data, CONFIG, folder, provenance={"dataset": "synthetic"})
    return folder


@pytest.fixture
def stopped(data, finished, tmp_path, monkeypatch):
    """The same run, killed in its third epoch after the metrics and before the checkpoint."""
    folder = tmp_path / "stopped"
    save = loop.save_checkpoint

    def die_in_third(path, state, keep):
        if state["epoch"] == 3:
            raise KeyboardInterrupt
        save(path, state, keep)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", die_in_third)
        with pytest.raises(KeyboardInterrupt):
            pretrain(data, CONFIG, folder, provenance={"dataset": "synthetic"})
    return folder


def read_rows(folder):
    lines = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def read_weights(folder):
    return torch.load(folder / CHECKPOINT, weights_only=True)["model"]


def test_learning_rate_by_hand():
    settings = TrainingSettings(epochs=110, warmup_epochs=10, learning_rate=2.0)
    rates = {0: 0, 1: 0.2, 2.5: 0.5, 10: 2, 60: 1, 110: 0, 35: 1 + math.sqrt(0.5)}
    for epoch, expected in rates.items():
        assert learning_rate(epoch, settings) == pytest.approx(expected, abs=1e-12)


def test_learning_rate_that_drops_by_hand():
    settings = TrainingSettings(
        epochs=300, warmup_epochs=2, learning_rate=2.0, schedule="drop", drop_epoch=250
    )
    rates = {0: 0, 1: 1, 2: 2, 100: 2, 249.9: 2, 250: 0.2, 299: 0.2}
    for epoch, expected in rates.items():
        assert learning_rate(epoch, settings) == pytest.approx(expected)


def test_learning_rate_without_warmup_and_with_nothing_else():
    cosine = TrainingSettings(epochs=4, warmup_epochs=0, learning_rate=1.0)
    assert [learning_rate(e, cosine) for e in (0, 2)] == pytest.approx([1, 0.5])
    only_warmup = TrainingSettings(epochs=2, warmup_epochs=2, learning_rate=1.0)
    assert [learning_rate(e, only_warmup) for e in (1, 2)] == pytest.approx([0.5, 1])


def test_no_step_is_lost_to_a_rate_of_zero(finished):
    """The published code trains its first epoch with a rate of 0."""
    rates = [row["rate"] for row in read_rows(finished)]
    assert rates[0] == pytest.approx(CONFIG.training.learning_rate)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_loss_falls(data, tmp_path):
    config = tiny_config("training.epochs=8", "encoder.dropout=0")
    pretrain(data, config, tmp_path / "run")
    losses = [row["loss"] for row in read_rows(tmp_path / "run")]
    assert np.mean(losses[-2:]) < 0.9 * losses[0]


def test_run_folder_tells_all(finished, data):
    described = json.loads((finished / RUN_FILE).read_text(encoding="utf-8"))
    assert set(described) == {"command", "config", "seed", "provenance", "versions"}
    assert described["seed"] == 1
    assert described["provenance"] == {"dataset": "synthetic"}
    assert described["config"]["training"]["epochs"] == 4
    assert {"torch", "numpy", "python"} <= set(described["versions"])
    rows = read_rows(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "loss_temporal", "loss_spatial", "rate"} <= set(rows[0])
    assert any(path.name.startswith("events.out.tfevents") for path in finished.iterdir())
    assert training_seconds(finished) > 0


def test_same_seed_same_run(finished, data, tmp_path):
    torch.rand(5)  # what ran before must not matter
    pretrain(data, CONFIG, tmp_path / "again")
    assert read_rows(tmp_path / "again") == read_rows(finished)
    pretrain(data, CONFIG, tmp_path / "other", seed=2)
    assert read_rows(tmp_path / "other") != read_rows(finished)


def test_resumed_run_is_the_uninterrupted_one(finished, stopped, data):
    assert len(read_rows(stopped)) == 3  # the third epoch's row was written, its weights were not
    torch.rand(5)
    pretrain(data, CONFIG, stopped, resume=True, provenance={"dataset": "synthetic"})
    assert read_rows(stopped) == read_rows(finished)
    expected = read_weights(finished)
    for name, value in read_weights(stopped).items():
        assert torch.equal(value, expected[name]), name


def test_finished_run_is_not_trained_again(finished, data, monkeypatch):
    monkeypatch.setattr(loop.Loop, "_run_epoch", None)
    before = (finished / CHECKPOINT).read_bytes()
    encoder = pretrain(data, CONFIG, finished, resume=True, provenance={"dataset": "synthetic"})
    assert (finished / CHECKPOINT).read_bytes() == before
    loaded, config = load_encoder(finished)
    assert config == CONFIG
    assert not loaded.training
    np.testing.assert_array_equal(embed(encoder, data.xyz), embed(loaded, data.xyz))


def test_resume_without_a_run_starts_one(data, tmp_path):
    pretrain(data, tiny_config("training.epochs=1"), tmp_path / "run", resume=True)
    assert len(read_rows(tmp_path / "run")) == 1


def test_run_is_not_overwritten(finished, data):
    with pytest.raises(InputError, match="holds a run already; give --resume or another --out"):
        pretrain(data, CONFIG, finished)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("config.training", {"config": tiny_config("training.epochs=5", "encoder.dropout=0.3")}),
        ("seed", {"seed": 2}),
        ("provenance", {"provenance": {"dataset": "ntu60"}}),
    ],
)
def test_other_run_is_not_resumed(finished, data, key, changes):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    arguments = {"config": CONFIG, "provenance": {"dataset": "synthetic"}, **changes}
    with pytest.raises(InputError, match=f"was started with another {key}; resume with"):
        pretrain(data, folder=finished, resume=True, **arguments)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_settings_that_pretraining_does_not_read_may_change(finished, data):
    config = tiny_config(
        "training.epochs=4", "encoder.dropout=0.3", "restorer.steps=7", "linear.epochs=3"
    )
    pretrain(data, config, finished, resume=True, provenance={"dataset": "synthetic"})


def damage(content):
    flipped = bytearray(content)
    flipped[:64] = b"\0" * 64
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "bit": content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
        "text": b"this is no checkpoint\n",
        "head": bytes(flipped),
    }


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "head", "bit"])
def test_damaged_checkpoint_is_refused(finished, data, tmp_path, kind):
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    content = damage((finished / CHECKPOINT).read_bytes())[kind]
    for path in folder.glob("checkpoint*.pt"):
        path.write_bytes(content)
    message = f"{CHECKPOINT}: expected a .*checkpoint, got.*; start the run again"
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch advises to load pickles
    with pytest.raises(InputError, match=message):
        pretrain(data, CONFIG, folder, resume=True, provenance={"dataset": "synthetic"})
    assert (folder / CHECKPOINT).read_bytes() == content


def test_checkpoint_of_another_version_is_refused(finished, tmp_path):
    folder = tmp_path / "newer"
    shutil.copytree(finished, folder)
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save({**state, "version": 3}, folder / CHECKPOINT)
    with pytest.raises(InputError, match="expected version 2, got 3"):
        load_encoder(folder)


def test_checkpoint_of_another_model_is_refused(finished, tmp_path):
    folder = tmp_path / "wider"
    shutil.copytree(finished, folder)
    described = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    described["config"]["encoder"]["widths"] = [8, 32]
    (folder / RUN_FILE).write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="expected a checkpoint of this model"):
        load_encoder(folder)


def test_loss_that_is_no_number_stops_the_run(stopped, data, monkeypatch):
    """The checkpoint of the epoch before stays, no row is written, and the step is named."""
    before = (stopped / CHECKPOINT).read_bytes()
    diverged = torch.tensor(torch.nan, requires_grad=True)
    monkeypatch.setattr(opstl, "barlow_twins_parts", lambda *_: (diverged, diverged))
    with pytest.raises(InputError, match=r"is nan in step 1 of epoch 3; .* after epoch 2 is"):
        pretrain(data, CONFIG, stopped, resume=True, provenance={"dataset": "synthetic"})
    assert (stopped / CHECKPOINT).read_bytes() == before
    assert len(read_rows(stopped)) == 2
    assert sorted(path.name for path in stopped.iterdir() if "partial" in path.name) == []


def test_unknown_device_is_refused_before_anything_is_written(data, tmp_path):
    with pytest.raises(InputError, match="device: expected a usable torch device, got 'abacus'"):
        pretrain(data, CONFIG, tmp_path / "run", device="abacus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_missing_gpu_is_no_cpu():
    with pytest.raises(InputError, match="device: expected a usable torch device, got 'cuda'"):
        find_device("cuda")


@pytest.mark.parametrize(("n", "batch_size"), [(0, 8), (1, 8), (8, 1)])
def test_batches_of_one_are_refused(data, tmp_path, n, batch_size):
    few = PretrainData(data.xyz[:n], data.hidden_frac[:n])
    config = tiny_config(f"training.batch_size={batch_size}")
    with pytest.raises(InputError, match="expected batches of 2 training sequences at least"):
        pretrain(few, config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_encoder_of_an_unfinished_run_is_refused(stopped):
    with pytest.raises(InputError, match="expected a finished run, got 2 of 4 epochs; finish it"):
        load_encoder(stopped)


def test_encoder_of_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a pre-training run with checkpoint.pt"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("stream", ["motion", "bone"])
def test_other_streams_train(data, tmp_path, stream):
    config = tiny_config("training.epochs=1", f"training.stream={stream}")
    encoder = pretrain(data, config, tmp_path / "run")
    assert embed(encoder, data.xyz, stream).shape == (len(data.xyz), 16)
    assert not np.array_equal(embed(encoder, data.xyz, stream), embed(encoder, data.xyz))


def test_published_rate_changes_by_epoch_and_wastes_the_first(data, tmp_path):
    config = tiny_config("training.epochs=4", "training.warmup_epochs=2", "training.rate_by=epoch")
    torch.manual_seed(1)
    before = make_model(config).projector[0].weight.detach().clone()
    pretrain(data, config, tmp_path / "run")
    rates = [row["rate"] for row in read_rows(tmp_path / "run")]
    peak = config.training.learning_rate
    assert rates == pytest.approx([0, peak / 2, peak, peak / 2])
    one = tiny_config("training.epochs=1", "training.warmup_epochs=1", "training.rate_by=epoch")
    pretrain(data, one, tmp_path / "one")
    assert torch.equal(read_weights(tmp_path / "one")["projector.0.weight"], before)


def test_paper_preset_trains(data, tmp_path):
    """With its quirks, one draw a batch and absent persons averaged in, but small."""
    config = load_config(
        "paper",
        None,
        [
            *("encoder.widths=[8,16]", "encoder.strides=[2,2]", "opstl.projector_width=16"),
            *("training.epochs=1", "training.batch_size=14"),
        ],
    )
    pretrain(data, config, tmp_path / "run")
    assert math.isfinite(read_rows(tmp_path / "run")[0]["loss"])


def test_embedding_does_not_depend_on_the_batches(finished, data):
    encoder, _ = load_encoder(finished)
    encoder.train()
    whole = embed(encoder, data.xyz)
    np.testing.assert_allclose(embed(encoder, data.xyz, batch_size=5), whole, atol=1e-5)
    assert not encoder.training
