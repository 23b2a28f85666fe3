"""The cluster-wise KNN rule in PyTorch: many windows at once, on a GPU where there is one.

The rule is that of `iospstl_core.imputation.knn`, which stays the reference. Distances are in
double precision, so that rounding does not change the order of donors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iospstl_core.imputation.bank import ImputationBank, to_single
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill
from iospstl_core.imputation.knn import N_NEIGHBORS
from iospstl_train.cluster_fill import Clusters, group_windows
from iospstl_train.training.pretrain import find_device

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

MAX_ROWS = 256
"""Windows whose distances are computed at once."""

_MAX_LOOKUPS = 1 << 21
"""(empty cell, donor) pairs looked up at once; each takes about 60 bytes."""

_CANCELLATION = 1e-9
"""Squared distances below this share of the squared norms are computed again, term by term."""


@dataclass(frozen=True)
class _Donors:
    """Donors of the same windows on the device; distances compare offsets from their mean."""

    values: Tensor  # (n_donors, n_cells, 3), float32; 0 where not observed
    observed: Tensor  # (n_donors, n_cells), bool
    mean: Tensor  # (n_cells, 3), float64; 0 where no donor has the cell
    offsets: Tensor  # (n_donors, n_cells, 3), float64; 0 where not observed
    mask: Tensor  # (n_donors, n_cells), float64, 0 or 1
    squares: Tensor  # (n_donors, n_cells), float64, of the offsets, summed over x, y, z
    n_having: Tensor  # (n_cells,), donors that have the cell


def fill_with_torch(
    bank: ImputationBank,
    xyz: FloatArray,
    present: BoolArray,
    cluster: IntArray,
    n_neighbors: int = N_NEIGHBORS,
    device: str = "cpu",
    *,
    max_donors: int | None = None,
    max_rows: int = MAX_ROWS,
) -> Filled:
    """Return completed copies of some windows, as ``ClusterKnnImputer(bank).fill`` does.

    Parameters
    ----------
    bank : ImputationBank
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Body frame, metres; NaN where not observed.
    present : ndarray of shape (n_windows, n_frames, n_persons), bool
    cluster : ndarray of shape (n_windows,) or (n_windows, nprobe), int
        Cluster or clusters of each window; the donors of several are pooled.
    n_neighbors : int
        Donors averaged for each cell.
    device : str
        Torch device with double precision; no other one is used in its place.
    max_donors : int, optional
        Donors used of each cluster, at even steps in the order of the bank. Default: all.
    max_rows : int
        Windows compared with their donors at once; memory grows with it.

    Raises
    ------
    InputError
        If the device cannot be used.
    ValueError
        If the windows and the bank differ in shape, or a number is less than 1.
    """
    torch_device = find_device(device)
    if xyz.shape[1:] != bank.donors.shape[1:]:
        raise ValueError(
            f"xyz: expected windows of shape {bank.donors.shape[1:]} as in the bank, "
            f"got {xyz.shape[1:]}"
        )
    numbers = (n_neighbors, max_rows, 1 if max_donors is None else max_donors)
    if min(numbers) < 1:
        raise ValueError(f"n_neighbors, max_rows, max_donors: expected at least 1, got {numbers}")
    filled, source = start_fill(xyz, present)
    with torch.inference_mode():
        for clusters, rows in group_windows(cluster):
            donors = _read_donors(bank, clusters, max_donors, torch_device)
            for start in range(0, len(rows) if len(donors.values) else 0, max_rows):
                _fill_rows(filled, source, rows[start : start + max_rows], donors, n_neighbors)
    fill_from_mean(filled, source, bank.mean, CellSource.BANK_MEAN)
    fill_from_mean(filled, source, bank.joint_mean, CellSource.JOINT_MEAN)
    return Filled(filled, source)


def _read_donors(
    bank: ImputationBank, clusters: Clusters, max_donors: int | None, device: torch.device
) -> _Donors:
    """Bring the donors of some clusters to the device."""
    parts = [bank.rows_of(index, max_donors) for index in clusters]
    cells = [torch.from_numpy(to_single(bank.donors[rows])) for rows in parts]
    has = [torch.from_numpy(bank.read_observed(rows)) for rows in parts]
    values = torch.cat(cells).to(device).flatten(1, 3)
    observed = torch.cat(has).to(device).flatten(1)
    n_having = observed.sum(dim=0)
    mean = values.sum(dim=0, dtype=torch.float64) / n_having.clamp(min=1)[:, None]
    offsets = (values - mean) * observed[..., None]
    squares = offsets.square().sum(dim=-1)
    return _Donors(values, observed, mean, offsets, observed.double(), squares, n_having)


def _fill_rows(
    filled: FloatArray,
    source: NDArray[np.uint8],
    rows: IntArray,
    donors: _Donors,
    n_neighbors: int,
) -> None:
    """Fill some windows of one cluster in place."""
    device = donors.values.device
    cells = torch.from_numpy(filled[rows]).to(device).reshape(len(rows), -1, 3)
    sources = torch.from_numpy(source[rows]).to(device).reshape(len(rows), -1)
    distance = masked_distance(cells - donors.mean, donors)
    row, cell = ((sources == CellSource.UNFILLED) & (donors.n_having > 0)).nonzero(as_tuple=True)
    average = _Average(distance, donors, row, cell, n_neighbors)
    average.take_nearest()
    cells[row, cell] = average.values()
    sources[row, cell] = torch.where(
        average.n_taken > 0, CellSource.KNN.value, CellSource.CLUSTER_MEAN.value
    ).to(torch.uint8)
    filled[rows] = cells.reshape(len(rows), *filled.shape[1:]).cpu().numpy()
    source[rows] = sources.reshape(len(rows), *source.shape[1:]).cpu().numpy()


def masked_distance(cells: Tensor, donors: _Donors) -> Tensor:
    """Return the paper's distance (8), (n_windows, n_donors); infinite with no common cell.

    `cells` (n_windows, n_cells, 3), float64, are offsets from the donors' mean, NaN where not
    observed.
    """
    observed = ~cells[..., 0].isnan()
    values, mask = torch.where(observed[..., None], cells, 0), observed.double()
    norms = values.square().sum(dim=-1) @ donors.mask.T + mask @ donors.squares.T
    squared = norms - 2 * (values.flatten(1) @ donors.offsets.flatten(1).T)
    n_common = mask @ donors.mask.T
    close = ((squared <= _CANCELLATION * norms) & (n_common > 0)).nonzero()
    for window, donor in (pair.unbind(dim=1) for pair in torch.split(close, MAX_ROWS)):
        both = (mask[window] * donors.mask[donor])[..., None]
        terms = (both * (values[window] - donors.offsets[donor])).square()
        squared[window, donor] = terms.sum(dim=(1, 2))
    scaled = squared * (cells.shape[1] / n_common.clamp(min=1))
    return torch.where(n_common > 0, scaled, torch.inf).sqrt()


class _Average:
    """Weighted averages over the nearest donors of many empty cells, taken in order of distance.

    Parameters
    ----------
    distance : Tensor of shape (n_windows, n_donors), float64
    donors : _Donors
    row, cell : Tensor of shape (n_empty,), int64
        Window and cell of what is to be filled; some donor has each of them.
    n_neighbors : int
    """

    def __init__(
        self, distance: Tensor, donors: _Donors, row: Tensor, cell: Tensor, n_neighbors: int
    ) -> None:
        self._distance, self._order = distance.sort(dim=1, stable=True)
        self._donors, self._row, self._cell = donors, row, cell
        self._n_neighbors = n_neighbors
        self._total = donors.values.new_zeros(len(row), 3)
        self._weight = donors.values.new_zeros(len(row))
        self._is_exact = torch.zeros_like(row, dtype=torch.bool)
        self.n_taken = torch.zeros_like(row)

    def take_nearest(self) -> None:
        """Look among ever farther donors until every cell has its number or all there are."""
        wanted = self._donors.n_having[self._cell].clamp(max=self._n_neighbors)
        unfinished = torch.arange(len(self._row), device=self._row.device)
        start, width = 0, 4 * self._n_neighbors  # nearly every cell finds its donors among these
        while start < self._distance.shape[1] and len(unfinished):
            for part in torch.split(unfinished, max(1, _MAX_LOOKUPS // width)):
                self._take(part, slice(start, start + width))
            unfinished = unfinished[self.n_taken[unfinished] < wanted[unfinished]]
            start, width = start + width, 2 * width

    def _take(self, part: Tensor, ranks: slice) -> None:
        """Add the donors of some ranks to some cells; donors at distance 0 exclude all others."""
        row, cell = self._row[part], self._cell[part, None]
        distance, donor = self._distance[row, ranks], self._order[row, ranks]
        has = self._donors.observed[donor, cell] & distance.isfinite()
        n_taken = self.n_taken[part, None] + has.cumsum(dim=1)
        chosen = has & (n_taken <= self._n_neighbors)
        zero = chosen & (distance == 0)
        exact = self._is_exact[part] | zero.any(dim=1)
        inverse = chosen / torch.where(distance > 0, distance, 1)
        weight = torch.where(exact[:, None], zero, inverse).float()
        self._total[part] += (weight[..., None] * self._donors.values[donor, cell]).sum(dim=1)
        self._weight[part] += weight.sum(dim=1)
        self._is_exact[part] = exact
        self.n_taken[part] += chosen.sum(dim=1)

    def values(self) -> Tensor:
        """Return the averages (n_empty, 3); the mean of all that have the cell if none counts."""
        mean = self._donors.mean[self._cell].float()
        average = self._total / torch.where(self._weight > 0, self._weight, 1)[:, None]
        return torch.where(self.n_taken[:, None] > 0, average, mean)
