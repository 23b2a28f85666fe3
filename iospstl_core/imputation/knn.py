"""The cluster-agnostic KNN imputer: K nearest neighbours inside the predicted cluster.

Distance, weights and the choice of donors follow the paper's equations (8)-(10), which are those
of scikit-learn's ``KNNImputer(weights="distance")`` fitted once for each cluster. All coordinates
of a cell are observed together, so donors are chosen once a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.average import PersonCells, average_neighbors
from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.donors import Distances, PersonDonors, read_person
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Clusters = tuple[int, ...]

N_NEIGHBORS = 5
"""Donors averaged for each cell (paper, section IV)."""

MAX_ROWS = 256
"""Windows compared at once with the donors of their cluster."""


class ClusterKnnImputer:
    """Fill windows from the training windows of their cluster.

    Gives what scikit-learn's ``KNNImputer(n_neighbors, weights="distance")`` gives, to within
    1e-5 m, if it is fitted on the donors of the cluster and works in double precision (in single
    it takes the wrong one of two donors that are about as near). There are two exceptions. A cell
    that no donor of the cluster has gets the mean of the bank (0 in scikit-learn). Where donors
    at the same distance compete for the last place, the first one in the bank gets it (any in
    scikit-learn).

    Parameters
    ----------
    bank : ImputationBank
        Donors grouped by cluster.
    n_neighbors : int, default=5
        Donors averaged for each cell, weighted by inverse distance.
    max_open_clusters : int, default=8
        Clusters kept in memory in single precision, the latest used ones. Each person in it
        takes ``21 * n_donors * n_frames * n_joints`` bytes at most: 18 MB for 670 donors of 50
        frames and 25 joints. Of a person who was never in a window nothing is kept.
    nprobe : int, default=1
        Clusters of each window, whose donors are pooled as if they were one cluster.
    max_donors : int, optional
        Donors used of each cluster, at even steps in the order of the bank. Default: all.

    Raises
    ------
    ValueError
        If a number is less than 1.
    """

    def __init__(
        self,
        bank: ImputationBank,
        n_neighbors: int = N_NEIGHBORS,
        max_open_clusters: int = 8,
        nprobe: int = 1,
        max_donors: int | None = None,
    ) -> None:
        numbers = {
            "n_neighbors": n_neighbors,
            "max_open_clusters": max_open_clusters,
            "nprobe": nprobe,
            "max_donors": 1 if max_donors is None else max_donors,
        }
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        self.bank = bank
        self.n_neighbors = n_neighbors
        self.max_open_clusters = max_open_clusters
        self.nprobe = nprobe
        self.max_donors = max_donors
        self._open: dict[Clusters, dict[int, PersonDonors]] = {}

    @property
    def open_bytes(self) -> int:
        """Memory that open clusters take."""
        return sum(donors.n_bytes for pool in self._open.values() for donors in pool.values())

    def fill(self, xyz: FloatArray, present: BoolArray, cluster: IntArray) -> Filled:
        """Return completed copies of some windows.

        Parameters
        ----------
        xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
            Body frame, metres; NaN where not observed.
        present : ndarray of shape (n_windows, n_frames, n_persons), bool
            Cells of absent persons are neither compared nor filled.
        cluster : ndarray of shape (n_windows,) or (n_windows, nprobe), int
            Cluster or clusters of each window, as of `nearest_cluster`.

        Raises
        ------
        ValueError
            If the windows and the bank differ in shape, or there are not ``nprobe`` clusters.
        """
        if xyz.shape[1:] != self.bank.donors.shape[1:]:
            raise ValueError(
                f"xyz: expected windows of shape {self.bank.donors.shape[1:]} as in the bank, "
                f"got {xyz.shape[1:]}"
            )
        pools = cluster.reshape(len(cluster), -1) if len(cluster) else cluster.reshape(0, 1)
        if len(cluster) and pools.shape[1] != self.nprobe:
            raise ValueError(
                f"cluster: expected {self.nprobe} for each window, got {pools.shape[1]}"
            )
        filled, source = start_fill(xyz, present)
        names, group = np.unique(np.sort(pools, axis=1), axis=0, return_inverse=True)
        for number, name in enumerate(names):
            rows = np.flatnonzero(group.reshape(-1) == number)
            clusters = tuple(int(index) for index in np.unique(name))
            for start in range(0, len(rows), MAX_ROWS):
                self._fill_rows(filled, source, rows[start : start + MAX_ROWS], clusters)
        fill_from_mean(filled, source, self.bank.mean, CellSource.BANK_MEAN)
        fill_from_mean(filled, source, self.bank.joint_mean, CellSource.JOINT_MEAN)
        return Filled(filled, source)

    def _fill_rows(
        self, filled: FloatArray, source: NDArray[np.uint8], rows: IntArray, clusters: Clusters
    ) -> None:
        """Fill windows that have the same clusters in place."""
        here = (source[rows] != CellSource.ABSENT).any(axis=(0, 1, 3))
        persons = [int(person) for person in np.flatnonzero(here)]
        n_donors = sum(self.bank.count(index, self.max_donors) for index in clusters)
        if not persons or not n_donors:
            return
        donors = self._donors(clusters, persons)
        cells = [_take_cells(filled, source, rows, person) for person in persons]
        seen = [own.source == CellSource.OBSERVED for own in cells]
        distances = Distances([own.values for own in cells], seen, donors, n_donors)
        for number, person in enumerate(persons):
            nearest = partial(distances.nearest, number)
            average_neighbors(cells[number], donors[number], self.n_neighbors, nearest)
            _put_cells(cells[number], filled, source, rows, person)

    def _donors(self, clusters: Clusters, persons: Sequence[int]) -> list[PersonDonors]:
        """Clusters in single precision, from memory or from the bank."""
        pool = self._open.pop(clusters, {})
        self._open[clusters] = pool
        while len(self._open) > self.max_open_clusters:
            self._open.pop(next(iter(self._open)))
        for person in persons:
            if person not in pool:
                pool[person] = read_person(self.bank, clusters, person, self.max_donors)
        self.bank.release()
        return [pool[person] for person in persons]


def _take_cells(
    filled: FloatArray, source: NDArray[np.uint8], rows: IntArray, person: int
) -> PersonCells:
    """Return a copy of one person's cells; 0 where not observed."""
    own = source[rows, :, person].reshape(len(rows), -1)
    values = np.moveaxis(filled[rows, :, person].reshape(*own.shape, 3), -1, 1)
    return PersonCells(np.where((own == CellSource.OBSERVED)[:, None], values, np.float32(0)), own)


def _put_cells(
    cells: PersonCells,
    filled: FloatArray,
    source: NDArray[np.uint8],
    rows: IntArray,
    person: int,
) -> None:
    """Put the cells that were filled where they came from."""
    new = (cells.source == CellSource.KNN) | (cells.source == CellSource.CLUSTER_MEAN)
    old = filled[rows, :, person].reshape(*cells.source.shape, 3)
    np.copyto(old, np.moveaxis(cells.values, 1, -1), where=new[..., None])
    shape = len(rows), *source.shape[1::2]
    filled[rows, :, person] = old.reshape(*shape, 3)
    source[rows, :, person] = cells.source.reshape(shape)
