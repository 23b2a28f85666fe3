"""From examples to what a robot says: a classifier, honest probabilities, and what is unknown.

The classifier is a logistic regression on frozen embeddings. Its temperature and the scale of the
rejection come from windows that were held out together with everything else of the same person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from iospstl_core.rejection import Rejection
from iospstl_train.data.window_kinds import Kind
from iospstl_train.examples import ExampleSet

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

N_FOLDS = 5
N_QUANTILES = 101

_MIN_DEVIATION = 1e-6
_NEVER = -30.0
"""Bias of a class without examples."""

_MAX_STEPS = 500
_TOLERANCE = 1e-3
_LOG_TEMPERATURES = (-3.0, 3.0)


@dataclass(frozen=True)
class Head:
    """A linear classifier: logits are ``embedding @ weight.T + bias``.

    Attributes
    ----------
    weight : ndarray of shape (n_classes, n_features), float32
    bias : ndarray of shape (n_classes,), float32
    """

    weight: FloatArray
    bias: FloatArray

    def logits(self, embedding: FloatArray) -> FloatArray:
        """Return logits (n, n_classes) of embeddings (n, n_features)."""
        return embedding @ self.weight.T + self.bias


@dataclass(frozen=True)
class HeldOut:
    """What classifiers say of actions that they have not seen, all folds together.

    Attributes
    ----------
    logits : ndarray of shape (n, n_classes), float32
    score : ndarray of shape (n,), float64
        Of the rejection.
    label : ndarray of shape (n,), int64
    is_whole : ndarray of shape (n,), bool
        Windows that show a whole recording.
    """

    logits: FloatArray
    score: DoubleArray
    label: IntArray
    is_whole: BoolArray


@dataclass(frozen=True)
class Labeler:
    """All that a bundle needs to label embeddings.

    Attributes
    ----------
    head : Head
    temperature : float
    rejection : Rejection
    held_out : HeldOut
        What temperature and rejection were calibrated on.
    """

    head: Head
    temperature: float
    rejection: Rejection
    held_out: HeldOut


def fit_labeler(examples: ExampleSet, n_classes: int, seed: int = 0) -> Labeler:
    """Fit a classifier and calibrate it on folds of the same examples.

    Parameters
    ----------
    examples : ExampleSet
        Of at least two classes and two groups.
    n_classes : int
    seed : int
        Of the folds.
    """
    held_out = hold_out(examples, n_classes, seed)
    rejection = fit_rejection(examples)
    shares = np.linspace(0, 1, N_QUANTILES)
    quantiles = np.quantile(held_out.score, shares).astype(np.float32)
    by_person = has_people(examples)
    return Labeler(
        head=fit_head(examples, n_classes),
        temperature=fit_temperature(held_out.logits, held_out.label, may_sharpen=by_person),
        rejection=replace(rejection, quantiles=quantiles),
        held_out=held_out,
    )


def has_people(examples: ExampleSet) -> bool:
    """Say whether people are held out whole, rather than single recordings of anybody."""
    return len(np.unique(examples.group)) < len(np.unique(examples.sequence))


def hold_out(examples: ExampleSet, n_classes: int, seed: int = 0) -> HeldOut:
    """Fit on all folds but one, and ask about the actions of that one; for each."""
    logits, score, label, is_whole = [], [], [], []
    for rest, own in _folds(examples, seed):
        asked = own[own.is_action]
        logits.append(fit_head(rest, n_classes).logits(asked.embedding))
        score.append(fit_rejection(rest).score(asked.embedding))
        label.append(asked.label)
        is_whole.append(asked.kind == Kind.WHOLE)
    return HeldOut(*(np.concatenate(parts) for parts in (logits, score, label, is_whole)))


def _folds(examples: ExampleSet, seed: int) -> Iterator[tuple[ExampleSet, ExampleSet]]:
    fold = fold_numbers(examples, seed)
    for number in range(fold.max() + 1):
        yield examples[fold != number], examples[fold == number]


def fold_numbers(examples: ExampleSet, seed: int = 0, n_folds: int = N_FOLDS) -> IntArray:
    """Return the fold (n,) of each example: whole groups, classes spread evenly."""
    groups, first, inverse = np.unique(examples.group, return_index=True, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(groups))
    order = np.lexsort((drawn, examples.label[first]))
    fold = np.zeros(len(groups), dtype=np.int64)
    fold[order] = np.arange(len(groups)) % min(n_folds, len(groups))
    return fold[inverse]


def fit_head(examples: ExampleSet, n_classes: int) -> Head:
    """Fit a logistic regression on standardised embeddings of actions; takes raw ones.

    A class without examples is never named.
    """
    actions = examples[examples.is_action]
    mean, deviation = _scale(actions.embedding)
    weight, bias = np.zeros((n_classes, len(mean))), np.full(n_classes, _NEVER)
    if len(np.unique(actions.label)) == 1:
        bias[actions.label[0]] = 0
        return Head(weight.astype(np.float32), bias.astype(np.float32))
    model = LogisticRegression(max_iter=_MAX_STEPS, tol=_TOLERANCE)
    model.fit((actions.embedding - mean) / deviation, actions.label)
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row, for the second class against the first
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight[model.classes_] = coefficients / deviation
    bias[model.classes_] = intercept - weight[model.classes_] @ mean
    return Head(weight.astype(np.float32), bias.astype(np.float32))


def fit_rejection(examples: ExampleSet) -> Rejection:
    """Fit the Gaussians of a rejection; its quantiles are still to be found.

    Movement that is no class has one Gaussian for all its kinds: it separates movement of another
    kind better than one for each, and better than one of all training windows.
    """
    actions = examples[examples.is_action]
    mean, deviation = _scale(actions.embedding)
    own = (actions.embedding - mean) / deviation
    other = (examples[~examples.is_action].embedding - mean) / deviation
    classes, inverse = np.unique(actions.label, return_inverse=True)
    means = np.stack([own[actions.label == name].mean(axis=0) for name in classes])
    other_mean = other.mean(axis=0)
    return Rejection(
        class_means=(means * deviation + mean).astype(np.float32),
        class_whitening=_whitening(own - means[inverse], deviation),
        other_mean=(other_mean * deviation + mean).astype(np.float32),
        other_whitening=_whitening(other - other_mean, deviation),
        quantiles=np.zeros(0, dtype=np.float32),
    )


def _whitening(centred: DoubleArray, deviation: DoubleArray) -> FloatArray:
    """``W`` of raw embeddings with ``W @ W.T`` the inverse of the shrunk covariance."""
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    lower = np.linalg.cholesky(np.linalg.inv(covariance))
    return np.asarray(lower / deviation[:, None], dtype=np.float32)


def _scale(embedding: FloatArray) -> tuple[DoubleArray, DoubleArray]:
    """Mean and deviation of each feature; 1 for one that does not vary."""
    deviation = embedding.std(axis=0, dtype=np.float64)
    deviation[~(deviation > _MIN_DEVIATION)] = 1
    return embedding.mean(axis=0, dtype=np.float64), deviation


def fit_temperature(logits: FloatArray, label: IntArray, may_sharpen: bool = True) -> float:
    """Return the temperature of the lowest Brier score, at least 1 unless it may sharpen.

    Few windows that are wrong beyond doubt (somebody hardly seen) would decide the lowest log
    loss, and make all others too modest. People whom the classifier knows are no ground for more
    confidence in others: then it must not sharpen.
    """
    truth = np.eye(logits.shape[1])[label]

    def brier(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature), axis=1)
        return float(np.square(probabilities - truth).sum(axis=1).mean())

    found = minimize_scalar(brier, bounds=_LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(found.x))
    return temperature if may_sharpen else max(temperature, 1.0)
