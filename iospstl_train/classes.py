"""``iospstl-train classes``: a bundle for the user's own classes, without training a network.

The bundle's encoder and imputer stay; the user's recordings are completed and embedded by it as on
the robot, and a new classifier with temperature and rejection is fitted on the embeddings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from iospstl_core.bundle import Bundle, open_bundle
from iospstl_core.errors import InputError
from iospstl_core.pipeline import Recognizer
from iospstl_core.store import Store, find_occlusion, open_store
from iospstl_train.calibration import has_people
from iospstl_train.cli_options import check_out
from iospstl_train.data.npz import open_npz
from iospstl_train.data.open import read_layout
from iospstl_train.data.prepare import prepare
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.examples import (
    ExampleSet,
    choose_sequences,
    from_arrays,
    join_examples,
    make_examples,
)
from iospstl_train.export import usual_duration_s
from iospstl_train.labeling import CPU, accuracy_by_class, label_bundle

MIN_RECORDINGS = 3
FEW_RECORDINGS = 10
_EVERYTHING = "train: label not in 999999999; test: label in 999999999"


def run_classes(options: argparse.Namespace) -> list[str]:
    """Fit the classes of some recordings and write a bundle; return lines to print."""
    began_s = time.monotonic()
    check_out(options.out, "classifier.onnx")
    bundle = open_bundle(options.bundle)
    with _open_recordings(options) as store:
        bundle = _with_window(bundle, store, options.keep)
        examples, test = _embed_recordings(bundle, store, options)
        classes, examples, test = _name_classes(bundle, store, examples, test, options.keep)
        provenance = {"dataset": store.dataset, "n_sequences": len(np.unique(examples.sequence))}
    training = {**provenance, "keep": options.keep, "bundle": dict(bundle.settings.training)}
    changes = {"classes": classes, "training": training}
    labeled = label_bundle(bundle, options.out, examples, test, changes)
    lines = ["cross-validated accuracy by class (whole recordings):"]
    for name, (n_right, n) in accuracy_by_class(labeled.labeler, classes).items():
        few = "  few recordings: take this with care" if n < FEW_RECORDINGS else ""
        lines.append(f"  {name}: {n_right} of {n}, {n_right / max(n, 1):.0%}{few}")
    if not has_people(examples):
        lines.append(
            "nobody's recordings were held out together: other people may be recognised less well "
            "than this says; several recordings of each class by each of several people, with "
            "the subject of each, would tell"
        )
    seconds = time.monotonic() - began_s
    return [*lines, *describe_labels(labeled.labels), f"{options.out}: {seconds:.0f} s"]


@contextmanager
def _open_recordings(options: argparse.Namespace) -> Iterator[Store]:
    """Open a store, or prepare an archive as one for as long as it is needed."""
    data: Path = options.data
    if (data / "manifest.json").is_file():
        if options.layout or options.zero_is_missing:
            raise InputError("--layout and --zero-is-missing: are for archives; leave them out")
        yield open_store(data)
        return
    if data.suffix != ".npz" or not data.is_file():
        raise InputError(
            f"--data: expected the folder of a prepared store or an .npz archive, got '{data}'; "
            "see 'iospstl-train prepare --help' for other files"
        )
    if options.layout is None:
        raise InputError("--layout: an archive needs it, such as --layout kinect-v1-20")
    if options.occlusion or options.split:
        raise InputError(
            "--occlusion and --split: are of stores; prepare the archive with 'iospstl-train "
            "prepare --dataset npz' and give the store as --data"
        )
    layout = read_layout(options.layout)
    source = open_npz(data, layout, _EVERYTHING, options.zero_is_missing, options.fps)
    with TemporaryDirectory() as folder:
        prepare(source, Path(folder) / "npz", {"data": str(data)}, 1)
        yield replace(open_store(Path(folder) / "npz"), dataset=data.stem)


def _with_window(bundle: Bundle, store: Store, keep: bool) -> Bundle:
    """Return a bundle whose windows cover the recordings, and its own classes if they stay."""
    window_s = usual_duration_s(store)
    if keep:
        window_s = max(window_s, bundle.settings.window_s)
    return replace(bundle, settings=replace(bundle.settings, window_s=window_s))


def _embed_recordings(
    bundle: Bundle, store: Store, options: argparse.Namespace
) -> tuple[ExampleSet, ExampleSet | None]:
    """Embed what is fitted, and the test side of a split where one is named."""
    occlusion = find_occlusion(store, options.occlusion) if options.occlusion else None
    chosen, asked = np.ones(len(store), dtype=bool), None
    if options.split:
        chosen, asked = store.split(options.split)
    _check_counts(store, store.label[chosen])
    recognizer = Recognizer(bundle, CPU)
    examples = make_examples(recognizer, choose_sequences(store, chosen, occlusion), options.seed)
    if asked is None:
        return examples, None
    test = choose_sequences(store, asked, occlusion)
    return examples, make_examples(recognizer, test, options.seed + 1)


def _check_counts(store: Store, label: NDArray[np.int64]) -> None:
    counts = np.bincount(label, minlength=len(store.class_names))
    names = zip(store.class_names, counts, strict=True)
    too_few = [f"{name} ({count})" for name, count in names if 0 < count < MIN_RECORDINGS]
    if too_few:
        raise InputError(
            f"{store.dataset}: expected at least {MIN_RECORDINGS} recordings of each class, 10 or "
            f"more are better, got too few of: {', '.join(too_few)}; record more or leave the "
            "class out"
        )


def _name_classes(
    bundle: Bundle, store: Store, examples: ExampleSet, test: ExampleSet | None, keep: bool
) -> tuple[tuple[str, ...], ExampleSet, ExampleSet | None]:
    """Return the names of the new bundle's classes, and the examples numbered accordingly."""
    own = tuple(store.class_names[label] for label in np.unique(examples.label))
    if len(own) < 2 - keep:
        raise InputError(
            f"{store.dataset}: expected recordings of at least two classes, got "
            f"{', '.join(own) or 'none'}; record others too, or add to the bundle's with --keep"
        )
    old = bundle.settings.classes if keep else ()
    classes = (*old, *(name for name in own if name not in old))
    number = np.array(
        [classes.index(name) if name in classes else -1 for name in store.class_names]
    )
    numbered = [_renumber(part, number) for part in (examples, test) if part is not None]
    new_test = numbered[1] if test is not None else None
    if not keep:
        return classes, numbered[0], new_test
    return classes, join_examples([_old_examples(bundle, numbered[0]), numbered[0]]), new_test


def _renumber(examples: ExampleSet, number: NDArray[np.int64]) -> ExampleSet:
    """Return examples with other class numbers, without those of classes that are not fitted."""
    kept = examples[(number[examples.label] >= 0) & (number[examples.partner] >= 0)]
    return replace(kept, label=number[kept.label], partner=number[kept.partner])


def _old_examples(bundle: Bundle, new: ExampleSet) -> ExampleSet:
    """Return a bundle's own examples; their people and recordings are others than the new ones."""
    if not bundle.examples_path.is_file():
        raise InputError(
            f"{bundle.examples_path}: --keep needs the examples of the bundle's classes, got none;"
            " export the bundle again with 'iospstl-train export'"
        )
    with np.load(bundle.examples_path, allow_pickle=False) as arrays:
        old = from_arrays(dict(arrays))
    return replace(
        old,
        group=old.group + int(new.group.max()) + 1,
        sequence=old.sequence + int(new.sequence.max()) + 1,
    )
