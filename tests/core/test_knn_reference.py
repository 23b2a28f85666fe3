"""The KNN rule against plain loops and against scikit-learn."""

import itertools
import math

import numpy as np
import pytest

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.donors import Distances, read_person
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from tests.core.knn_cases import (
    FROM_CLUSTER,
    NAN,
    SHAPE,
    TOLERANCE_M,
    assert_as_scikit_learn,
    assert_filled,
    draw_setting,
    fill_lone,
    lone,
    made,
    sklearn_fill,
)
from tests.core.people import everybody
from tests.reference import knn_fill


def reference_fill(xyz, cluster, donors, donor_cluster, n_neighbors):
    rows = [
        knn_fill.fill_row(
            window.ravel().tolist(),
            donors[donor_cluster == index].reshape(-1, window.size).tolist(),
            n_neighbors,
        )
        for window, index in zip(xyz.astype(np.float64), cluster, strict=True)
    ]
    return np.array(rows).reshape(xyz.shape)


CASES = {
    "usual": {"hidden_frac": 0.3},
    "mostly hidden": {"hidden_frac": 0.85},
    "nearly nothing": {"hidden_frac": 0.97},
    "one neighbour": {"hidden_frac": 0.4, "n_neighbors": 1},
    "more than there are": {"hidden_frac": 0.4, "n_neighbors": 40},
    "alike": {"hidden_frac": 0.3, "spread_m": 0.002},
    "many windows": {"hidden_frac": 0.5, "n_windows": 60},
    "far away": {"hidden_frac": 0.3, "offset_m": 5.0},
    "alike and far away": {"hidden_frac": 0.3, "spread_m": 0.07, "offset_m": 5.0},
}
LONG_CASES = {
    "all joints": {"hidden_frac": 0.3, "shape": (30, 1, 25, 3), "n_windows": 3},
    "half of it absent": {"hidden_frac": 0.3, "shape": (10, 2, 25, 3), "n_windows": 4, "gone": 1},
}


def compare(fill, case, seed, dtype=np.float16):
    """Fill random windows of three clusters both ways; return ours and what ours should be."""
    settings = {"n_neighbors": 5, "n_windows": 9, "shape": SHAPE, "gone": 0, **case}
    n_neighbors, n_windows, gone = (
        settings.pop(name) for name in ("n_neighbors", "n_windows", "gone")
    )
    rng = np.random.default_rng(seed)
    donors = made(rng, 40, **settings)
    xyz = made(rng, n_windows, **settings)
    donors[:, :, 0, 1] = np.nan  # nobody's
    donor_cluster = rng.permutation(np.repeat([0, 1, 2], [22, 15, 3]))
    donors[donor_cluster == 2, 0] = np.nan  # not in that cluster
    cluster = rng.integers(0, 3, n_windows)
    present = everybody(xyz)
    if gone:
        present[: n_windows // 2, :, 1] = False
        xyz[~present] = np.nan
        donors[::3, :, 1] = np.nan
    bank = build_bank(donors, donor_cluster, 3, dtype)
    filled = ClusterKnnImputer(bank, n_neighbors).fill(xyz, present, cluster)
    rounded = donors.astype(dtype).astype(np.float64)
    return filled, fill(xyz, cluster, rounded, donor_cluster, n_neighbors)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_reference(case, seed):
    filled, expected = compare(reference_fill, CASES[case], seed)
    from_cluster = np.isin(filled.source, FROM_CLUSTER)
    observed = filled.source == CellSource.OBSERVED
    np.testing.assert_array_equal(from_cluster | observed, ~np.isnan(expected[..., 0]))
    np.testing.assert_allclose(
        filled.xyz[from_cluster], expected[from_cluster], rtol=0, atol=TOLERANCE_M
    )
    assert from_cluster.any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("case", "seed"), [*itertools.product(CASES, range(3)), *((case, 0) for case in LONG_CASES)]
)
def test_equals_scikit_learn_wherever_the_cluster_has_the_cell(case, seed, dtype):
    filled, expected = compare(sklearn_fill, {**CASES, **LONG_CASES}[case], seed, dtype)
    from_cluster = np.isin(filled.source, FROM_CLUSTER)
    np.testing.assert_allclose(
        filled.xyz[from_cluster], expected[from_cluster], rtol=0, atol=TOLERANCE_M
    )
    fallback = np.isin(
        filled.source, (CellSource.BANK_MEAN, CellSource.JOINT_MEAN, CellSource.UNFILLED)
    )
    assert not expected[fallback].any()  # scikit-learn: at the camera
    assert from_cluster.any()
    assert fallback.any()


def test_equals_scikit_learn_where_windows_are_donors():
    rng = np.random.default_rng(0)
    donors = made(rng, 12, 0.3).astype(np.float16).astype(np.float32)
    donors = np.concatenate([donors, donors[:4]])  # and donors are equal to each other
    clusters = np.zeros(16, dtype=int)
    xyz = donors[:8].copy()
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = np.nan
    filled = ClusterKnnImputer(build_bank(donors, clusters, 1)).fill(
        xyz, everybody(xyz), np.zeros(8, dtype=int)
    )
    expected = sklearn_fill(xyz, np.zeros(8, dtype=int), donors, clusters, 5)
    own = np.isnan(xyz) & ~np.isnan(donors[:8])
    np.testing.assert_allclose(filled.xyz[own], donors[:8][own], rtol=0, atol=1e-6)
    np.testing.assert_allclose(filled.xyz, expected, rtol=0, atol=TOLERANCE_M)


@pytest.mark.parametrize("n_windows", [1, 3, 12])
def test_distances_equal_the_plain_reference(n_windows):
    rng = np.random.default_rng(n_windows)
    xyz, donors = made(rng, n_windows, 0.9), made(rng, 40, 0.9)
    donors[3] = xyz[0]
    donors[4], donors[4, 0, 0, 0] = np.nan, 1.0
    donors[5:20, :, 1] = np.nan
    bank = build_bank(donors, np.zeros(40, dtype=int), 1, np.float32)
    cells = [
        np.moveaxis(xyz[:, :, person].reshape(n_windows, -1, 3), -1, 1) for person in range(2)
    ]
    seen = [~np.isnan(part[:, 0]) for part in cells]
    values = [np.nan_to_num(part) for part in cells]
    own = [read_person(bank, [0], person) for person in range(2)]
    for _ in range(2):  # few windows: terms are kept
        distances = Distances(values, seen, own, 40)
        for window, person in itertools.product(range(n_windows), range(2)):
            rows = np.array([window])
            near, squared = (found[0] for found in distances.nearest(person, rows, 40))
            near, squared = near[np.isfinite(squared)], squared[np.isfinite(squared)]
            expected = {
                place: knn_fill.distance(xyz[window].ravel(), donors[donor].ravel())
                for place, donor in enumerate(own[person].index)
            }
            comparable = {place for place in expected if not math.isnan(expected[place])}
            assert set(near.tolist()) == comparable
            scaled = [math.sqrt(xyz[0].size / 3 * value) for value in squared]
            assert scaled == pytest.approx([expected[place] for place in near], rel=1e-4)
            assert sorted(scaled) == scaled
            few, _ = distances.nearest(person, rows, 2)
            assert few[0][: len(near)].tolist() == near[:2].tolist()
            if window == 0 and 3 in own[person].index:
                assert (own[person].index[near[0]], squared[0]) == (3, 0)  # exactly


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equals_scikit_learn_on_any_mask(dtype):
    n_compared = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        bank, donors, donor_cluster, xyz, cluster = draw_setting(rng, dtype)
        n_neighbors = int(rng.choice([1, 2, 5, 20]))
        present = everybody(xyz)
        filled = ClusterKnnImputer(bank, n_neighbors).fill(xyz, present, cluster)
        n_compared += assert_as_scikit_learn(
            filled, donors, donor_cluster, xyz, cluster, n_neighbors
        )
    assert n_compared > 800


@pytest.mark.parametrize("n_windows", [1, 20])
def test_donors_that_rounding_cannot_tell_apart_come_in_their_order(n_windows):
    rng = np.random.default_rng(0)
    shape = (20, 1, 25, 3)
    window = rng.normal(3, 1, shape).astype(np.float32)
    donors = window + rng.normal(0, 0.5, (1, *shape)).astype(np.float32) * np.ones(
        (60, 1, 1, 1, 1)
    )
    donors[:, 0, 0, 0, 0] += np.float32(2e-6) * rng.permutation(60)  # hardly changes distances
    donors[:, :, :, 1] = np.arange(60)[:, None, None, None]
    xyz = np.repeat(window[None], n_windows, axis=0)
    xyz[:, :, :, 1] = np.nan
    donors, cluster = donors.astype(np.float32), np.zeros(n_windows, dtype=int)
    bank = build_bank(donors, np.zeros(60, dtype=int), 1, np.float32)
    filled = ClusterKnnImputer(bank).fill(xyz, everybody(xyz), cluster).xyz
    expected = sklearn_fill(xyz[:1], cluster[:1], donors.astype(np.float64), np.zeros(60, int), 5)
    np.testing.assert_allclose(filled, np.repeat(expected, n_windows, axis=0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_windows", [1, 20])
def test_at_equal_distance_the_order_is_that_of_the_bank(n_windows, seed):
    rng = np.random.default_rng(seed)
    shape = (20, 1, 25, 3)
    window = (3 + rng.integers(-999, 999, shape) / 1024).astype(np.float32)
    donors = window + rng.choice([-0.125, 0.125], (60, *shape)).astype(np.float32)
    donors[:, :, :, 1] = np.arange(60, dtype=np.float32)[:, None, None, None]
    xyz = np.repeat(window[None], n_windows, axis=0)
    xyz[:, :, :, 1] = np.nan
    bank = build_bank(donors, np.zeros(60, dtype=int), 1, np.float32)
    filled = ClusterKnnImputer(bank).fill(xyz, everybody(xyz), np.zeros(n_windows, dtype=int))
    np.testing.assert_allclose(filled.xyz[:, :, :, 1], 2, rtol=1e-6)  # mean of the first five


def test_donors_are_found_at_any_rank():
    ranks = np.array([3, 18, 66, 70, 200, 255, 257, 290])
    donors = [[float(rank), float(rank) if rank in ranks else NAN] for rank in range(1, 301)]
    for n_neighbors in range(1, 9):
        found, _ = fill_lone([0, NAN], donors, n_neighbors)
        assert found[1] == pytest.approx(n_neighbors / (1 / ranks[:n_neighbors]).sum(), rel=1e-5)


def test_of_donors_at_the_same_distance_the_first_ones_count():
    donors = [[1, 10], [-1, 20], [1, 40], [-1, 80]]
    for n_neighbors, mean in ((1, 10), (2, 15), (3, 70 / 3), (4, 37.5)):
        found = fill_lone([0, NAN], donors, n_neighbors)
        assert_filled(found, ([0, mean], ["OBSERVED", "KNN"]))


# Several clusters, fewer donors
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("nprobe", [2, 3])
def test_pooled_clusters_equal_scikit_learn_on_their_union(nprobe, dtype):
    rng = np.random.default_rng(nprobe)
    donors, xyz = made(rng, 60, 0.4), made(rng, 12, 0.4)
    donors = donors.astype(dtype).astype(np.float32)
    donors[::3, :, 1] = np.nan
    donor_cluster = rng.integers(0, 5, 60)
    cluster = np.array([rng.permutation(5)[:nprobe] for _ in range(12)])
    imputer = ClusterKnnImputer(build_bank(donors, donor_cluster, 5, dtype), nprobe=nprobe)
    filled = imputer.fill(xyz, everybody(xyz), cluster)
    for row, own in enumerate(cluster):
        union = np.where(np.isin(donor_cluster, own), 0, 1)
        expected = sklearn_fill(
            xyz[row : row + 1], np.zeros(1, int), donors.astype(np.float64), union, 5
        )
        np.testing.assert_allclose(filled.xyz[row], expected[0], rtol=0, atol=TOLERANCE_M)
    turned = imputer.fill(xyz, everybody(xyz), cluster[:, ::-1])
    assert turned.xyz.tobytes() == filled.xyz.tobytes()


def test_a_cluster_that_is_named_twice_lends_once():
    donors = [[1, 10], [3, 40], [9, 90]]
    bank, xyz = build_bank(lone(*donors), np.array([0, 0, 1]), 2), lone([0, NAN])
    filled = ClusterKnnImputer(bank, 2, nprobe=2).fill(xyz, everybody(xyz), np.array([[0, 0]]))
    assert filled.xyz[0, 0, 0, 1, 0] == pytest.approx((10 / 1 + 40 / 3) / (1 / 1 + 1 / 3))


@pytest.mark.parametrize("max_donors", [1, 4, 7, 100])
def test_no_more_donors_than_allowed_lend(max_donors):
    rng = np.random.default_rng(1)
    donors, xyz = made(rng, 40, 0.4), made(rng, 6, 0.4)
    donor_cluster = np.repeat([0, 1], [9, 31])
    bank = build_bank(donors, donor_cluster, 2, np.float32)
    cluster = np.array([0, 0, 0, 1, 1, 1])
    filled = ClusterKnnImputer(bank, max_donors=max_donors).fill(xyz, everybody(xyz), cluster)
    used = np.zeros(40, dtype=bool)
    for start, size in ((0, 9), (9, 31)):
        n_used = min(size, max_donors)
        used[start + np.arange(n_used) * size // n_used] = True
    expected = sklearn_fill(xyz, cluster, donors[used].astype(np.float64), donor_cluster[used], 5)
    known = np.isin(filled.source, FROM_CLUSTER)
    np.testing.assert_allclose(filled.xyz[known], expected[known], rtol=0, atol=TOLERANCE_M)
    assert known.any()
