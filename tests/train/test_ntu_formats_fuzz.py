"""Whatever a pickle or an archive of NTU RGB+D holds, it is read or refused as a user's fault."""

from __future__ import annotations

import functools
import io
import pickle  # noqa: TID251 - what is read
import tempfile
from pathlib import Path

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_train.data.ntu_formats import open_ntu_copy
from iospstl_train.data.recording import Recording, SkippedRecording
from tests.train import ntu_copies as copies

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)


def outcome(content: bytes, name: str) -> int:
    """Read a file of these bytes; anything but sequences or an InputError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            source = open_ntu_copy("ntu60", path)
            read = [source.read(item) for item in source.items]
        except InputError as error:
            assert str(path) in str(error)
            return 0
    for item in read:
        assert isinstance(item, Recording | SkippedRecording)
        if isinstance(item, Recording):
            assert item.xyz.shape == (*item.present.shape, 25, 3)
            assert np.abs(np.nan_to_num(item.xyz)).max() <= 1000
    return len(read)


@functools.cache
def pickled(protocol: int) -> bytes:
    sequences = copies.make_sequences(copies.NAMES[:2])
    small = {name: xyz[:2] for name, xyz in sequences.items()}
    return pickle.dumps(copies.pyskl_content(small), protocol)


@functools.cache
def archived() -> bytes:
    sequences = copies.make_sequences(copies.NAMES[:2])
    small = {name: xyz[:2] for name, xyz in sequences.items()}
    file = io.BytesIO()
    np.savez(file, **copies.ctr_gcn_arrays(small, n_frames=3))
    return file.getvalue()


def damage(data, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed))) :]
    return bytes(changed)


@SETTINGS
@hypothesis.given(st.data(), st.sampled_from((2, 4, 5)))
def test_damaged_pickles_are_read_or_refused(data, protocol):
    outcome(damage(data, pickled(protocol)), "ntu60_3danno.pkl")


@SETTINGS
@hypothesis.given(st.binary(max_size=200), st.sampled_from((b"", b"\x80\x04", b"\x80\x02}q\x00")))
def test_any_pickles_are_refused(content, head):
    assert outcome(head + content, "ntu60_3danno.pkl") == 0


@SETTINGS
@hypothesis.given(st.data())
def test_damaged_archives_are_read_or_refused(data):
    outcome(damage(data, archived()), "NTU60_CS.npz")


def test_both_outcomes_occur():
    assert outcome(pickled(4), "a") == outcome(archived(), "a") == 2
    assert outcome(pickled(4)[:-9], "a") == outcome(archived()[:-9], "a") == 0


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04r\xff\xff\xff\xff0.",  # a place in a memo of four billion
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",  # more bytes than any memory
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",  # the same as text
        b"\x80\x04]\x94h\x00a.",  # a list in itself
    ],
)
def test_pickles_that_want_memory_are_refused(content):
    assert outcome(content, "a.pkl") == 0


def test_lists_of_lists_of_lists_are_looked_at_once():
    nested: list = [0]
    for _ in range(60):
        nested = [nested, nested]
    assert outcome(pickle.dumps(nested, 4), "a.pkl") == 0
