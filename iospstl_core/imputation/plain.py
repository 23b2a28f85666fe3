"""Imputers that need no neighbours: the rows an honest table compares with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill
from iospstl_core.imputation.gaps import find_gaps, interpolate

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
    gaps = find_gaps(source == CellSource.OBSERVED)
    empty = (source == CellSource.UNFILLED) & gaps.seen
    filled[empty] = interpolate(xyz, gaps)[empty]
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
