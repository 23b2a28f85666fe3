"""Banks and windows for the tests of the KNN imputer, and what scikit-learn makes of them."""

import math

import numpy as np
import pytest

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from tests.core.people import everybody

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
