"""The restorer: its network, what it is asked to find, and its training."""

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
from iospstl_core.imputation.gaps import find_gaps, interpolate
from iospstl_core.imputation.plain import fill_linear
from iospstl_core.imputation.restore import RestoreImputer, network_inputs, read_facts
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_train.methods import hide_again
from iospstl_train.methods.hide_again import adapt_masks, draw_views
from iospstl_train.models import restorer
from iospstl_train.models.restorer import Restorer, RestorerSettings
from iospstl_train.training import restore
from iospstl_train.training.onnx_file import to_onnx
from iospstl_train.training.restore import RESTORER, train_restorer

CPU = ("CPUExecutionProvider",)
SETTINGS = RestorerSettings(width=16, n_layers=1, steps=8, batch_size=4)
STILL = replace(SETTINGS, max_yaw_deg=0.0, max_scale=0.0, curtain_masks=0.0)
N_FRAMES = 50
FLIP_ORDER = torch.from_numpy(NTU_25.flip_order)


@pytest.fixture(scope="module")
def trained(windows, tmp_path_factory):
    """A folder in which a short training has come to its end."""
    folder = tmp_path_factory.mktemp("restorers") / "short"
    train_restorer(windows, SETTINGS, folder, provenance={"dataset": "synthetic"})
    return folder


def network_bytes(folder):
    return (folder / RESTORER).read_bytes()


def impute(windows, path):
    bank = build_bank(windows.xyz[windows.is_train], np.zeros(windows.is_train.sum(), int), 1)
    return RestoreImputer(OnnxModel(path, CPU), bank).fill(windows.xyz, windows.present)


def made(n=6, seed=0, n_joints=25):
    """Random windows of one person and which cells are observed; all joints somewhere."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, 0.3, (n, N_FRAMES, n_joints, 3)).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = np.nan
    return xyz


def untrained(seed=0, settings=SETTINGS, n_joints=25):
    """A network that is past its zeros, as training would make it."""
    torch.manual_seed(seed)
    rest_m = 0.3 * torch.randn(n_joints, 3)
    model = Restorer(N_FRAMES, rest_m, settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), rest_m.numpy()


def inputs_of(xyz, rest_m):
    inputs = network_inputs(xyz, rest_m)
    return inputs, {name: torch.from_numpy(value) for name, value in inputs.items()}


# The network.


@pytest.mark.parametrize(
    "changes", [{}, {"n_layers": 2}, {"follow_body": False}, {"keep_sides": False}]
)
def test_onnx_equals_torch_on_any_masks(tmp_path, changes):
    seed = len(changes)
    model, rest_m = untrained(seed, replace(SETTINGS, **changes))
    _, example = inputs_of(made(2, seed=9), rest_m)
    (tmp_path / "tiny.onnx").write_bytes(to_onnx(model, example, restore.OUTPUTS))
    arrays, tensors = inputs_of(made(7, seed), rest_m)
    with torch.inference_mode():
        expected = model(**tensors)
    found = OnnxModel(tmp_path / "tiny.onnx", CPU).run(**arrays)
    for torch_value, onnx_value in zip(expected, found, strict=True):
        np.testing.assert_allclose(onnx_value, torch_value.numpy(), rtol=0, atol=1e-5)


def predict(xyz, changes, rest_m=None):
    """What an untrained network says of windows, and its inputs."""
    rest_m = np.zeros((25, 3), np.float32) if rest_m is None else rest_m
    model = Restorer(N_FRAMES, torch.from_numpy(rest_m), replace(SETTINGS, **changes)).eval()
    arrays, tensors = inputs_of(xyz, rest_m)
    with torch.inference_mode():
        filled, error_m = (value.numpy() for value in model(**tensors))
    np.testing.assert_allclose(error_m, 0.1, rtol=1e-6)
    return filled, arrays


def smooth(values):
    """Averages over neighbouring frames by a bell curve; the first and last frame go on."""
    margin = restorer._MARGIN_FRAMES
    offsets = np.arange(-margin, margin + 1)
    weight = np.exp(-0.5 * np.square(offsets / restorer._SMOOTH_FRAMES))
    near = np.clip(np.arange(N_FRAMES)[:, None] + offsets, 0, N_FRAMES - 1)
    return np.einsum("ntkvx,k->ntvx", values[:, near], weight / weight.sum())


@pytest.mark.parametrize("follow_body", [True, False])
def test_untrained_network_is_the_body_that_almost_meets_what_was_observed(follow_body):
    """Path and shape, nearly all of the line between the residuals, and a little of the curve."""
    xyz = made(3)
    rest_m = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32)
    filled, arrays = predict(xyz, {"follow_body": follow_body}, rest_m)
    body = smooth(arrays["path"][:, :, None] + arrays["shape"][:, None])
    base = body if follow_body else np.broadcast_to(rest_m, body.shape)
    residual = interpolate(np.nan_to_num(xyz - base), find_gaps(~np.isnan(xyz[..., 0])))
    sides = base + 1 / (1 + math.exp(-3)) * residual
    expected = sides + 1 / (1 + math.exp(3)) * (arrays["line"] - sides)
    np.testing.assert_allclose(filled, expected, rtol=0, atol=1e-5)


def test_joints_that_never_show_take_nothing_from_a_line():
    xyz = made(3)
    xyz[:, :, 7] = np.nan
    filled, arrays = predict(xyz, {})
    base = smooth(arrays["path"][:, :, None] + arrays["shape"][:, None])
    np.testing.assert_allclose(filled[:, :, 7], base[:, :, 7], rtol=0, atol=1e-6)


def test_without_its_sides_a_gap_ends_anywhere():
    filled, arrays = predict(made(3), {"keep_sides": False})
    base = smooth(arrays["path"][:, :, None] + arrays["shape"][:, None])
    np.testing.assert_allclose(filled, base, rtol=0, atol=1e-6)


def test_what_stands_in_unseen_cells_does_not_matter():
    """Neither between observed frames nor for joints that never show."""
    model, rest_m = untrained()
    xyz = made()
    xyz[:, :, 7] = np.nan
    _, tensors = inputs_of(xyz, rest_m)
    other = {**tensors, "x": torch.where(tensors["observed"][..., None] > 0, tensors["x"], 5.0)}
    with torch.inference_mode():
        for expected, found in zip(model(**tensors), model(**other), strict=True):
            assert torch.equal(found, expected)


def test_expected_errors_are_positive_and_scaled():
    model, rest_m = untrained()
    _, tensors = inputs_of(made(), rest_m)
    with torch.inference_mode():
        xyz, before = model(**tensors)
        model.error_factor.fill_(3)
        same, after = model(**tensors)
    assert (before > 0).all()
    assert torch.equal(same, xyz)
    torch.testing.assert_close(after, 3 * before)


# Views and masks.


def draw(xyz, settings=SETTINGS, seed=0, rows=None, flip_order=FLIP_ORDER):
    observed = torch.from_numpy(~np.isnan(xyz[..., 0]))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(xyz)) if rows is None else rows
    values = torch.from_numpy(np.nan_to_num(xyz))
    return draw_views(values, observed, rows, flip_order, settings, generator)


@pytest.mark.parametrize("plain_masks", [0.0, 0.2, 1.0])
def test_only_what_was_observed_is_ever_a_target(plain_masks):
    """Every window is all 1 where observed and 0 elsewhere, and is not moved."""
    xyz = np.where(np.isnan(made(40)), np.float32(np.nan), np.float32(1))
    settings = replace(STILL, plain_masks=plain_masks)
    views = draw(xyz, settings)
    assert views.target.any()
    assert views.visible.any()
    assert not (views.target & views.visible).any()
    for used in (views.target, views.visible):
        assert (views.xyz[used].abs() == 1).all()
    known = views.xyz[..., 0] != 0
    torch.testing.assert_close(views.target | views.visible, known)


def test_mirrored_windows_keep_their_sides():
    """Observed cells of a mirrored view are those of the other side, with x turned round."""
    xyz = made(30)
    views = draw(xyz, replace(STILL, plain_masks=1.0))
    assert len(views.xyz) == 30
    plain = np.nan_to_num(xyz)
    swapped = plain[:, :, NTU_25.flip_order] * np.float32([-1, 1, 1])
    found = views.xyz.numpy()
    is_plain = (found == plain).all(axis=(1, 2, 3))
    is_swapped = (found == swapped).all(axis=(1, 2, 3))
    assert (is_plain ^ is_swapped).all()
    assert 5 < is_swapped.sum() < 25
    seen = ~np.isnan(xyz[..., 0])
    either = np.where(is_swapped[:, None, None], seen[:, :, NTU_25.flip_order], seen)
    np.testing.assert_array_equal((views.visible | views.target).numpy(), either)


def test_masks_are_those_of_the_training_set_forwards_or_backwards_or_mirrored():
    """One window hides the left knee from frame 30 on: no other cells are ever a target."""
    xyz = np.ones((12, N_FRAMES, 25, 3), np.float32)
    left, right = NTU_25.index("KneeLeft"), NTU_25.index("KneeRight")
    xyz[0, 30:, left] = np.nan
    observed = torch.from_numpy(~np.isnan(xyz[..., 0]))
    rows, generator = torch.ones(400, dtype=torch.int64), torch.Generator().manual_seed(0)
    settings = replace(STILL, plain_masks=0.0)
    values = torch.from_numpy(np.nan_to_num(xyz))
    target = draw_views(values, observed, rows, FLIP_ORDER, settings, generator).target
    kinds = {tuple(map(tuple, mask.nonzero().tolist())) for mask in target}
    expected = {
        tuple((frame, knee) for frame in frames)
        for knee in (left, right)
        for frames in (range(30, 50), range(20))
    }
    assert kinds == expected | {()}


def test_plain_masks_hide_cells_and_whole_joints():
    xyz = np.ones((1, N_FRAMES, 25, 3), np.float32)
    rows = torch.zeros(300, dtype=torch.int64)
    target = draw(xyz, replace(STILL, plain_masks=1.0), rows=rows).target
    share = target.float().mean(dim=(1, 2))
    assert 0.5 < share.max() < 0.8
    assert share.mean() == pytest.approx(0.3, abs=0.03)
    is_joints = (target == target[:, :1]).flatten(1).all(dim=1)
    assert 0.35 < is_joints.float().mean() < 0.65


def pole(n, steps_m=0.0):
    """Joints one above the other, 10 cm apart from 0 m on, that walk along x; all observed."""
    xyz = np.zeros((n, N_FRAMES, 25, 3), np.float32)
    xyz[..., 0] = steps_m * (np.arange(N_FRAMES) - N_FRAMES / 2)[:, None]
    xyz[..., 1] = 0.1 * np.arange(25)
    return torch.from_numpy(xyz), torch.ones((n, N_FRAMES, 25), dtype=torch.bool)


def runs(flags):
    """How often a row of flags turns on."""
    padded = torch.nn.functional.pad(flags.int(), (1, 0))
    return int((padded[1:] > padded[:-1]).sum())


def test_a_curtain_hides_what_is_below_its_top_or_a_range_of_it():
    """A pole that stands is hidden in all frames alike, up to below the joint at the top."""
    hidden = hide_again._curtains(*pole(400), torch.Generator().manual_seed(0))
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    columns = hidden[:, 0]
    assert not columns[:, -1].any()
    assert max(runs(column) for column in columns) == 1
    n_hidden = columns.sum(dim=1)
    assert set(n_hidden.tolist()) == set(range(25))
    floating = n_hidden.bool() & ~columns[:, 0]
    assert 0.05 < floating.float().mean() < 0.3
    depth = columns[floating].sum(dim=1)
    assert depth.min() >= 2
    assert depth.max() <= 10


def test_who_walks_past_a_curtain_disappears_once():
    """For at least its width, in whatever direction the curtain is looked at."""
    hidden = hide_again._curtains(*pole(400, steps_m=0.1), torch.Generator().manual_seed(0))
    is_behind = hidden.any(dim=2)
    assert max(runs(frames) for frames in is_behind) == 1
    n_frames = is_behind.sum(dim=1)
    assert len(set(n_frames.tolist())) > 20
    assert (n_frames[n_frames > 0] >= 1).all()
    assert 10 < n_frames.float().mean() < 40
    comes_and_goes = n_frames.bool() & ~is_behind[:, 0] & ~is_behind[:, -1]
    assert comes_and_goes.float().mean() > 0.2


def test_persistence_by_hand():
    observed = torch.ones((1, 8, 2), dtype=torch.bool)
    assert hide_again.persistence(observed) == 1
    observed[0, :, 1] = False
    assert hide_again.persistence(observed) == 1
    observed[0, ::2, 1] = True  # hidden in every second frame: never twice in a row
    assert hide_again.persistence(observed) == 0
    observed[0] = torch.tensor([[1] * 8, [1, 0, 0, 0, 1, 1, 1, 1]]).T
    expected = (2 / 3 - 3 / 16) / (1 - 3 / 16)
    assert hide_again.persistence(observed) == pytest.approx(expected)
    assert hide_again.persistence(~torch.ones((2, 3, 4), dtype=torch.bool)) >= 0
    random = torch.rand((50, N_FRAMES, 25), generator=torch.Generator().manual_seed(0)) < 0.6
    assert hide_again.persistence(random) < 0.02


def test_curtains_are_drawn_as_often_as_hidden_cells_hang_together():
    """Of windows that hide one joint, for long or in every second frame; joint 0 never."""
    xyz, observed = pole(2000)
    shares = []
    for frames in (slice(None), slice(0, None, 2)):
        seen = observed.clone()
        seen[:, frames, 24] = False
        settings = adapt_masks(replace(STILL, curtain_masks=0.5, plain_masks=0.0), seen)
        rows, generator = torch.arange(2000), torch.Generator().manual_seed(0)
        target = draw_views(xyz, seen, rows, FLIP_ORDER, settings, generator).target
        shares.append(float(target[:, :, 0].any(dim=1).float().mean()))
    assert 0.3 < shares[0] < 0.5
    assert shares[1] == 0


def test_moved_windows_are_turned_about_the_vertical_and_scaled():
    xyz = np.nan_to_num(made(200), nan=0.5)
    settings = replace(SETTINGS, max_yaw_deg=30.0, max_scale=0.1)
    views = draw(xyz, settings)
    found = views.xyz.double()
    plain = torch.from_numpy(xyz).double()
    length = torch.linalg.vector_norm(found, dim=-1).sum(dim=(1, 2))
    scale = length / torch.linalg.vector_norm(plain, dim=-1).sum(dim=(1, 2))
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    spine = NTU_25.center  # its own other side
    height = found[:, :, spine, 1] / scale[:, None]
    torch.testing.assert_close(height, plain[:, :, spine, 1], atol=1e-5, rtol=0)
    start, end = (
        torch.atan2(xyz_[:, 0, spine, 2], xyz_[:, 0, spine, 0].abs()) for xyz_ in (plain, found)
    )
    is_mirrored = (found[:, 0, spine, 0] * plain[:, 0, spine, 0]) < 0
    turn = torch.rad2deg(end - start)[~is_mirrored]
    assert turn.abs().max() <= 30 * 1.001
    assert turn.abs().max() > 25


def test_views_that_would_show_next_to_nothing_are_left_out():
    xyz = made(4)
    xyz[1] = np.nan
    xyz[1, 0, :19] = 1.0  # one cell less than is needed
    views = draw(xyz, replace(STILL, plain_masks=1.0))
    assert len(views.xyz) == 3
    assert (views.visible.flatten(1).sum(1) >= hide_again._MIN_VISIBLE).all()


def test_same_seed_same_views():
    first, again, other = (draw(made(), seed=seed) for seed in (1, 1, 2))
    for name in ("xyz", "visible", "target"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.xyz, other.xyz)


# Training.


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

    def stop_after(path, step, *rest):
        save(path, step, *rest)
        steps.append(step)
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
    loss, calls = restore._loss, []

    def spoil(model, views):
        calls.append(1)
        value, error_m = loss(model, views)
        return (value if len(calls) <= 3 else value * math.nan), error_m

    monkeypatch.setattr(restore, "_loss", spoil)
    with pytest.raises(InputError, match=r"the loss is nan in step 6; .*restorer.learning_rate"):
        train_restorer(windows, SETTINGS, tmp_path / "spoiled")
    state = torch.load(tmp_path / "spoiled" / "restorer.pt", weights_only=True)
    assert state["epoch"] == 3


def test_unknown_device_is_refused(windows, tmp_path):
    with pytest.raises(InputError, match="device"):
        train_restorer(windows, SETTINGS, tmp_path / "run", device="abacus")


def persons_of(windows, tmp_path):
    return restore._training_persons(windows, tmp_path)


def test_expected_error_is_the_true_one_on_held_out_windows(windows, tmp_path):
    data = persons_of(windows, tmp_path)
    train, held_out = restore._hold_out(len(data.xyz), 0.3, seed=1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(data.xyz)))
    model, _ = untrained()
    error_mm, coverage = restore._calibrate(model, data, held_out, SETTINGS, seed=1)
    assert not data.observed.all()
    own_masks = replace(SETTINGS, curtain_masks=0.0, plain_masks=0.0)
    generator = torch.Generator().manual_seed(2)
    true, expected = [], []
    with torch.inference_mode():
        for _ in range(restore._CALIBRATION_ROUNDS):
            views = draw_views(
                *(data.xyz, data.observed, held_out, data.flip_order, own_masks, generator)
            )
            distance, error_m = restore._errors(model, views)
            true.append(distance)
            expected.append(error_m)
    true, expected = torch.cat(true), torch.cat(expected)
    assert expected.mean() == pytest.approx(float(true.mean()), rel=1e-4)
    assert error_mm == pytest.approx(1000 * float(true.mean()), rel=1e-4)
    for factor, share in coverage.items():
        found = (true <= float(factor) * expected).float().mean()
        assert share == pytest.approx(float(found), abs=1e-3)


def test_very_small_sets_share_their_rows():
    train, held_out = restore._hold_out(30, 0.1, seed=1)
    assert train.tolist() == held_out.tolist()
    assert sorted(train.tolist()) == list(range(30))
    assert [len(rows) for rows in restore._hold_out(50, 0.1, seed=1)] == [45, 5]


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
