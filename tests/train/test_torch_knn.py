"""The KNN rule in PyTorch gives what the NumPy imputer gives."""

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_train import torch_knn
from iospstl_train.torch_knn import fill_with_torch
from tests.core.people import everybody

SHAPE = (4, 2, 5, 3)
TOLERANCE_M = 1e-5


def made(rng, n, hidden_frac, shape=SHAPE, spread_m=0.2, offset_m=0.0):
    """Windows of the same movement with some of their cells hidden, (n, *shape)."""
    movement = np.random.default_rng(99).normal(size=shape) + offset_m
    xyz = (movement + rng.normal(0, spread_m, (n, *shape))).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < hidden_frac] = np.nan
    return xyz


def setting(seed=0, n_donors=60, n_windows=24, **case):
    """A bank of three clusters and an empty one, windows, who is there, and clusters."""
    rng = np.random.default_rng(seed)
    donors = made(rng, n_donors, **case)
    donors[:, :, 0, 1] = np.nan  # nobody's
    donor_cluster = rng.choice([0, 1, 3], n_donors, p=[0.6, 0.3, 0.1])
    donors[donor_cluster == 3, 0] = np.nan  # not in that cluster
    xyz = made(rng, n_windows, **case)
    present = everybody(xyz)
    present[::4, :, 1] = False
    xyz[~present] = np.nan
    bank = build_bank(donors, donor_cluster, 4)
    return bank, xyz, present, rng.integers(0, 4, n_windows)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.source, expected.source)
    np.testing.assert_allclose(found.xyz, expected.xyz, rtol=0, atol=TOLERANCE_M)
    observed = expected.source == CellSource.OBSERVED
    assert found.xyz[observed].tobytes() == expected.xyz[observed].tobytes()


CASES = {
    "usual": {"hidden_frac": 0.3},
    "mostly hidden": {"hidden_frac": 0.85},
    "nearly nothing": {"hidden_frac": 0.97},
    "alike": {"hidden_frac": 0.3, "spread_m": 0.002},
    "far away": {"hidden_frac": 0.3, "offset_m": 5.0},
    "whole bodies": {"hidden_frac": 0.3, "shape": (20, 2, 25, 3)},
}


@pytest.mark.parametrize("n_neighbors", [1, 5, 40])
@pytest.mark.parametrize("case", CASES)
def test_equals_numpy(case, n_neighbors):
    for seed in range(3):
        bank, *windows = setting(seed, **CASES[case])
        expected = ClusterKnnImputer(bank, n_neighbors).fill(*windows)
        assert_same(fill_with_torch(bank, *windows, n_neighbors), expected)
        assert {CellSource.KNN, CellSource.BANK_MEAN} <= set(np.unique(expected.source))


def test_every_source_is_compared():
    bank, *windows = setting(hidden_frac=0.97)
    found = fill_with_torch(bank, *windows)
    assert {"knn", "cluster_mean", "bank_mean", "joint_mean"} <= set(found.counts())


@pytest.mark.parametrize("n_neighbors", [1, 5])
def test_windows_that_are_donors_get_their_own_cells_back(n_neighbors):
    rng = np.random.default_rng(1)
    donors = made(rng, 20, 0.3).astype(np.float16).astype(np.float32)
    donors = np.concatenate([donors, donors[:4]])  # and some donors are equal
    bank = build_bank(donors, np.zeros(24, dtype=int), 1)
    xyz = donors[:8].copy()
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = np.nan
    windows = xyz, everybody(xyz), np.zeros(8, dtype=int)
    found = fill_with_torch(bank, *windows, n_neighbors)
    own = np.isnan(xyz) & ~np.isnan(donors[:8])
    np.testing.assert_allclose(found.xyz[own], donors[:8][own], rtol=0, atol=1e-6)
    assert_same(found, ClusterKnnImputer(bank, n_neighbors).fill(*windows))


def test_small_pieces_give_the_same(monkeypatch):
    bank, *windows = setting(hidden_frac=0.7)
    expected = fill_with_torch(bank, *windows, 2)
    monkeypatch.setattr(torch_knn, "_MAX_LOOKUPS", 50)
    assert_same(fill_with_torch(bank, *windows, 2, max_rows=3), expected)


def test_nearly_equal_distances_keep_their_order():
    rng = np.random.default_rng(2)
    donors = np.repeat(made(rng, 1, 0, (6, 1, 25, 3)), 30, axis=0)
    xyz = donors[:1].copy()
    donors[:, 0, 0, 0, 0] += rng.permutation(1000 + np.arange(30)).astype(np.float32) / 1000
    donors[:, :, :, -1] = rng.normal(size=(30, 6, 1, 3))  # what they lend differs
    xyz[:, :, :, -1] = np.nan
    bank = build_bank(donors, np.zeros(30, dtype=int), 1, dtype=np.float32)
    windows = xyz, everybody(xyz), np.zeros(1, dtype=int)
    assert_same(fill_with_torch(bank, *windows), ClusterKnnImputer(bank).fill(*windows))


@pytest.mark.parametrize("max_donors", [None, 1, 7])
def test_pooled_clusters_and_fewer_donors_equal_numpy(max_donors):
    bank, xyz, present, _ = setting(hidden_frac=0.5, n_windows=40)
    rng = np.random.default_rng(3)
    cluster = np.stack([rng.permutation(4)[:2] for _ in range(40)])
    expected = ClusterKnnImputer(bank, nprobe=2, max_donors=max_donors).fill(xyz, present, cluster)
    assert_same(fill_with_torch(bank, xyz, present, cluster, max_donors=max_donors), expected)


def test_windows_are_not_changed_and_may_be_none():
    bank, xyz, present, cluster = setting(hidden_frac=0.3)
    before = xyz.copy()
    fill_with_torch(bank, xyz, present, cluster)
    np.testing.assert_array_equal(xyz, before)
    assert fill_with_torch(bank, xyz[:0], present[:0], cluster[:0]).xyz.shape == (0, *SHAPE)


@pytest.mark.gpu
def test_the_gpu_equals_numpy():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for case in CASES.values():
        bank, *windows = setting(**case)
        expected = ClusterKnnImputer(bank).fill(*windows)
        assert_same(fill_with_torch(bank, *windows, device="cuda"), expected)


def test_an_unusable_device_is_refused():
    bank, *windows = setting(hidden_frac=0.3)
    with pytest.raises(InputError, match="device: expected a usable torch device, got 'abacus'"):
        fill_with_torch(bank, *windows, device="abacus")


def test_what_does_not_fit_is_refused():
    bank, xyz, present, cluster = setting(hidden_frac=0.3)
    with pytest.raises(ValueError, match=r"expected windows of shape \(4, 2, 5, 3\) .* got \(3,"):
        fill_with_torch(bank, xyz[:, :3], present[:, :3], cluster)
    with pytest.raises(ValueError, match=r"expected at least 1, got \(0, 256, 1\)"):
        fill_with_torch(bank, xyz, present, cluster, 0)
