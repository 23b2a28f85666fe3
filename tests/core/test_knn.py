"""The cluster-wise KNN rule, worked out by hand."""

import math

import numpy as np
import pytest

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from tests.core.knn_cases import NAN, assert_filled, fill_lone, lone, made
from tests.core.people import everybody


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
