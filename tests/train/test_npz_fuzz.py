"""Whatever an .npz archive holds, it is read or refused as a user's fault."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20
from iospstl_train.data.npz import open_npz
from iospstl_train.data.recording import Recording, SkippedRecording

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = hypothesis.settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
KEYS = ("xyz", "offset", "label", "name", "subject", "view", "setup", "class_names", "confidence")
TYPES = ("f4", "f8", "f2", "i8", "u1", "?", "U3", "S3", "c8", "M8[s]", ">i4", "V4")


def read_all(path: Path) -> int:
    """Open and read an archive; anything but sequences or an InputError fails the test."""
    try:
        source = open_npz(path, KINECT_V1_20, "train: view in 1; test: view in 2")
        read = [source.read(item) for item in source.items]
    except InputError as error:
        assert str(path) in str(error)
        return 0
    for item in read:
        assert isinstance(item, Recording | SkippedRecording)
        if isinstance(item, Recording):
            assert item.xyz.shape == (len(item.present), source.n_persons, 20, 3)
            assert item.xyz.dtype == np.float32
            assert np.abs(np.nan_to_num(item.xyz)).max() <= 1000
            assert 0 <= item.label < len(source.class_names)
    return len(read)


def outcome(content: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.npz"
        path.write_bytes(content)
        return read_all(path)


def right_arrays():
    return {
        "xyz": np.random.default_rng(0).normal(size=(6, 20, 3)).astype(np.float32),
        "offset": np.array([0, 2, 4, 6]),
        "label": np.array([0, 1, 0]),
        "view": np.array([1, 2, 1]),
        "name": np.array(["a", "b", "c"]),
    }


def archive(arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@st.composite
def arrays_with_faults(draw):
    """Return arrays of which some were changed, added or left out."""
    arrays = right_arrays()
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(KEYS))
        kind = draw(st.sampled_from(("drop", "type", "shape", "value", "new")))
        if kind == "new" or key not in arrays:
            shape = draw(st.lists(st.integers(0, 6), max_size=4))
            arrays[key] = np.zeros(shape, dtype=draw(st.sampled_from(TYPES)))
        elif kind == "drop":
            del arrays[key]
        elif kind == "type":
            changed = np.zeros(arrays[key].shape, dtype=draw(st.sampled_from(TYPES)))
            arrays[key] = changed
        elif kind == "shape":
            arrays[key] = np.atleast_1d(arrays[key])[: draw(st.integers(0, 5))]
        elif arrays[key].size and arrays[key].dtype.kind in "fiu":
            value = draw(st.sampled_from((-1, 0, 2, 255, 10**6, 2**62, np.nan, np.inf)))
            with np.errstate(invalid="ignore"):
                at = draw(st.integers(0, arrays[key].size - 1))
                arrays[key].flat[at] = np.asarray(value).astype(arrays[key].dtype)
    return arrays


@SETTINGS
@hypothesis.given(arrays_with_faults())
def test_arrays_with_faults_are_read_or_refused(arrays):
    outcome(archive(arrays))


@SETTINGS
@hypothesis.given(st.data())
def test_changed_and_cut_archives_are_read_or_refused(data):
    content = bytearray(archive(right_arrays()))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    outcome(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))


@SETTINGS
@hypothesis.given(st.binary(max_size=300), st.sampled_from((b"", b"PK\x03\x04", b"\x93NUMPY\x01")))
def test_any_bytes_are_refused(content, head):
    assert outcome(head + content) == 0


def test_both_outcomes_occur():
    assert outcome(archive(right_arrays())) == 3
    assert outcome(archive(right_arrays())[:-40]) == 0
