import os
from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.imputation.fill import CellSource, Filled
from iospstl_train.data.windows import WindowSet
from iospstl_train.imputing import (
    METHODS,
    fit_clusters,
    imputation_error_mm,
    impute,
    open_imputed,
    save_imputed,
)
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.settings import ImputationSettings
from iospstl_train.training.restore import train_restorer

SETTINGS = ImputationSettings(n_clusters=4, n_neighbors=3)
POISON_M = 1e4


@pytest.fixture(scope="module")
def embedding(windows):
    """Anything that tells sequences apart will do: mean positions of the joints."""
    means = np.nan_to_num(windows.truth).mean(axis=(1, 2))
    return means.reshape(len(means), -1).astype(np.float32)


@pytest.fixture(scope="module")
def clusters(windows, embedding):
    return fit_clusters(windows, embedding, SETTINGS)


def test_donors_are_the_training_windows(windows, clusters):
    donors, bits = np.asarray(clusters.bank.donors), np.asarray(clusters.bank.observed)
    order = np.argsort(clusters.assigned[windows.is_train], kind="stable")
    train = windows.xyz[windows.is_train][order]
    assert len(donors) == len(bits) == windows.is_train.sum() == 28
    np.testing.assert_array_equal(donors, np.nan_to_num(train).astype(np.float16))


def test_each_donor_is_in_its_cluster(windows, clusters):
    sizes = np.bincount(clusters.assigned[windows.is_train], minlength=4)
    np.testing.assert_array_equal(np.diff(clusters.bank.offsets), sizes)
    assert (sizes > 0).all()


def test_everything_is_assigned_to_the_nearest_centroid(windows, clusters, embedding):
    distance = np.linalg.norm(embedding[:, None] - clusters.centroids[None], axis=-1)
    np.testing.assert_array_equal(clusters.assigned, distance.argmin(axis=1))
    assert len(clusters.assigned) == len(windows.xyz)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(ImputationSettings(), 14), (ImputationSettings(n_clusters=200), 28), (SETTINGS, 4)],
)
def test_as_many_clusters_as_classes_or_as_wanted_or_as_sequences(
    windows, embedding, settings, expected
):
    assert fit_clusters(windows, embedding, settings).bank.n_clusters == expected


def test_a_window_cannot_have_more_clusters_than_there_are(windows, embedding):
    every = fit_clusters(windows, embedding, replace(SETTINGS, nprobe=4))
    np.testing.assert_array_equal(np.sort(every.assigned, axis=1), [range(4)] * len(windows.xyz))
    expected = "imputation.nprobe: expected at most {}, the number of clusters, got {}; lower it"
    with pytest.raises(InputError, match=expected.format(4, 5)):
        fit_clusters(windows, embedding, replace(SETTINGS, nprobe=5))
    with pytest.raises(InputError, match=expected.format(28, 29)):  # as many as sequences
        fit_clusters(windows, embedding, ImputationSettings(n_clusters=200, nprobe=29))


def test_same_seed_same_clusters(windows, embedding, clusters):
    again = fit_clusters(windows, embedding, SETTINGS)
    np.testing.assert_array_equal(again.centroids, clusters.centroids)


@pytest.fixture(scope="module")
def restorer(windows, tmp_path_factory):
    """The network of the method "restore", after a few steps."""
    settings = RestorerSettings(width=8, n_layers=1, steps=5, batch_size=4)
    return train_restorer(windows, settings, tmp_path_factory.mktemp("restorers") / "tiny")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_leaks_from_the_test_windows(windows, embedding, clusters, restorer, method):
    """With poisoned test windows and embeddings the training set is completed as before."""
    test = windows.is_test
    poisoned_xyz = windows.xyz.copy()
    poisoned_xyz[test] += POISON_M
    poisoned = replace(windows, xyz=poisoned_xyz, truth=windows.truth + POISON_M)
    strange = embedding.copy()
    strange[test] = POISON_M
    after = fit_clusters(poisoned, strange, SETTINGS)
    np.testing.assert_array_equal(after.centroids, clusters.centroids)
    assert np.nanmax(np.abs(after.bank.mean)) < 10
    assert np.abs(np.asarray(after.bank.donors, dtype=np.float32)).max() < 10

    train = windows.is_train
    expected = impute(
        _rows(windows, train), method, _assign(clusters, train), 3, restorer=restorer
    )
    got = impute(poisoned, method, after, 3, restorer=restorer)
    if method != "random":  # its draws go on over the test windows
        np.testing.assert_allclose(got.xyz[train], expected.xyz, atol=1e-5)
    filled = ~np.isin(got.source, (CellSource.OBSERVED, CellSource.ABSENT, CellSource.UNFILLED))
    own = (CellSource.LINEAR, CellSource.RESTORED)  # from what the window itself shows
    values = got.xyz[filled & ~np.isin(got.source, own)]
    assert method in ("none", "restore") or len(values)
    assert np.abs(values).max(initial=0) < 10  # what test windows get is from training ones


def _rows(windows, rows):
    changes = {
        name: getattr(windows, name)[rows]
        for name in ("xyz", "truth", "present", "label", "is_train", "is_test")
    }
    return replace(windows, **changes)


def _assign(clusters, rows):
    return replace(clusters, assigned=clusters.assigned[rows])


@pytest.mark.parametrize("method", METHODS)
def test_what_was_observed_stays_and_what_is_absent_stays_absent(
    windows, clusters, restorer, method
):
    filled = impute(windows, method, clusters, 3, restorer=restorer)
    observed = ~np.isnan(windows.xyz[..., 0])
    assert filled.xyz[observed].tobytes() == windows.xyz[observed].tobytes()
    assert np.isnan(filled.xyz[~windows.present]).all()
    there = np.broadcast_to(windows.present[..., None], observed.shape)
    assert np.isnan(filled.xyz[there]).any() == (method == "none")


def test_donors_are_those_of_the_own_cluster(windows, embedding, clusters):
    """With the other clusters' donors moved a window stays as it is; with its own it does not."""
    is_hidden = windows.is_test & (windows.hidden.sum(axis=(1, 2, 3)) > 100)
    index = int(np.argmax(np.where(is_hidden, clusters.assigned, -1)))
    own = clusters.assigned[index]
    assert own > 0
    one = np.arange(len(windows.xyz)) == index
    filled = []
    for is_moved in (clusters.assigned < 0, clusters.assigned != own, clusters.assigned == own):
        moved = windows.xyz.copy()
        moved[windows.is_train & is_moved] += 5
        bank = fit_clusters(replace(windows, xyz=moved), embedding, SETTINGS)
        filled.append(impute(_rows(windows, one), "knn", _assign(bank, one), 3))
    before, others_moved, own_moved = filled
    from_donors = before.source == CellSource.KNN
    assert from_donors.sum() > 50
    np.testing.assert_array_equal(others_moved.xyz[from_donors], before.xyz[from_donors])
    assert (own_moved.xyz[from_donors] > before.xyz[from_donors] + 4).all()


def test_knn_is_nearer_to_the_truth_than_chance(windows, clusters, restorer):
    filled = {
        method: impute(windows, method, clusters, 3, restorer=restorer) for method in METHODS
    }
    error = {
        method: imputation_error_mm(windows, filled[method], windows.is_test) for method in METHODS
    }
    assert error["knn"] < error["mean"] < error["random"]
    assert error["linear"] < error["random"]
    assert error["knn"] < error["none"]
    assert error["restore"] < error["random"]


def test_random_depends_on_its_seed(windows, clusters):
    first, again, other = (impute(windows, "random", clusters, 3, seed).xyz for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_unknown_method_names_the_known(windows, clusters):
    known = "none, random, mean, linear, knn, restore, and .*, got 'magic'"
    with pytest.raises(InputError, match=f"method: expected one of {known}"):
        impute(windows, "magic", clusters, 3)


def test_restore_needs_a_trained_restorer(windows, clusters):
    with pytest.raises(InputError, match="for restore a trained restorer, got 'restore'"):
        impute(windows, "restore", clusters, 3)


def tiny_windows():
    """Two windows of two frames and one person; joints 0 and 1 are hidden in places."""
    truth = np.zeros((2, 2, 1, 25, 3), dtype=np.float32)
    truth[..., 0, :] = [0.3, 0.0, 0.4]
    truth[..., 1, :] = [1.0, 0.0, 0.0]
    xyz = truth.copy()
    xyz[0, 0, 0, 0] = xyz[0, 1, 0, 0] = xyz[0, 0, 0, 1] = xyz[1, 1, 0, 1] = np.nan
    present = np.ones((2, 2, 1), dtype=bool)
    is_train = np.array([True, False])
    return WindowSet(
        xyz, truth, present, np.array([0, 0]), is_train, ~is_train, ("a", "b"), ("c",)
    )


def test_error_by_hand():
    windows = tiny_windows()
    xyz = windows.xyz.copy()
    xyz[0, 0, 0, 0] = [0.3, 0.1, 0.4]  # 100 mm off
    xyz[0, 1, 0, 0] = [0.3, 0.0, 0.7]  # 300 mm off
    xyz[0, 0, 0, 1] = [1.0, 0.0, 0.2]  # 200 mm off
    filled = Filled(xyz, np.zeros(xyz.shape[:-1], np.uint8))  # (1, 1, 0, 1): empty, at the origin
    both, first = np.array([True, True]), np.array([True, False])
    assert imputation_error_mm(windows, filled, first) == pytest.approx(200)
    assert imputation_error_mm(windows, filled, ~first) == pytest.approx(1000)
    assert imputation_error_mm(windows, filled, both) == pytest.approx((600 + 1000) / 4)


def test_error_of_nothing_hidden_is_no_number():
    windows = tiny_windows()
    windows = replace(windows, xyz=windows.truth)
    filled = Filled(windows.truth, np.zeros(windows.truth.shape[:-1], np.uint8))
    assert imputation_error_mm(windows, filled, np.array([True, True])) is None


@pytest.fixture
def saved(windows, clusters, tmp_path):
    filled = impute(windows, "knn", clusters, 3)
    save_imputed(tmp_path / "knn", filled, clusters, {"method": "knn", "n_neighbors": 3})
    return filled, tmp_path / "knn"


def test_round_trip(saved, clusters):
    filled, folder = saved
    opened, opened_clusters, manifest = open_imputed(folder)
    np.testing.assert_array_equal(opened.xyz, filled.xyz)
    np.testing.assert_array_equal(opened.source, filled.source)
    assert opened.counts() == filled.counts()
    np.testing.assert_array_equal(opened_clusters.centroids, clusters.centroids)
    np.testing.assert_array_equal(opened_clusters.assigned, clusters.assigned)
    for name in ("donors", "observed", "offsets", "mean"):
        expected = getattr(clusters.bank, name)
        np.testing.assert_array_equal(getattr(opened_clusters.bank, name), expected)
    assert manifest == {"method": "knn", "n_neighbors": 3}


@pytest.fixture
def saved_restored(windows, clusters, restorer, tmp_path):
    filled = impute(windows, "restore", clusters, 3, restorer=restorer)
    save_imputed(tmp_path / "restore", filled, clusters, {"method": "restore"}, restorer)
    return filled, tmp_path / "restore"


def test_round_trip_with_expected_errors_and_restorer(saved_restored, saved, restorer):
    filled, folder = saved_restored
    opened, _, _ = open_imputed(folder)
    np.testing.assert_array_equal(opened.error_m, filled.error_m)
    np.testing.assert_array_equal(opened.xyz, filled.xyz)
    assert (folder / "restorer.onnx").read_bytes() == restorer.read_bytes()
    _, other = saved
    assert open_imputed(other)[0].error_m is None
    assert {path.name for path in folder.iterdir()} - {path.name for path in other.iterdir()} == {
        "error_m.npy",
        "restorer.onnx",
    }


def test_truncated_errors_are_refused(saved_restored):
    _, folder = saved_restored
    os.truncate(folder / "error_m.npy", 130)
    with pytest.raises(InputError, match=r"expected completed windows, got: .*; impute again"):
        open_imputed(folder)


@pytest.mark.parametrize("name", ["xyz.npy", "assigned.npy", "bank/donors.npy"])
def test_truncated_file_is_refused(saved, name):
    _, folder = saved
    os.truncate(folder / name, 130)
    with pytest.raises(
        InputError, match=r"knn: expected completed windows, got: .*; impute again"
    ):
        open_imputed(folder)


def test_missing_file_is_refused(saved):
    _, folder = saved
    (folder / "source.npy").unlink()
    with pytest.raises(InputError, match=r"expected completed windows, got: .*source.npy"):
        open_imputed(folder)


def test_folder_of_something_else_names_the_command(tmp_path):
    with pytest.raises(InputError, match=r"got no manifest.json; run: iospstl-train impute"):
        open_imputed(tmp_path)
