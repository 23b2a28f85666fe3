"""MATLAB 5 files (``save -v6`` and ``-v7``), as far as arrays of real numbers need.

Every size is checked before it is used: a damaged file is an error here, where SciPy's compiled
reader (`scipy.io.loadmat`, as of 1.17) ends the process with a segmentation fault.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Number = np.integer | np.floating

_HEADER_BYTES = 128
_VERSION_5 = b"\x00\x01IM"  # the end of the header: version, and the mark of little-endian
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {
    **{_INT8: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", _INT32: "<i4", _UINT32: "<u4"},
    **{7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"},
}
_NUMERIC_CLASSES = [bytes([number]) for number in range(6, 16)]
_MAX_BYTES = 64 * 2**20


def read_array(content: bytes, name: str) -> NDArray[Number]:
    """Return a variable of a MATLAB 5 file.

    Parameters
    ----------
    content : bytes
        The whole file.
    name : str
        Of a variable that holds an array of real numbers.

    Returns
    -------
    values : ndarray
        Read-only, in the type that the file stores, which is smaller than the variable's where
        all numbers fit.

    Raises
    ------
    ValueError
        If this is no such file, or it is damaged, or does not hold such a variable.
    """
    if content[_HEADER_BYTES - len(_VERSION_5) : _HEADER_BYTES] != _VERSION_5:
        raise ValueError("no header of version 5")
    for element in _elements(content[_HEADER_BYTES:]):
        kind, data = element
        if kind == _COMPRESSED:
            kind, data = next(_elements(_inflate(data)), (0, b""))
        if kind == _MATRIX:
            parts = list(_elements(data))
            head = [part[0] for part in parts[:3]]
            if head == [_UINT32, _INT32, _INT8] and parts[2][1] == name.encode():
                return _values(parts)
    raise ValueError(f"no variable '{name}'")


def _values(parts: list[tuple[int, bytes]]) -> NDArray[Number]:
    """Assemble flags, shape, name and numbers; the first axis runs fastest."""
    is_numeric = parts[0][1][:1] in _NUMERIC_CLASSES
    if not is_numeric or len(parts) != 4 or parts[3][0] not in _NUMBERS:  # complex: five parts
        raise ValueError("the variable is no array of real numbers")
    shape = np.frombuffer(parts[1][1], "<i4").tolist()
    values: NDArray[Number] = np.frombuffer(parts[3][1], _NUMBERS[parts[3][0]])
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} numbers do not make the shape {tuple(shape)}")
    return values.reshape(shape, order="F")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk through data elements, as pairs of type and content."""
    start = 0
    while start < len(data):
        if start + 8 > len(data):
            raise ValueError("it ends in the middle of a tag")
        kind, n_bytes = struct.unpack_from("<II", data, start)
        start += 8
        if kind > 0xFFFF:  # short form: the size is in the type, and four bytes follow
            kind, n_bytes, begin = kind & 0xFFFF, kind >> 16, start - 4
            if n_bytes > 4:
                raise ValueError(f"a short element of {n_bytes} bytes")
        else:
            begin = start
            start += n_bytes if kind == _COMPRESSED else -(-n_bytes // 8) * 8  # padded to 8
        if begin + n_bytes > len(data):
            raise ValueError("it ends in the middle of an element")
        yield kind, data[begin : begin + n_bytes]


def _inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"damaged compression ({error})") from error
    if not stream.eof:
        raise ValueError(f"compression cut, or of more than {_MAX_BYTES} bytes")
    return content
