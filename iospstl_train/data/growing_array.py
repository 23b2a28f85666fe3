"""A ``.npy`` file that grows by rows, so that what is written never has to fit into memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray


class GrowingArray:
    """Appends rows to a ``.npy`` file; it is complete when the ``with`` block ends.

    NumPy leaves room in the header for a longer first axis, so that the header with the final
    number of rows takes the place of the first one.

    Parameters
    ----------
    path : Path
        A new file.
    dtype : dtype
        What rows are turned into.
    row_shape : tuple of int
        All axes but the first.

    Attributes
    ----------
    n_rows : int
        Written so far.
    """

    def __init__(self, path: Path, dtype: Any, row_shape: tuple[int, ...]) -> None:
        self.n_rows = 0
        self._path = path
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape

    def __enter__(self) -> GrowingArray:
        self._file: BinaryIO = self._path.open("wb")
        self._header_end = self._write_header()
        return self

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows of shape (n, *row_shape)."""
        assert rows.shape[1:] == self._row_shape, (rows.shape, self._row_shape)
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self.n_rows += len(rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                end = self._write_header()
                assert end == self._header_end, "the header outgrew its place"

    def _write_header(self) -> int:
        shape = (self.n_rows, *self._row_shape)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        write_array_header_1_0(self._file, header)
        return self._file.tell()
