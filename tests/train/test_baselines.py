import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_train.baselines.interpolate import OVERSHOOT_FRAC, fill_last, fill_spline
from iospstl_train.baselines.low_rank import LowRankModel, LowRankSettings, fit_low_rank
from iospstl_train.baselines.pypots_rows import PypotsSettings, fit_pypots
from iospstl_train.baselines.samples import fill_from_samples, to_samples
from iospstl_train.data.windows import WindowSet

GONE = np.nan


def one_joint(values):
    """A window (1, n_frames, 1, 1, 3) of one joint that moves along x; NaN where not seen."""
    xyz = np.zeros((1, len(values), 1, 1, 3), dtype=np.float32)
    xyz[0, :, 0, 0, 0] = values
    xyz[np.isnan(xyz[..., 0])] = np.nan
    return xyz


def make_bank(shape, value=7.0):
    return build_bank(np.full(shape, value, dtype=np.float32), np.zeros(shape[0], int), 1)


def along_x(fill, values, present=None):
    xyz = one_joint(values)
    there = np.ones(xyz.shape[:3], dtype=bool) if present is None else present
    before = xyz.copy()
    filled = fill(xyz, there, make_bank(xyz.shape))
    np.testing.assert_array_equal(xyz, before)
    return filled.xyz[0, :, 0, 0, 0], filled.source[0, :, 0, 0]


def test_last_carries_forward_and_the_first_back():
    got, source = along_x(fill_last, [GONE, GONE, 1, GONE, 3, GONE, GONE])
    assert got.tolist() == [1, 1, 1, 1, 3, 3, 3]
    assert [CellSource(value).name for value in source[:3]] == ["BASELINE", "BASELINE", "OBSERVED"]


@pytest.mark.parametrize("fill", [fill_last, fill_spline])
def test_joints_never_seen_get_the_mean_of_the_bank(fill):
    got, source = along_x(fill, [GONE] * 5)
    assert got.tolist() == [7] * 5
    assert set(source) == {CellSource.BANK_MEAN}


@pytest.mark.parametrize("fill", [fill_last, fill_spline])
def test_absent_frames_stay_empty(fill):
    present = np.ones((1, 6, 1), dtype=bool)
    present[0, 4:] = False
    got, source = along_x(fill, [1, GONE, 2, 3, GONE, GONE], present)
    assert np.isnan(got[4:]).all()
    assert not np.isnan(got[:4]).any()
    assert set(source[4:]) == {CellSource.ABSENT}


def test_spline_follows_a_cubic_and_holds_the_ends():
    cubic = np.arange(8.0) ** 3
    values = cubic.copy()
    values[[0, 3, 4, 7]] = GONE
    got, source = along_x(fill_spline, values)
    np.testing.assert_allclose(got, [1, 1, 8, 27, 64, 125, 216, 216], rtol=1e-5)
    assert (source == CellSource.BASELINE).tolist() == np.isnan(values).tolist()


def test_spline_of_few_points_is_a_line():
    got, _ = along_x(fill_spline, [0, GONE, 2, GONE, GONE, 8])
    assert got.tolist() == [0, 1, 2, 4, 6, 8]


def test_spline_does_not_swing_far_out():
    got, _ = along_x(fill_spline, [0, 0, 0, 1, *[GONE] * 20, 0, 0, 0])
    assert got.min() >= -OVERSHOOT_FRAC
    assert got.max() == 1 + OVERSHOOT_FRAC  # without the limit it would be more


# Samples.


def test_samples_are_persons_that_are_there():
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(2, 3, 2, 4, 3)).astype(np.float32)
    present = np.ones((2, 3, 2), dtype=bool)
    present[1, :, 0] = False
    present[0, 1, 1] = False  # there at other times
    joints = np.array([True, False, True, True])
    samples = to_samples(xyz, present, joints)
    assert samples.shape == (3, 3, 9)
    np.testing.assert_array_equal(samples[1].reshape(3, 3, 3), xyz[0, :, 1][:, joints])
    np.testing.assert_array_equal(samples[2].reshape(3, 3, 3), xyz[1, :, 1][:, joints])


def test_filling_from_samples_changes_empty_cells_only():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2, 3, 2, 4, 3)).astype(np.float32)
    present = np.ones((2, 3, 2), dtype=bool)
    present[1, :, 0] = False
    present[0, 1, 1] = False
    joints = np.array([True, False, True, True])
    xyz = truth.copy()
    xyz[..., 1, :] = np.nan
    xyz[0, 2, 0, 3] = np.nan
    xyz[~present] = np.nan
    filled = fill_from_samples(
        xyz, present, joints, to_samples(truth, present, joints), make_bank(truth.shape)
    )
    kept = ~np.isnan(xyz)
    np.testing.assert_array_equal(filled.xyz[kept], xyz[kept])
    np.testing.assert_array_equal(filled.xyz[0, 2, 0, 3], truth[0, 2, 0, 3])
    assert filled.source[0, 2, 0, 3] == CellSource.BASELINE
    assert (filled.xyz[present][:, 1] == 7).all()  # no sample knows of this joint
    assert np.isnan(filled.xyz[~present]).all()


# Low rank.


def test_completion_is_the_expectation_of_the_gaussian():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(6, 2)).astype(np.float32)
    mean = rng.normal(size=6).astype(np.float32)
    model = LowRankModel(mean, basis, 0.1)
    sample = rng.normal(size=6).astype(np.float32)
    sample[[1, 4]] = np.nan
    seen, gone = [0, 2, 3, 5], [1, 4]
    cov = basis @ basis.T + 0.1 * np.eye(6)
    gain = cov[np.ix_(gone, seen)] @ np.linalg.inv(cov[np.ix_(seen, seen)])
    got = model.complete(sample[None])[0]
    np.testing.assert_allclose(got[gone], mean[gone] + gain @ (sample - mean)[seen], rtol=1e-4)
    np.testing.assert_array_equal(got[seen], sample[seen])
    np.testing.assert_allclose(model.complete(np.full((1, 6), np.nan, np.float32))[0], mean)


@pytest.mark.parametrize("n_samples", [30, 100])  # fewer and more than features
def test_points_of_a_plane_are_completed(n_samples):
    rng = np.random.default_rng(0)
    truth = (rng.normal(size=(n_samples, 3)) @ rng.normal(size=(3, 40)) + 5).astype(np.float32)
    samples = np.where(rng.random(truth.shape) < 0.2, np.float32(np.nan), truth)
    start = np.where(np.isnan(samples), np.nanmean(samples, axis=0), samples)
    settings = LowRankSettings(rank=3, n_steps=50, tolerance=1e-4)
    missing = np.isnan(samples)
    got = fit_low_rank(samples, start, settings).complete(samples)
    before = np.abs(start - truth)[missing].mean()
    assert np.abs(got - truth)[missing].mean() < 0.05 * before
    np.testing.assert_array_equal(got[~missing], samples[~missing])


def test_rank_is_bound_by_the_samples():
    samples = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    assert fit_low_rank(samples, samples, LowRankSettings(rank=60)).basis.shape == (12, 4)


# PyPOTS.


def make_windows():
    """Six windows of two persons and three joints, the last of which the source never has."""
    rng = np.random.default_rng(0)
    truth = (3 + 2 * rng.normal(size=(6, 5, 2, 3, 3))).astype(np.float32)
    truth[..., 2, :] = np.nan
    present = np.ones((6, 5, 2), dtype=bool)
    present[0, :, 1] = False
    truth[~present] = np.nan
    xyz = truth.copy()
    xyz[:, 2, :, 0] = np.nan
    is_train = np.arange(6) < 4
    names = tuple("abcdef")
    return WindowSet(xyz, truth, present, np.zeros(6, int), is_train, ~is_train, names, ("a",))


def test_missing_package_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypots", None)
    windows = make_windows()
    with pytest.raises(InputError, match=r"saits and brits need PyPOTS.*pip install pypots"):
        fit_pypots("saits", windows, make_bank(windows.xyz.shape), PypotsSettings(), 1, "cpu")


class Network:
    """Stands for PyPOTS: remembers what it got, and takes everything for the mean."""

    def __init__(self, **settings):
        self.settings = settings
        self.model = torch.nn.Linear(2, 3)

    def fit(self, data):
        self.trained_on = data["X"]

    def impute(self, data):
        return np.nan_to_num(data["X"])


@pytest.mark.parametrize("kind", ["saits", "brits"])
def test_network_learns_standardised_persons(monkeypatch, kind):
    library = SimpleNamespace(SAITS=Network, BRITS=Network)
    monkeypatch.setitem(sys.modules, "pypots", SimpleNamespace(imputation=library))
    monkeypatch.setitem(sys.modules, "pypots.imputation", library)
    windows = make_windows()
    settings = PypotsSettings(epochs=3, width=16)
    model = fit_pypots(kind, windows, make_bank(windows.xyz.shape), settings, 1, "cpu")
    got = model.network.trained_on
    assert got.shape == (7, 5, 6)  # 4 windows, 8 persons, one absent; 2 joints
    np.testing.assert_allclose(np.nanmean(got, axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(got, axis=(0, 1)), 1, rtol=1e-4)
    assert np.isnan(got[:, 2, :3]).all()
    assert model.network.settings["epochs"] == 3
    assert model.size_bytes == 4 * (2 * 3 + 3)

    filled = model.fill(windows)
    assert np.isnan(filled.xyz[0, :, 1]).all()
    np.testing.assert_allclose(filled.xyz[1, 2, 0, 0], model.mean[:3], rtol=1e-6)
    assert filled.source[1, 2, 0, 0] == CellSource.BASELINE
    seen = ~np.isnan(windows.xyz)
    np.testing.assert_array_equal(filled.xyz[seen], windows.xyz[seen])
