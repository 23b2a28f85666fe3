"""Averaging over the nearest donors that have a cell, for many cells at once.

Donors are looked at in groups, nearest first. Which donors of a group have a cell is a number of
as many bits, so a table knows the first k of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.donors import PersonDonors
from iospstl_core.imputation.fill import CellSource

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Nearest = Callable[[IntArray, int], tuple[IntArray, NDArray[np.float64]]]

GROUP = 16
"""Donors looked at together."""

_ROWS_AT_ONCE = 32
"""Windows whose donors are looked up at once."""

_MASKS = np.left_shift(np.uint16(1), np.arange(GROUP, dtype=np.uint16))
_BITS = _MASKS.astype(np.float32)

_EXACT_WEIGHT = np.float32(1e30)
"""Weight of a donor at distance 0: leaves nothing of the others in single precision."""


@dataclass(frozen=True)
class PersonCells:
    """Cells of one person in some windows, to be filled in place.

    Attributes
    ----------
    values : ndarray of shape (n_windows, 3, n_cells), float32
        Coordinates in metres.
    source : ndarray of shape (n_windows, n_cells), uint8
        A `CellSource` for every cell; those that are ``UNFILLED`` get filled.
    """

    values: FloatArray
    source: NDArray[np.uint8]


def average_neighbors(
    cells: PersonCells, donors: PersonDonors, n_neighbors: int, nearest: Nearest
) -> None:
    """Fill cells from the nearest donors that have them, weighted by inverse distance, in place.

    Parameters
    ----------
    cells : PersonCells
        Where no donor that has a cell shares anything with the window, the mean of all that have
        it is taken; where none has it, nothing.
    donors : PersonDonors
        Donors of the same person.
    n_neighbors : int
        Donors averaged; fewer where not so many have the cell.
    nearest : callable
        Places and squared distances of the n donors nearest to some windows, for windows and n.
    """
    if not len(donors.index):
        return
    for start in range(0, len(cells.source), _ROWS_AT_ONCE):
        part = cells.source[start : start + _ROWS_AT_ONCE]
        windows = start + np.flatnonzero((part == CellSource.UNFILLED).any(axis=1))
        if not len(windows):
            continue
        near, squared = nearest(windows, GROUP)
        weights = _inverse_distance(squared)
        for window, places, weight in zip(windows, near, weights, strict=True):
            _fill_window(cells, int(window), donors, places, weight, n_neighbors)
        row, cell = np.nonzero(part == CellSource.UNFILLED)
        if len(row):
            _fill_rest(cells, start + row, cell, donors, n_neighbors, nearest)


def _fill_window(
    cells: PersonCells,
    window: int,
    donors: PersonDonors,
    places: IntArray,
    weights: FloatArray,
    n_neighbors: int,
) -> None:
    """Fill the cells of a window for which its nearest group of donors suffices."""
    source = cells.source[window]
    codes = (_BITS[: len(places)] @ donors.observed[places].astype(np.float32)).astype(np.uint16)
    codes &= np.uint16(_BITS[: len(places)] @ (weights > 0))
    done = _n_bits().take(codes) >= n_neighbors
    done &= source == CellSource.UNFILLED
    if not done.any():
        return
    chosen = _first_bits(n_neighbors).take(codes) & _MASKS[: len(places), None]
    weight = (chosen != 0) * weights[:, None]
    values = np.einsum("dc,dxc->xc", weight, donors.values[places])
    total = weight.sum(axis=0)
    total[~done] = 1
    values /= total
    np.copyto(cells.values[window], values, where=done)
    source[done] = CellSource.KNN


@dataclass
class _Open:
    """Cells that still need donors, and what they have got."""

    window: IntArray  # (n,)
    cell: IntArray  # (n,)
    n_left: IntArray  # (n,), donors that are needed
    sums: FloatArray  # (n, 3), weighted coordinates
    weight: FloatArray  # (n,)

    def take(self, index: BoolArray) -> _Open:
        """Return some of them."""
        counts = self.window[index], self.cell[index], self.n_left[index]
        return _Open(*counts, self.sums[index], self.weight[index])


def _fill_rest(
    cells: PersonCells,
    window: IntArray,
    cell: IntArray,
    donors: PersonDonors,
    n_neighbors: int,
    nearest: Nearest,
) -> None:
    """Fill the given cells from as many groups of donors as it takes."""
    sums, weight = np.zeros((len(cell), 3), np.float32), np.zeros(len(cell), np.float32)
    rest = _Open(window, cell, np.full(len(cell), n_neighbors), sums, weight)
    n_before, n_asked = 0, 4 * GROUP
    while len(rest.cell) and n_before < len(donors.index):
        windows = np.unique(rest.window)
        near, squared = nearest(windows, n_asked)
        for start in range(n_before, near.shape[1], GROUP):
            part = slice(start, start + GROUP)
            if len(rest.cell):
                _add_group(rest, windows, near[:, part], squared[:, part], donors)
                done = rest.n_left <= 0
                _write(cells, rest.take(done))
                rest = rest.take(~done)
        n_before, n_asked = n_asked, 4 * n_asked
    some = rest.n_left < n_neighbors
    _write(cells, rest.take(some))
    rest = rest.take(~some)
    if len(rest.cell):  # their donors share nothing with the window
        known = ~np.isnan(donors.mean[0, rest.cell])
        window, cell = rest.window[known], rest.cell[known]
        cells.values[window, :, cell] = donors.mean[:, cell].T
        cells.source[window, cell] = CellSource.CLUSTER_MEAN


def _write(cells: PersonCells, done: _Open) -> None:
    """Write weighted means (10) in place."""
    cells.values[done.window, :, done.cell] = done.sums / done.weight[:, None]
    cells.source[done.window, done.cell] = CellSource.KNN


def _add_group(
    rest: _Open,
    windows: IntArray,
    near: IntArray,
    squared: NDArray[np.float64],
    donors: PersonDonors,
) -> None:
    """Add what a group of donors (n_windows, n_group) gives to cells that need more, in place."""
    row = np.searchsorted(windows, rest.window)
    weights = _inverse_distance(squared)
    has = donors.observed[near[row], rest.cell[:, None]] & (weights > 0)[row]
    has &= np.cumsum(has, axis=1) <= rest.n_left[:, None]
    index, place = np.nonzero(has)
    weight = weights[row[index], place]
    values = donors.values[near[row[index], place], :, rest.cell[index]]
    for axis in range(3):
        rest.sums[:, axis] += _sum_by(index, weight * values[:, axis], len(row))
    rest.weight += _sum_by(index, weight, len(row))
    rest.n_left -= has.sum(axis=1)


def _sum_by(index: IntArray, values: FloatArray, n: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(index, weights=values, minlength=n), dtype=np.float64)


def _inverse_distance(squared: NDArray[np.float64]) -> FloatArray:
    """Weights of equation (10) up to a factor; donors at distance 0 outweigh all others."""
    inverse = 1 / np.sqrt(np.where(squared > 0, squared, 1))
    return np.where(squared > 0, inverse, _EXACT_WEIGHT).astype(np.float32)


def _bits() -> NDArray[np.uint8]:
    """Return the bits of each number below ``2**GROUP``, the lowest first."""
    numbers = np.arange(2**GROUP, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return np.unpackbits(numbers, axis=1, bitorder="little")


@cache
def _n_bits() -> NDArray[np.uint8]:
    """Return how many bits are set in each number below ``2**GROUP``."""
    return np.asarray(_bits().sum(axis=1, dtype=np.uint8))


@cache
def _first_bits(n: int) -> NDArray[np.uint16]:
    """Return each number below ``2**GROUP`` with only the lowest n of its bits."""
    bits: NDArray[Any] = _bits()
    bits *= np.cumsum(bits, axis=1, dtype=np.uint8) <= n
    packed = np.packbits(bits, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u2").reshape(-1).astype(np.uint16)
