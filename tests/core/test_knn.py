"""The cluster-wise KNN rule: by hand, against plain loops, and against scikit-learn."""

import itertools
import math

import numpy as np
import pytest

from iospstl_core.imputation.bank import ImputationBank, build_bank, open_bank, save_bank
from iospstl_core.imputation.donors import Distances, read_person
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from tests.core.people import everybody
from tests.reference import knn_fill

SHAPE = (4, 2, 5, 3)
FROM_CLUSTER = (CellSource.KNN, CellSource.CLUSTER_MEAN)
TOLERANCE_M = 1e-5


def made(rng, n, hidden_frac, shape=SHAPE, spread_m=0.2, offset_m=0.0):
    """Windows of the same movement with some of their cells hidden, (n, *shape)."""
    movement = np.random.default_rng(99).normal(size=shape) + offset_m
    xyz = (movement + rng.normal(0, spread_m, (n, *shape))).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < hidden_frac] = np.nan
    return xyz


def lone(*rows):
    """Windows of one frame and one person from the x of each joint; y and z are 0."""
    xyz = np.zeros((len(rows), 1, 1, len(rows[0]), 3), dtype=np.float32)
    xyz[:, 0, 0, :, 0] = rows
    xyz[np.isnan(xyz[..., 0])] = np.nan
    return xyz


def fill_lone(window, donors, n_neighbors=5, clusters=None, cluster=0):
    """Fill one window made by `lone`; return the x of each joint and the sources."""
    clusters = np.zeros(len(donors), dtype=int) if clusters is None else np.array(clusters)
    bank = build_bank(lone(*donors), clusters, int(clusters.max()) + 1)
    xyz = lone(window)
    filled = ClusterKnnImputer(bank, n_neighbors).fill(xyz, everybody(xyz), np.array([cluster]))
    assert not np.nan_to_num(filled.xyz[0, 0, 0, :, 1:]).any()
    sources = [CellSource(source) for source in filled.source[0, 0, 0]]
    return filled.xyz[0, 0, 0, :, 0].tolist(), sources


def assert_filled(found, expected):
    values, sources = found
    np.testing.assert_allclose(values, expected[0], rtol=0, atol=1e-6)
    assert [source.name for source in sources] == expected[1]


# By hand; NAN is not observed

NAN = math.nan


def test_donors_weigh_by_inverse_distance():
    found = fill_lone([0, NAN], [[1, 10], [2, 40]])
    assert_filled(found, ([0, (10 / 1 + 40 / 2) / (1 / 1 + 1 / 2)], ["OBSERVED", "KNN"]))


def test_only_the_nearest_donors_count():
    donors = [[4, 100], [1, 10], [-2, 40], [3, 100]]
    assert_filled(fill_lone([0, NAN], donors, 1), ([0, 10], ["OBSERVED", "KNN"]))
    assert_filled(fill_lone([0, NAN], donors, 2), ([0, 20], ["OBSERVED", "KNN"]))


def test_donors_are_chosen_for_each_cell():
    donors = [[1, 10, NAN], [2, NAN, 7], [3, 20, 9]]
    assert_filled(fill_lone([0, NAN, NAN], donors, 1), ([0, 10, 7], ["OBSERVED", "KNN", "KNN"]))


def test_distances_are_scaled_by_how_much_is_common():
    # donor 1 shares one joint of four, donor 2 two of them: 1 * 4 / 1 and (1 + 4) * 4 / 2
    donors = [[1, NAN, NAN, 30], [1, 2, NAN, 60]]
    near, far = 1 / math.sqrt(4), 1 / math.sqrt(10)
    expected = (30 * near + 60 * far) / (near + far)
    values, _ = fill_lone([0, 0, NAN, NAN], donors)
    assert values[3] == pytest.approx(expected, abs=1e-5)


def test_an_identical_donor_excludes_the_others():
    donors = [[0.5, 10], [0.50048828125, 50], [0.5, 30], [0.75, 90]]
    assert_filled(fill_lone([0.5, NAN], donors), ([0.5, 20], ["OBSERVED", "KNN"]))
    assert_filled(fill_lone([0.5, NAN], donors, 1), ([0.5, 10], ["OBSERVED", "KNN"]))


def test_an_identical_donor_without_the_cell_lends_nothing():
    donors = [[0.5, NAN, 3], [0.75, 10, 4], [0, 40, 5]]
    expected = (10 / 0.25 + 40 / 0.5) / (1 / 0.25 + 1 / 0.5)
    assert_filled(
        fill_lone([0.5, NAN, NAN], donors), ([0.5, expected, 3], ["OBSERVED", "KNN", "KNN"])
    )


def test_too_few_donors_are_better_than_none():
    assert_filled(fill_lone([0, NAN], [[3, 10]], 5), ([0, 10], ["OBSERVED", "KNN"]))


def test_a_cell_that_only_the_farthest_donor_has_comes_from_it():
    donors = [[float(k), NAN] for k in range(1, 60)] + [[100, 7]]
    assert_filled(fill_lone([0, NAN], donors, 2), ([0, 7], ["OBSERVED", "KNN"]))


def test_far_donors_count_where_few_of_the_near_ones_have_the_cell():
    values = {3: 10.0, 50: 40.0, 55: 1000.0}
    donors = [[float(k), values.get(k, NAN)] for k in range(1, 60)]
    expected = (10 / 3 + 40 / 50) / (1 / 3 + 1 / 50)
    values, _ = fill_lone([0, NAN], donors, 2)
    assert values[1] == pytest.approx(expected, abs=1e-5)


def test_with_nothing_in_common_the_mean_of_the_cluster_is_taken():
    donors = [[NAN, 10, 1], [NAN, 40, 1], [5, 7, NAN]]
    found = fill_lone([0, NAN, NAN], donors, clusters=[0, 0, 1])
    assert_filled(found, ([0, 25, 1], ["OBSERVED", "CLUSTER_MEAN", "CLUSTER_MEAN"]))


def test_an_unseen_window_gets_the_mean_of_the_cluster():
    found = fill_lone([NAN, NAN], [[1, 10], [2, 40], [100, 100]], clusters=[0, 0, 1])
    assert_filled(found, ([1.5, 25], ["CLUSTER_MEAN", "CLUSTER_MEAN"]))


def test_a_donor_that_shares_nothing_lends_nothing():
    assert_filled(fill_lone([0, NAN], [[1, 10], [NAN, 1000]]), ([0, 10], ["OBSERVED", "KNN"]))


def test_each_window_is_filled_from_its_own_cluster_and_not_from_the_last_one():
    donors = [[1, 10], [2, 20], [1, -10], [2, -20]]
    clusters = [0, 0, 1, 1]
    expected = (10 / 1 + 20 / 2) / (1 / 1 + 1 / 2)
    for cluster, sign in ((0, 1), (1, -1)):
        found = fill_lone([0, NAN], donors, clusters=clusters, cluster=cluster)
        assert_filled(found, ([0, sign * expected], ["OBSERVED", "KNN"]))
    bank = build_bank(lone(*donors), np.array(clusters), 2)
    xyz = lone([0, NAN], [0, NAN], [0, NAN])
    filled = ClusterKnnImputer(bank).fill(xyz, everybody(xyz), np.array([0, 1, 0])).xyz
    np.testing.assert_allclose(
        filled[:, 0, 0, 1, 0], [expected, -expected, expected], rtol=0, atol=1e-6
    )


def test_what_the_cluster_never_has_comes_from_the_bank_and_then_from_the_joint():
    donors = np.full((4, 2, 1, 3, 3), np.nan, dtype=np.float32)
    donors[:, :, :, 0] = 1.0
    donors[2:, 0, :, 1] = [[[5.0, 6.0, 7.0]], [[7.0, 8.0, 9.0]]]  # other clusters, frame 0 only
    bank = build_bank(donors, np.array([0, 0, 1, 2]), 4)
    xyz = donors[:1].copy()
    filled = ClusterKnnImputer(bank).fill(xyz, everybody(xyz), np.array([0]))
    source = CellSource
    assert filled.source[0, :, 0].tolist() == [
        [source.OBSERVED, source.BANK_MEAN, source.UNFILLED],
        [source.OBSERVED, source.JOINT_MEAN, source.UNFILLED],
    ]
    np.testing.assert_array_equal(filled.xyz[0, :, 0, 1], [[6, 7, 8], [6, 7, 8]])
    assert np.isnan(filled.xyz[0, :, 0, 2]).all()


def test_an_empty_cluster_falls_back_on_the_bank():
    rng = np.random.default_rng(0)
    bank = build_bank(made(rng, 6, 0.2), np.array([0, 0, 0, 2, 2, 2]), 3)
    xyz = made(rng, 3, 0.5)
    filled = ClusterKnnImputer(bank).fill(xyz, everybody(xyz), np.array([0, 1, 2]))
    assert set(np.unique(filled.source[1])) == {CellSource.OBSERVED, CellSource.BANK_MEAN}
    empty = np.isnan(xyz[1])
    np.testing.assert_array_equal(filled.xyz[1][empty], bank.mean[empty])
    for other in (0, 2):
        assert CellSource.BANK_MEAN not in filled.source[other]


# Against slow and independent implementations


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


def sklearn_fill(xyz, cluster, donors, donor_cluster, n_neighbors):
    impute = pytest.importorskip("sklearn.impute")
    result = np.zeros(xyz.shape)
    for index in np.unique(cluster):
        imputer = impute.KNNImputer(
            n_neighbors=n_neighbors, weights="distance", keep_empty_features=True
        )
        own = donors[donor_cluster == index]
        imputer.fit(own.reshape(len(own), -1))
        windows = xyz[cluster == index].astype(np.float64)
        result[cluster == index] = imputer.transform(windows.reshape(len(windows), -1)).reshape(
            windows.shape
        )
    return result


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


def draw_masks(rng, n, n_cells):
    """What windows have of their cells, (n, n_cells), by a kind drawn for each window."""
    kinds = {
        "nothing": np.zeros(n_cells, dtype=bool),
        "all": np.ones(n_cells, dtype=bool),
        "one": np.arange(n_cells) == rng.integers(n_cells),
        "half": np.arange(n_cells) < n_cells // 2,
        "other half": np.arange(n_cells) >= n_cells // 2,
        "random": rng.random(n_cells) < rng.random(),
    }
    return np.array([kinds[kind] for kind in rng.choice(list(kinds), n)])


def draw_setting(rng, dtype):
    """A bank of four clusters and windows; donors have holes, doubles and common gaps."""
    shape = tuple(int(size) for size in rng.integers(1, 5, 3))
    sizes = rng.choice([0, 1, 2, 6, 30], 4)
    sizes[0] = max(sizes[0], 1)
    n_donors, n_windows = int(sizes.sum()), int(rng.integers(1, 20))
    spread_m, offset_m = rng.choice([0.1, 1.0]), rng.choice([0.0, 3.0])
    offset_m *= dtype == np.float32  # there half precision would make distances equal
    both = rng.normal(offset_m, spread_m, (n_donors + n_windows, *shape, 3)).astype(np.float32)
    masks = draw_masks(rng, len(both), int(np.prod(shape)))
    masks[:n_donors] &= rng.random(masks.shape[1]) < 0.9  # cells that no donor has
    both[~masks.reshape(len(both), *shape)] = np.nan
    both[rng.integers(0, len(both), 3)] = both[rng.integers(0, len(both), 3)]  # doubles
    both = both.astype(dtype).astype(np.float32)  # so that doubles are at distance 0
    donor_cluster = rng.permutation(np.repeat(np.arange(4), sizes))
    bank = build_bank(both[:n_donors], donor_cluster, 4, dtype)
    return bank, both[:n_donors], donor_cluster, both[n_donors:], rng.integers(0, 4, n_windows)


def assert_as_scikit_learn(filled, donors, donor_cluster, xyz, cluster, n_neighbors):
    """Compare windows of clusters that have donors; the rest has nothing from its cluster."""
    served = np.isin(cluster, donor_cluster)
    from_cluster = np.isin(filled.source, FROM_CLUSTER)
    assert not from_cluster[~served].any()
    if not served.any():
        return 0
    with np.errstate(invalid="ignore"):
        expected = sklearn_fill(
            xyz[served], cluster[served], donors.astype(np.float64), donor_cluster, n_neighbors
        )
    ours, known = filled.xyz[served], from_cluster[served]
    np.testing.assert_allclose(ours[known], expected[known], rtol=0, atol=TOLERANCE_M)
    missing = ~known & np.isnan(xyz[served][..., 0])
    assert not expected[missing].any()  # scikit-learn: 0, as no donor of the cluster has the cell
    return int(known.sum())


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


# Properties


@pytest.fixture
def setting():
    """A bank of four clusters, 24 windows with their clusters, and who is there."""
    rng = np.random.default_rng(5)
    bank = build_bank(made(rng, 60, 0.3), rng.integers(0, 4, 60), 4)
    xyz = made(rng, 24, 0.4)
    present = everybody(xyz)
    present[::4, :, 1] = False
    present[1, 2:] = False  # padding
    xyz[~present] = np.nan
    return bank, xyz, present, rng.integers(0, 4, 24)


def test_what_was_observed_stays_bit_for_bit(setting):
    bank, xyz, present, cluster = setting
    before = xyz.copy()
    filled = ClusterKnnImputer(bank).fill(xyz, present, cluster)
    np.testing.assert_array_equal(xyz, before)
    seen = ~np.isnan(xyz)
    assert filled.xyz[seen].tobytes() == xyz[seen].tobytes()
    np.testing.assert_array_equal(filled.source == CellSource.OBSERVED, seen[..., 0])
    assert filled.xyz.dtype == np.float32
    assert filled.source.dtype == np.uint8


def test_the_absent_stay_absent(setting):
    bank, xyz, present, cluster = setting
    filled = ClusterKnnImputer(bank).fill(xyz, present, cluster)
    np.testing.assert_array_equal((filled.source == CellSource.ABSENT).any(axis=-1), ~present)
    assert np.isnan(filled.xyz[~present]).all()
    assert not np.isnan(filled.xyz[present]).any()


def test_what_donors_do_where_the_window_is_absent_does_not_matter(setting):
    _, xyz, _, _ = setting
    rng = np.random.default_rng(6)
    donors = made(rng, 30, 0.2)
    others = donors.copy()
    others[::2, :, 1] = np.nan
    others[1::2, :, 1] += 50
    present, clusters = everybody(xyz), np.zeros(30, dtype=int)
    present[:, :, 1], xyz[:, :, 1] = False, np.nan
    one, two = (
        ClusterKnnImputer(build_bank(lenders, clusters, 1)).fill(
            xyz, present, np.zeros(len(xyz), dtype=int)
        )
        for lenders in (donors, others)
    )
    np.testing.assert_allclose(one.xyz, two.xyz, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(one.source, two.source)


def test_every_cell_is_counted_once(setting):
    bank, xyz, present, cluster = setting
    filled = ClusterKnnImputer(bank).fill(xyz, present, cluster)
    counts = filled.counts()
    assert sum(counts.values()) == filled.source.size
    assert set(counts) == {"observed", "absent", "knn"}
    assert counts["absent"] == 5 * (~present).sum()
    assert counts["observed"] == (~np.isnan(xyz[..., 0])).sum()


@pytest.mark.parametrize("spread_m", [0.2, 0.01])
def test_a_window_does_not_depend_on_the_others_of_its_batch(spread_m):
    rng = np.random.default_rng(7)
    shape = (50, 1, 25, 3)
    bank = build_bank(made(rng, 60, 0.3, shape, spread_m), rng.integers(0, 2, 60), 2)
    xyz, cluster = made(rng, 6, 0.4, shape, spread_m), rng.integers(0, 2, 6)
    imputer, present = ClusterKnnImputer(bank), everybody(xyz)
    whole = imputer.fill(xyz, present, cluster)
    order = rng.permutation(6)
    mixed = imputer.fill(xyz[order], present[order], cluster[order])
    np.testing.assert_allclose(mixed.xyz, whole.xyz[order], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(mixed.source, whole.source[order])
    for row in range(6):
        one = imputer.fill(xyz[row : row + 1], present[row : row + 1], cluster[row : row + 1])
        np.testing.assert_allclose(one.xyz[0], whole.xyz[row], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one.source[0], whole.source[row])


def test_the_same_batch_gives_the_same_bytes(setting):
    bank, *arguments = setting
    first = ClusterKnnImputer(bank).fill(*arguments)
    imputer = ClusterKnnImputer(bank)
    for _ in range(2):
        assert imputer.fill(*arguments).xyz.tobytes() == first.xyz.tobytes()


def test_an_empty_batch_is_an_empty_batch(setting):
    bank, xyz, present, cluster = setting
    filled = ClusterKnnImputer(bank).fill(xyz[:0], present[:0], cluster[:0])
    assert filled.xyz.shape == (0, *SHAPE)
    assert filled.counts() == {}


@pytest.mark.parametrize(("max_open", "n_read"), [(1, 9), (2, 6), (3, 5), (8, 4)])
def test_the_clusters_used_last_stay_open(setting, max_open, n_read):
    bank, xyz, present, _ = setting
    read = []

    class CountingBank(ImputationBank):
        def read_observed(self, rows):
            read.append(rows)
            return super().read_observed(rows)

    counting = CountingBank(bank.donors, bank.observed, bank.offsets, bank.mean)
    imputer = ClusterKnnImputer(counting, max_open_clusters=max_open)
    for cluster in (0, 1, 0, 2, 0, 3, 0, 0, 2, 1):
        batch = xyz[:2], present[:2], np.full(2, cluster)
        expected = ClusterKnnImputer(bank).fill(*batch)
        np.testing.assert_array_equal(imputer.fill(*batch).xyz, expected.xyz)
    assert len(read) == 2 * n_read  # each person


def test_donors_on_disk_give_the_same_bytes(setting, tmp_path):
    bank, *arguments = setting
    save_bank(bank, tmp_path)
    on_disk = ClusterKnnImputer(open_bank(tmp_path)).fill(*arguments)
    in_memory = ClusterKnnImputer(bank).fill(*arguments)
    assert on_disk.xyz.tobytes() == in_memory.xyz.tobytes()
    assert on_disk.source.tobytes() == in_memory.source.tobytes()


def test_filling_does_not_change_the_bank(setting):
    bank, *arguments = setting
    before = [array.copy() for array in (bank.donors, bank.observed, bank.offsets, bank.mean)]
    ClusterKnnImputer(bank).fill(*arguments)
    after = (bank.donors, bank.observed, bank.offsets, bank.mean)
    for array, copy in zip(after, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_filled_cells_lie_between_the_donors(setting):
    bank, xyz, present, cluster = setting
    filled = ClusterKnnImputer(bank).fill(xyz, present, cluster)
    for index in range(4):
        values, observed = bank.read_cluster(index)
        values = np.where(observed[..., None], values, np.nan)
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        cells = filled.xyz[cluster == index].reshape(-1, *low.shape)
        knn = filled.source[cluster == index].reshape(cells.shape[:-1]) == CellSource.KNN
        assert ((cells >= low - 1e-6) & (cells <= high + 1e-6))[knn].all()


def test_windows_of_another_shape_are_refused(setting):
    bank, xyz, present, cluster = setting
    message = r"xyz: expected windows of shape \(4, 2, 5, 3\) as in the bank, got \(4, 1, 5, 3\)"
    with pytest.raises(ValueError, match=message):
        ClusterKnnImputer(bank).fill(xyz[:, :, :1], present[:, :, :1], cluster)


@pytest.mark.parametrize("name", ["n_neighbors", "max_open_clusters", "nprobe", "max_donors"])
def test_settings_below_one_are_refused(setting, name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        ClusterKnnImputer(setting[0], **{name: 0})


def test_another_number_of_clusters_is_refused(setting):
    bank, xyz, present, cluster = setting
    pairs = np.stack([cluster, cluster], axis=1)
    with pytest.raises(ValueError, match="cluster: expected 1 for each window, got 2"):
        ClusterKnnImputer(bank).fill(xyz, present, pairs)
    with pytest.raises(ValueError, match="cluster: expected 2 for each window, got 1"):
        ClusterKnnImputer(bank, nprobe=2).fill(xyz, present, cluster)


def test_of_whom_no_window_has_nothing_is_read(setting):
    bank, xyz, present, cluster = setting
    both, alone = ClusterKnnImputer(bank), ClusterKnnImputer(bank)
    assert alone.open_bytes == 0
    both.fill(xyz[1:2], np.ones_like(present[1:2]), cluster[1:2])
    alone.fill(xyz[:1], present[:1], cluster[1:2])
    assert 0.4 < alone.open_bytes / both.open_bytes < 0.6
