"""Filling and bank building cluster by cluster: over processes, over machines, and on disk."""

from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from iospstl_core.errors import InputError
from iospstl_core.imputation import knn
from iospstl_core.imputation.bank import FILES, build_bank, open_bank, save_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_train import cluster_fill
from iospstl_train.bank_on_disk import build_bank_on_disk
from iospstl_train.cluster_fill import fill_clusters
from tests.core.people import everybody

SHAPE = (10, 2, 25, 3)
N_CLUSTERS = 5


@pytest.fixture(scope="module")
def many():
    """Windows of five clusters (the third one empty of donors) and their bank, in memory."""
    rng = np.random.default_rng(0)
    movement = rng.normal(size=(N_CLUSTERS, *SHAPE))
    cluster = rng.integers(0, N_CLUSTERS, 70)
    xyz = (movement[cluster] + rng.normal(0, 0.2, (70, *SHAPE))).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = np.nan
    present = everybody(xyz)
    present[::4, :, 1] = False
    xyz[~present] = np.nan
    donors = cluster != 2
    return SimpleNamespace(
        bank=build_bank(xyz[donors], cluster[donors], N_CLUSTERS),
        xyz=xyz,
        present=present,
        cluster=cluster,
    )


@pytest.fixture
def on_disk(many, tmp_path):
    """The same, memory-mapped."""
    np.save(tmp_path / "xyz.npy", many.xyz)
    np.save(tmp_path / "present.npy", many.present)
    (tmp_path / "bank").mkdir()
    save_bank(many.bank, tmp_path / "bank")
    return SimpleNamespace(
        bank=open_bank(tmp_path / "bank"),
        xyz=np.load(tmp_path / "xyz.npy", mmap_mode="r"),
        present=np.load(tmp_path / "present.npy", mmap_mode="r"),
        cluster=many.cluster,
    )


@pytest.fixture(scope="module")
def expected(many):
    return all_at_once(many)


def all_at_once(data, n_neighbors=5):
    with threadpool_limits(1):
        imputer = ClusterKnnImputer(data.bank, n_neighbors)
        return imputer.fill(data.xyz, data.present, data.cluster)


def fill(data, **options):
    return fill_clusters(data.bank, data.xyz, data.present, data.cluster, **options)


def assert_equal(found, expected):
    assert found.xyz.tobytes() == expected.xyz.tobytes()
    assert found.source.tobytes() == expected.source.tobytes()
    assert (found.xyz.dtype, found.source.dtype) == (np.float32, np.uint8)
    assert found.xyz.shape == expected.xyz.shape


@pytest.mark.parametrize("n_neighbors", [1, 5])
def test_equals_all_at_once(many, n_neighbors):
    found = fill(many, n_neighbors=n_neighbors)
    assert_equal(found, all_at_once(many, n_neighbors))
    assert {"knn", "bank_mean"} <= set(found.counts())


def test_equals_all_at_once_on_disk(on_disk, expected, tmp_path):
    found = fill(on_disk, out=tmp_path / "out")
    assert_equal(found, expected)
    assert isinstance(found.xyz, np.memmap)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"xyz.npy", "source.npy"}
    assert np.load(tmp_path / "out" / "xyz.npy").tobytes() == expected.xyz.tobytes()


@pytest.mark.parametrize("shared_disk", [True, False])
def test_two_processes_give_the_same(many, on_disk, expected, tmp_path, shared_disk):
    assert_equal(fill(many, n_workers=2, shared_disk=shared_disk), expected)
    out = tmp_path / "out"
    assert_equal(fill(on_disk, n_workers=2, shared_disk=shared_disk, out=out), expected)


def test_parts_of_a_cluster_are_those_of_the_imputer(many, monkeypatch):
    assert cluster_fill.MAX_ROWS % knn.MAX_ROWS == 0
    monkeypatch.setattr(knn, "MAX_ROWS", 8)
    for max_rows in (8, 16):
        assert_equal(fill(many, max_rows=max_rows), all_at_once(many))


def test_other_parts_make_no_difference_that_matters(many, expected):
    one, two = (fill(many, max_rows=3, n_workers=n) for n in (1, 2))
    assert_equal(two, one)
    np.testing.assert_array_equal(one.source, expected.source)
    np.testing.assert_allclose(one.xyz, expected.xyz, rtol=0, atol=1e-5)


def test_tasks_cover_every_row_once_and_are_of_one_cluster_and_no_longer_than_asked(many):
    parts = [rows for _, rows in cluster_fill._parts(many.bank, many.cluster, 4)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(70))
    assert max(map(len, parts)) <= 4
    assert all(len(np.unique(many.cluster[rows])) == 1 for rows in parts)


@pytest.mark.parametrize("shared_disk", [True, False])
@pytest.mark.parametrize("max_donors", [None, 3])
def test_pooled_clusters_and_fewer_donors_equal_all_at_once(on_disk, shared_disk, max_donors):
    rng = np.random.default_rng(1)
    cluster = np.stack([rng.permutation(N_CLUSTERS)[:2] for _ in range(70)])
    found = fill_clusters(
        on_disk.bank,
        on_disk.xyz,
        on_disk.present,
        cluster,
        max_donors=max_donors,
        shared_disk=shared_disk,
    )
    with threadpool_limits(1):
        imputer = ClusterKnnImputer(on_disk.bank, nprobe=2, max_donors=max_donors)
        assert_equal(found, imputer.fill(on_disk.xyz, on_disk.present, cluster))


@pytest.fixture
def tasks(monkeypatch):
    """Collects what the workers are sent."""
    sent = []
    run = cluster_fill._run

    def watch(task):
        sent.append(task)
        return run(task)

    monkeypatch.setattr(cluster_fill, "_run", watch)
    return sent


def test_workers_get_paths_of_what_is_on_disk(on_disk, tasks, tmp_path):
    fill(on_disk, out=tmp_path / "out")
    for task in tasks:
        assert task.bank == tmp_path / "bank"
        assert task.xyz == tmp_path / "xyz.npy"
        assert task.present == tmp_path / "present.npy"
        assert task.out is not None


def test_workers_get_rows_of_what_is_in_memory_or_of_no_use_as_a_path(many, on_disk, tasks):
    part = SimpleNamespace(**{**vars(on_disk), "xyz": on_disk.xyz[:]})
    for data, options in ((many, {}), (on_disk, {"shared_disk": False}), (part, {})):
        tasks.clear()
        fill(data, **options)
        for task in tasks:
            assert task.xyz.shape == (len(task.rows), *SHAPE)
            np.testing.assert_array_equal(task.xyz, many.xyz[task.rows])
    tasks.clear()
    fill(on_disk, shared_disk=False)
    own = tasks[0]
    assert len(own.bank.donors) == np.sum(many.cluster == own.cluster[0])


def test_a_part_of_a_file_is_not_taken_for_the_whole(on_disk, many):
    later = SimpleNamespace(
        bank=on_disk.bank,
        xyz=on_disk.xyz[5:],
        present=on_disk.present[5:],
        cluster=many.cluster[5:],
    )
    assert_equal(fill(later), all_at_once(later))


def test_nothing_is_left_behind_by_a_failure(on_disk, tmp_path, monkeypatch):
    out = tmp_path / "out"
    fill(on_disk, out=out)
    before = (out / "xyz.npy").read_bytes()
    monkeypatch.setattr(cluster_fill, "_put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fill(on_disk, n_neighbors=1, out=out)
    assert (out / "xyz.npy").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        *("bank", "out", "present.npy", "xyz.npy")
    }


def test_no_windows_are_no_windows(many, tmp_path):
    nothing = SimpleNamespace(
        bank=many.bank, xyz=many.xyz[:0], present=many.present[:0], cluster=many.cluster[:0]
    )
    assert fill(nothing).xyz.shape == (0, *SHAPE)
    assert fill(nothing, out=tmp_path / "out").counts() == {}


def test_torch_gives_the_same_within_its_tolerance(on_disk, expected, tmp_path):
    found = fill(on_disk, device="cpu", out=tmp_path / "out")
    np.testing.assert_array_equal(found.source, expected.source)
    np.testing.assert_allclose(found.xyz, expected.xyz, rtol=0, atol=1e-5)
    assert found.source.max() > CellSource.KNN


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "abacus"}, InputError, "device: expected a usable torch device"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors: expected at least 1, got 0"),
        ({"max_rows": 0}, ValueError, "max_rows: expected at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    many, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        fill(many, out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_together_is_refused(many):
    with pytest.raises(ValueError, match="got 69 and 70 for 70"):
        fill_clusters(many.bank, many.xyz, many.present, many.cluster[1:])
    with pytest.raises(ValueError, match="cluster: expected 0 to 4 as in the bank, got 1 to 5"):
        fill_clusters(many.bank, many.xyz, many.present, many.cluster + 1)
    with pytest.raises(ValueError, match="expected windows of shape"):
        fill_clusters(many.bank, many.xyz[:, 1:], many.present[:, 1:], many.cluster)


def test_a_dask_cluster_gives_the_same(many, on_disk, expected, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert_equal(fill(on_disk, n_workers=-1, out=tmp_path / "out"), expected)
        assert_equal(fill(many, n_workers=-1, shared_disk=False), expected)


# The bank


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("max_rows", [1, 7, 512])
def test_the_bank_on_disk_is_the_saved_bank_byte_for_byte(many, tmp_path, max_rows, dtype):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    xyz = many.xyz.copy()
    xyz[:, :, 1, 3] = np.nan  # nobody's
    save_bank(build_bank(xyz, many.cluster, N_CLUSTERS + 1, dtype), one)
    bank = build_bank_on_disk(two, xyz, many.cluster, N_CLUSTERS + 1, dtype, max_rows)
    assert {path.name for path in two.iterdir()} == {f"{name}.npy" for name in FILES}
    for name in FILES:
        assert (two / f"{name}.npy").read_bytes() == (one / f"{name}.npy").read_bytes(), name
        np.testing.assert_array_equal(getattr(bank, name), getattr(open_bank(one), name))


def test_a_bank_needs_a_cluster_for_every_window(many, tmp_path):
    with pytest.raises(ValueError, match="cluster: expected one for each of 70 windows, got 69"):
        build_bank_on_disk(tmp_path, many.xyz, many.cluster[1:], N_CLUSTERS)
    assert list(tmp_path.iterdir()) == []
