"""From a draft to a bundle that labels: on the robot's code, as it was fitted."""

import dataclasses

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import InputError
from iospstl_core.normalize import Window
from iospstl_core.pipeline import Recognizer
from iospstl_core.session import OnnxModel
from iospstl_core.streams import to_network
from iospstl_train import labeling
from iospstl_train.calibration import Head
from iospstl_train.info import describe
from iospstl_train.labeling import accuracy_by_class, draft_of, label_export, replace_head
from tests.train.labels import write_draft

CPU = ("CPUExecutionProvider",)


@pytest.fixture(scope="module")
def draft(store, windows, tmp_path_factory):
    return write_draft(tmp_path_factory.mktemp("drafts") / "draft", store, windows)


@pytest.fixture(scope="module")
def made(draft, store, occlusion, tmp_path_factory):
    """The bundle and what was measured of it."""
    folder = tmp_path_factory.mktemp("bundles") / "made"
    labeled = label_export(draft, folder, store, None, occlusion)
    return open_bundle(folder), labeled


def recognize(bundle, windows, rows):
    given = [Window(windows.xyz[row], windows.present[row], None) for row in rows]
    return Recognizer(bundle, CPU).recognize(given)


def test_the_robot_says_what_was_fitted(made, windows):
    bundle, labeled = made
    labeler, rows = labeled.labeler, range(0, len(windows.label), 3)
    assert bundle.settings.temperature == labeler.temperature != 1
    labels = set()
    for result in recognize(bundle, windows, rows):
        logits = labeler.head.logits(result.embedding[None])
        expected = softmax(logits[0].astype(float) / labeler.temperature)
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-4)
        known = labeler.rejection.known(result.embedding[None])[0]
        assert result.known == pytest.approx(known, abs=1e-3)
        labels.add(result.label)
    assert len(labels) > 3


def test_only_what_follows_the_embedding_is_new(made, draft, windows):
    bundle, _ = made
    before = open_bundle(draft)
    assert bundle.encoder_path.read_bytes() == before.encoder_path.read_bytes()
    assert bundle.settings.classes == before.settings.classes
    pairs = zip(*(recognize(each, windows, range(4)) for each in (bundle, before)), strict=True)
    for new, old in pairs:
        np.testing.assert_array_equal(new.embedding, old.embedding)
        np.testing.assert_array_equal(new.filled.xyz, old.filled.xyz)
        assert np.abs(new.probabilities - old.probabilities).max() > 1e-3


def test_the_manifest_carries_the_measurements(made):
    bundle, labeled = made
    assert bundle.settings.training["labels"] == labeled.labels
    assert bundle.settings.training["dataset"] == "made"
    lines = describe(bundle.folder)
    assert any(line.startswith("labels: Temperature ") for line in lines)
    assert any("standing still: AUROC" in line for line in lines)


def test_info_says_that_a_draft_labels_everything(draft):
    assert describe(draft)[-1] == "labels: all movement gets one; the bundle has no rejection"


def test_examples_of_the_training_side_go_along(made, windows):
    bundle, _ = made
    with np.load(bundle.examples_path, allow_pickle=False) as arrays:
        assert len(np.unique(arrays["sequence"])) == windows.is_train.sum()
        assert arrays["embedding"].dtype == np.float16


def test_a_new_head_computes_what_numpy_computes(draft, windows):
    bundle, rng = open_bundle(draft), np.random.default_rng(0)
    weight = rng.normal(size=(5, 16)).astype(np.float32)
    head = Head(weight, rng.normal(size=5).astype(np.float32))
    content = replace_head(bundle.classifier_path, head, bundle.settings)
    path = draft.parent / "new.onnx"
    path.write_bytes(content)
    logits, embedding = OnnxModel(path, CPU).run(to_network(np.nan_to_num(windows.xyz[:9])))
    np.testing.assert_allclose(logits, embedding @ weight.T + head.bias, atol=1e-4)
    model = onnx.load_from_string(content)
    assert [output.name for output in model.graph.output] == ["logits", "embedding"]
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names))
    old = onnx.load(str(bundle.classifier_path)).graph.initializer
    assert len(names) == len(old)  # the old weights are gone


def test_a_head_may_be_replaced_again(made):
    bundle, labeled = made
    again = replace_head(bundle.classifier_path, labeled.labeler.head, bundle.settings)
    assert len(again) == bundle.classifier_path.stat().st_size


def test_a_head_that_onnx_computes_otherwise_is_not_written(draft, monkeypatch):
    bundle = open_bundle(draft)
    head = Head(np.ones((5, 16), np.float32), np.zeros(5, np.float32))
    wrong = dataclasses.replace(head, bias=head.bias + 1)
    monkeypatch.setattr(labeling, "_check_head", with_head(labeling._check_head, wrong))
    with pytest.raises(RuntimeError, match="classifier: ONNX and numpy differ by"):
        replace_head(bundle.classifier_path, head, bundle.settings)


def with_head(check, head):
    return lambda content, _, settings: check(content, head, settings)


def test_a_network_without_logits_is_refused(draft):
    bundle = open_bundle(draft)
    head = Head(np.ones((5, 16), np.float32), np.zeros(5, np.float32))
    with pytest.raises(InputError, match=r"expected the outputs embedding and logits, got embe"):
        replace_head(bundle.encoder_path, head, bundle.settings)


def test_a_draft_does_not_stay(tmp_path):
    with draft_of(tmp_path / "runs" / "bundle") as draft:
        draft.mkdir()
        assert draft.parent.parent == tmp_path / "runs"
    assert list((tmp_path / "runs").iterdir()) == []


def test_accuracy_by_class_counts_whole_recordings(made, windows):
    bundle, labeled = made
    counts = accuracy_by_class(labeled.labeler, bundle.settings.classes)
    assert sum(n for _, n in counts.values()) == windows.is_train.sum()
    assert all(0 <= right <= n for right, n in counts.values())
    held_out = labeled.labeler.held_out
    right = (held_out.logits.argmax(axis=1) == held_out.label)[held_out.is_whole].sum()
    assert sum(right for right, _ in counts.values()) == right
