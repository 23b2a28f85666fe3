"""The training of the restorer: what it looks at, that it goes on, and what it is worth."""

import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.plain import fill_linear
from iospstl_core.imputation.restore import read_facts
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_train.methods.hide_again import draw_views
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.training import restore, restorer_data, restorer_error
from iospstl_train.training.restore import RESTORER, train_restorer
from tests.train.tiny_restorers import CPU, N_FRAMES, SETTINGS, impute, network_bytes, untrained


@pytest.fixture(scope="module")
def trained(windows, tmp_path_factory):
    """A folder in which a short training has come to its end."""
    folder = tmp_path_factory.mktemp("restorers") / "short"
    train_restorer(windows, SETTINGS, folder, provenance={"dataset": "synthetic"})
    return folder


def test_the_file_says_what_it_is(windows, trained):
    facts = read_facts(OnnxModel(trained / RESTORER, CPU))
    assert facts.joints == NTU_25.joints
    mirrored = facts.rest_m[NTU_25.flip_order] * np.float32([-1, 1, 1])
    np.testing.assert_allclose(facts.rest_m, mirrored, atol=1e-4)
    assert list(facts.coverage) == ["0.5", "1.0", "2.0", "3.0"]
    assert sorted(facts.coverage.values()) == list(facts.coverage.values())
    described = json.loads((trained / "restorer.json").read_text())
    assert described["settings"] == dataclasses.asdict(SETTINGS)
    assert described["provenance"] == {"dataset": "synthetic"}
    assert described["coverage"] == facts.coverage
    assert 10 < described["held_out_mm"] < 1000


def test_neither_truth_nor_test_windows_are_looked_at(windows, trained, tmp_path):
    xyz = windows.xyz.copy()
    xyz[windows.is_test] = 1e4
    poisoned = replace(windows, xyz=xyz, truth=windows.truth * np.nan)
    train_restorer(poisoned, SETTINGS, tmp_path / "poisoned")
    assert network_bytes(tmp_path / "poisoned") == network_bytes(trained)


def test_training_windows_are_looked_at(windows, trained, tmp_path):
    xyz = windows.xyz.copy()
    xyz[np.flatnonzero(windows.is_train)] *= 1.5
    train_restorer(replace(windows, xyz=xyz), SETTINGS, tmp_path / "other")
    assert network_bytes(tmp_path / "other") != network_bytes(trained)


@pytest.mark.parametrize("n_stops", [1, 2])
def test_killed_training_goes_on_as_if_nothing_had_been(
    windows, trained, tmp_path, monkeypatch, n_stops
):
    monkeypatch.setattr(restore, "_CHECKPOINT_STEPS", 3)
    save, steps = restore.save_checkpoint, []

    def stop_after(path, state, keep):
        save(path, state, keep)
        steps.append(state["epoch"])
        if len(steps) <= n_stops:
            raise KeyboardInterrupt

    monkeypatch.setattr(restore, "save_checkpoint", stop_after)
    folder = tmp_path / "killed"
    for _ in range(n_stops):
        with pytest.raises(KeyboardInterrupt):
            train_restorer(windows, SETTINGS, folder)
        assert not (folder / RESTORER).exists()
        torch.rand(5)  # another process has its own random numbers
    train_restorer(windows, SETTINGS, folder)
    assert steps == [3, 6, 8]
    assert network_bytes(folder) == network_bytes(trained)


def test_finished_training_returns_at_once(windows, trained, monkeypatch):
    monkeypatch.setattr(restore, "_fit", None)
    described = (trained / "restorer.json").read_text()
    again = train_restorer(windows, SETTINGS, trained, provenance={"dataset": "synthetic"})
    assert again == trained / RESTORER
    assert (trained / "restorer.json").read_text() == described


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"settings": replace(SETTINGS, steps=9)}, "settings"),
        ({"seed": 2}, "seed"),
        ({"provenance": {"dataset": "ntu60"}}, "provenance"),
    ],
)
def test_other_training_in_the_folder_is_refused(windows, trained, changes, key):
    options = {"settings": SETTINGS, "provenance": {"dataset": "synthetic"}, **changes}
    before = network_bytes(trained)
    with pytest.raises(InputError, match=rf"short: .* another {key}; .*choose another folder"):
        train_restorer(windows, folder=trained, **options)
    assert network_bytes(trained) == before


def test_a_loss_that_is_no_number_keeps_the_checkpoint_before(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(restore, "_CHECKPOINT_STEPS", 3)
    loss, calls = restorer_error.restoring_loss, []

    def spoil(model, views):
        calls.append(1)
        value, error_m = loss(model, views)
        return (value if len(calls) <= 3 else value * math.nan), error_m

    monkeypatch.setattr(restore, "restoring_loss", spoil)
    with pytest.raises(InputError, match=r"the loss is nan in step 4; .*restorer.learning_rate"):
        train_restorer(windows, SETTINGS, tmp_path / "spoiled")
    state = torch.load(tmp_path / "spoiled" / "restorer.pt", weights_only=True)
    assert state["epoch"] == 3


def test_unknown_device_is_refused(windows, tmp_path):
    with pytest.raises(InputError, match="device"):
        train_restorer(windows, SETTINGS, tmp_path / "run", device="abacus")


def persons_of(windows, tmp_path):
    return restorer_data.training_persons(windows, tmp_path)


def test_expected_error_is_the_true_one_on_held_out_windows(windows, tmp_path):
    data = persons_of(windows, tmp_path)
    train, held_out = restorer_data.hold_out(len(data.xyz), 0.3, seed=1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(data.xyz)))
    model, _ = untrained()
    error_mm, coverage = restorer_error.calibrate(model, data, held_out, SETTINGS, seed=1)
    assert not data.observed.all()
    own_masks = replace(SETTINGS, curtain_masks=0.0, plain_masks=0.0)
    generator = torch.Generator().manual_seed(2)
    true, expected = [], []
    with torch.inference_mode():
        for _ in range(restorer_error._CALIBRATION_ROUNDS):
            views = draw_views(
                *(data.xyz, data.observed, held_out, data.flip_order, own_masks, generator)
            )
            distance, error_m = restorer_error.restoring_errors(model, views)
            true.append(distance)
            expected.append(error_m)
    true, expected = torch.cat(true), torch.cat(expected)
    assert expected.mean() == pytest.approx(float(true.mean()), rel=1e-4)
    assert error_mm == pytest.approx(1000 * float(true.mean()), rel=1e-4)
    for factor, share in coverage.items():
        found = (true <= float(factor) * expected).float().mean()
        assert share == pytest.approx(float(found), abs=1e-3)


def test_very_small_sets_share_their_rows():
    train, held_out = restorer_data.hold_out(30, 0.1, seed=1)
    assert train.tolist() == held_out.tolist()
    assert sorted(train.tolist()) == list(range(30))
    assert [len(rows) for rows in restorer_data.hold_out(50, 0.1, seed=1)] == [45, 5]


def test_learning_rate_warms_up_and_ends_near_0():
    settings = replace(SETTINGS, steps=1000, learning_rate=2.0)
    rates = [restore._learning_rate(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert int(np.argmax(rates)) == 99
    assert rates[500] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4


def test_a_few_hundred_steps_beat_the_line_on_hidden_joints(windows, tmp_path):
    settings = RestorerSettings(width=32, n_layers=2, steps=300, batch_size=8)
    path = train_restorer(windows, settings, tmp_path / "run")
    bank = build_bank(windows.xyz[windows.is_train], np.zeros(28, dtype=int), 1)
    filled = impute(windows, path), fill_linear(windows.xyz, windows.present, bank)
    restored, line = (np.linalg.norm(each.xyz - windows.truth, axis=-1) for each in filled)
    hidden = windows.hidden & windows.is_test[:, None, None, None]
    shown = hidden & (~np.isnan(windows.xyz[..., 0])).any(axis=1, keepdims=True)
    assert shown.sum() > 1000
    for chosen in (hidden, shown, hidden & ~shown):
        assert restored[chosen].mean() < 0.97 * line[chosen].mean()
    expected = filled[0].error_m
    assert np.corrcoef(restored[shown], expected[shown])[0, 1] > 0.2
    assert 0.5 < expected[shown].mean() / restored[shown].mean() < 2


# What training sets may lack.
def test_gap_free_training_windows(windows, tmp_path):
    """Nothing is hidden: masks are drawn at random."""
    present = np.ones_like(windows.present)[:, :, :1]
    xyz = np.repeat(np.nan_to_num(windows.truth[:, :1, :1], nan=0.1), N_FRAMES, axis=1)
    whole = replace(windows, xyz=xyz, truth=xyz, present=present)
    path = train_restorer(whole, replace(SETTINGS, plain_masks=0.0), tmp_path / "run")
    described = json.loads((tmp_path / "run" / "restorer.json").read_text())
    assert math.isfinite(described["held_out_mm"])
    assert read_facts(OnnxModel(path, CPU)).coverage["3.0"] > 0
    filled = impute(whole, path)
    assert filled.xyz.tobytes() == xyz.tobytes()
    assert (filled.error_m == 0).all()


def test_hardly_anything_hidden(windows, tmp_path):
    """A single cell of one window: held-out windows may draw it never."""
    frames = np.nan_to_num(windows.truth[:, :1, :1], nan=0.1)
    truth = np.repeat(np.repeat(frames, N_FRAMES, axis=1), 5, axis=0)
    xyz = truth.copy()
    xyz[0, 3, 0, 3] = np.nan
    rows = {
        name: np.repeat(getattr(windows, name), 5) for name in ("label", "is_train", "is_test")
    }
    present = np.ones(xyz.shape[:-2], dtype=bool)
    nearly = replace(windows, xyz=xyz, truth=truth, present=present, **rows)
    path = train_restorer(nearly, SETTINGS, tmp_path / "run")
    filled = impute(nearly, path)
    assert np.isfinite(filled.error_m).all()
    assert 0 < filled.error_m[0, 3, 0, 3] < 1


def test_nothing_hidden_but_people_who_come_and_go(windows, tmp_path):
    unhidden = replace(windows, xyz=windows.truth)
    assert not unhidden.hidden.any()
    path = train_restorer(unhidden, SETTINGS, tmp_path / "run")
    filled = impute(unhidden, path)
    assert CellSource.RESTORED not in filled.source
    assert np.isfinite(impute(windows, path).error_m[windows.hidden]).mean() > 0.9


def test_joints_that_recordings_never_have_are_left_to_the_bank(windows, tmp_path):
    xyz = windows.xyz.copy()
    xyz[..., NTU_25.index("ThumbLeft"), :] = np.nan
    xyz[..., NTU_25.index("ThumbRight"), :] = np.nan
    path = train_restorer(replace(windows, xyz=xyz), SETTINGS, tmp_path / "run")
    facts = read_facts(OnnxModel(path, CPU))
    assert len(facts.joints) == 23
    assert not {"ThumbLeft", "ThumbRight"} & set(facts.joints)


def test_joints_of_one_side_are_known_from_the_other(windows, tmp_path):
    """Half of the views are mirrored, so the left hand is learned from the right one."""
    xyz = windows.xyz.copy()
    xyz[..., NTU_25.index("HandLeft"), :] = np.nan
    path = train_restorer(replace(windows, xyz=xyz), SETTINGS, tmp_path / "run")
    facts = read_facts(OnnxModel(path, CPU))
    left, right = (facts.joints.index(joint) for joint in ("HandLeft", "HandRight"))
    np.testing.assert_allclose(
        facts.rest_m[left], facts.rest_m[right] * np.float32([-1, 1, 1]), atol=1e-4
    )
    assert np.isfinite(facts.rest_m).all()


def test_training_windows_that_show_too_little_are_refused(windows, tmp_path):
    xyz = np.full_like(windows.xyz, np.nan)
    xyz[:, 0, 0, :5] = windows.xyz[:, 0, 0, :5]
    with pytest.raises(InputError, match="the training windows show too little to learn from"):
        train_restorer(replace(windows, xyz=xyz), SETTINGS, tmp_path / "run")


def test_training_windows_that_show_nothing_are_refused(windows, tmp_path):
    blind = replace(windows, xyz=np.full_like(windows.xyz, np.nan))
    with pytest.raises(InputError, match=r"run: expected training windows with observed joints"):
        train_restorer(blind, SETTINGS, tmp_path / "run")
