"""Late fusion: what several classifiers say together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_core.errors import InputError

FloatArray = NDArray[np.float32]


def fuse_logits(
    logits: Sequence[FloatArray], weights: Sequence[float] | None = None
) -> FloatArray:
    """Return the weighted sum of logits (n, n_classes) of the same samples.

    Parameters
    ----------
    logits : sequence of ndarray of shape (n, n_classes), float32
    weights : sequence of float, optional
        One for each; equal if left out.

    Raises
    ------
    InputError
        If there is not one weight for each, or one is negative, or all are 0.
    """
    used = list(weights) if weights is not None else [1.0] * len(logits)
    if len(used) != len(logits):
        raise InputError(
            f"--weights: expected one for each of the {len(logits)} runs, got {len(used)}"
        )
    if not (min(used) >= 0 and 0 < sum(used) < np.inf):
        raise InputError(f"--weights: expected numbers from 0 on, not all of them 0, got {used}")
    total = np.zeros_like(logits[0])
    for weight, each in zip(used, logits, strict=True):
        total += np.float32(weight) * each
    return total


def join_classifiers(classifiers: Sequence[nn.Linear]) -> nn.Linear:
    """Return the classifier whose logits are the mean of those of parts of its features.

    The parts stand side by side, in the order of their classifiers.
    """
    weight = torch.cat([each.weight for each in classifiers], dim=1) / len(classifiers)
    joined = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        joined.weight.copy_(weight)
        joined.bias.copy_(torch.stack([each.bias for each in classifiers]).mean(dim=0))
    return joined
