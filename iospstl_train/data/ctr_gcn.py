"""NTU RGB+D as CTR-GCN and MAMP prepare it: ``NTU60_CS.npz``, ``NTU120_CSet.npz`` and others."""

from __future__ import annotations

import atexit
import shutil
import struct
import tempfile
import zipfile
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.skeleton_file import N_PERSONS
from iospstl_core.splits import parse_split
from iospstl_train.data.array_on_disk import ArrayOnDisk, read_npy_header
from iospstl_train.data.ntu_arrays import ArrayItem, Meaning, read_array_item
from iospstl_train.data.ntu_classes import NTU_CLASS_NAMES
from iospstl_train.data.ntu_names import N_CLASSES, PUBLISHED_SIZES, SPLITS, parse_name, published
from iospstl_train.data.source import Source

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
PARTS = {"train": 1, "test": 2}
GIVEN_SPLIT = {"given": "train: part in 1; test: part in 2"}

_N_VALUES = N_PERSONS * NTU_25.n_joints * 3
_GROUPED_BY = {"xsub": "subject", "xview": "view", "xset": "setup"}
_MEANING = Meaning("TMVC", in_camera_frame=False, padded=True)
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a zip member: its name and extra field follow


def open_ctr_gcn(dataset: str, path: Path) -> Source:
    """Describe such an archive; frames are read from it one sequence at a time.

    Its rows have no names. They lie grouped by subject, camera or setup: where numbers of rows
    and all labels are those of a published split, names are put back by that order. Otherwise
    the store has only the split that the archive gives.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
    path : Path
        Archive of ``x_train``, ``x_test`` (sequences, frames, 150), for each frame 2 persons of
        25 joints in metres, seen from joint 2 of the first person at its begin; and ``y_train``,
        ``y_test`` (sequences, classes), 1 at the class.

    Returns
    -------
    source : Source

    Raises
    ------
    InputError
        If it is another archive, cut, or of another number of classes.
    """
    arrays = {name: _find(path, name) for name in ARRAYS}
    labels = {part: _labels(dataset, path, part, arrays) for part in PARTS}
    split = _recognise(dataset, labels)
    items = []
    for part, number in PARTS.items():
        names = _names(dataset, split, part) if split else ()
        for index, label in enumerate(labels[part].tolist()):
            name = names[index] if names else f"{part} {index}"
            x = arrays[f"x_{part}"].row(index)
            row = x._replace(shape=(x.shape[0], N_PERSONS, NTU_25.n_joints, 3))
            numbers = parse_name(name)
            items.append(ArrayItem(name, label, row, numbers, -1 if split else number))
    return Source(
        dataset=dataset,
        layout=NTU_25,
        class_names=NTU_CLASS_NAMES[: N_CLASSES[dataset]],
        n_persons=N_PERSONS,
        fps=30.0,
        splits=SPLITS[dataset] if split else GIVEN_SPLIT,
        items=items,
        read=partial(read_array_item, meaning=_MEANING),
        published=partial(published, dataset) if split else None,
        camera_frame=False,
        notes=(_note(dataset, split, labels),),
    )


def _note(dataset: str, split: str | None, labels: dict[str, NDArray[Any]]) -> str:
    if split is not None:
        return f"rows and labels are those of {split}: names were put back by that order"
    sizes = "; ".join(f"{n} {a} / {b}" for n, (a, b) in PUBLISHED_SIZES[dataset].items())
    got = f"{len(labels['train'])} / {len(labels['test'])}"
    return (
        f"rows without names: expected the numbers of a split ({sizes}) and its labels, got {got}"
    )


def _find(path: Path, name: str) -> ArrayOnDisk:
    """Return where an array of the archive lies: in it, or unpacked if it is compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                raise InputError(
                    f"{path}: expected the arrays {', '.join(ARRAYS)} (CTR-GCN), got "
                    f"{', '.join(archive.namelist()[:5])}; for a neutral archive use --dataset npz"
                )
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                return _unpack(path, archive, member)
            with path.open("rb") as file:
                _go_to_content(file, member)
                end = file.tell() + member.file_size
                array = read_npy_header(path, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected a complete .npz archive, got a damaged or cut one ({error}); "
            "download it again"
        ) from error
    except (struct.error, NotImplementedError, OverflowError) as error:
        raise InputError(f"{path}: {name}: damaged; download the archive again") from error
    if array.end > end or array.fortran_order:
        raise InputError(f"{path}: {name}: damaged; download the archive again")
    return array


def _go_to_content(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    file.seek(member.header_offset)
    *_, name_size, extra_size = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(name_size + extra_size, 1)


def _unpack(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayOnDisk:
    """Unpack a compressed member into a folder that goes when the command ends."""
    folder = Path(tempfile.mkdtemp(prefix="iospstl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    unpacked = folder / "array.npy"
    with archive.open(member) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with unpacked.open("rb") as file:
        array = read_npy_header(unpacked, file)
    if array.fortran_order:
        raise InputError(f"{path}: {member.filename}: expected rows one after another (C order)")
    return array


def _labels(
    dataset: str, path: Path, part: str, arrays: dict[str, ArrayOnDisk]
) -> NDArray[np.intp]:
    """Return the labels of one part, shape (n_sequences,); refuse what does not fit."""
    x, y, n_classes = arrays[f"x_{part}"], arrays[f"y_{part}"], N_CLASSES[dataset]
    if len(x.shape) != 3 or x.shape[2] != _N_VALUES or 0 in x.shape or x.dtype[1] != "f":
        raise InputError(
            f"{path}: x_{part}: expected floats of shape (sequences, frames, {_N_VALUES}), got "
            f"{x.dtype} of {x.shape}"
        )
    if y.shape != (x.shape[0], n_classes):
        other = next((name for name, n in N_CLASSES.items() if y.shape[1:] == (n,)), None)
        remedy = f"; use --dataset {other}" if other not in (None, dataset) else ""
        raise InputError(
            f"{path}: y_{part}: expected the shape ({x.shape[0]}, {n_classes}) of {dataset}, got "
            f"{y.shape}{remedy}"
        )
    one_hot = y.read()
    right = ((one_hot == 1).sum(axis=1) == 1) & ((one_hot != 0).sum(axis=1) == 1)
    if not right.all():
        raise InputError(
            f"{path}: y_{part}: expected one 1 and zeros in every row, got others in "
            f"{(~right).sum()}, first in row {np.argmin(right)}"
        )
    labels: NDArray[np.intp] = one_hot.argmax(axis=1)
    return labels


def _recognise(dataset: str, labels: dict[str, NDArray[Any]]) -> str | None:
    """Return the split whose numbers of rows and labels these are."""
    for split, sizes in PUBLISHED_SIZES[dataset].items():
        if sizes != (len(labels["train"]), len(labels["test"])):
            continue
        names = {part: _names(dataset, split, part) for part in PARTS}
        expected = {part: [int(name[-3:]) - 1 for name in names[part]] for part in PARTS}
        if all(np.array_equal(expected[part], labels[part]) for part in PARTS):
            return split
    return None


@lru_cache
def _names(dataset: str, split: str, part: str) -> tuple[str, ...]:
    """Return the names of one side, grouped as the archive's rows are."""
    names = published(dataset).names
    numbers = np.array([getattr(parse_name(name), _GROUPED_BY[split]) for name in names])
    parsed = parse_split(SPLITS[dataset][split])
    conditions = parsed.train_conditions if part == "train" else parsed.test_conditions
    chosen = np.flatnonzero(conditions[0].holds({_GROUPED_BY[split]: numbers}))
    order = chosen[np.argsort(numbers[chosen], kind="stable")]
    listed = list(names)
    return tuple(listed[idx] for idx in order)
