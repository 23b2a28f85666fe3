"""Arrays inside files, known by their place: read when needed, and sent to workers as that."""

from __future__ import annotations

import os
import tokenize
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from iospstl_core.errors import InputError

NUMBERS = "fiub"
"""Kinds of the element types that are numbers."""

_NO_HEADER = (
    *(ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError),
    tokenize.TokenError,
)
"""What NumPy raises on bytes that are no header."""


class ArrayOnDisk(NamedTuple):
    """An array whose elements lie one after another in a file.

    Attributes
    ----------
    path : str
    offset : int
        Of the first element, bytes.
    dtype : str
        As NumPy writes it: ``<f4``.
    shape : tuple of int
    fortran_order : bool
        The first axis changes fastest.
    axes : tuple of int, optional
        Where the elements lie in another order of axes: the stored axis of each.
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    fortran_order: bool = False
    axes: tuple[int, ...] | None = None

    @property
    def end(self) -> int:
        """Offset after the last element, bytes."""
        return self.offset + prod(self.shape) * np.dtype(self.dtype).itemsize

    def row(self, index: int) -> ArrayOnDisk:
        """Return one element of the first axis; in C order only."""
        n_bytes = prod(self.shape[1:]) * np.dtype(self.dtype).itemsize
        return self._replace(offset=self.offset + index * n_bytes, shape=self.shape[1:])

    def read(self) -> NDArray[Any]:
        """Return the array; raise InputError if the file ends before it does."""
        n_elements = prod(self.shape)
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            values = np.fromfile(file, self.dtype, n_elements)
        if len(values) < n_elements:
            raise InputError(f"{self.path}: ends within an array; copy or download it again")
        if self.axes is not None:
            stored = [self.shape[self.axes.index(axis)] for axis in range(len(self.axes))]
            return values.reshape(stored).transpose(self.axes)
        return values.reshape(self.shape, order="F" if self.fortran_order else "C")


def read_npy_header(path: Path, file: BinaryIO) -> ArrayOnDisk:
    """Return the array that begins at the file's position, in NumPy's format.

    Parameters
    ----------
    path : Path
        Of `file`, for messages.
    file : binary file
        Read up to the first element.

    Raises
    ------
    InputError
        If it is no array of numbers, or the file ends before the array does.
    """
    try:
        version = npy_format.read_magic(file)
        read_header = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(file)
    except _NO_HEADER as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: expected an array as NumPy writes it, got: {reason}") from error
    if dtype.kind not in NUMBERS or any(type(n) is not int or n < 0 for n in shape):
        raise InputError(f"{path}: expected an array of numbers, got {dtype} of shape {shape}")
    array = ArrayOnDisk(str(path), file.tell(), dtype.str, shape, bool(fortran_order))
    size = os.fstat(file.fileno()).st_size
    if array.end > size:
        raise InputError(
            f"{path}: expected {array.end} bytes by its header, got {size}: it is cut; copy or "
            "download it again"
        )
    return array
