"""NTU RGB+D as ST-GCN, CrosSCLR, AimCLR and OPSTL prepare it: ``*.npy`` with ``*_label.pkl``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.skeleton_file import N_PERSONS
from iospstl_train.data.array_on_disk import ArrayOnDisk, read_npy_header
from iospstl_train.data.ntu_arrays import (
    ArrayItem,
    Meaning,
    check_shape,
    named_items,
    read_array_item,
)
from iospstl_train.data.ntu_classes import NTU_CLASS_NAMES
from iospstl_train.data.ntu_names import N_CLASSES, SPLITS, published
from iospstl_train.data.safe_pickle import read_pickle
from iospstl_train.data.source import Source

KINDS = {
    "data": Meaning("CTVM", in_camera_frame=True, padded=True),
    "data-nan": Meaning("CTVM", in_camera_frame=True, padded=True, gaps_are_marked=True),
    "position": Meaning("CTVM", in_camera_frame=False, padded=False),
}
"""By what is in it: camera coordinates, the same with NaN where hidden, and prepared positions."""

_CENTER = NTU_25.index("SpineShoulder")
_N_LOOKED_AT, _N_SEARCHED_FOR_NAN = 16, 200  # sequences
_MIN_BODY_M = 0.5  # along its longest axis; movements between frames are smaller


def open_st_gcn(dataset: str, files: list[tuple[Path, ArrayOnDisk]], kind: str) -> Source:
    """Describe arrays of one kind, such as those of both sides of a split.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
    files : list of (path, array)
        Each of shape (sequences, 3, frames, 25, persons) beside its ``*_label.pkl``: names and
        labels.
    kind : {"data", "data-nan", "position"}
        As of `kind_of`.

    Returns
    -------
    source : Source
        Its coordinates are read from the files one sequence at a time.

    Raises
    ------
    InputError
        If a file of labels is missing, of another length, or contradicts its names.
    """
    items: list[ArrayItem] = []
    for path, array in files:
        labels_path = _find_labels(path)
        names, labels = _read_labels(labels_path, array.shape[0], path)
        rows = [array.row(index) for index in range(array.shape[0])]
        items += named_items(dataset, labels_path, names, labels, rows)
    items.sort(key=lambda item: item.name)
    for one, other in pairwise(items):
        if one.name == other.name:
            where = " and ".join(str(path) for path, _ in files)
            raise InputError(f"{where}: expected every name once, got {one.name} in both")
    return Source(
        dataset=dataset,
        layout=NTU_25,
        class_names=NTU_CLASS_NAMES[: N_CLASSES[dataset]],
        n_persons=N_PERSONS,
        fps=30.0,
        splits=SPLITS[dataset],
        items=items,
        read=partial(read_array_item, meaning=KINDS[kind]),
        published=partial(published, dataset),
        camera_frame=KINDS[kind].in_camera_frame,
        notes=(f"content: {kind} of {', '.join(path.name for path, _ in files)}",),
    )


def read_array_header(path: Path) -> ArrayOnDisk:
    """Return the array of an ``.npy`` file; raise InputError if it is no such file, or cut."""
    try:
        with path.open("rb") as file:
            return read_npy_header(path, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the file") from error


def kind_of(path: Path, array: ArrayOnDisk) -> str:
    """Tell by its content what an array of such a file holds.

    Parameters
    ----------
    path : Path
        Of the file, for messages.
    array : ArrayOnDisk
        As of `read_array_header`.

    Returns
    -------
    kind : {"data", "data-nan", "position", "motion"}

    Raises
    ------
    InputError
        If it holds none of these.
    """
    if len(array.shape) != 5 or 0 in array.shape or array.dtype[1] != "f" or array.fortran_order:
        raise InputError(
            f"{path}: expected floats of shape (sequences, 3, frames, 25, persons), got "
            f"{array.dtype} of {array.shape}"
        )
    check_shape(path, "a sequence", array.shape[1:], "CTVM")
    first_person = np.stack([each[..., 0] for each in _some(array, _N_LOOKED_AT)])
    if any(np.isnan(each).any() for each in _some(array, _N_SEARCHED_FOR_NAN)):
        return "data-nan"
    if first_person[..., _CENTER].any():
        return "data"
    sizes = (first_person.max(axis=-1) - first_person.min(axis=-1)).max(axis=1)
    shown = sizes[sizes > 0]
    return "position" if shown.size and np.median(shown) >= _MIN_BODY_M else "motion"


def _some(array: ArrayOnDisk, n: int) -> Iterator[NDArray[Any]]:
    """Yield so many sequences from all over a file."""
    indices = np.unique(np.linspace(0, array.shape[0] - 1, n).astype(int))
    return (array.row(index).read() for index in indices.tolist())


def _find_labels(path: Path) -> Path:
    """Return the file of names and labels that belongs to an array."""
    beside = sorted(path.parent.glob("*label*.pkl"))
    first_word = path.stem.split("_")[0]
    matching = [each for each in beside if each.name.split("_")[0] == first_word]
    for chosen in (matching, beside):
        if len(chosen) == 1:
            return chosen[0]
    raise InputError(
        f"{path}: expected its names and labels beside it, as {first_word}_label.pkl, got "
        f"{', '.join(each.name for each in beside) or 'none'}"
    )


def _read_labels(path: Path, n_sequences: int, array_path: Path) -> tuple[list[Any], list[Any]]:
    content = read_pickle(path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise InputError(f"{path}: expected two lists, names and labels, got another pickle")
    names, labels = (
        each.read().tolist()
        if isinstance(each, ArrayOnDisk)
        else list(each)
        if isinstance(each, list | tuple | np.ndarray)
        else []
        for each in content
    )
    labels = [int(label) if isinstance(label, np.integer) else label for label in labels]
    if not len(names) == len(labels) == n_sequences:
        raise InputError(
            f"{path}: expected a name and a label for each of the {n_sequences} sequences of "
            f"{array_path.name}, got {len(names)} names and {len(labels)} labels; they do not "
            "belong together"
        )
    return names, labels
