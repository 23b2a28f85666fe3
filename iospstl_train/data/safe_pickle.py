"""Pickles of lists, numbers, texts and arrays, read without running anything that is in them.

A pickle is a program: it may name any function and call it. Here the only names that mean
anything are those that NumPy and Python write for arrays, and each stands for a function below
that builds nothing but such a value. Arrays stay in the file until they are read, so that memory
does not grow with them.
"""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - its reader, with every name that it may call replaced
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_train.data.array_on_disk import NUMBERS, ArrayOnDisk

_NOT_A_PICKLE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, MemoryError, RecursionError, struct.error),
)
"""What Python's reader raises on bytes that are no pickle, or a cut one."""

_REFUSED = (
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "PERSID",
    "BINPERSID",
    "EXT1",
    "EXT2",
    "EXT4",
    "NEXT_BUFFER",
)
_ELEMENT = re.compile(rf"[{NUMBERS}]\d{{1,2}}")


def read_pickle(path: Path) -> Any:
    """Read a pickle of lists, tuples, dictionaries, numbers, texts and arrays of numbers.

    Parameters
    ----------
    path : Path
        File of any pickle protocol.

    Returns
    -------
    content
        Arrays are `ArrayOnDisk`, or ndarray where the protocol (0 to 2) packs them as text.

    Raises
    ------
    InputError
        If the file is no pickle, is cut, or names anything else: nothing of it is run.
    """
    try:
        with path.open("rb") as file:
            return _unwrap(_Reader(path, file).load())
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the file") from error
    except _NOT_A_PICKLE as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(
            f"{path}: expected a complete pickle, got a damaged or cut file, or another ({reason})"
            "; download it again"
        ) from error


class _Span(NamedTuple):
    """Bytes of the file that were not read."""

    start: int
    size: int


class _ElementType:
    """Stands for a pickled ``numpy.dtype`` of numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _ELEMENT.fullmatch(code):
            raise ValueError(f"elements {code!r:.40}, which are no numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.dtype = self.dtype.newbyteorder(order if order in ("<", ">") else "=")


class _Array:
    """Stands for a pickled array until its state is known."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.value: ArrayOnDisk | NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, elements, fortran_order, data = state
        self.fill(shape, elements, bool(fortran_order), data)

    def fill(self, shape: Any, elements: Any, fortran_order: bool, data: Any) -> None:
        """Take shape, element type and bytes; raise ValueError if they do not fit together."""
        right = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not right or not isinstance(elements, _ElementType):
            raise ValueError(f"an array of shape {shape!r:.40}")
        expected = prod(shape) * elements.dtype.itemsize
        size = data.size if isinstance(data, _Span) else len(data)
        if size != expected:
            raise ValueError(f"an array of {size} bytes for the shape {shape!r:.40}")
        if isinstance(data, _Span):
            name, dtype = str(self._reader.path), elements.dtype.str
            self.value = ArrayOnDisk(name, data.start, dtype, shape, fortran_order)
        else:
            values = np.frombuffer(data, elements.dtype)
            self.value = values.reshape(shape, order="F" if fortran_order else "C")


class _Reader(pickle._Unpickler):
    """Python's own reader of pickles, which calls only what is listed in `find_class`."""

    dispatch: ClassVar[dict[int, Any]] = dict(cast(Any, pickle._Unpickler).dispatch)

    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        core = "numpy.core.multiarray"
        self._known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "dtype"): _ElementType,
            ("numpy", "ndarray"): self._array_class,
            (core, "_reconstruct"): self._reconstruct,
            (core, "scalar"): self._scalar,
            ("numpy.core.numeric", "_frombuffer"): self._from_buffer,
            ("_codecs", "encode"): self._encode,
            ("collections", "OrderedDict"): OrderedDict,
        }

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            self._refuse(f"names '{module[:60]}.{name[:60]}'")
        return known

    def _refuse(self, what: str) -> Any:
        raise InputError(
            f"{self.path}: expected a pickle of lists, numbers, texts and arrays, got one that "
            f"{what}, which could run code: nothing of it was run; use the file of the format's "
            "authors"
        )

    def _array_class(self, *_: Any) -> Any:
        raise ValueError("an array without content")

    def _reconstruct(self, *_: Any) -> _Array:
        return _Array(self)

    def _from_buffer(
        self, data: Any, elements: Any, shape: Any, order: Any, axes: Any = None
    ) -> _Array:
        array = _Array(self)
        array.fill(shape, elements, order == "F", data)
        if order == "K" and axes is not None:
            value = array.value
            if sorted(axes) != list(range(len(shape))) or not isinstance(value, ArrayOnDisk):
                raise ValueError(f"an array with the axes {axes!r:.40}")
            turned = tuple(shape[axis] for axis in axes)
            array.value = value._replace(shape=turned, axes=tuple(axes))
        return array

    def _scalar(self, elements: Any, data: Any) -> Any:
        array = _Array(self)
        array.fill((1,), elements, False, data)
        value = array.value
        return (value.read() if isinstance(value, ArrayOnDisk) else cast(Any, value)).item()

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"text in {encoding!r:.40}")
        return str(text).encode("latin-1")

    def _skip(self, size: int) -> None:
        start = self._file.tell()
        if start + size > self._size:
            raise EOFError("it ends within an array")
        self._file.seek(size, os.SEEK_CUR)
        cast(Any, self).append(_Span(start, size))

    def _load_span(self, n_size_bytes: int) -> None:
        self._skip(int.from_bytes(self._file.read(n_size_bytes), "little"))

    def _load_frame(self) -> None:
        self._file.read(8)  # how many bytes belong together: here they are read as they come

    def _load_build(self) -> None:
        stack = cast(Any, self).stack
        state = stack.pop()
        if not isinstance(stack[-1], _Array | _ElementType):
            self._refuse("changes an object")
        stack[-1].__setstate__(state)

    def _load_refused(self) -> None:
        self._refuse("makes an object")

    _replaced: ClassVar[dict[str, Callable[..., None]]] = {
        "SHORT_BINBYTES": lambda self: self._load_span(1),
        "BINBYTES": lambda self: self._load_span(4),
        "BINBYTES8": lambda self: self._load_span(8),
        "BYTEARRAY8": lambda self: self._load_span(8),
        "FRAME": _load_frame,
        "BUILD": _load_build,
        **dict.fromkeys(_REFUSED, _load_refused),
    }
    for _name, _load in _replaced.items():
        dispatch[getattr(pickle, _name)[0]] = _load


def _unwrap(content: Any, done: dict[int, Any] | None = None) -> Any:
    """Put arrays in the place of what stands for them; each list is copied once."""
    done = {} if done is None else done
    if id(content) in done:
        return done[id(content)]
    unwrapped = content
    if isinstance(content, _Array):
        if content.value is None:
            raise ValueError("an array without content")
        unwrapped = content.value
    elif isinstance(content, list | tuple) and not isinstance(content, _Span):
        unwrapped = [_unwrap(item, done) for item in content]
        unwrapped = unwrapped if isinstance(content, list) else tuple(unwrapped)
    elif isinstance(content, dict):
        unwrapped = {key: _unwrap(value, done) for key, value in content.items()}
    done[id(content)] = unwrapped
    return unwrapped
