"""The donor bank: grouping, half precision, the means, and the way to disk and back."""

import numpy as np
import pytest

from iospstl_core.imputation.bank import (
    build_bank,
    nan_mean,
    nearest_cluster,
    open_bank,
    save_bank,
    to_single,
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


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_cluster_lends_its_own_windows_in_their_order(windows, dtype):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS, dtype)
    assert bank.n_clusters == N_CLUSTERS
    assert bank.offsets.tolist() == [0, 2, 4, 4, 7, 7]
    assert bank.donors.dtype == dtype
    for cluster in range(N_CLUSTERS):
        values, observed = bank.read_cluster(cluster)
        expected = windows[cluster == CLUSTER].reshape(-1, N_CELLS, 3)
        seen = ~np.isnan(expected[..., 0])
        assert values.dtype == np.float32
        np.testing.assert_array_equal(observed, seen)
        np.testing.assert_array_equal(values[seen], expected[seen].astype(dtype))
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


def test_half_precision_is_the_default(windows):
    assert build_bank(windows, CLUSTER, N_CLUSTERS).donors.dtype == np.float16


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_another_precision_is_refused(windows, dtype):
    message = f"dtype: expected float16 or float32, got {np.dtype(dtype)}"
    with pytest.raises(ValueError, match=message):
        build_bank(windows, CLUSTER, N_CLUSTERS, dtype)


def test_every_finite_half_becomes_the_same_number():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    single = to_single(halves)
    assert single.dtype == np.float32
    assert single.tobytes() == halves.astype(np.float32).tobytes()  # the sign of 0, too


def test_single_precision_comes_in_order_whatever_the_strides():
    values = np.random.default_rng(2).normal(size=(21, 3, 2, 5)).astype(np.float16)
    for part in (values[::2, :, 1], values.T, values[3:3], values.astype(np.float32)[:, :, 0]):
        single = to_single(part)
        assert single.flags.c_contiguous
        np.testing.assert_array_equal(single, part.astype(np.float32))


def test_donors_are_left_out_at_even_steps(windows):
    bank = build_bank(np.repeat(windows, 3, axis=0), np.repeat(CLUSTER, 3), N_CLUSTERS)
    assert bank.offsets.tolist() == [0, 6, 12, 12, 21, 21]
    expected = {1: [12], 2: [12, 16], 3: [12, 15, 18], 4: [12, 14, 16, 18]}
    for max_donors, rows in expected.items():
        assert bank.rows_of(3, max_donors).tolist() == rows
        assert bank.count(3, max_donors) == max_donors
    for max_donors in (9, 10, None):
        assert bank.rows_of(3, max_donors) == slice(12, 21)
        assert bank.count(3, max_donors) == 9
    assert bank.count(2, 5) == 0


def test_the_windows_are_left_alone(windows):
    before = windows.copy()
    build_bank(windows, CLUSTER, N_CLUSTERS)
    np.testing.assert_array_equal(windows, before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_bank_comes_back_from_disk_and_stays_there(windows, tmp_path, dtype):
    bank = build_bank(windows, CLUSTER, N_CLUSTERS, dtype)
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


@pytest.mark.parametrize("nprobe", [2, 3, 7])
def test_the_nearest_centroids_come_in_order(nprobe):
    rng = np.random.default_rng(nprobe)
    embedding, centroids = rng.normal(size=(40, 16)), rng.normal(size=(7, 16))
    found = nearest_cluster(embedding, centroids, nprobe)
    distances = np.linalg.norm(embedding[:, None] - centroids, axis=-1)
    np.testing.assert_array_equal(found, distances.argsort(axis=1)[:, :nprobe])
    assert found.dtype == np.int64


@pytest.mark.parametrize("nprobe", [0, 8])
def test_more_centroids_than_there_are_cannot_be_near(nprobe):
    with pytest.raises(ValueError, match=f"nprobe: expected 1 to 7 clusters, got {nprobe}"):
        nearest_cluster(np.zeros((1, 16)), np.zeros((7, 16)), nprobe)


def test_nan_mean_by_hand():
    nan = np.nan
    values = np.array([[1, nan, 3], [2, nan, nan], [6, nan, 5]], dtype=np.float32)
    mean = nan_mean(values)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, [3, nan, 4])
