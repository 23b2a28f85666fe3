from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from iospstl_train.data.matlab import read_array


def make_file(compressed: bool = False, **variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def values(*shape: int) -> Any:
    return np.random.default_rng(3).normal(size=shape)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        values(20, 3, 7),
        values(1, 1),
        values(2, 3, 4, 5).astype(np.float32),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array([[-(2**40), 7]]),
        np.zeros((20, 3, 0)),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_reads_what_scipy_reads(array: Any, compressed: bool) -> None:
    content = make_file(
        compressed,
        first=values(3, 3),
        text="abc",
        cells=np.array([1, "a"], dtype=object),
        wanted=array,
    )
    read = read_array(content, "wanted")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype == loadmat(io.BytesIO(content))["wanted"].dtype


def test_names_are_compared_in_full() -> None:
    content = make_file(d_skel_old=values(1, 2), d_skel=values(2, 1))
    assert read_array(content, "d_skel").shape == (2, 1)
    with pytest.raises(ValueError, match="no variable 'd_ske'"):
        read_array(content, "d_ske")


@pytest.mark.parametrize(
    "array",
    ["text", np.array([1, "a"], dtype=object), {"a": 1}, values(2, 2) * 1j],
    ids=["text", "cells", "struct", "complex"],
)
def test_other_kinds_of_variables_are_refused(array: Any) -> None:
    with pytest.raises(ValueError, match="no array of real numbers"):
        read_array(make_file(wanted=array), "wanted")


def test_text_that_is_stored_as_numbers_is_refused() -> None:
    content = make_file(wanted=values(2, 2))
    flags = struct.pack("<III", 6, 8, 6)  # type and size of the flags, class double
    assert content.count(flags) == 1
    with pytest.raises(ValueError, match="no array of real numbers"):
        read_array(content.replace(flags, struct.pack("<III", 6, 8, 4)), "wanted")


def test_short_element_that_is_too_long_is_refused() -> None:
    content = make_file(abc=values(2, 2))
    tag = struct.pack("<HH", 1, 3) + b"abc"
    assert content.count(tag) == 1
    with pytest.raises(ValueError, match="a short element of 5 bytes"):
        read_array(content.replace(tag, struct.pack("<HH", 1, 5) + b"abc"), "abc")


def test_other_versions_and_byte_orders_are_refused() -> None:
    content = make_file(wanted=values(2, 2))
    for header in (b"\x00\x02IM", b"\x01\x00MI"):
        with pytest.raises(ValueError, match="no header of version 5"):
            read_array(content[:124] + header + content[128:], "wanted")
    with pytest.raises(ValueError, match="no header of version 5"):
        read_array(b"", "wanted")


@pytest.mark.parametrize("compressed", [False, True])
def test_no_cut_file_is_read(compressed: bool) -> None:
    content = make_file(compressed, wanted=values(2, 3))
    for n_bytes in range(len(content)):
        with pytest.raises(ValueError, match=r"no header|no variable|it ends in|compression"):
            read_array(content[:n_bytes], "wanted")


@pytest.mark.parametrize("compressed", [False, True])
def test_changed_bytes_are_read_or_refused(compressed: bool) -> None:
    content = make_file(compressed, wanted=values(2, 3))
    for position in range(len(content)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            changed = content[:position] + bytes([value]) + content[position + 1 :]
            try:
                assert read_array(changed, "wanted").dtype.kind in "fiu"
            except ValueError as error:
                assert str(error)


def test_shape_that_the_numbers_do_not_fill_is_refused() -> None:
    content = make_file(wanted=values(2, 3))
    shape = struct.pack("<ii", 2, 3)
    assert content.count(shape) == 1
    for other in ((2, 2**31 - 1), (-2, -3)):
        with pytest.raises(ValueError, match="6 numbers do not make the shape"):
            read_array(content.replace(shape, struct.pack("<ii", *other)), "wanted")


def test_file_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_file(True, wanted=np.zeros((100, 100)))
    assert read_array(content, "wanted").shape == (100, 100)
    monkeypatch.setattr("iospstl_train.data.matlab._MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="or of more than 1000 bytes"):
        read_array(content, "wanted")


def test_compressed_nothing_is_no_variable() -> None:
    packed = zlib.compress(b"")
    content = make_file()[:128] + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="no variable 'wanted'"):
        read_array(content, "wanted")
