"""The donor bank: grouping, half precision, the means, and the way to disk and back."""

import numpy as np
import pytest

from iospstl_core.imputation.bank import (
    build_bank,
    nan_mean,
    nearest_cluster,
    open_bank,
    save_bank,
)

SHAPE = (3, 2, 5, 3)
N_CELLS = 30
N_CLUSTERS = 5
CLUSTER = np.array([3, 0, 3, 1, 0, 3, 1])  # clusters 2 and 4 are empty


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(len(CLUSTER), *SHAPE)).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < 0.3] = np.nan
    xyz[:, 1, 0, 2] = np.nan  # a cell that nobody has
    xyz[..., 4, :] = np.nan  # a joint that nobody has
    return xyz


def test_every_cluster_lends_its_own_windows_in_their_order(windows):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS)
    assert bank.n_clusters == N_CLUSTERS
    assert bank.offsets.tolist() == [0, 2, 4, 4, 7, 7]
    assert bank.donors.dtype == np.float16
    for cluster in range(N_CLUSTERS):
        values, observed = bank.read_cluster(cluster)
        expected = windows[cluster == CLUSTER].reshape(-1, N_CELLS, 3)
        seen = ~np.isnan(expected[..., 0])
        assert values.dtype == np.float32
        np.testing.assert_array_equal(observed, seen)
        np.testing.assert_array_equal(values[seen], expected[seen].astype(np.float16))
        assert not values[~seen].any()


def test_the_mean_is_over_the_windows_that_have_the_cell(windows):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS)
    assert bank.mean.shape == SHAPE
    for index in np.ndindex(SHAPE):
        column = windows[(slice(None), *index)].astype(np.float64)
        having = column[~np.isnan(column)]
        expected = having.mean() if len(having) else np.nan
        np.testing.assert_allclose(bank.mean[index], expected, rtol=1e-6)
    assert np.isnan(bank.mean[1, 0, 2]).all()


def test_the_joint_mean_is_over_frames_and_persons(windows):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS)
    assert bank.joint_mean.shape == (5, 3)
    for joint in range(4):
        cells = bank.mean[:, :, joint].reshape(-1, 3).astype(np.float64)
        known = cells[~np.isnan(cells[:, 0])]
        np.testing.assert_allclose(bank.joint_mean[joint], known.mean(axis=0), rtol=1e-5)
    assert np.isnan(bank.joint_mean[4]).all()


def test_half_precision_costs_less_than_a_millimetre_within_two_metres():
    xyz = np.random.default_rng(1).uniform(-2, 2, (4, *SHAPE)).astype(np.float32)
    values, _ = build_bank(xyz, np.zeros(4, dtype=int), 1).read_cluster(0)
    assert np.abs(values.reshape(xyz.shape) - xyz).max() < 5e-4


def test_the_windows_are_left_alone(windows):
    before = windows.copy()
    build_bank(windows, CLUSTER, N_CLUSTERS)
    np.testing.assert_array_equal(windows, before)


def test_a_bank_comes_back_from_disk_and_stays_there(windows, tmp_path):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS)
    save_bank(bank, tmp_path)
    again = open_bank(tmp_path)
    for name in ("donors", "observed", "offsets", "mean"):
        array = getattr(again, name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == getattr(bank, name).dtype
        np.testing.assert_array_equal(array, getattr(bank, name))
    for cluster in range(N_CLUSTERS):
        for read, expected in zip(
            again.read_cluster(cluster), bank.read_cluster(cluster), strict=True
        ):
            np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_centroid_is_that_of_the_smallest_distance(seed):
    rng = np.random.default_rng(seed)
    embedding, centroids = rng.normal(size=(40, 16)), rng.normal(size=(7, 16))
    found = nearest_cluster(embedding, centroids)
    distances = np.linalg.norm(embedding[:, None] - centroids, axis=-1)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_nan_mean_by_hand():
    nan = np.nan
    values = np.array([[1, nan, 3], [2, nan, nan], [6, nan, 5]], dtype=np.float32)
    mean = nan_mean(values)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, [3, nan, 4])
