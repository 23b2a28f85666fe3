"""Filling in time, joint by joint: the last value carried on, and cubic splines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill
from iospstl_core.imputation.plain import fill_linear

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

MIN_SPLINE_POINTS = 4
"""A cubic needs as many; with fewer, the joint is interpolated linearly."""
OVERSHOOT_FRAC = 0.25
"""A spline may leave the box of the joint's observed positions by this share of the box."""


def fill_last(xyz: FloatArray, present: BoolArray, bank: ImputationBank) -> Filled:
    """Carry the last observed position of each joint forward, and the first one back.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Body frame, metres; NaN where not observed.
    present : ndarray of shape (n_windows, n_frames, n_persons), bool
    bank : ImputationBank
        Its mean fills joints that a window never shows.
    """
    filled, source = start_fill(xyz, present)
    observed = source == CellSource.OBSERVED
    frames = np.arange(xyz.shape[1])[:, None, None]
    latest = np.maximum.accumulate(np.where(observed, frames, -1), axis=1)
    first = observed.argmax(axis=1)[:, None]
    taken = np.where(latest < 0, first, latest)
    empty = (source == CellSource.UNFILLED) & observed.any(axis=1, keepdims=True)
    window, _, person, joint = np.nonzero(empty)
    filled[empty] = xyz[window, taken[empty], person, joint]
    source[empty] = CellSource.BASELINE
    return fill_rest(filled, source, bank)


def fill_spline(xyz: FloatArray, present: BoolArray, bank: ImputationBank) -> Filled:
    """Lay a cubic spline through the observed positions of each joint.

    Parameters
    ----------
    xyz, present, bank
        As of `fill_last`.

    Notes
    -----
    Before the first and after the last observed frame the position is held. In long gaps cubics
    swing far out: what leaves the box of the joint's observed positions, widened by
    `OVERSHOOT_FRAC` of its size on each side, is put back on its surface. Joints observed in
    fewer than `MIN_SPLINE_POINTS` frames are interpolated linearly.
    """
    filled = fill_linear(xyz, present, bank)
    is_linear = filled.source == CellSource.LINEAR
    observed = filled.source == CellSource.OBSERVED
    enough = observed.sum(axis=1) >= MIN_SPLINE_POINTS
    for window, person, joint in np.argwhere(enough & is_linear.any(axis=1)):
        column = (window, slice(None), person, joint)
        frames, empty = np.flatnonzero(observed[column]), np.flatnonzero(is_linear[column])
        filled.xyz[window, empty, person, joint] = _spline(xyz[column][frames], frames, empty)
    filled.source[is_linear] = CellSource.BASELINE
    return filled


def _spline(
    values: FloatArray, frames: NDArray[np.int64], wanted: NDArray[np.int64]
) -> FloatArray:
    """Positions (n_wanted, 3) at some frames from those (n, 3) at others, held outside them."""
    inside = np.clip(wanted, frames[0], frames[-1])
    low, high = values.min(axis=0), values.max(axis=0)
    margin = OVERSHOOT_FRAC * (high - low)
    curve = CubicSpline(frames, values.astype(np.float64))(inside)
    return np.asarray(np.clip(curve, low - margin, high + margin), dtype=np.float32)


def fill_rest(filled: FloatArray, source: NDArray[np.uint8], bank: ImputationBank) -> Filled:
    """Fill what is still empty from the means of the training windows, in place, and wrap it."""
    fill_from_mean(filled, source, bank.mean, CellSource.BANK_MEAN)
    fill_from_mean(filled, source, bank.joint_mean, CellSource.JOINT_MEAN)
    return Filled(filled, source)
