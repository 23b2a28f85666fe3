"""What every imputer returns, and the last resorts that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


HALF_TRUST_M = 0.1
"""Expected error of a filled joint whose confidence is one half."""


class CellSource(IntEnum):
    """Where the position in a (frame, person, joint) cell comes from."""

    OBSERVED = 0
    ABSENT = 1
    UNFILLED = 2
    RANDOM = 3
    LINEAR = 4
    KNN = 5
    CLUSTER_MEAN = 6
    BANK_MEAN = 7
    JOINT_MEAN = 8
    RESTORED = 9
    BASELINE = 10


@dataclass(frozen=True)
class Filled:
    """A completed copy of some windows.

    Attributes
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Observed values are unchanged, bit for bit. NaN where the person is absent, and where no
        training sequence ever had the joint.
    source : ndarray of shape (n_windows, n_frames, n_persons, n_joints), uint8
        A `CellSource` for every cell.
    error_m : ndarray of shape (n_windows, n_frames, n_persons, n_joints), float32, optional
        Expected distance between the filled and the true position; 0 where observed, NaN where
        nothing is known of it. Given by imputers that estimate it.
    """

    xyz: FloatArray
    source: NDArray[np.uint8]
    error_m: FloatArray | None = None

    def one(self, index: int) -> Filled:
        """Return one window without the leading axis."""
        error_m = None if self.error_m is None else self.error_m[index]
        return Filled(self.xyz[index], self.source[index], error_m)

    def counts(self) -> dict[str, int]:
        """Return how many cells came from each source, by lower-case name, without empty ones."""
        totals = np.bincount(self.source.ravel(), minlength=len(CellSource))
        return {
            source.name.lower(): int(totals[source]) for source in CellSource if totals[source]
        }


def confidence_of(filled: Filled) -> FloatArray:
    """Return a number from 0 to 1 for every cell, of the shape of `Filled.source`.

    1 where observed; where filled, ``0.1 / (0.1 + e)`` for an expected error of e metres, so 0.5
    for a joint that is expected 10 cm off; 0 where nothing is known of the error.
    """
    observed: BoolArray = np.asarray(filled.source == CellSource.OBSERVED)
    if filled.error_m is None:
        return observed.astype(np.float32)
    error_m = np.nan_to_num(filled.error_m, nan=np.inf)
    trust = np.where(observed, 1, HALF_TRUST_M / (HALF_TRUST_M + error_m))
    return np.asarray(trust, dtype=np.float32)


def start_fill(xyz: FloatArray, present: BoolArray) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Return a copy of the windows and their cell sources before anything is filled."""
    source = np.full(xyz.shape[:-1], CellSource.UNFILLED, dtype=np.uint8)
    source[~np.isnan(xyz[..., 0])] = CellSource.OBSERVED
    source[~np.broadcast_to(present[..., None], source.shape)] = CellSource.ABSENT
    return xyz.astype(np.float32, copy=True), source


def fill_from_mean(
    xyz: FloatArray, source: NDArray[np.uint8], cell_mean: FloatArray, label: CellSource
) -> None:
    """Fill cells that are still empty from a mean that broadcasts to the windows, in place."""
    values = np.broadcast_to(cell_mean, xyz.shape)
    empty = (source == CellSource.UNFILLED) & ~np.isnan(values[..., 0])
    xyz[empty] = values[empty]
    source[empty] = label
