"""Nothing half-written is ever left under its final name."""

import hashlib
import os

import pytest

from iospstl_core.errors import InputError
from iospstl_core.files import (
    describe_files,
    new_file,
    new_folder,
    read_json,
    sha256_of,
    write_json,
)


class Interrupted(BaseException):
    """As KeyboardInterrupt: nobody catches it on the way."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "down" / "made"
    with new_folder(target) as partial:
        (partial / "a.txt").write_text("a")
        assert not target.exists()
        assert partial.parent == target.parent  # a rename within one file system
    assert (target / "a.txt").read_text() == "a"
    assert names(target.parent) == ["made"]


@pytest.mark.parametrize("error", [OSError, Interrupted])
@pytest.mark.parametrize("is_old_there", [False, True])
def test_a_failed_folder_leaves_what_was_there(tmp_path, error, is_old_there):
    target = tmp_path / "made"
    if is_old_there:
        target.mkdir()
        (target / "old.txt").write_text("old")
    with pytest.raises(error), new_folder(target) as partial:
        (partial / "a.txt").write_text("a")
        raise error
    assert names(tmp_path) == (["made"] if is_old_there else [])
    if is_old_there:
        assert (target / "old.txt").read_text() == "old"


def test_a_new_folder_replaces_the_old_one_as_a_whole(tmp_path):
    target = tmp_path / "made"
    for name in ("old.txt", "new.txt"):
        with new_folder(target) as partial:
            (partial / name).write_text(name)
    assert names(target) == ["new.txt"]
    assert names(tmp_path) == ["made"]


def test_what_a_killed_process_of_the_same_id_left_is_no_obstacle(tmp_path):
    target = tmp_path / "made"
    for kind in ("partial", "replaced"):
        left = tmp_path / f".made.{kind}-{os.getpid()}"
        left.mkdir()
        (left / "left.txt").write_text("left")
    target.mkdir()
    with new_folder(target) as partial:
        assert names(partial) == []
        (partial / "a.txt").write_text("a")
    assert names(target) == ["a.txt"]
    assert names(tmp_path) == ["made"]


def test_a_new_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "made.npz"
    with new_file(target) as partial:
        assert partial.suffix == ".npz"  # writers that go by the suffix, or append theirs
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["made.npz"]


@pytest.mark.parametrize("error", [OSError, Interrupted])
@pytest.mark.parametrize("is_old_there", [False, True])
def test_a_failed_file_leaves_what_was_there(tmp_path, error, is_old_there):
    target = tmp_path / "made.json"
    if is_old_there:
        target.write_text("old")
    with pytest.raises(error), new_file(target) as partial:
        partial.write_text("half")
        raise error
    assert names(tmp_path) == (["made.json"] if is_old_there else [])
    if is_old_there:
        assert target.read_text() == "old"


def test_a_new_file_replaces_the_old_one(tmp_path):
    target = tmp_path / "made.json"
    target.write_text("old")
    with new_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_json_round_trip(tmp_path):
    path = tmp_path / "made.json"
    data = {"numbers": [1, 2.5, None], "text": "Gelenk 'Käfer'", "nested": {"yes": True}}
    write_json(path, data)
    assert read_json(path) == data
    assert path.read_bytes().endswith(b"}\n")


def test_what_cannot_be_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "made.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}
    assert names(tmp_path) == ["made.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a readable JSON file, got: .*No such file"),
        (b"{", "expected a readable JSON file, got: "),
        (b"\xff\xfe", "expected a readable JSON file, got: "),
        (b"[1, 2]", "expected a JSON object, got list"),
    ],
)
def test_unreadable_json_names_the_file(tmp_path, content, message):
    path = tmp_path / "read.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"read.json: {message}"):
        read_json(path)


@pytest.mark.parametrize("size", [0, 5, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_is_that_of_the_whole_file(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "data.bin"
    path.write_bytes(content[:size])
    assert sha256_of(path) == hashlib.sha256(content[:size]).hexdigest()


def test_files_are_described_by_their_relative_path(tmp_path):
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "b.npy").write_bytes(b"bb")
    (tmp_path / "a.onnx").write_bytes(b"")
    described = describe_files(tmp_path)
    assert list(described) == ["a.onnx", "bank/b.npy"]
    assert described["a.onnx"] == {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    assert described["bank/b.npy"] == {"size": 2, "sha256": hashlib.sha256(b"bb").hexdigest()}
