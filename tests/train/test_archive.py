from __future__ import annotations

import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_train.data.archive import ArchiveMember, list_files, read_content
from tests.train.archive_files import make_archive

NAMES = ("a1.json", "a2.json", "b1.json")
ARCHIVES = ("a.tar.xz", "a.zip")


@pytest.fixture
def files() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    return {name: bytes(rng.integers(97, 105, 4000, dtype=np.uint8)) for name in NAMES}


@pytest.fixture(params=ARCHIVES)
def archive(tmp_path: Path, files: dict[str, bytes], request: pytest.FixtureRequest) -> Path:
    return make_archive(tmp_path / request.param, files)


def list_json(data: Path) -> list[Path] | list[ArchiveMember]:
    return list_files(data, "Sequences", "a1.json")


def test_folder_parent_and_archives_give_the_same_files(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = tmp_path / "Sequences"
    folder.mkdir()
    others = {"b0.txt": b"order", "Sequences.json.bak": b""}
    unordered = {**others, **dict(reversed(files.items()))}
    for name, content in unordered.items():
        (folder / name).write_bytes(content)
    nested = {f"Sequences/{name}": content for name, content in unordered.items()}
    copies = [folder, tmp_path]
    copies += [make_archive(tmp_path / name, nested) for name in ARCHIVES]
    copies += [make_archive(tmp_path / f"flat_{name}", unordered) for name in ARCHIVES]
    for copy in copies:
        items = list_json(copy)
        assert [Path(item.name).name for item in items] == list(NAMES), copy
        assert [read_content(item) for item in items] == list(files.values())


def test_missing_and_empty_data_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got nothing there; set --data"):
        list_json(tmp_path / "nowhere")
    for name in ARCHIVES:
        with pytest.raises(InputError, match="no such file; set --data"):
            list_json(tmp_path / f"nowhere_{name}")
    (tmp_path / "data.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"expected the folder Sequences, .* got another file"):
        list_json(tmp_path / "data.rar")
    empty = [make_archive(tmp_path / name, {"Sequences/readme.txt": b""}) for name in ARCHIVES]
    for data in (tmp_path, *empty):
        with pytest.raises(InputError, match=r"named like a1\.json, got none; .* Sequences"):
            list_json(data)


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_content(tmp_path / NAMES[0])


@pytest.mark.parametrize("kept_frac", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_cut_archive_is_one_error(archive: Path, kept_frac: float) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * kept_frac)])
    with pytest.raises(InputError, match=r"/a\.\S+: expected a complete .* download it again"):
        list_json(archive)


def test_archive_with_a_changed_byte_is_one_error_or_whole(
    archive: Path, files: dict[str, bytes]
) -> None:
    content = archive.read_bytes()
    places = {*range(0, len(content), 41), *range(len(content) - 60, len(content))}
    for place in places:
        archive.write_bytes(
            content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        )
        try:
            read = {read_content(item) for item in list_json(archive)}
        except InputError as error:
            assert str(error).startswith(str(archive))
        else:
            assert archive.suffix == ".zip"  # has dates and such, which no checksum guards
            assert read <= set(files.values())


def test_encrypted_zip_is_an_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = make_archive(tmp_path / "a.zip", files)
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"complete \.zip archive, got .* encrypted"):
        list_json(path)


def test_archive_of_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(b"no tar" * 1000))
    with pytest.raises(InputError, match="expected a complete"):
        list_json(path)


@pytest.mark.parametrize("name", ARCHIVES)
def test_name_in_two_folders_is_an_error(tmp_path: Path, name: str) -> None:
    twice = make_archive(tmp_path / name, {"a/a1.json": b"", "b/a1.json": b""})
    message = "expected every name once, got a/a1.json and b/a1.json"
    with pytest.raises(InputError, match=re.escape(message)):
        list_json(twice)


def test_huge_member_is_refused_before_it_is_read(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iospstl_train.data.archive._MAX_MEMBER_BYTES", 1000)
    with pytest.raises(InputError, match=r"^\S+a1\.json: expected at most 1000 bytes, got 4000"):
        list_json(archive)
