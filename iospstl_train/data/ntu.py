"""NTU RGB+D 60 and 120: raw ``.skeleton`` files, Kinect v2 joints."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.skeleton_file import N_PERSONS, read_skeleton_file
from iospstl_train.data.ntu_classes import NTU_CLASS_NAMES
from iospstl_train.data.ntu_names import (
    N_CLASSES,
    SPLITS,
    belongs_to,
    missing_names,
    parse_name,
    published,
)
from iospstl_train.data.recording import Recording, SkippedRecording
from iospstl_train.data.source import Source


class NtuItem(NamedTuple):
    """One file, and whether the missing list names it."""

    path: Path
    listed_missing: bool


def open_ntu(
    dataset: Literal["ntu60", "ntu120"],
    data: Path,
    missing_list: Path | None = None,
    *,
    inferred_is_missing: bool = False,
) -> Source:
    """Describe a folder of raw files.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
        ``ntu60`` takes classes A001-A060 of setups S001-S017 from a folder that holds more.
    data : Path
        Folder with ``SsssCcccPpppRrrrAaaa.skeleton`` files, also in folders below it.
    missing_list : Path, optional
        Text file of names to leave out, one on a line, with or without extension, as the owners
        publish it (lines of prose are no names); their list of 535 names if left out.
    inferred_is_missing : bool, default=False
        Also treat a joint that the Kinect inferred as not observed.

    Returns
    -------
    source : Source
        Its items are in name order.

    Raises
    ------
    InputError
        If there are no such files, one name lies there twice, or the list holds no names.
    """
    paths = _list_files(dataset, data)
    missing = missing_names() if missing_list is None else _read_missing_list(missing_list)
    return Source(
        dataset=dataset,
        layout=NTU_25,
        class_names=NTU_CLASS_NAMES[: N_CLASSES[dataset]],
        n_persons=N_PERSONS,
        fps=30.0,
        splits=SPLITS[dataset],
        items=[NtuItem(path, path.stem in missing) for path in paths],
        read=partial(read_sequence, inferred_is_missing=inferred_is_missing),
        published=partial(published, dataset),
    )


def read_sequence(
    item: NtuItem, *, inferred_is_missing: bool = False
) -> Recording | SkippedRecording:
    """Read one file as of `iospstl_core.skeleton_file.read_skeleton_file`.

    Parameters
    ----------
    item : NtuItem
        The file.
    inferred_is_missing : bool, default=False
        Also treat tracking state 1 as not observed.

    Returns
    -------
    recording : Recording or SkippedRecording
        Skipped if on the missing list, not named like a file of the dataset, or without a body.

    Raises
    ------
    InputError
        If the file is cut or malformed.
    """
    name = item.path.stem
    numbers = parse_name(name)
    if numbers is None:
        return SkippedRecording(name, "the file name is not one of SsssCcccPpppRrrrAaaa.skeleton")
    if item.listed_missing:
        return SkippedRecording(name, "on the missing-skeleton list")
    persons = read_skeleton_file(item.path, inferred_is_missing=inferred_is_missing)
    if not persons.present.any():
        return SkippedRecording(name, f"no body in any of its {len(persons.xyz)} frames")
    return Recording(
        name,
        persons.xyz,
        persons.present,
        numbers.label,
        subject=numbers.subject,
        view=numbers.view,
        setup=numbers.setup,
        tracking=persons.tracking,
        cleaned=persons.cleaned,
    )


def _list_files(dataset: str, data: Path) -> list[Path]:
    if not data.is_dir():
        raise InputError(
            f"{data}: expected a folder of .skeleton files, got "
            f"{'a file' if data.exists() else 'nothing there'}; unpack the archives of the "
            "dataset's owners and set --data to the folder"
        )
    paths = sorted(data.rglob("*.skeleton"), key=lambda path: path.name)
    for one, other in pairwise(paths):
        if one.name == other.name:
            raise InputError(f"{data}: expected every name once, got {one} and {other}; keep one")
    chosen = [path for path in paths if _belongs(dataset, path.stem)]
    if not any(parse_name(path.stem) for path in chosen):
        raise InputError(
            f"{data}: expected files of {dataset} named like S001C001P001R001A001.skeleton, got "
            f"none ({len(paths)} other .skeleton files); set --data to the folder that holds them"
        )
    return chosen


def _belongs(dataset: str, name: str) -> bool:
    """Leave out what is known to be of the other part; an unknown name is for `read_sequence`."""
    parsed = parse_name(name)
    return parsed is None or belongs_to(dataset, parsed)


def _read_missing_list(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}; check the file") from error
    names = set()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) != 1 or words[0].startswith("#"):
            continue  # prose, as at the head of the published lists
        name = words[0].removesuffix(".skeleton")
        if parse_name(name) is None:
            raise InputError(
                f"{path}: line {number}: expected a name like S001C002P005R002A008, "
                f"got '{name[:40]}'; correct or remove the line"
            )
        names.add(name)
    if not names:
        raise InputError(
            f"{path}: expected names like S001C002P005R002A008, one on a line, got none; "
            "leave the option out if no file is to be skipped"
        )
    return frozenset(names)
