"""Is this movement any of the classes? A score from the embedding, as a share of true actions.

The score is a relative Mahalanobis distance (after Ren et al., 2021, arXiv:2106.09022): how much
nearer an embedding is to a class than to movement that is none. For that, training windows were
made to stand still, joined in the middle of two actions, shuffled in time and cut from pauses.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import BundleError

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]

DEFAULT_THRESHOLD = 0.05
"""Share of the true actions that may be called unknown where nobody asks for another one."""

MIN_OBSERVED = 0.1
"""Share of a window's joints; where less is seen there is no label at all, not even unknown."""


@dataclass(frozen=True)
class Rejection:
    """Gaussians of the classes and of movement that is none, and what their scores mean.

    Attributes
    ----------
    class_means : ndarray of shape (n_classes, n_features), float32
    class_whitening : ndarray of shape (n_features, n_features), float32
        ``W`` with ``W @ W.T`` the inverse covariance within classes, the same for all of them.
    other_mean : ndarray of shape (n_features,), float32
    other_whitening : ndarray of shape (n_features, n_features), float32
        Of movement that is no class.
    quantiles : ndarray of shape (n_quantiles,), float32
        Scores of held-out windows of the classes at evenly spaced shares from 0 to 1, rising.
    """

    class_means: FloatArray
    class_whitening: FloatArray
    other_mean: FloatArray
    other_whitening: FloatArray
    quantiles: FloatArray

    def score(self, embedding: FloatArray) -> DoubleArray:
        """Return scores (n,) of embeddings (n, n_features); the higher, the more like a class."""
        own = embedding @ self.class_whitening.astype(np.float64)
        means = self._white_means
        squares = np.square(own).sum(axis=1)[:, None] + np.square(means).sum(axis=1)
        to_class = (squares - 2 * own @ means.T).min(axis=1)
        other = (embedding - self.other_mean) @ self.other_whitening.astype(np.float64)
        return np.asarray(np.square(other).sum(axis=1) - to_class)

    def known(self, embedding: FloatArray) -> FloatArray:
        """Return the share of held-out windows of the classes that scored lower, (n,), 0 to 1."""
        shares = np.linspace(0, 1, len(self.quantiles))
        score = self.score(embedding)
        return np.interp(score, self.quantiles, shares).astype(np.float32)

    @cached_property
    def _white_means(self) -> DoubleArray:
        return np.asarray(self.class_means @ self.class_whitening.astype(np.float64))


def save_rejection(rejection: Rejection, path: Path) -> None:
    """Write a rejection as plain arrays."""
    np.savez(path, **{item.name: getattr(rejection, item.name) for item in fields(Rejection)})


def open_rejection(path: Path, n_classes: int) -> Rejection:
    """Read what `save_rejection` wrote.

    Raises
    ------
    BundleError
        If the arrays do not fit each other or the number of classes.
    """
    remedy = "export the bundle again with 'iospstl-train export'"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {item.name: arrays[item.name] for item in fields(Rejection)}
    except (KeyError, OSError, ValueError) as error:
        raise BundleError(f"{path}: expected a rejection, got: {error}; {remedy}") from error
    n_features = found["class_whitening"].shape[-1]
    expected = {
        "class_means": (n_classes, n_features),
        "class_whitening": (n_features, n_features),
        "other_mean": (n_features,),
        "other_whitening": (n_features, n_features),
    }
    shapes = {name: found[name].shape for name in expected}
    if shapes != expected:
        raise BundleError(f"{path}: expected shapes {expected}, got {shapes}; {remedy}")
    quantiles = found["quantiles"]
    if quantiles.ndim != 1 or len(quantiles) < 2 or not np.all(np.diff(quantiles) >= 0):
        raise BundleError(f"{path}: quantiles: expected rising numbers, got {quantiles}; {remedy}")
    return Rejection(**found)
