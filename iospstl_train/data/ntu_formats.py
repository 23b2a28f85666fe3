"""Which of its formats a copy of NTU RGB+D comes in: told by content, whatever the names say."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from iospstl_core.errors import InputError
from iospstl_train.data.array_on_disk import ArrayOnDisk
from iospstl_train.data.ctr_gcn import open_ctr_gcn
from iospstl_train.data.ntu import open_ntu
from iospstl_train.data.pyskl import open_pyskl
from iospstl_train.data.safe_pickle import read_pickle
from iospstl_train.data.source import Source
from iospstl_train.data.st_gcn import KINDS, kind_of, open_st_gcn, read_array_header

ACCEPTED = (
    "a folder of .skeleton files, *_3danno.pkl of pyskl, an .npz of CTR-GCN, or *_data.npy, "
    "*_data_nan.npy or *_position.npy with *_label.pkl"
)
_PICKLE_SUFFIXES = (".pkl", ".pickle")


def open_ntu_copy(
    dataset: Literal["ntu60", "ntu120"],
    data: Path,
    missing_list: Path | None = None,
    *,
    inferred_is_missing: bool = False,
    kind: str | None = None,
) -> Source:
    """Describe a copy of the dataset in any of its formats.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
    data : Path
        A folder of raw files or of arrays, or one file.
    missing_list, inferred_is_missing
        Of raw files, see `open_ntu`.
    kind : {"data", "data-nan", "position"}, optional
        Which arrays of a folder that holds several kinds.

    Returns
    -------
    source : Source

    Raises
    ------
    InputError
        If it is none of the formats, several, or an option does not fit it.
    """
    if not data.is_dir() or not _holds_raw_files(data):
        _refuse_raw_options(data, missing_list, inferred_is_missing)
    if data.is_dir():
        return _open_folder(dataset, data, missing_list, inferred_is_missing, kind)
    content = _content_of(data)
    if content == "npy":
        array = read_array_header(data)
        found = kind_of(data, array)
        if found not in KINDS or kind not in (None, found):
            raise InputError(
                f"{data}: expected {kind or 'positions of joints'}, got {found} by its content; "
                "set --data to another file"
            )
        return open_st_gcn(dataset, [(data, array)], found)
    if content == "npz":
        return open_ctr_gcn(dataset, data)
    if content == "pickle":
        return open_pyskl(dataset, data, read_pickle(data))
    raise InputError(f"{data}: expected {ACCEPTED}, got {content}")


def _holds_raw_files(folder: Path) -> bool:
    return next(folder.rglob("*.skeleton"), None) is not None


def _refuse_raw_options(data: Path, missing_list: Path | None, inferred: bool) -> None:
    given = [
        option
        for option, is_given in (
            ("--missing-list", missing_list is not None),
            ("--inferred-is-missing", inferred),
        )
        if is_given
    ]
    if given:
        raise InputError(
            f"{data}: {' and '.join(given)}: only for a folder of .skeleton files; leave out"
        )


def _open_folder(
    dataset: Literal["ntu60", "ntu120"],
    folder: Path,
    missing_list: Path | None,
    inferred_is_missing: bool,
    kind: str | None,
) -> Source:
    arrays = _arrays_in(folder)
    if _holds_raw_files(folder):
        if arrays:
            raise InputError(
                f"{folder}: expected one format, got .skeleton files and "
                f"{', '.join(sorted(arrays))} arrays; set --data to a folder or file of one"
            )
        return open_ntu(dataset, folder, missing_list, inferred_is_missing=inferred_is_missing)
    usable = {found: files for found, files in arrays.items() if found in KINDS}
    if kind is not None:
        usable = {found: files for found, files in usable.items() if found == kind}
    if len(usable) > 1:
        raise InputError(
            f"{folder}: expected arrays of one kind, got {', '.join(sorted(usable))}; choose one "
            "with --kind"
        )
    if usable:
        ((found, files),) = usable.items()
        return open_st_gcn(dataset, files, found)
    if arrays:
        raise InputError(
            f"{folder}: expected {kind or 'positions of joints'}, got {', '.join(sorted(arrays))}"
        )
    others = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    if not others:
        return open_ntu(dataset, folder, missing_list)  # says what it expects
    raise InputError(
        f"{folder}: expected {ACCEPTED}, got {', '.join(others[:4])}; if one of them is the "
        "dataset, set --data to it"
    )


def _arrays_in(folder: Path) -> dict[str, list[tuple[Path, ArrayOnDisk]]]:
    """Return the arrays of sequences in a folder by what they hold."""
    arrays: dict[str, list[tuple[Path, ArrayOnDisk]]] = {}
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        if path.suffix == ".skeleton" or _content_of(path) != "npy":
            continue
        array = read_array_header(path)
        if len(array.shape) == 5:  # labels and the like lie beside them
            arrays.setdefault(kind_of(path, array), []).append((path, array))
    return arrays


def _content_of(path: Path) -> str:
    """Return npy, npz or pickle, or what else it is in words."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the file") from error
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK"):
        return _content_of_zip(path)
    if head.startswith(b"\x80") or path.suffix in _PICKLE_SUFFIXES:
        return "pickle"
    first_line = head.split(b"\n")[0].strip()
    if first_line.isdigit():
        return "one .skeleton file; set --data to its folder"
    return "an empty file" if not head else "a file of another format"


def _content_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{path}: expected a complete archive, got a damaged or cut one ({error}); download "
            "it again"
        ) from error
    if any(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith(".skeleton") for name in names):
        return "an archive of .skeleton files; unpack it and set --data to the folder"
    return "an archive of other files"
