import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from iospstl_core.bundle import open_bundle, write_bundle
from iospstl_core.pipeline import Recognizer
from iospstl_core.skeleton import NTU_25
from iospstl_core.streams import to_network
from iospstl_core.window import FrameBuffer
from iospstl_train import export
from iospstl_train.evaluation.linear import evaluate_linear
from iospstl_train.export import (
    Classifier,
    describe_differences,
    export_bundle,
    make_bundle_settings,
    to_onnx,
    usual_duration_s,
)
from iospstl_train.imputing import fit_clusters, impute
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import PretrainData, pretrain
from iospstl_train.training.restore import train_restorer
from tests.train.tiny_training import tiny_config

EPOCH_S = 1.7e9
"""Stamps of a robot: seconds since 1970."""
IMPUTERS = ("knn", "linear", "mean", "none", "restore")
CONFIG = tiny_config("imputation.n_neighbors=3", "imputation.n_clusters=5")


@dataclasses.dataclass
class Trained:
    encoder: StgcnEncoder
    clusters: object
    classifier: Classifier
    restorer: Path


@pytest.fixture(scope="module")
def trained(windows, tmp_path_factory):
    """Both stages; the second one on what KNN completed."""
    folder = tmp_path_factory.mktemp("runs")
    train = windows.is_train
    hidden_frac = windows.hidden_frac()[train]
    encoder = pretrain(PretrainData(windows.xyz[train], hidden_frac), CONFIG, folder / "one")
    clusters = fit_clusters(windows, embed(encoder, windows.xyz), CONFIG.imputation)
    filled = impute(windows, "knn", clusters, 3)
    second = pretrain(PretrainData(filled.xyz[train], hidden_frac), CONFIG, folder / "two")
    features, labels = embed(second, filled.xyz), windows.label
    result = evaluate_linear(
        (features[train], labels[train]), (features[~train], labels[~train]), 14, CONFIG.linear
    )
    restorer = train_restorer(windows, CONFIG.restorer, folder / "restorer")
    return Trained(encoder, clusters, Classifier(second, result.classifier).eval(), restorer)


def make_settings(store, windows, imputer="knn"):
    return make_bundle_settings(store, windows, imputer, CONFIG.imputation, {"seed": 1}, "joint")


@pytest.fixture(scope="module")
def bundles(store, windows, trained, tmp_path_factory):
    """One bundle for each imputer; the networks are the same."""
    root = tmp_path_factory.mktemp("bundles")
    for imputer, restorer in (("knn", None), ("restore", trained.restorer)):
        settings = make_settings(store, windows, imputer)
        differences = export_bundle(
            *(root / imputer, settings, trained.encoder, trained.classifier),
            *(trained.clusters, windows.xyz[:8], restorer),
        )
        assert max(differences.values()) < 1e-4
    networks = [(root / "knn" / f"{name}.onnx").read_bytes() for name in ("encoder", "classifier")]
    for imputer in IMPUTERS[1:-1]:
        settings = make_settings(store, windows, imputer)
        clusters = trained.clusters
        write_bundle(root / imputer, settings, *networks, clusters.centroids, clusters.bank)
    return root


def receive(store, occlusion, index, window_s):
    """The frames of one sequence as a robot gets them: stamped, a person under an id."""
    xyz, present = store.sequence(index)
    hidden = occlusion.hidden[store.frames(index)]
    frames = FrameBuffer(window_s, track_timeout_s=0.5)
    for i in range(len(xyz)):
        persons = {
            10 + m: np.where(hidden[i, m][:, None], np.float32(np.nan), xyz[i, m])
            for m in np.flatnonzero(present[i])
        }
        assert frames.add(EPOCH_S + i / store.fps, persons)
    return frames


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_live_equals_offline(imputer, store, occlusion, windows, trained, bundles):
    """Frame by frame through the robot's code: windows, clusters, labels are those of training."""
    recognizer = Recognizer(open_bundle(bundles / imputer), ["CPUExecutionProvider"])
    filled = impute(windows, imputer, trained.clusters, 3, restorer=trained.restorer)
    with torch.inference_mode():
        logits, _ = trained.classifier(torch.from_numpy(to_network(filled.xyz)))
    probabilities = logits.softmax(dim=1).numpy()
    labels = [windows.class_names[i] for i in logits.argmax(dim=1)]
    got = []
    for index in range(len(store)):
        frames = receive(store, occlusion, index, window_s=60)
        first = frames.track_ids()[0]
        window = recognizer.normalize(frames.window(first, store.n_persons))
        np.testing.assert_allclose(window.xyz, windows.xyz[index], atol=1e-4)
        np.testing.assert_array_equal(window.present, windows.present[index])
        found = recognizer.recognize([window])[0]
        asked = trained.clusters.assigned[index] if imputer == "knn" else None
        assert found.cluster == asked
        np.testing.assert_array_equal(found.filled.source, filled.source[index])
        np.testing.assert_allclose(found.filled.xyz, filled.xyz[index], atol=1e-4)
        if imputer == "restore":
            np.testing.assert_allclose(found.filled.error_m, filled.error_m[index], atol=1e-4)
        np.testing.assert_allclose(found.probabilities, probabilities[index], atol=1e-4)
        assert found.score == pytest.approx(float(probabilities[index].max()), abs=1e-4)
        got.append(found.label)
    assert got == labels
    assert len(set(labels)) > 3  # a network that says one thing would prove nothing


@pytest.mark.parametrize("imputer", ["knn", "restore"])
def test_batches_of_the_robot_change_nothing(imputer, store, occlusion, bundles):
    recognizer = Recognizer(open_bundle(bundles / imputer), ["CPUExecutionProvider"])
    windows = []
    for index in range(5):
        frames = receive(store, occlusion, index, window_s=60)
        windows.append(recognizer.normalize(frames.window(frames.track_ids()[0], 2)))
    together = recognizer.recognize(windows)
    for window, found in zip(windows, together, strict=True):
        alone = recognizer.recognize([window])[0]
        assert alone.label == found.label
        np.testing.assert_allclose(alone.probabilities, found.probabilities, atol=1e-5)
        np.testing.assert_allclose(alone.filled.xyz, found.filled.xyz, atol=1e-5)
    assert recognizer.recognize([]) == []


def test_stream_of_each_network_is_its_own(store, windows, trained, tmp_path):
    settings = dataclasses.replace(make_settings(store, windows), encoder_stream="bone")
    export_bundle(
        *(tmp_path / "bundle", settings, trained.encoder, trained.classifier),
        *(trained.clusters, windows.xyz[:4]),
    )
    opened = open_bundle(tmp_path / "bundle")
    assert opened.settings.encoder_stream == "bone"
    assert opened.settings.classifier_stream == "joint"


def test_networks_that_count_absent_persons_get_them(store, windows, trained, tmp_path):
    torch.manual_seed(6)
    settings = dataclasses.replace(CONFIG.encoder, skip_absent=False)
    encoder, second = (StgcnEncoder(settings).eval() for _ in range(2))
    export_bundle(
        *(tmp_path / "bundle", make_settings(store, windows), encoder),
        *(Classifier(second, trained.classifier.head), trained.clusters, windows.xyz[:4]),
    )
    for name in ("encoder", "classifier"):
        model = onnx.load(tmp_path / "bundle" / f"{name}.onnx")
        assert model.graph.input[0].type.tensor_type.shape.dim[4].dim_value == 2


def test_network_that_differs_is_not_written(store, windows, trained, tmp_path, monkeypatch):
    """A robot must not get networks that are not those of the report."""
    torch.manual_seed(5)
    stranger = StgcnEncoder(CONFIG.encoder).eval()

    def export_stranger(network, example, outputs, free):
        return to_onnx(stranger if len(outputs) == 1 else network, example, outputs, free)

    monkeypatch.setattr(export, "to_onnx", export_stranger)
    with pytest.raises(RuntimeError, match=r"bundle: ONNX and torch differ by \{'encoder': "):
        export_bundle(
            *(tmp_path / "bundle", make_settings(store, windows), trained.encoder),
            *(trained.classifier, trained.clusters, windows.xyz[:4]),
        )
    assert list(tmp_path.iterdir()) == []


def test_bundle_describes_itself(store, windows, bundles):
    settings = open_bundle(bundles / "knn").settings
    assert settings == make_settings(store, windows)
    assert settings.layout == NTU_25.name
    assert settings.classes == store.class_names
    assert (settings.n_frames, settings.n_persons, settings.n_neighbors) == (50, 2, 3)


def test_the_restorer_goes_along_as_it_was_trained(trained, bundles):
    assert open_bundle(bundles / "restore").restorer_path.read_bytes() == (
        trained.restorer.read_bytes()
    )
    assert not (bundles / "knn" / "restorer.onnx").exists()


def test_a_bundle_that_restores_needs_a_restorer(store, windows, trained, tmp_path):
    settings = make_settings(store, windows, "restore")
    with pytest.raises(ValueError, match="restorer_onnx: belongs to the imputer 'restore'"):
        export_bundle(
            *(tmp_path / "bundle", settings, trained.encoder, trained.classifier),
            *(trained.clusters, windows.xyz[:4]),
        )
    assert list(tmp_path.iterdir()) == []


def test_networks_are_plain_onnx_of_free_batch_size(bundles):
    for name, outputs in (("encoder", ["embedding"]), ("classifier", ["logits", "embedding"])):
        model = onnx.load(bundles / "knn" / f"{name}.onnx")
        onnx.checker.check_model(model)
        assert [output.name for output in model.graph.output] == outputs
        shape = model.graph.input[0].type.tensor_type.shape.dim
        assert shape[0].dim_param == "n"
        assert [dim.dim_value for dim in shape[1:4]] == [3, 50, 25]
        assert shape[4].dim_param == "m"  # absent persons may be left out


def test_window_covers_the_median(store):
    durations = np.diff(store.offset) / store.fps
    window_s = usual_duration_s(store)
    assert window_s % 0.5 == 0
    assert window_s - 0.5 < np.median(durations) <= window_s
    brief = dataclasses.replace(store, offset=np.arange(4))
    assert usual_duration_s(brief) == 0.5


def test_differences_are_told(tmp_path):
    told = describe_differences(tmp_path, {"encoder": 1.21e-6, "classifier": 0.0})
    assert told.endswith(
        "largest difference between ONNX and torch: encoder 1.2e-06, classifier 0.0e+00"
    )
