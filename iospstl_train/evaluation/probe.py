"""A quick look at embeddings: nothing is trained, so it takes seconds and tells no fortune."""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Labeled: TypeAlias = tuple[FloatArray, IntArray]

N_NEIGHBORS = 5


def neighbor_accuracy(train: Labeled, test: Labeled) -> float:
    """Return the share of test samples that their nearest training samples label right.

    Five neighbours (all, if there are fewer) vote, weighted by the inverse of the cosine distance.

    Parameters
    ----------
    train, test : (embeddings (n, d) float32, labels (n,) int64)
    """
    n_neighbors = min(N_NEIGHBORS, len(train[0]))
    probe = KNeighborsClassifier(n_neighbors, weights="distance", metric="cosine")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # of very small sets
        probe.fit(*train)
        return float(probe.score(*test))


def effective_rank(features: FloatArray) -> float:
    """Return how many dimensions embeddings (n, d) really fill, from 1 to min(n, d).

    The exponential of the entropy of the singular values of the centred embeddings (RankMe,
    Garrido et al., ICML 2023); 0 where all embeddings are equal.
    """
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False).astype(np.float64)
    if not values.sum() > 0:
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
