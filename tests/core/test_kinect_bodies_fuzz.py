"""Whatever a .skeleton file holds, it is read or refused as a user's fault."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton_file import Persons, read_skeleton_file

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = hypothesis.settings(
    max_examples=400, deadline=None, database=None, derandomize=True, print_blob=False
)
_NUMBERS = ("0", "1", "2", "25", "-1", "1e9", "nan", "inf", "0.5", "9" * 30, "", "x", "²", "\x00")
_JOINT = "0.1 0.2 3.0 1 1 1 1 0 0 0 1 2"
_BODY = "72057594037944738 0 1 1 1 1 0 0.1 0.2 2"


def outcome(content: bytes) -> Persons | InputError:
    """Read a file of these bytes; anything but a sequence or an InputError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "S001C001P001R001A001.skeleton"
        path.write_bytes(content)
        try:
            persons = read_skeleton_file(path)
        except InputError as error:
            assert str(path) in str(error)
            return error
    n_frames = len(persons.present)
    assert persons.xyz.shape == (n_frames, 2, 25, 3)
    assert persons.xyz.dtype == np.float32
    assert persons.present.shape == (n_frames, 2)
    assert persons.tracking.shape == (n_frames, 2, 25)
    assert np.isnan(persons.xyz[~persons.present]).all()
    assert not np.isinf(persons.xyz).any()
    return persons


@st.composite
def nearly_right(draw):
    """Return the text of a file with few faults, or none."""
    bodies = draw(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=4))
    lines = [str(len(bodies))]
    for listed in bodies:
        lines.append(str(len(listed)))
        for body in listed:
            lines += [_BODY.replace("738", str(body), 1), "25"] + [_JOINT] * 25
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        fields = lines[at].split(" ")
        fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(_NUMBERS))
        lines[at] = " ".join(fields)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(lines) - 1))
        lines[at : at + draw(st.integers(0, 30))] = draw(st.lists(st.sampled_from(lines)))
    return "\n".join(lines)


@SETTINGS
@hypothesis.given(nearly_right())
def test_nearly_right_files_are_read_or_refused(text):
    outcome(text.encode())


@SETTINGS
@hypothesis.given(nearly_right(), st.data())
def test_changed_bytes_are_read_or_refused(text, data):
    content = bytearray(text.encode() or b"0")
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    outcome(bytes(content[: data.draw(st.integers(0, len(content)))]))


@SETTINGS
@hypothesis.given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content):
    outcome(content)


def test_both_outcomes_occur():
    right = "\n".join(["1", "1", _BODY, "25", *[_JOINT] * 25])
    assert isinstance(outcome(right.encode()), Persons)
    assert isinstance(outcome(right[:-30].encode()), InputError)


def test_many_bodies_in_many_frames_take_no_memory():
    """Each of 2,000 bodies is there once in 200,000 frames: 10 GB of arrays for 6 MB of text."""
    frames = []
    for body in range(2000):
        frames += ["1", _BODY.replace("738", str(body), 1), "25", *[_JOINT] * 25]
    content = "\n".join(["202000", *frames, *["0"] * 200_000]).encode()
    error = outcome(content)
    assert isinstance(error, InputError)
    assert "got 202000 frames and 2000 bodies" in str(error)
