"""Imputers that need no neighbours: the rows an honest table compares with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def fill_none(xyz: FloatArray, present: BoolArray) -> Filled:
    """Fill nothing."""
    return Filled(*start_fill(xyz, present))


def fill_mean(xyz: FloatArray, present: BoolArray, bank: ImputationBank) -> Filled:
    """Fill every empty cell with its mean over the training windows that have it."""
    filled, source = start_fill(xyz, present)
    return _finish(filled, source, bank)


def fill_linear(xyz: FloatArray, present: BoolArray, bank: ImputationBank) -> Filled:
    """Interpolate linearly in time within each window; hold the first and last observed value.

    Joints that a window never shows get the training mean.
    """
    filled, source = start_fill(xyz, present)
    previous, following = _neighbors_in_time(source == CellSource.OBSERVED)
    empty = (source == CellSource.UNFILLED) & ((previous >= 0) | (following >= 0))
    window, frame, person, joint = np.nonzero(empty)
    before, after = previous[empty], following[empty]
    before, after = np.where(before < 0, after, before), np.where(after < 0, before, after)
    span = np.maximum(after - before, 1)
    weight = np.clip((frame - before) / span, 0, 1)[:, None].astype(np.float32)
    start, end = (xyz[window, side, person, joint] for side in (before, after))
    filled[empty] = start + weight * (end - start)
    source[empty] = CellSource.LINEAR
    return _finish(filled, source, bank)


def fill_random(
    xyz: FloatArray,
    present: BoolArray,
    bank: ImputationBank,
    limits_m: FloatArray,
    rng: np.random.Generator,
) -> Filled:
    """Fill each coordinate uniformly between the training minimum and maximum of its axis.

    Parameters
    ----------
    limits_m : ndarray of shape (2, 3), float32
        Smallest and largest observed training value of each axis. The paper leaves the scope of
        its random imputation open; this is the whole training set.
    rng : numpy.random.Generator
        Source of all randomness.
    """
    filled, source = start_fill(xyz, present)
    known = ~np.isnan(bank.joint_mean[:, 0])
    empty = (source == CellSource.UNFILLED) & known
    low, high = limits_m
    filled[empty] = rng.uniform(low, high, size=(int(empty.sum()), 3))
    source[empty] = CellSource.RANDOM
    return Filled(filled, source)


def observed_limits(xyz: FloatArray) -> FloatArray:
    """Return the smallest and largest observed value of each axis, shape (2, 3)."""
    flat = xyz.reshape(-1, 3)
    return np.stack([np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)])


def _finish(filled: FloatArray, source: NDArray[np.uint8], bank: ImputationBank) -> Filled:
    fill_from_mean(filled, source, bank.mean, CellSource.BANK_MEAN)
    fill_from_mean(filled, source, bank.joint_mean, CellSource.JOINT_MEAN)
    return Filled(filled, source)


def _neighbors_in_time(observed: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the latest observed frame up to, and the next from, each frame; -1 for none."""
    n_frames = observed.shape[1]
    frames = np.arange(n_frames)[:, None, None]
    previous = np.maximum.accumulate(np.where(observed, frames, -1), axis=1)
    reversed_seen = np.where(observed, frames, n_frames)[:, ::-1]
    following = np.minimum.accumulate(reversed_seen, axis=1)[:, ::-1]
    return previous, np.where(following == n_frames, -1, following)
