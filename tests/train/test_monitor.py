import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from iospstl_core.skeleton import NTU_25
from iospstl_train.methods.drawn_masks import DrawnMasks
from iospstl_train.training.batches import training_data
from iospstl_train.training.model import make_model
from iospstl_train.training.monitor import Monitor
from iospstl_train.training.pretrain import METRICS_FILE, pretrain
from tests.train.tiny_training import tiny_config

CONFIG = tiny_config("training.epochs=3", "training.probe_epochs=2")


@pytest.fixture(scope="module")
def data(windows):
    return training_data(windows, windows)


@pytest.fixture(scope="module")
def watched(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "watched"
    pretrain(data, CONFIG, folder)
    return folder


def read_rows(folder):
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def read_events(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def test_every_epoch_shows_losses_rate_and_masks(watched):
    events = read_events(watched)
    names = {"loss", "loss_temporal", "loss_spatial", "diagonal_temporal", "rate", "samples_per_s"}
    assert names <= set(events)
    assert [event.step for event in events["loss"]] == [1, 2, 3]
    masked = [events[f"masked/{joint}"] for joint in NTU_25.joints]
    for epoch in range(3):
        total = sum(events[epoch].value for events in masked)
        assert total == pytest.approx(CONFIG.opstl.masked_joints, abs=1e-4)


def test_embeddings_are_looked_at_every_second_epoch_and_in_the_last(watched):
    rows = read_rows(watched)
    assert ["embedding_rank" in row for row in rows] == [False, True, True]
    assert ["neighbor_accuracy" in row for row in rows] == [False, True, True]
    assert 1 < rows[-1]["embedding_rank"] <= 16
    assert 0 <= rows[-1]["neighbor_accuracy"] <= 1
    assert [event.step for event in read_events(watched)["embedding_rank"]] == [2, 3]


def test_looking_changes_no_number(data, watched, tmp_path):
    pretrain(data, tiny_config("training.epochs=3", "training.probe_epochs=0"), tmp_path / "run")
    for seen, unseen in zip(read_rows(watched), read_rows(tmp_path / "run"), strict=True):
        assert "embedding_rank" not in unseen
        assert seen["loss"] == unseen["loss"]


def test_labels_may_be_missing(data, tmp_path):
    pretrain(replace(data, label=None), CONFIG, tmp_path / "run")
    assert "embedding_rank" in read_rows(tmp_path / "run")[-1]
    assert "neighbor_accuracy" not in read_rows(tmp_path / "run")[-1]


def test_labels_do_not_reach_the_training(data, watched, tmp_path):
    shuffled = replace(data, label=data.label[::-1].copy())
    pretrain(shuffled, CONFIG, tmp_path / "run")
    assert [row["loss"] for row in read_rows(tmp_path / "run")] == [
        row["loss"] for row in read_rows(watched)
    ]


def test_collapse_is_told(data, tmp_path, capsys):
    model = make_model(CONFIG)
    with Monitor(tmp_path, data, CONFIG, torch.device("cpu")) as monitor:
        monitor.epoch(2, {"loss": 1.0}, 2.0, 10, model)
        assert "collapse" not in capsys.readouterr().err
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.zero_()
        row = monitor.epoch(2, {"loss": 1.0}, 2.0, 10, model)
    assert row["embedding_rank"] == 0
    line = capsys.readouterr().err
    assert f"warning: {tmp_path}: epoch 2: the embeddings collapse, they fill 0.0 of 16 " in line
    assert "lower training.learning_rate" in line


def test_large_sets_are_probed_in_part(data, tmp_path, monkeypatch):
    monkeypatch.setattr("iospstl_train.training.monitor.MAX_PROBED", 7)
    with Monitor(tmp_path, data, CONFIG, torch.device("cpu")) as monitor:
        assert len(monitor._probed) == 7
        assert (monitor._probed[0], monitor._probed[-1]) == (0, len(data.xyz) - 1)


def test_shares_of_joints_are_means_since_the_last_look():
    drawn = DrawnMasks(3)
    drawn.add(torch.tensor([1.0, 0, 0.5]))
    drawn.add(torch.tensor([0.0, 0, 0.5]))
    np.testing.assert_allclose(drawn.take(), [0.5, 0, 0.5])
    assert drawn.take() == [0, 0, 0]
