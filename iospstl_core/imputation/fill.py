"""What every imputer returns, and the last resorts that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


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

    def counts(self) -> dict[str, int]:
        """Return how many cells came from each source, by lower-case name, without empty ones."""
        totals = np.bincount(self.source.ravel(), minlength=len(CellSource))
        return {
            source.name.lower(): int(totals[source]) for source in CellSource if totals[source]
        }


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
