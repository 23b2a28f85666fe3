"""The donor bank: training windows grouped by cluster, in half precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

FILES = ("donors", "observed", "offsets", "mean")


@dataclass(frozen=True)
class ImputationBank:
    """Training windows that lend their coordinates, grouped by cluster.

    Attributes
    ----------
    donors : ndarray of shape (n_donors, n_frames, n_persons, n_joints, 3), float16
        Body frame, metres; 0 where not observed. May be memory-mapped.
    observed : ndarray of shape (n_donors, ceil(n_cells / 8)), uint8
        One bit a (frame, person, joint) cell, as of ``np.packbits``.
    offsets : ndarray of shape (n_clusters + 1,), int64
        Cluster c owns donors ``offsets[c]:offsets[c + 1]``.
    mean : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Mean over all donors that have the cell; NaN where none has.
    """

    donors: NDArray[np.float16]
    observed: NDArray[np.uint8]
    offsets: IntArray
    mean: FloatArray

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(self.offsets) - 1

    @cached_property
    def joint_mean(self) -> FloatArray:
        """Mean over frames and persons, shape (n_joints, 3); NaN for joints nobody ever has."""
        return nan_mean(self.mean.reshape(-1, *self.mean.shape[-2:]))

    def read_cluster(self, cluster: int) -> tuple[FloatArray, BoolArray]:
        """Return one cluster's cells: values (n, n_cells, 3) float32 and observed (n, n_cells)."""
        rows = slice(int(self.offsets[cluster]), int(self.offsets[cluster + 1]))
        values = self.donors[rows].astype(np.float32)
        n_cells = int(np.prod(self.donors.shape[1:-1]))
        observed = np.unpackbits(self.observed[rows], axis=1, count=n_cells).astype(bool)
        return values.reshape(len(values), n_cells, 3), observed


def build_bank(xyz: FloatArray, cluster: IntArray, n_clusters: int) -> ImputationBank:
    """Group training windows by cluster.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Training windows only; NaN where not observed or absent.
    cluster : ndarray of shape (n_windows,), int
        Cluster of each window.
    n_clusters : int
        Number of clusters; some may be empty.
    """
    order = np.argsort(cluster, kind="stable")
    observed = ~np.isnan(xyz[order][..., 0])
    donors = np.where(observed[..., None], xyz[order], 0).astype(np.float16)
    return ImputationBank(
        donors=donors,
        observed=np.packbits(observed.reshape(len(order), -1), axis=1),
        offsets=np.searchsorted(cluster[order], np.arange(n_clusters + 1)).astype(np.int64),
        mean=nan_mean(xyz),
    )


def save_bank(bank: ImputationBank, folder: Path) -> None:
    """Write the bank as plain ``.npy`` files into an existing folder."""
    for name in FILES:
        np.save(folder / f"{name}.npy", getattr(bank, name), allow_pickle=False)


def open_bank(folder: Path) -> ImputationBank:
    """Open a bank that `save_bank` wrote; donors and bits stay on disk until a cluster is read."""
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in FILES
    }
    return ImputationBank(**arrays)


def nearest_cluster(embedding: FloatArray, centroids: FloatArray) -> IntArray:
    """Return the index of the nearest centroid for each embedding (n, n_features), shape (n,)."""
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    _, found = index.search(np.ascontiguousarray(embedding, dtype=np.float32), 1)
    return np.asarray(found[:, 0], dtype=np.int64)


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is not NaN, in float64; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        mean = np.nanmean(values, axis=0, dtype=np.float64)
    return np.asarray(mean, dtype=np.float32)
