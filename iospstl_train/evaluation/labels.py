"""How honest a bundle's labels are: calibration, and what is called unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

from iospstl_core.rejection import DEFAULT_THRESHOLD, Rejection
from iospstl_train.calibration import Labeler, fit_head, fit_rejection, fold_numbers
from iospstl_train.data.window_kinds import DESCRIPTIONS, MADE, Kind
from iospstl_train.examples import ExampleSet

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

N_BINS = 15
N_CLASS_FOLDS = 4
MIN_CLASSES = 3
"""Classes from which on some can be held out."""


def expected_calibration_error(probabilities: NDArray[Any], label: IntArray) -> float:
    """Return the mean distance of confidence and accuracy over bins of equal width (ECE).

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
    label : ndarray of shape (n,), int64
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == label
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    gap = np.bincount(bins, weights=confidence - is_right, minlength=N_BINS)
    return float(np.abs(gap).sum() / len(label))


def judge_labels(
    labeler: Labeler, examples: ExampleSet, test: ExampleSet | None, n_classes: int
) -> dict[str, Any]:
    """Measure a labeler; return plain numbers for report and manifest.

    Parameters
    ----------
    labeler : Labeler
        Fitted on `examples`.
    examples : ExampleSet
    test : ExampleSet, optional
        Of the test set. Without it, a labeler that is fitted on the rest, with the same
        temperature and quantiles, is measured on one fold.
    n_classes : int

    Returns
    -------
    dict
        ``temperature``, ``threshold``; ``held_out`` and ``test`` as of `measure_actions`; ``test``
        also with ``is_fold``; ``unknown``: for each kind of movement that is no class the AUROC,
        the AUROC when the rejection had not been fitted on that kind, and the share that the
        threshold rejects; ``auroc_held_out_classes``: one a group of classes that were held out.
    """
    held_out = labeler.held_out
    described = {
        "temperature": labeler.temperature,
        "threshold": DEFAULT_THRESHOLD,
        "held_out": measure_actions(held_out.logits, held_out.label, labeler.temperature),
    }
    is_fold = test is None
    if test is None:
        fold = fold_numbers(examples)
        examples, test = examples[fold != 0], examples[fold == 0]
        quantiles = labeler.rejection.quantiles
        labeler = replace(
            labeler,
            head=fit_head(examples, n_classes),
            rejection=replace(fit_rejection(examples), quantiles=quantiles),
        )
    actions = test[test.is_action]
    logits = labeler.head.logits(actions.embedding)
    known = labeler.rejection.known(actions.embedding)
    measured = measure_actions(logits, actions.label, labeler.temperature, known)
    is_whole, is_live = actions.kind == Kind.WHOLE, actions.kind == Kind.LIVE
    is_right = logits.argmax(axis=1) == actions.label
    return {
        **described,
        "test": {
            "is_fold": is_fold,
            **measured,
            "accuracy_whole": _mean(is_right[is_whole]),
            "accuracy_parts": _mean(is_right[~(is_whole | is_live)]),
            "accuracy_live": _mean(is_right[is_live]),
        },
        "unknown": {
            DESCRIPTIONS[kind]: _judge_kind(labeler.rejection, examples, test, kind)
            for kind in MADE
            if (test.kind == kind).any()
        },
        "auroc_held_out_classes": _hold_out_classes(examples, test),
    }


def measure_actions(
    logits: FloatArray, label: IntArray, temperature: float, known: FloatArray | None = None
) -> dict[str, float]:
    """Return what labels of actions are worth.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes), float32
    label : ndarray of shape (n,), int64
    temperature : float
    known : ndarray of shape (n,), float32, optional

    Returns
    -------
    dict
        ``accuracy``; ``ece`` and ``nll`` (mean negative log-likelihood), and both before the
        temperature; with `known`, also ``coverage``, the share that the default threshold leaves
        a label, and ``accuracy_covered``.
    """
    is_right = logits.argmax(axis=1) == label
    measured = {"n_windows": float(len(label)), "accuracy": _mean(is_right)}
    for name, divisor in (("_before", 1.0), ("", temperature)):
        scaled = (logits / divisor).astype(np.float64)
        measured[f"ece{name}"] = expected_calibration_error(softmax(scaled, axis=1), label)
        likelihood = log_softmax(scaled, axis=1)[np.arange(len(label)), label]
        measured[f"nll{name}"] = float(-likelihood.mean())
    if known is not None:
        is_covered = known >= DEFAULT_THRESHOLD
        measured["coverage"] = _mean(is_covered)
        measured["accuracy_covered"] = _mean(is_right[is_covered])
    return measured


def _mean(values: BoolArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _judge_kind(
    rejection: Rejection, examples: ExampleSet, test: ExampleSet, kind: Kind
) -> dict[str, float]:
    others = fit_rejection(examples[examples.kind != kind])
    shown = test[test.kind == kind]
    return {
        "auroc": _auroc(rejection, test[test.is_action], shown),
        "auroc_not_fitted": _auroc(others, test[test.is_action], shown),
        "rejected": _mean(rejection.known(shown.embedding) < DEFAULT_THRESHOLD),
    }


def _auroc(rejection: Rejection, known: ExampleSet, unknown: ExampleSet) -> float:
    """Chance that a window of an action scores higher than another one."""
    score = rejection.score(np.concatenate([known.embedding, unknown.embedding]))
    is_known = np.arange(len(score)) < len(known.label)
    return float(roc_auc_score(is_known, score))


def _hold_out_classes(examples: ExampleSet, test: ExampleSet) -> list[float]:
    """AUROC of the classes that a rejection has against some that it has never seen."""
    classes = np.unique(examples.label)
    if len(classes) < MIN_CLASSES:
        return []
    found = []
    shuffled = np.random.default_rng(0).permutation(classes)
    for hidden in np.array_split(shuffled, min(N_CLASS_FOLDS, len(classes))):
        is_hidden = np.isin(examples.label, hidden) | np.isin(examples.partner, hidden)
        asked = test[test.is_action]
        was_seen = ~np.isin(asked.label, hidden)
        if was_seen.all() or not was_seen.any():
            continue
        rejection = fit_rejection(examples[~is_hidden])
        found.append(_auroc(rejection, asked[was_seen], asked[~was_seen]))
    return found


def describe_labels(labels: Mapping[str, Any]) -> list[str]:
    """Return sentences about what `judge_labels` measured."""
    test, held_out = labels["test"], labels["held_out"]
    what = "a held-out fold" if test["is_fold"] else "the test set"
    classes = labels["auroc_held_out_classes"]
    lines = [
        f"Accuracy on {what}: {test['accuracy_whole']:.1%} on whole actions, "
        f"{test['accuracy_parts']:.1%} on parts of them, {test['accuracy_live']:.1%} on the "
        "robot's windows, which also show what was before.",
        f"Temperature {labels['temperature']:.2f}: calibration error (ECE) from "
        f"{held_out['ece_before']:.1%} to {held_out['ece']:.1%} on held-out training windows, "
        f"from {test['ece_before']:.1%} to {test['ece']:.1%} on {what}.",
        f"At the threshold {labels['threshold']:g}, {1 - test['coverage']:.1%} of the actions of "
        f"{what} are called unknown; the others are right in {test['accuracy_covered']:.1%} "
        f"instead of {test['accuracy']:.1%}.",
    ]
    if classes:
        lines.append(
            f"Classes that classifier and rejection have not seen: AUROC {np.mean(classes):.2f} "
            f"({min(classes):.2f} to {max(classes):.2f}, {len(classes)} groups of classes; an "
            "encoder of the same recordings has seen them without labels)."
        )
    return lines + [
        f"Movement that is no class, {name}: AUROC {found['auroc']:.2f} "
        f"({found['auroc_not_fitted']:.2f} when not fitted on it), {found['rejected']:.1%} called "
        "unknown."
        for name, found in labels["unknown"].items()
    ]
