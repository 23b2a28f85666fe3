"""Rejection: by hand, as a share, through a bundle, and what is refused."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from iospstl_core.bundle import open_bundle, write_bundle
from iospstl_core.errors import BundleError
from iospstl_core.pipeline import Recognizer
from iospstl_core.rejection import Rejection, open_rejection, save_rejection
from tests.core.networks import N_CLASSES, N_FEATURES

CPU = ("CPUExecutionProvider",)


def make_rejection(n_classes=N_CLASSES, n_features=N_FEATURES, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Rejection(
        class_means=normal(n_classes, n_features),
        class_whitening=normal(n_features, n_features),
        other_mean=normal(n_features),
        other_whitening=normal(n_features, n_features),
        quantiles=np.sort(10 * normal(11)),
    )


@pytest.fixture
def rejection():
    return make_rejection()


@pytest.fixture
def embedding():
    return np.random.default_rng(5).normal(size=(40, N_FEATURES)).astype(np.float32)


def score_by_hand(rejection, point):
    """Distance to the nearest class, taken from the distance to what is none, with loops."""

    def squared_distance(mean, whitening):
        total = 0.0
        inverse = whitening.astype(float) @ whitening.astype(float).T
        for i in range(len(point)):
            for j in range(len(point)):
                total += (point[i] - mean[i]) * inverse[i, j] * (point[j] - mean[j])
        return total

    to_classes = [
        squared_distance(mean, rejection.class_whitening) for mean in rejection.class_means
    ]
    return squared_distance(rejection.other_mean, rejection.other_whitening) - min(to_classes)


def test_score_is_that_of_loops(rejection, embedding):
    expected = [score_by_hand(rejection, point.astype(float)) for point in embedding]
    np.testing.assert_allclose(rejection.score(embedding), expected, rtol=1e-4, atol=1e-4)


def test_known_is_a_share_that_rises_with_the_score(rejection, embedding):
    known = rejection.known(embedding)
    assert known.dtype == np.float32
    assert 0 <= known.min() < known.max() <= 1
    order = np.argsort(rejection.score(embedding))
    assert all(a <= b for a, b in pairwise(known[order]))


def test_known_is_the_share_of_the_quantiles(rejection, embedding):
    score = rejection.score(embedding[:1])[0]
    steps = np.arange(-2, 9, dtype=np.float32)  # the score lies on the third of eleven
    exact = dataclasses.replace(rejection, quantiles=np.float32(score) + steps)
    assert exact.known(embedding[:1])[0] == pytest.approx(0.2, abs=1e-4)
    below = dataclasses.replace(rejection, quantiles=np.float32(score) + 1 + np.abs(steps))
    assert below.known(embedding[:1])[0] == 0
    above = dataclasses.replace(rejection, quantiles=np.float32(score) - 10 + 0 * steps)
    assert above.known(embedding[:1])[0] == 1


def test_what_was_saved_comes_back(rejection, tmp_path):
    save_rejection(rejection, tmp_path / "rejection.npz")
    opened = open_rejection(tmp_path / "rejection.npz", N_CLASSES)
    for item in dataclasses.fields(Rejection):
        found, expected = getattr(opened, item.name), getattr(rejection, item.name)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_means": np.zeros((2, N_FEATURES))}, "expected shapes"),
        ({"other_mean": np.zeros(N_FEATURES + 1)}, "expected shapes"),
        ({"quantiles": np.array([0.0, 2.0, 1.0])}, "quantiles: expected rising numbers"),
        ({"quantiles": np.array([0.0, np.nan, 1.0])}, "quantiles: expected rising numbers"),
        ({"quantiles": np.zeros(1)}, "quantiles: expected rising numbers"),
        ({"class_whitening": np.array([{}])}, "expected a rejection, got"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rejection, tmp_path, changes, message):
    path = tmp_path / "rejection.npz"
    save_rejection(dataclasses.replace(rejection, **changes), path)
    with pytest.raises(BundleError, match=message) as caught:
        open_rejection(path, N_CLASSES)
    assert str(path) in str(caught.value)
    assert "export the bundle again" in str(caught.value)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "rejection.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="expected a rejection, got"):
        open_rejection(tmp_path / "rejection.npz", N_CLASSES)


# Through a bundle and the live path.


@pytest.fixture(scope="module")
def plain(make_bundle):
    return make_bundle(imputer="linear").bundle


def rewrite(plain, folder, rejection=None, **changes):
    settings = dataclasses.replace(plain.settings, **changes)
    networks = plain.encoder_path.read_bytes(), plain.classifier_path.read_bytes()
    write_bundle(
        folder, settings, *networks, plain.centroids, plain.bank, None, rejection, {"one": [1]}
    )
    return folder


def test_live_windows_get_the_share_of_their_embedding(plain, windows, tmp_path):
    without = Recognizer(plain, CPU).recognize(windows)
    assert [result.known for result in without] == [1.0] * len(windows)
    rejection = make_rejection()
    embedding = np.stack([result.embedding for result in without])
    spread = np.quantile(rejection.score(embedding), np.linspace(0, 1, 5)).astype(np.float32)
    rejection = dataclasses.replace(rejection, quantiles=spread)
    bundle = open_bundle(rewrite(plain, tmp_path / "made", rejection))
    results = Recognizer(bundle, CPU).recognize(windows)
    expected = rejection.known(embedding)
    assert len(np.unique(expected)) > 3
    np.testing.assert_allclose([result.known for result in results], expected, atol=1e-4)
    for result, before in zip(results, without, strict=True):
        np.testing.assert_array_equal(result.probabilities, before.probabilities)


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_temperature_changes_how_sure_and_not_what(plain, windows, tmp_path, temperature):
    cold = Recognizer(plain, CPU).recognize(windows)
    bundle = open_bundle(rewrite(plain, tmp_path / "made", temperature=temperature))
    results = Recognizer(bundle, CPU).recognize(windows)
    assert [result.label for result in results] == [result.label for result in cold]
    for result, before in zip(results, cold, strict=True):
        expected = before.probabilities.astype(float) ** (1 / temperature)
        np.testing.assert_allclose(result.probabilities, expected / expected.sum(), atol=1e-5)
        assert result.score == result.probabilities.max()
        assert (result.score < before.score) == (temperature > 1)


def test_a_rejection_is_checked_like_every_file(plain, tmp_path):
    folder = rewrite(plain, tmp_path / "made", make_rejection())
    path = folder / "rejection.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="its content differs from the manifest's sha256"):
        open_bundle(folder)
    path.unlink()
    with pytest.raises(BundleError, match="listed in the bundle's manifest, but missing"):
        open_bundle(folder)


def test_a_rejection_that_the_manifest_does_not_know_is_refused(plain, tmp_path):
    folder = rewrite(plain, tmp_path / "made")
    save_rejection(make_rejection(), folder / "rejection.npz")
    with pytest.raises(BundleError, match=r"expected entries for rejection\.npz"):
        open_bundle(folder)


def test_a_rejection_for_other_classes_is_refused(plain, tmp_path):
    folder = rewrite(plain, tmp_path / "made", make_rejection(n_classes=N_CLASSES + 1))
    with pytest.raises(BundleError, match=r"rejection\.npz: expected shapes"):
        open_bundle(folder)


def test_examples_go_along(plain, tmp_path):
    bundle = open_bundle(rewrite(plain, tmp_path / "made"))
    with np.load(bundle.examples_path, allow_pickle=False) as arrays:
        assert arrays["one"].tolist() == [1]
