"""Windows as plain vectors, one person a sample: what imputers without a skeleton take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import CellSource, Filled, start_fill
from iospstl_train.baselines.interpolate import fill_rest

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def to_samples(xyz: FloatArray, present: BoolArray, joints: BoolArray) -> FloatArray:
    """Return the persons of some windows as samples.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        NaN where not observed.
    present : ndarray of shape (n_windows, n_frames, n_persons), bool
        Persons that are never there make no sample.
    joints : ndarray of shape (n_joints,), bool
        Joints to keep.

    Returns
    -------
    ndarray of shape (n_samples, n_frames, 3 * n_kept), float32
    """
    persons = np.moveaxis(xyz[..., joints, :], 2, 1)[present.any(axis=1)]
    return np.ascontiguousarray(persons.reshape(*persons.shape[:2], -1), dtype=np.float32)


def fill_from_samples(
    xyz: FloatArray,
    present: BoolArray,
    joints: BoolArray,
    samples: FloatArray,
    bank: ImputationBank,
) -> Filled:
    """Fill the empty cells of some windows from completed samples, as of `to_samples`.

    Cells that are NaN in the samples, too, get the means of the bank.
    """
    filled, source = start_fill(xyz, present)
    cells = samples.reshape(*samples.shape[:2], -1, 3)
    proposed = np.full(xyz.shape, np.nan, dtype=np.float32)
    persons = np.full((*cells.shape[:2], len(joints), 3), np.nan, dtype=np.float32)
    persons[:, :, joints] = cells
    np.moveaxis(proposed, 2, 1)[present.any(axis=1)] = persons
    empty = (source == CellSource.UNFILLED) & ~np.isnan(proposed[..., 0])
    filled[empty] = proposed[empty]
    source[empty] = CellSource.BASELINE
    return fill_rest(filled, source, bank)
