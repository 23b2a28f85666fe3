"""The donor bank: training windows grouped by cluster, in half or single precision."""

from __future__ import annotations

import mmap
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

FILES = ("donors", "observed", "offsets", "mean")

_HALF_TO_SINGLE = np.float32(2.0**112)
"""Ratio of the exponents' biases of single and half precision, 2 ** (127 - 15)."""

_ROWS_IN_CACHE = 8
"""Donors converted at once; a block then stays in the processor's cache for every step."""


@dataclass(frozen=True)
class ImputationBank:
    """Training windows that lend their coordinates, grouped by cluster.

    Attributes
    ----------
    donors : ndarray of shape (n_donors, n_frames, n_persons, n_joints, 3), float16 or float32
        Body frame, metres; 0 where not observed. May be memory-mapped.
    observed : ndarray of shape (n_donors, ceil(n_cells / 8)), uint8
        One bit a (frame, person, joint) cell, as of ``np.packbits``.
    offsets : ndarray of shape (n_clusters + 1,), int64
        Cluster c owns donors ``offsets[c]:offsets[c + 1]``.
    mean : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Mean over all donors that have the cell; NaN where none has.
    """

    donors: NDArray[np.float16] | FloatArray
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

    def count(self, cluster: int, max_donors: int | None = None) -> int:
        """Return how many donors `rows_of` a cluster gives."""
        size = int(self.offsets[cluster + 1] - self.offsets[cluster])
        return size if max_donors is None else min(size, max_donors)

    def rows_of(self, cluster: int, max_donors: int | None = None) -> slice | IntArray:
        """Return the donors of a cluster: all, or ``max_donors`` of them at even steps.

        Donors are in the order of the training set, so even steps keep its variety. The choice
        depends on nothing but the two numbers.
        """
        start, stop = int(self.offsets[cluster]), int(self.offsets[cluster + 1])
        if max_donors is None or stop - start <= max_donors:
            return slice(start, stop)
        return start + np.arange(max_donors, dtype=np.int64) * (stop - start) // max_donors

    def read_cluster(self, cluster: int) -> tuple[FloatArray, BoolArray]:
        """Return one cluster's cells: values (n, n_cells, 3) float32 and observed (n, n_cells)."""
        rows = self.rows_of(cluster)
        values, observed = to_single(self.donors[rows]), self.read_observed(rows)
        shape = len(values), int(np.prod(self.donors.shape[1:-1]))
        return values.reshape(*shape, 3), observed.reshape(shape)

    def read_observed(self, rows: slice | IntArray) -> BoolArray:
        """Return which cells some donors have, shape (n, n_frames, n_persons, n_joints)."""
        shape = self.donors.shape[1:-1]
        bits = np.unpackbits(self.observed[rows], axis=1, count=int(np.prod(shape)))
        return bits.view(np.bool_).reshape(len(bits), *shape)

    def release(self) -> None:
        """Give back the memory of what was read from memory-mapped files.

        It would count as this process's own until the system needs it; the file cache keeps it.
        """
        for array in (self.donors, self.observed):
            file: Any = array.base
            is_read_only = isinstance(file, mmap.mmap) and not array.flags.writeable
            if is_read_only and hasattr(mmap, "MADV_DONTNEED"):
                file.madvise(mmap.MADV_DONTNEED)


def to_single(values: NDArray[np.float16] | FloatArray) -> FloatArray:
    """Return finite numbers of any shape in single precision and in C order, exactly.

    Does what ``astype(float32)`` does, several times as fast for half precision: shifts sign,
    exponent and fraction to their places in 32 bits, and corrects the exponent's bias.
    """
    if values.dtype != np.float16:
        return np.ascontiguousarray(values, dtype=np.float32)
    single = np.zeros(values.shape, dtype=np.float32)
    bits, halves = single.view(np.int32), np.asarray(values).view(np.int16)
    for start in range(0, len(values), _ROWS_IN_CACHE):
        block = bits[start : start + _ROWS_IN_CACHE]
        np.copyto(block, halves[start : start + _ROWS_IN_CACHE])  # repeats the sign to the left
        np.left_shift(block, 13, out=block)
        np.bitwise_and(block, np.int32(~0x70000000), out=block)  # but for the sign itself
        scaled = single[start : start + _ROWS_IN_CACHE]
        np.multiply(scaled, _HALF_TO_SINGLE, out=scaled)
    return single


def build_bank(
    xyz: FloatArray, cluster: IntArray, n_clusters: int, dtype: DTypeLike = np.float16
) -> ImputationBank:
    """Group training windows by cluster.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Training windows only; NaN where not observed or absent.
    cluster : ndarray of shape (n_windows,), int
        Cluster of each window.
    n_clusters : int
        Number of clusters; some may be empty.
    dtype : {float16, float32}, default=float16
        Precision of the donors. Half takes half of the space and is off by less than a
        millimetre within two metres; single gives them back exactly and opens faster.

    Raises
    ------
    ValueError
        If the precision is another one.
    """
    if np.dtype(dtype) not in (np.float16, np.float32):
        raise ValueError(f"dtype: expected float16 or float32, got {np.dtype(dtype)}")
    order = np.argsort(cluster, kind="stable")
    observed = ~np.isnan(xyz[order][..., 0])
    donors = np.where(observed[..., None], xyz[order], 0).astype(dtype)
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
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in FILES
    }
    return ImputationBank(**arrays)


def nearest_cluster(embedding: FloatArray, centroids: FloatArray, nprobe: int = 1) -> IntArray:
    """Return the nearest centroids of embeddings.

    Parameters
    ----------
    embedding : ndarray of shape (n, n_features)
        In the space of the centroids.
    centroids : ndarray of shape (n_clusters, n_features)
        One a cluster.
    nprobe : int, default=1
        Centroids to find for each embedding.

    Returns
    -------
    ndarray of shape (n,) for ``nprobe=1``, else (n, nprobe), int64
        Indices of centroids, the nearest first.

    Raises
    ------
    ValueError
        If ``nprobe`` is not from 1 to the number of clusters.
    """
    if not 1 <= nprobe <= len(centroids):
        raise ValueError(f"nprobe: expected 1 to {len(centroids)} clusters, got {nprobe}")
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    _, found = index.search(np.ascontiguousarray(embedding, dtype=np.float32), nprobe)
    return np.asarray(found[:, 0] if nprobe == 1 else found, dtype=np.int64)


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is not NaN, in float64; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        mean = np.nanmean(values, axis=0, dtype=np.float64)
    return np.asarray(mean, dtype=np.float32)
