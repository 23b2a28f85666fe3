"""Linear evaluation: a linear classifier on frozen embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_train.config import Config, LinearSettings
from iospstl_train.data.windows import WindowSet
from iospstl_train.models.encoder import Encoder
from iospstl_train.training.embed import embed

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
    predicted : ndarray of shape (n_test,), int64
    """

    classifier: nn.Linear
    accuracy: float
    predicted: NDArray[np.int64]


def evaluate_linear(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    test: tuple[NDArray[np.float32], NDArray[np.int64]],
    n_classes: int,
    settings: LinearSettings,
    seed: int = 1,
) -> LinearResult:
    """Fit a linear classifier with Adam and a cosine to 0; report its last epoch.

    Parameters
    ----------
    train, test : (embeddings (n, d) float32, labels (n,) int64)
    n_classes : int
    settings : LinearSettings
    seed : int
        Of the initial weights and the order of samples.

    Notes
    -----
    Embeddings are standardised with the mean and deviation of the training set; both are folded
    into the returned classifier, which takes raw embeddings.
    """
    features, labels = torch.from_numpy(train[0]), torch.from_numpy(train[1])
    mean, deviation = features.mean(dim=0), features.std(dim=0)
    deviation[~(deviation > _MIN_DEVIATION)] = 1
    scaled = (features - mean) / deviation
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = nn.Linear(features.shape[1], n_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.learning_rate)
    for epoch in range(settings.epochs):
        rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
        for group in optimizer.param_groups:
            group["lr"] = rate
        order = torch.randperm(len(labels), generator=generator)
        for rows in torch.split(order, settings.batch_size):
            loss = nn.functional.cross_entropy(head(scaled[rows]), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
        predicted = head(torch.from_numpy(test[0])).argmax(dim=1).numpy()
    return LinearResult(head, float((predicted == test[1]).mean()), predicted)


def evaluate_encoder(
    encoder: Encoder, windows: WindowSet, config: Config, seed: int = 1
) -> LinearResult:
    """Embed all windows with a frozen encoder and evaluate its embeddings.

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
    return evaluate_linear(
        (features[train], windows.label[train]),
        (features[test], windows.label[test]),
        len(windows.class_names),
        config.linear,
        seed,
    )
