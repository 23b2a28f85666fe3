"""Donors of one cluster in memory, and how far they are from windows.

A person's cells are kept and compared apart from the other's: whoever is absent, from the window
or from all donors, costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank, to_single

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Block = tuple[slice, FloatArray, FloatArray, FloatArray]

_MANY_ROWS = 64
"""Donors compared at once with many windows."""

_CACHED_ROWS = 16
"""Donors squared at once; such a block stays in the processor's cache."""

FEW_WINDOWS = 8
"""With fewer windows than this the time goes into reading the donors, not into products."""

_ROUNDING = 6 * float(np.finfo(np.float32).eps)
"""Error of a squared distance as a share of the squared norms; measured: up to a half."""

_MAX_ERROR = 1e-4
"""Relative error of a squared distance that leaves weights good for 1e-5 m."""

_EXACT_ROWS = 16
"""Distances computed at once term by term."""


@dataclass
class PersonDonors:
    """What some donors know of one person.

    Attributes
    ----------
    values : ndarray of shape (n_donors, 3, n_cells), float32
        Metres; 0 where not observed. Cells are (frame, joint).
    observed : ndarray of shape (n_donors, n_cells), bool
        Every donor has at least one cell.
    index : ndarray of shape (n_donors,), int64
        Place of each among all donors of its clusters, ascending.
    center : ndarray of shape (3, n_cells), float32
        Some position near that of most donors.
    """

    values: FloatArray
    observed: BoolArray
    index: IntArray
    center: FloatArray

    @cached_property
    def mean(self) -> FloatArray:
        """Mean of the donors that have a cell, shape (3, n_cells); NaN where none has."""
        total = self.values.sum(axis=0, dtype=np.float64)
        count = self.observed.sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return np.asarray(mean, dtype=np.float32)

    def place_of(self, index: IntArray) -> IntArray:
        """Return places of donors by their index among all, -1 for those that are not here."""
        place = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        return np.where(self.index[place] == index, place, -1) if len(self.index) else place

    @property
    def n_bytes(self) -> int:
        """Memory in use."""
        arrays = [self.values, self.observed, self.index, *self.__dict__.get("_terms", ())]
        return sum(array.nbytes for array in arrays)

    def blocks(self, n_windows: int) -> Iterator[Block]:
        """Yield rows, values (n, 3 * n_cells), squared norms and 0 or 1 for observed (n, n_cells).

        For few windows all donors come at once, with terms that are computed once and kept. For
        many they come in blocks, relative to the center.
        """
        if n_windows < FEW_WINDOWS:
            yield slice(0, len(self.values)), _flat(self.values), *self._terms
            return
        for rows in self._slices(_MANY_ROWS):
            observed = self.observed[rows]
            values = self.values[rows] - self.center
            values *= observed[:, None]
            yield rows, _flat(values), _squares(values), observed.astype(np.float32)

    @cached_property
    def _terms(self) -> tuple[FloatArray, FloatArray]:
        squares = np.zeros(self.observed.shape, dtype=np.float32)
        for rows in self._slices(_CACHED_ROWS):
            squares[rows] = _squares(self.values[rows])
        return squares, self.observed.astype(np.float32)

    def _slices(self, n_rows: int) -> Iterator[slice]:
        for start in range(0, len(self.values), n_rows):
            yield slice(start, min(start + n_rows, len(self.values)))


def _flat(values: FloatArray) -> FloatArray:
    return values.reshape(len(values), -1)


def _crossing(rows: IntArray, columns: IntArray, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Index of some rows and columns of a matrix, both ascending: slices where they are whole."""
    start, stop = columns[0], columns[-1] + 1
    if len(rows) == shape[0] and stop - start == len(columns):
        return slice(None), slice(start, stop)
    return np.ix_(rows, columns)


def _squares(values: FloatArray) -> FloatArray:
    """Squared norms of cells, (n, n_cells)."""
    squares = np.square(values[:, 0])
    for axis in (1, 2):
        squares += np.square(values[:, axis])
    return np.asarray(squares)


def read_person(
    bank: ImputationBank, clusters: Sequence[int], person: int, max_donors: int | None = None
) -> PersonDonors:
    """Read what the donors of some clusters know of one person; at most so many a cluster."""
    values, observed, index = [], [], []
    n_before = 0
    for cluster in clusters:
        rows = bank.rows_of(cluster, max_donors)
        own = bank.read_observed(rows)[:, :, person]
        has = own.any(axis=(1, 2))
        donors = bank.donors[rows][:, :, person]
        donors = donors if np.all(has) else donors[has]
        shape = len(donors), own.shape[1] * own.shape[2]
        values.append(to_single(np.moveaxis(donors, -1, 1)).reshape(shape[0], 3, shape[1]))
        observed.append(own[has].reshape(shape))
        index.append(n_before + np.flatnonzero(has))
        n_before += len(own)
    center = np.nan_to_num(np.moveaxis(bank.mean[:, person], -1, 0)).reshape(3, -1)
    return PersonDonors(_join(values), _join(observed), _join(index), center)


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Distances:
    """Squared distances (8) between windows and donors, without the number of all cells.

    Products of matrices give them up to a rounding error that is known; where it could change
    the order of donors or a weight, `nearest` computes them again term by term.

    Parameters
    ----------
    values : sequence over persons of ndarrays of shape (n_windows, 3, n_cells), float32
        The windows; 0 where not observed while this is made, then anything.
    observed : sequence over persons of ndarrays of shape (n_windows, n_cells), bool
    donors : sequence over persons of PersonDonors
    n_donors : int
        Donors of the clusters, whoever they know of.
    """

    def __init__(
        self,
        values: Sequence[FloatArray],
        observed: Sequence[BoolArray],
        donors: Sequence[PersonDonors],
        n_donors: int,
    ) -> None:
        self._values, self._observed, self._donors = values, observed, donors
        shape = (len(values[0]), n_donors)
        squared, norms, common = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        for person, own in enumerate(donors):
            self._add_person(person, own, (squared, norms, common))
        never = common == 0
        np.maximum(common, 1, out=common)
        self.squared = np.divide(squared, common, dtype=np.float64)
        self.squared[never] = np.inf
        self._error = np.multiply(norms, _ROUNDING, out=norms)
        self._error /= common
        self._common = common

    def _add_person(
        self, person: int, donors: PersonDonors, totals: tuple[FloatArray, ...]
    ) -> None:
        """Add one person's squared distances, squared norms and numbers of common cells."""
        rows = np.flatnonzero(self._observed[person].any(axis=1))
        if not len(rows) or not len(donors.index):
            return
        seen = self._observed[person][rows].astype(np.float32)
        values = self._values[person][rows]
        if len(rows) >= FEW_WINDOWS:
            values -= donors.center
            values *= seen[:, None]
        own = _squares(values)
        flat = values.reshape(len(rows), -1)
        for part, other, squares, observed in donors.blocks(len(rows)):
            norms = own @ observed.T
            norms += seen @ squares.T
            squared = flat @ other.T
            squared *= -2
            squared += norms
            common = seen @ observed.T
            del other, squares, observed  # before the next ones are made
            where = _crossing(rows, donors.index[part], totals[0].shape)
            for total, term in zip(totals, (squared, norms, common), strict=True):
                total[where] += term

    def nearest(self, person: int, windows: IntArray, n: int) -> tuple[IntArray, DoubleArray]:
        """Return the n donors nearest to some windows among those that know of the person.

        Returns
        -------
        places : ndarray of shape (n_windows, min(n, n_donors)), int64
            Among the person's donors, the nearest first; the first in the bank at equal distance.
        squared : ndarray of the same shape, float64
            Infinite from the first one on that shares no cell with the window.
        """
        index = self._donors[person].index
        squared = self.squared[windows][:, index]
        own_row = np.arange(len(windows))[:, None]
        places = np.broadcast_to(np.arange(len(index)), squared.shape)
        if n < len(index):  # leave out who cannot be among the n nearest
            error = self._error[windows][:, index]
            limit = np.partition(squared + error, n - 1, axis=1)[:, n - 1 : n]
            at_least = squared - error
            n_near = int((at_least <= limit).sum(axis=1).max())
            places = np.sort(np.argpartition(at_least, n_near - 1, axis=1)[:, :n_near], axis=1)
            squared = squared[own_row, places]
        order = np.argsort(squared, axis=1, kind="stable")
        near, squared = places[own_row, order], squared[own_row, order]
        row, column = self._find_unsure(windows, index[near], squared)
        if len(row):
            self._settle(windows[row], index[near[row, column]])
            near = np.sort(near, axis=1)
            squared = self.squared[windows[:, None], index[near]]
            order = np.argsort(squared, axis=1, kind="stable")
            near, squared = near[own_row, order], squared[own_row, order]
        return near[:, :n], squared[:, :n]

    def _find_unsure(
        self, windows: IntArray, ordered: IntArray, squared: DoubleArray
    ) -> tuple[IntArray, IntArray]:
        """Rows and columns of ordered distances whose errors matter."""
        error = self._error[windows[:, None], ordered]
        unsure = error > _MAX_ERROR * squared
        close = squared[:, :-1] + error[:, :-1] >= squared[:, 1:] - error[:, 1:]
        unsure[:, :-1] |= close
        unsure[:, 1:] |= close
        unsure &= (error > 0) & np.isfinite(squared)
        row, column = np.nonzero(unsure)
        return row, column

    def _settle(self, windows: IntArray, indices: IntArray) -> None:
        """Compute distances of some pairs again term by term, in double precision."""
        for start in range(0, len(indices), _EXACT_ROWS):
            pairs = windows[start : start + _EXACT_ROWS], indices[start : start + _EXACT_ROWS]
            total = np.zeros(len(pairs[0]))
            for values, seen, donors in zip(
                self._values, self._observed, self._donors, strict=True
            ):
                place = donors.place_of(pairs[1])
                has = place >= 0
                window, place = pairs[0][has], place[has]
                terms = donors.values[place].astype(np.float64)
                terms -= values[window]
                terms *= terms
                both = seen[window] & donors.observed[place]
                total[has] += np.einsum("dxc,dc->d", terms, both)
            self.squared[pairs] = total / self._common[pairs]
            self._error[pairs] = 0
