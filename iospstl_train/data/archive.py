"""The files of a dataset that has one file per sequence: in a folder, or still in an archive."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from iospstl_core.errors import InputError

_MAX_MEMBER_BYTES = 64 * 2**20


class ArchiveMember(NamedTuple):
    """One file of an archive, in memory."""

    archive: Path
    name: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


def list_files(data: Path, folder: str, example: str) -> list[Path] | list[ArchiveMember]:
    """Return the files of a user's copy of a dataset, in name order.

    Parameters
    ----------
    data : Path
        The folder of the files, the folder that holds it, or a ``.tar.xz`` or ``.zip`` archive,
        which is read into memory and never unpacked to disk.
    folder : str
        What the owners call the folder of the files.
    example : str
        Name of one file; only files with its suffix count.

    Returns
    -------
    files : list of Path or list of ArchiveMember
        At least one. What `read_content` reads.

    Raises
    ------
    InputError
        If there is nothing to read at `data`, or the archive is damaged.
    """
    suffix = PurePosixPath(example).suffix
    files: list[Path] | list[ArchiveMember]
    if data.is_dir():
        inner = data / folder if (data / folder).is_dir() else data
        files = sorted(inner.glob(f"*{suffix}"))
    elif data.name.endswith((".tar.xz", ".zip")):
        files = _read_archive(data, suffix)
    else:
        raise InputError(
            f"{data}: expected the folder {folder}, or a .tar.xz or .zip archive of it, got "
            f"{'another file' if data.exists() else 'nothing there'}; set --data to your copy"
        )
    if not files:
        raise InputError(
            f"{data}: expected files named like {example}, got none; "
            f"set --data to the folder {folder}"
        )
    return files


def read_content(item: Path | ArchiveMember) -> bytes:
    """Return the bytes of a file, on disk or in memory; raise InputError if it is unreadable."""
    if isinstance(item, ArchiveMember):
        return item.content
    try:
        return item.read_bytes()
    except OSError as error:
        raise InputError(f"{item}: cannot be read: {error.strerror}; check the file") from error


def _read_archive(path: Path, suffix: str) -> list[ArchiveMember]:
    """Return all members with the suffix in name order; compression is often sequential."""
    kind = ".zip" if path.name.endswith(".zip") else ".tar.xz"
    try:
        members = list((_in_zip if kind == ".zip" else _in_tar)(path, suffix))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; set --data to your copy") from error
    except InputError:
        raise
    except (
        *(tarfile.TarError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, EOFError, OSError),
        *(RuntimeError, ValueError),  # of a zip: encrypted or packed in an unknown way; bad names
    ) as error:
        raise InputError(
            f"{path}: expected a complete {kind} archive, got a damaged or cut one ({error}); "
            "download it again"
        ) from error
    members.sort(key=lambda member: PurePosixPath(member.name).name)
    for one, other in pairwise(members):
        if PurePosixPath(one.name).name == PurePosixPath(other.name).name:
            raise InputError(f"{path}: expected every name once, got {one.name} and {other.name}")
    return members


def _in_tar(path: Path, suffix: str) -> Iterator[ArchiveMember]:
    with lzma.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isfile() or not member.name.endswith(suffix):
                    continue
                _check_size(f"{path}:{member.name}", member.size)
                file = archive.extractfile(member)
                if file is not None:
                    yield ArchiveMember(path, member.name, file.read())
        while stream.read(2**20):  # to the end: only there the checksum is compared
            pass


def _in_zip(path: Path, suffix: str) -> Iterator[ArchiveMember]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not member.filename.endswith(suffix):
                continue
            _check_size(f"{path}:{member.filename}", member.file_size)
            yield ArchiveMember(path, member.filename, archive.read(member))


def _check_size(name: str, n_bytes: int) -> None:
    if n_bytes > _MAX_MEMBER_BYTES:
        raise InputError(
            f"{name}: expected at most {_MAX_MEMBER_BYTES} bytes, got {n_bytes}; "
            "this is no skeleton file of the dataset"
        )
