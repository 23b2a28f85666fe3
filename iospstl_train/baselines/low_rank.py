"""Low-rank completion: windows as points near a plane of few dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_train.ranges import AboveZero, Positive

FloatArray = NDArray[np.float32]

_ROWS_AT_ONCE = 64
_MIN_NOISE = 1e-6


@dataclass(frozen=True)
class LowRankSettings:
    """The low-rank completion.

    Attributes
    ----------
    rank : int
        Dimensions of the plane; fewer where there are fewer samples.
    n_steps : int
        Rounds of completing and fitting at most.
    tolerance : float
        Stop when a round moves the filled values by less than this share of their deviation.
    """

    rank: Positive = 60
    n_steps: Positive = 20
    tolerance: AboveZero = 0.01


@dataclass(frozen=True)
class LowRankModel:
    """A Gaussian whose covariance is a plane of few dimensions and equal noise around it.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), float32
    basis : ndarray of shape (n_features, rank), float32
        Principal directions, each as long as the deviation along it.
    noise : float
        Variance of each feature around the plane.
    """

    mean: FloatArray
    basis: FloatArray
    noise: float

    def complete(self, samples: FloatArray) -> FloatArray:
        """Return a copy of samples (n, n_features) with NaN replaced by its expected value.

        The expectation is the Gaussian's given the observed features: a ridge regression on the
        basis. Costs n_features * rank**2 operations a sample.
        """
        completed = samples.copy()
        for start in range(0, len(samples), _ROWS_AT_ONCE):
            rows = completed[start : start + _ROWS_AT_ONCE]
            rows[...] = np.where(np.isnan(rows), self._expect(rows), rows)
        return completed

    def _expect(self, rows: FloatArray) -> FloatArray:
        """Return what to expect (n, n_features) of all features given those that are not NaN."""
        rank = self.basis.shape[1]
        normal = np.zeros((len(rows), rank, rank), dtype=np.float32)
        right = np.zeros((len(rows), rank, 1), dtype=np.float32)
        for index, row in enumerate(rows):
            seen = ~np.isnan(row)
            basis = self.basis[seen]
            normal[index] = basis.T @ basis
            right[index, :, 0] = basis.T @ (row[seen] - self.mean[seen])
        normal[:, np.arange(rank), np.arange(rank)] += np.float32(self.noise)
        latent = np.linalg.solve(normal, right)[..., 0]
        return np.asarray(latent @ self.basis.T + self.mean, dtype=np.float32)


def fit_low_rank(
    samples: FloatArray, start: FloatArray, settings: LowRankSettings
) -> LowRankModel:
    """Complete training samples and fit a plane to them, in turns, until both agree.

    Parameters
    ----------
    samples : ndarray of shape (n, n_features), float32
        NaN where not observed.
    start : ndarray of the same shape
        A first guess of all samples, without NaN.
    settings : LowRankSettings
    """
    missing = np.isnan(samples)
    completed = np.where(missing, start, samples).astype(np.float32)
    model = _fit_plane(completed, settings.rank)
    for _ in range(settings.n_steps):
        before, completed = completed, model.complete(samples)
        model = _fit_plane(completed, settings.rank)
        change = (completed - before)[missing]
        scale = float((completed - model.mean)[missing].std()) if len(change) else 0.0
        if float(np.linalg.norm(change)) <= settings.tolerance * scale * len(change) ** 0.5:
            break
    return model


def _fit_plane(samples: FloatArray, rank: int) -> LowRankModel:
    """Mean, principal directions and noise of samples (n, n_features) without NaN."""
    n_samples, n_features = samples.shape
    mean = samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    offsets = samples - mean
    if n_samples < n_features:  # the smaller of the two matrices with the same eigenvalues
        values, vectors = np.linalg.eigh((offsets @ offsets.T).astype(np.float64) / n_samples)
        directions = offsets.T @ vectors.astype(np.float32)
        directions /= np.maximum(np.linalg.norm(directions, axis=0), np.float32(1e-12))
    else:
        values, vectors = np.linalg.eigh((offsets.T @ offsets).astype(np.float64) / n_samples)
        directions = vectors.astype(np.float32)
    values = np.maximum(values, 0)
    n_kept = min(rank, n_samples - 1, n_features)
    kept = np.argsort(values)[::-1][: max(n_kept, 1)]
    rest = float(values.sum() - values[kept].sum()) / max(n_features - len(kept), 1)
    noise = max(rest, _MIN_NOISE)
    length = np.sqrt(np.maximum(values[kept] - noise, 0)).astype(np.float32)
    return LowRankModel(mean, directions[:, kept] * length, noise)
