"""The KNN imputer: what never changes, what is counted, what is read, and what is refused."""

import numpy as np
import pytest

from iospstl_core.imputation.bank import ImputationBank, build_bank, open_bank, save_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from tests.core.knn_cases import SHAPE, made
from tests.core.people import everybody


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
