"""From a bundle whose networks are right to one whose labels are: classifier, calibration, report.

The draft completes and embeds the windows itself; only what follows the embedding is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from iospstl_core.bundle import Bundle, BundleSettings, open_bundle, write_bundle
from iospstl_core.errors import InputError
from iospstl_core.pipeline import Recognizer
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import Occlusion, Store
from iospstl_train.calibration import Head, Labeler, fit_labeler
from iospstl_train.evaluation.labels import judge_labels
from iospstl_train.examples import ExampleSet, choose_sequences, make_examples

CPU = ("CPUExecutionProvider",)
MAX_TEST = 2000
"""Test sequences that labels are judged on."""

_EMBEDDING, _LOGITS = "embedding", "logits"
_TOLERANCE = 1e-4
_N_CHECKED = 4


@dataclass(frozen=True)
class Labeled:
    """What labels a new bundle, and how well.

    Attributes
    ----------
    labeler : Labeler
    labels : dict
        Measured as of `iospstl_train.evaluation.labels.judge_labels`.
    """

    labeler: Labeler
    labels: dict[str, Any]


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """Yield where to write the draft of a bundle; it is removed with the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".draft-", dir=folder.parent) as place:
        yield Path(place) / folder.name


def label_export(
    draft: Path, folder: Path, store: Store, split: str | None, occlusion: Occlusion | None
) -> Labeled:
    """Fit the labels of a draft on the training sequences of a store and write the bundle.

    Parameters
    ----------
    draft : Path
        A bundle; its classifier only embeds.
    folder : Path
        Bundle to write.
    store : Store
        With the classes of the draft.
    split : str, optional
        Its training side is fitted, its test side only measured; the store's first if left out.
    occlusion : Occlusion, optional
        Cells to hide before the robot's code completes them.
    """
    is_train, is_test = store.split(split)
    recognizer = Recognizer(open_bundle(draft), CPU)
    examples = make_examples(recognizer, choose_sequences(store, is_train, occlusion))
    asked = choose_sequences(store, is_test, occlusion, limit=MAX_TEST)
    test = make_examples(recognizer, asked, seed=1)
    return label_bundle(open_bundle(draft), folder, examples, test)


def label_bundle(
    bundle: Bundle,
    folder: Path,
    examples: ExampleSet,
    test: ExampleSet | None,
    changes: Mapping[str, Any] | None = None,
) -> Labeled:
    """Fit labels on examples and write a copy of a bundle that gives them.

    Parameters
    ----------
    bundle : Bundle
    folder : Path
        Bundle to write; may be the old one's.
    examples : ExampleSet
        Embedded by the same bundle.
    test : ExampleSet, optional
    changes : mapping, optional
        New values of the bundle's settings, such as its classes.
    """
    settings = replace(bundle.settings, **(changes or {}))
    n_classes = len(settings.classes)
    labeler = fit_labeler(examples, n_classes)
    labels = judge_labels(labeler, examples, test, n_classes)
    training = {**settings.training, "labels": labels}
    restorer = bundle.restorer_path.read_bytes() if settings.imputer == "restore" else None
    write_bundle(
        folder,
        replace(settings, temperature=labeler.temperature, training=training),
        bundle.encoder_path.read_bytes(),
        replace_head(bundle.classifier_path, labeler.head, settings),
        bundle.centroids,
        bundle.bank,
        restorer,
        labeler.rejection,
        examples.to_arrays(),
    )
    return Labeled(labeler, labels)


def replace_head(path: Path, head: Head, settings: BundleSettings) -> bytes:
    """Return a classifier as ONNX whose logits are those of a head on its embedding.

    Raises
    ------
    InputError
        If the file has no outputs called logits and embedding, or embeds another size.
    RuntimeError
        If the new network does not compute what the head does.
    """
    model = onnx.load(str(path))
    outputs = {output.name: output for output in model.graph.output}
    if not {_EMBEDDING, _LOGITS} <= outputs.keys():
        raise InputError(
            f"{path}: expected the outputs embedding and logits, got {', '.join(outputs)}; export "
            "the bundle again with 'iospstl-train export'"
        )
    _remove_logits(model.graph)
    tensors = {"head_weight": head.weight, "head_bias": head.bias}
    for name, values in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    inputs = [_EMBEDDING, *tensors]
    model.graph.node.append(helper.make_node("Gemm", inputs, [_LOGITS], transB=1))
    outputs[_LOGITS].type.tensor_type.shape.dim[1].dim_value = len(head.bias)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    _check_head(content, head, settings)
    return content


def _remove_logits(graph: Any) -> None:
    """Remove what computes the logits, and the weights that then nothing needs."""
    for node in [node for node in graph.node if _LOGITS in node.output]:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _check_head(content: bytes, head: Head, settings: BundleSettings) -> None:
    """Run a new classifier on made windows and compare it with numpy."""
    rng = np.random.default_rng(0)
    shape = (_N_CHECKED, 3, settings.n_frames, NTU_25.n_joints, settings.n_persons)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "classifier.onnx"
        path.write_bytes(content)
        logits, embedding = OnnxModel(path, CPU).run(rng.normal(size=shape).astype(np.float32))
    expected = head.logits(embedding)
    difference = float(np.abs(logits - expected).max())
    if difference > _TOLERANCE * max(float(np.abs(expected).max()), 1):
        raise RuntimeError(f"classifier: ONNX and numpy differ by {difference}")


def accuracy_by_class(labeler: Labeler, classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many whole held-out recordings of each class were right, and out of how many."""
    held_out = labeler.held_out
    predicted = held_out.logits.argmax(axis=1)
    counts = {}
    for index, name in enumerate(classes):
        own = held_out.is_whole & (held_out.label == index)
        counts[name] = (int((predicted[own] == index).sum()), int(own.sum()))
    return counts
