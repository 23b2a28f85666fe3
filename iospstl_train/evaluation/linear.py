"""Linear evaluation: a linear classifier on frozen embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_train.config import Config
from iospstl_train.data.windows import WindowSet
from iospstl_train.evaluation.fusion import join_classifiers
from iospstl_train.models.encoder import Encoder
from iospstl_train.models.stream_encoders import StreamEncoders
from iospstl_train.settings import RATE_DROP, SGD_MOMENTUM, LinearSettings
from iospstl_train.training.embed import embed

Labeled: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]

_MIN_DEVIATION = 1e-6
"""Features that vary less over the training set are centred, but not blown up."""


@dataclass(frozen=True)
class LinearResult:
    """A trained classifier and what it says about the test set after its last epoch.

    Attributes
    ----------
    classifier : Linear
        From raw embeddings to logits.
    accuracy : float
        Share of test samples that are right.
    logits : ndarray of shape (n_test, n_classes), float32
    """

    classifier: nn.Linear
    accuracy: float
    logits: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class that each test sample gets, (n_test,)."""
        return np.asarray(self.logits.argmax(axis=1))


def evaluate_linear(
    train: Labeled,
    test: Labeled,
    n_classes: int,
    settings: LinearSettings,
    seed: int = 1,
) -> LinearResult:
    """Fit a linear classifier; report its last epoch.

    Parameters
    ----------
    train, test : (embeddings (n, d) float32, labels (n,) int64)
    n_classes : int
    settings : LinearSettings
    seed : int
        Of the initial weights and the order of samples.

    Notes
    -----
    Where embeddings are standardised with the mean and deviation of the training set, both are
    folded into the returned classifier, which takes raw embeddings.
    """
    features, labels = torch.from_numpy(train[0]), torch.from_numpy(train[1])
    mean, deviation = features.mean(dim=0), features.std(dim=0)
    deviation[~(deviation > _MIN_DEVIATION)] = 1
    if not settings.standardize:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    scaled = (features - mean) / deviation
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = nn.Linear(features.shape[1], n_classes)
    optimizer = _make_optimizer(head, settings)
    for epoch in range(settings.epochs):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate_share(epoch, settings)
        order = torch.randperm(len(labels), generator=generator)
        for rows in torch.split(order, settings.batch_size):
            loss = nn.functional.cross_entropy(head(scaled[rows]), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
    return _judge(head, test)


def _make_optimizer(head: nn.Linear, settings: LinearSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(head.parameters(), lr=settings.learning_rate, momentum=SGD_MOMENTUM)
    return torch.optim.Adam(head.parameters(), lr=settings.learning_rate)


def _rate_share(epoch: int, settings: LinearSettings) -> float:
    """Share of the learning rate in an epoch."""
    if settings.schedule == "drop":
        return RATE_DROP if epoch >= settings.drop_epoch else 1.0
    return 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))


def _judge(head: nn.Linear, test: Labeled) -> LinearResult:
    """Return what a classifier of raw embeddings is worth."""
    with torch.no_grad():
        logits = head(torch.from_numpy(test[0])).numpy()
    return LinearResult(head, float((logits.argmax(axis=1) == test[1]).mean()), logits)


def evaluate_parts(
    train: Labeled,
    test: Labeled,
    n_classes: int,
    settings: LinearSettings,
    seed: int,
    part_sizes: Sequence[int],
) -> LinearResult:
    """Fit a classifier to each part of the embeddings; their mean logits are the result.

    Parameters
    ----------
    train, test, n_classes, settings, seed
        As of `evaluate_linear`.
    part_sizes : sequence of int
        Features of each part; they stand side by side.
    """
    ends = np.cumsum(part_sizes)
    parts = [slice(end - size, end) for end, size in zip(ends, part_sizes, strict=True)]
    heads = []
    for part in parts:
        seen, asked = (
            (np.ascontiguousarray(features[:, part]), label) for features, label in (train, test)
        )
        heads.append(evaluate_linear(seen, asked, n_classes, settings, seed).classifier)
    return _judge(join_classifiers(heads), test)


def evaluate_encoder(
    encoder: Encoder, windows: WindowSet, config: Config, seed: int = 1
) -> LinearResult:
    """Embed all windows with a frozen encoder and evaluate its embeddings.

    Where they are those of several streams side by side, each stream gets a classifier of its own.

    Parameters
    ----------
    encoder : Encoder
    windows : WindowSet
        Fitted on its training windows, tested on its test windows.
    config : Config
        The one the encoder was trained with.
    seed : int
        Of the classifier.
    """
    features = embed(encoder, windows.xyz, config.training.stream)
    train, test = windows.is_train, windows.is_test
    sizes = encoder.part_sizes if isinstance(encoder, StreamEncoders) else features.shape[1:]
    return evaluate_parts(
        (features[train], windows.label[train]),
        (features[test], windows.label[test]),
        len(windows.class_names),
        config.linear,
        seed,
        sizes,
    )
