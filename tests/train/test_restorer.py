"""The network of the restorer, before any training."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from iospstl_core.imputation.gaps import find_gaps, interpolate
from iospstl_core.imputation.restore import network_inputs
from iospstl_core.session import OnnxModel
from iospstl_train.models import restorer
from iospstl_train.models.restorer import Restorer
from iospstl_train.training import restore
from iospstl_train.training.onnx_file import to_onnx
from tests.train.tiny_restorers import CPU, N_FRAMES, SETTINGS, made, untrained


def inputs_of(xyz, rest_m):
    inputs = network_inputs(xyz, rest_m)
    return inputs, {name: torch.from_numpy(value) for name, value in inputs.items()}


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
