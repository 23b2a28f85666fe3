"""The live path on a bundle, against numpy and plain loops that share no code with it."""

import numpy as np
import pytest

from iospstl_core import pipeline
from iospstl_core.imputation.body_path import follow_body
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_core.normalize import (
    estimate_body_frame,
    normalize,
    to_body_frame,
    to_camera_frame,
)
from iospstl_core.pipeline import Recognizer
from iospstl_core.window import FrameBuffer
from tests.core.networks import lean_of
from tests.core.people import REST, turned, walking_people
from tests.reference import knn_fill

CPU = ("CPUExecutionProvider",)
IMPUTERS = ("none", "mean", "linear", "knn", "restore")


@pytest.fixture(scope="module")
def tiny(make_bundle):
    """One bundle for each imputer, and its recognizer."""
    made = {imputer: make_bundle(imputer=imputer) for imputer in IMPUTERS}
    for each in made.values():
        each.recognizer = Recognizer(each.bundle, CPU)
    return made


def clusters_by_hand(made, xyz):
    """All clusters, the nearest first."""
    embedding = np.einsum("tmvc,ctvmk->k", np.nan_to_num(xyz), made.encoder)
    return np.linalg.norm(made.centroids - embedding, axis=1).argsort()


def cluster_by_hand(made, xyz):
    return int(clusters_by_hand(made, xyz)[0])


def probabilities_by_hand(made, completed):
    logits = np.einsum("tmvc,ctvmk->k", np.nan_to_num(completed), made.classifier)
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


def complete_by_hand(imputer, made, window, cluster):
    """One window, completed with loops and numpy; absent persons stay NaN."""
    xyz = window.xyz.astype(np.float64)
    if imputer == "none":
        return xyz
    if imputer == "knn":
        donors = made.donors[made.donor_cluster == cluster].astype(np.float16).astype(float)
        row = knn_fill.fill_row(
            xyz.ravel().tolist(), donors.reshape(len(donors), -1).tolist(), n_neighbors=3
        )
        filled = np.array(row).reshape(xyz.shape)
    elif imputer == "restore":
        filled = xyz.copy()
        for person in np.flatnonzero(window.present.any(axis=0)):
            restored = restore_by_hand(window.xyz[:, person])
            filled[:, person] = np.where(np.isnan(xyz[:, person]), restored, xyz[:, person])
    else:
        filled = np.where(np.isnan(xyz), np.nanmean(made.donors.astype(float), axis=0), xyz)
    if imputer == "linear":
        frames = np.arange(len(xyz))
        for index in np.ndindex(xyz.shape[1:]):
            seen = ~np.isnan(xyz[(slice(None), *index)])
            if seen.any():
                column = xyz[(seen, *index)]
                filled[(slice(None), *index)] = np.interp(frames, frames[seen], column)
    filled[~window.present] = np.nan
    return filled


def restore_by_hand(xyz):
    """One person (n_frames, 25, 3) as the tiny restorer completes it, in the window's frame."""
    frame = estimate_body_frame(xyz[:, None])
    own = to_body_frame(xyz, frame)
    observed = ~np.isnan(own[..., 0])
    path, shape = follow_body(np.nan_to_num(own)[None], observed[None], REST.astype(np.float32))
    return to_camera_frame(path[0][:, None] + shape[0] + lean_of(len(xyz), 25), frame)


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_a_window_is_recognised_as_by_hand(tiny, windows, imputer):
    made = tiny[imputer]
    clusters, labels = set(), set()
    for window in windows:
        (result,) = made.recognizer.recognize([window])
        cluster = cluster_by_hand(made, window.xyz) if imputer == "knn" else None
        assert result.cluster == cluster
        completed = complete_by_hand(imputer, made, window, result.cluster)
        np.testing.assert_allclose(result.filled.xyz, completed, rtol=0, atol=1e-5)
        expected = probabilities_by_hand(made, completed)
        np.testing.assert_allclose(result.probabilities, expected, rtol=0, atol=1e-5)
        assert result.label == ("sit", "stand", "fall")[int(expected.argmax())]
        assert result.score == pytest.approx(expected.max(), abs=1e-5)
        assert result.window is window
        clusters.add(result.cluster)
        labels.add(result.label)
    assert len(clusters) > (imputer == "knn")
    assert len(labels) > 1


@pytest.mark.parametrize(
    ("imputer", "sources"),
    [
        ("none", {CellSource.UNFILLED}),
        ("mean", {CellSource.BANK_MEAN}),
        ("linear", {CellSource.LINEAR, CellSource.BANK_MEAN}),
        ("knn", {CellSource.KNN}),
        ("restore", {CellSource.RESTORED}),
    ],
)
def test_the_bundle_says_which_imputer_completes(tiny, windows, imputer, sources):
    for result in tiny[imputer].recognizer.recognize(windows):
        found = set(np.unique(result.filled.source)) - {CellSource.OBSERVED, CellSource.ABSENT}
        assert found <= sources
        assert min(sources) in found
        absent = result.filled.source == CellSource.ABSENT
        np.testing.assert_array_equal(absent.all(axis=-1), ~result.window.present)
        np.testing.assert_array_equal(
            result.filled.source == CellSource.OBSERVED, ~np.isnan(result.window.xyz[..., 0])
        )


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_a_batch_gives_what_single_windows_give(tiny, windows, imputer):
    recognizer = tiny[imputer].recognizer
    for window, batched in zip(windows, recognizer.recognize(windows), strict=True):
        (single,) = recognizer.recognize([window])
        assert (single.label, single.cluster) == (batched.label, batched.cluster)
        np.testing.assert_allclose(single.probabilities, batched.probabilities, atol=1e-6)
        np.testing.assert_allclose(single.filled.xyz, batched.filled.xyz, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(single.filled.source, batched.filled.source)
        assert (single.filled.error_m is None) == (imputer != "restore")
        if imputer == "restore":
            errors = single.filled.error_m, batched.filled.error_m
            assert errors[0].shape == single.filled.source.shape
            np.testing.assert_allclose(*errors, rtol=0, atol=1e-6)
        assert batched.window is window


def test_only_knn_opens_the_encoder(tiny, monkeypatch):
    """It is the larger network, and no other imputer asks for a cluster."""
    opened = []

    class Recorded(pipeline.OnnxModel):
        def __init__(self, path, *rest):
            opened.append(path.name)
            super().__init__(path, *rest)

    monkeypatch.setattr(pipeline, "OnnxModel", Recorded)
    others = {"knn": ["encoder.onnx"], "restore": ["restorer.onnx"]}
    for imputer in IMPUTERS:
        opened.clear()
        Recognizer(tiny[imputer].bundle, CPU)
        assert sorted(opened) == ["classifier.onnx", *others.get(imputer, [])]


def test_donors_are_pooled_and_left_out_as_the_bundle_says(make_bundle, windows):
    """Three of the ten donors of each of the two nearest clusters."""
    made = make_bundle(nprobe=2, max_donors=3)
    xyz, present = (
        np.stack([getattr(each, name) for each in windows]) for name in ("xyz", "present")
    )
    nearest = np.stack([clusters_by_hand(made, window.xyz)[:2] for window in windows])
    expected = ClusterKnnImputer(made.bundle.bank, 3, nprobe=2, max_donors=3).fill(
        xyz, present, nearest
    )
    results = Recognizer(made.bundle, CPU).recognize(windows)
    got = np.stack([result.filled.xyz for result in results])
    np.testing.assert_array_equal(got, expected.xyz)
    assert [result.cluster for result in results] == nearest[:, 0].tolist()
    for nprobe, max_donors in ((1, 3), (2, None)):
        imputer = ClusterKnnImputer(made.bundle.bank, 3, nprobe=nprobe, max_donors=max_donors)
        other = imputer.fill(xyz, present, nearest[:, :nprobe])
        assert not np.array_equal(other.xyz, got, equal_nan=True)


def test_no_windows_give_no_results(tiny):
    assert tiny["knn"].recognizer.recognize([]) == []


def test_scores_are_probabilities(tiny, windows):
    for result in tiny["knn"].recognizer.recognize(windows):
        assert result.probabilities.dtype == np.float32
        assert result.probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert result.score == result.probabilities.max()


def test_large_logits_do_not_overflow(make_bundle, windows):
    made = make_bundle()
    far = [type(window)(window.xyz * 1e4, window.present, window.frame) for window in windows]
    for result in Recognizer(made.bundle, CPU).recognize(far):
        assert np.isfinite(result.probabilities).all()


def test_each_network_takes_its_own_stream(make_bundle, windows):
    made = make_bundle(imputer="knn", encoder_stream="motion", classifier_stream="bone")
    parents = np.array(
        [1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11]
    )
    for result in Recognizer(made.bundle, CPU).recognize(windows):
        xyz = result.window.xyz
        motion = np.concatenate([np.diff(xyz, axis=0), np.zeros_like(xyz[:1])])
        assert result.cluster == cluster_by_hand(made, motion)
        completed = result.filled.xyz
        expected = probabilities_by_hand(made, completed - completed[:, :, parents])
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def test_what_the_buffer_collects_is_recognised_as_the_recording_is(tiny):
    recognizer = tiny["knn"].recognizer
    xyz = walking_people(np.random.default_rng(3), 15, 2)
    buffer = FrameBuffer(window_s=2.0, track_timeout_s=0.5)
    for index, frame in enumerate(xyz):
        buffer.add(index / 10, {4: frame[0], 9: frame[1]})
    live = recognizer.normalize(buffer.window(4, 2))
    offline = normalize(xyz, np.ones((15, 2), dtype=bool), n_frames=8)
    assert live.xyz.tobytes() == offline.xyz.tobytes()
    results = recognizer.recognize([live, offline])
    np.testing.assert_array_equal(results[0].probabilities, results[1].probabilities)


def test_the_camera_may_stand_elsewhere(tiny):
    recognizer = tiny["knn"].recognizer
    xyz = walking_people(np.random.default_rng(4), 15, 2)
    there = np.ones((15, 2), dtype=bool)
    views = [normalize(turned(xyz, angle), there, n_frames=8) for angle in (0.0, 1.0, -2.5)]
    first, *others = recognizer.recognize(views)
    for other in others:
        np.testing.assert_allclose(other.probabilities, first.probabilities, atol=1e-4)


def test_the_provider_in_use_is_said(tiny):
    assert tiny["knn"].recognizer.provider == CPU[0]
    assert tiny["knn"].recognizer.settings.imputer == "knn"


def test_an_unknown_provider_is_refused(tiny):
    with pytest.raises(ValueError, match=r"providers: expected names out of .*, got Abacus"):
        Recognizer(tiny["knn"].bundle, ["Abacus"])


def test_a_required_gpu_that_is_not_there_is_refused(tiny):
    with pytest.raises(ValueError, match="require_gpu: expected one of"):
        Recognizer(tiny["knn"].bundle, CPU, require_gpu=True)


def test_windows_are_left_alone(tiny, windows):
    before = [window.xyz.copy() for window in windows]
    tiny["knn"].recognizer.recognize(windows)
    for window, copy in zip(windows, before, strict=True):
        np.testing.assert_array_equal(window.xyz, copy)
