"""The cluster-agnostic KNN imputer: K nearest neighbours inside the predicted cluster.

Distance, weights and the choice of donors follow the paper's equations (8)-(10), which are those
of scikit-learn's ``KNNImputer(weights="distance")`` fitted once for each cluster. All coordinates
of a cell are observed together, so donors are chosen once a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

N_NEIGHBORS = 5
"""Donors averaged for each cell (paper, section IV)."""

_CANCELLATION = 1e-4
"""Squared distances below this share of the squared norms are computed again, term by term."""


@dataclass(frozen=True)
class _Donors:
    """One cluster, ready for distances.

    Single precision cannot tell near donors apart by the norms of whole bodies, so what is
    compared is the offset from the cluster's mean.
    """

    mean: FloatArray  # (n_cells, 3), NaN where no donor has the cell
    values: FloatArray  # (n_donors, n_cells, 3), minus the mean; 0 where not observed
    observed: FloatArray  # (n_donors, n_cells), 0 or 1
    squares: FloatArray  # (n_donors, n_cells), summed over x, y, z


class ClusterKnnImputer:
    """Fill windows from the training windows of their cluster.

    Parameters
    ----------
    bank : ImputationBank
        Donors grouped by cluster.
    n_neighbors : int, default=5
        Donors averaged for each cell, weighted by inverse distance.
    max_open_clusters : int, default=8
        Clusters kept in memory in single precision, the latest used ones.
    """

    def __init__(
        self, bank: ImputationBank, n_neighbors: int = N_NEIGHBORS, max_open_clusters: int = 8
    ) -> None:
        if n_neighbors < 1:
            raise ValueError(f"n_neighbors: expected at least 1, got {n_neighbors}")
        self.bank = bank
        self.n_neighbors = n_neighbors
        self.max_open_clusters = max_open_clusters
        self._open: dict[int, _Donors] = {}

    def fill(self, xyz: FloatArray, present: BoolArray, cluster: IntArray) -> Filled:
        """Return completed copies of some windows.

        Parameters
        ----------
        xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
            Body frame, metres; NaN where not observed.
        present : ndarray of shape (n_windows, n_frames, n_persons), bool
            Cells of absent persons are neither compared nor filled.
        cluster : ndarray of shape (n_windows,), int
            Cluster of each window.

        Raises
        ------
        ValueError
            If the windows and the bank differ in shape.
        """
        if xyz.shape[1:] != self.bank.donors.shape[1:]:
            raise ValueError(
                f"xyz: expected windows of shape {self.bank.donors.shape[1:]} as in the bank, "
                f"got {xyz.shape[1:]}"
            )
        filled, source = start_fill(xyz, present)
        for index in np.unique(cluster):
            rows = np.flatnonzero(cluster == index)
            self._fill_cluster(filled, source, rows, int(index))
        fill_from_mean(filled, source, self.bank.mean, CellSource.BANK_MEAN)
        fill_from_mean(filled, source, self.bank.joint_mean, CellSource.JOINT_MEAN)
        return Filled(filled, source)

    def _fill_cluster(
        self, filled: FloatArray, source: NDArray[np.uint8], rows: IntArray, cluster: int
    ) -> None:
        """Fill the windows of one cluster in place."""
        donors = self._donors(cluster)
        if not len(donors.values):
            return
        cells = filled[rows].reshape(len(rows), -1, 3)
        offsets = cells - np.nan_to_num(donors.mean)
        distance = masked_distance(offsets, donors.values, donors.observed, donors.squares)
        sources = source[rows].reshape(len(rows), -1)
        for row in range(len(rows)):
            empty = np.flatnonzero(sources[row] == CellSource.UNFILLED)
            if len(empty):
                _fill_row(cells[row], sources[row], empty, distance[row], donors, self.n_neighbors)
        filled[rows] = cells.reshape(len(rows), *filled.shape[1:])
        source[rows] = sources.reshape(len(rows), *source.shape[1:])

    def _donors(self, cluster: int) -> _Donors:
        """One cluster in single precision, from memory or from the bank."""
        donors = self._open.pop(cluster, None)
        if donors is None:
            donors = _ready(*self.bank.read_cluster(cluster))
        self._open[cluster] = donors
        while len(self._open) > self.max_open_clusters:
            self._open.pop(next(iter(self._open)))
        return donors


def _ready(values: FloatArray, observed: BoolArray) -> _Donors:
    """Donors of a cluster from values (n_donors, n_cells, 3) and what of them is observed."""
    count = observed.sum(axis=0)[:, None]
    mean = values.sum(axis=0, dtype=np.float64) / np.maximum(count, 1)  # 0 is added for the rest
    offsets = (values - mean.astype(np.float32)) * observed[..., None]
    squares = np.einsum("dcx,dcx->dc", offsets, offsets)
    known = np.where(count > 0, mean, np.nan).astype(np.float32)
    return _Donors(known, offsets, observed.astype(np.float32), squares)


def masked_distance(
    cells: FloatArray, donors: FloatArray, donor_observed: FloatArray, donor_squares: FloatArray
) -> FloatArray:
    """Return the paper's distance (8) between windows and donors.

    Parameters
    ----------
    cells : ndarray of shape (n_windows, n_cells, 3), float32
        NaN where not observed.
    donors : ndarray of shape (n_donors, n_cells, 3), float32
        0 where not observed.
    donor_observed, donor_squares : ndarray of shape (n_donors, n_cells), float32
        1 where observed; squared norm of each cell.

    Returns
    -------
    ndarray of shape (n_windows, n_donors), float32
        Infinite where a window and a donor have no cell in common.
    """
    observed = ~np.isnan(cells[..., 0])
    values = np.where(observed[..., None], cells, 0)
    mask = observed.astype(np.float32)
    own_squares = np.einsum("wcx,wcx->wc", values, values)
    norms = own_squares @ donor_observed.T + mask @ donor_squares.T
    flat = (len(values), -1), (len(donors), -1)
    squared = norms - 2 * (values.reshape(flat[0]) @ donors.reshape(flat[1]).T)
    for window, donor in zip(*np.nonzero(squared <= _CANCELLATION * norms), strict=True):
        both = observed[window] & (donor_observed[donor] > 0)
        squared[window, donor] = np.sum((values[window, both] - donors[donor, both]) ** 2)
    n_common = mask @ donor_observed.T
    scaled = squared * (cells.shape[1] / np.maximum(n_common, 1))
    return np.sqrt(np.where(n_common > 0, scaled, np.inf)).astype(np.float32)


def _fill_row(
    cells: FloatArray,
    source: NDArray[np.uint8],
    empty: IntArray,
    distance: FloatArray,
    donors: _Donors,
    n_neighbors: int,
) -> None:
    """Fill the empty cells of one window (n_cells, 3) in place."""
    order = np.argsort(distance, kind="stable")
    order = order[np.isfinite(distance[order])]
    nearest = order[: 4 * n_neighbors]  # nearly every cell finds its donors among these
    for candidates, n_required in ((nearest, n_neighbors), (order, 1)):
        has = donors.observed[np.ix_(candidates, empty)] > 0
        chosen = has & (np.cumsum(has, axis=0) <= n_neighbors)
        done = chosen.sum(axis=0) >= n_required
        weight = _inverse_distance(distance[candidates], chosen[:, done])
        values = donors.values[np.ix_(candidates, empty[done])]
        offset = np.einsum("dc,dcx->cx", weight, values) / weight.sum(axis=0)[:, None]
        cells[empty[done]] = donors.mean[empty[done]] + offset
        source[empty[done]] = CellSource.KNN
        empty = empty[~done]
        if not len(empty):
            return
    known = empty[~np.isnan(donors.mean[empty, 0])]  # their donors share nothing with the window
    cells[known] = donors.mean[known]
    source[known] = CellSource.CLUSTER_MEAN


def _inverse_distance(distance: FloatArray, chosen: BoolArray) -> FloatArray:
    """Weights (n_donors, n_cells) of equation (10); donors at distance 0 exclude all others."""
    exact = chosen & (distance == 0)[:, None]
    inverse = 1 / np.where(distance > 0, distance, 1)
    weight = np.where(exact.any(axis=0), exact, chosen * inverse[:, None])
    return np.asarray(weight, dtype=np.float32)
