"""Sequences of NTU RGB+D out of other people's arrays: what zero, NaN and names mean in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25, mark_unobserved
from iospstl_core.skeleton_file import N_PERSONS
from iospstl_train.data.array_on_disk import ArrayOnDisk
from iospstl_train.data.ntu_names import EXAMPLE, NtuName, belongs_to, parse_name
from iospstl_train.data.recording import Recording, SkippedRecording
from iospstl_train.data.source import coordinate_fault

Axes = Literal["CTVM", "TMVC", "MTVC"]
"""Order of coordinates C, frames T, joints V and persons M in one sequence."""


class ArrayItem(NamedTuple):
    """One sequence of a file of arrays.

    Attributes
    ----------
    name : str
        Without extension; of the dataset, or any if the file has no names.
    label : int
    array : ArrayOnDisk or ndarray
        Coordinates; ndarray only where the file does not allow to find them later.
    numbers : NtuName, optional
        In the name.
    part : int
        1 to train, 2 to test; -1 where the name tells.
    """

    name: str
    label: int
    array: ArrayOnDisk | NDArray[Any]
    numbers: NtuName | None
    part: int = -1


class Meaning(NamedTuple):
    """What the cells of a format mean.

    Attributes
    ----------
    axes : {"CTVM", "TMVC", "MTVC"}
    in_camera_frame : bool
        A joint at exactly (0, 0, 0) lies in the camera: it was not observed. Elsewhere it is the
        centre of the body.
    padded : bool
        Frames of zeros after the last one that shows anybody are no frames.
    gaps_are_marked : bool
        Unobserved joints are NaN, so that zeros are the absent.
    """

    axes: Axes
    in_camera_frame: bool
    padded: bool
    gaps_are_marked: bool = False


def read_array_item(item: ArrayItem, *, meaning: Meaning) -> Recording | SkippedRecording:
    """Return one sequence; persons of whom all joints are 0 in a frame are absent from it.

    Where zero also means that a joint was not observed, a person is present from the first to
    the last frame that shows any joint: to be hidden and to be absent look the same.

    Parameters
    ----------
    item : ArrayItem
    meaning : Meaning

    Returns
    -------
    recording : Recording or SkippedRecording
        Skipped if nobody is in it.

    Raises
    ------
    InputError
        If the file is cut, or values are no positions in metres.
    """
    values = item.array.read() if isinstance(item.array, ArrayOnDisk) else item.array
    order = [meaning.axes.index(axis) for axis in "TMVC"]
    fault = coordinate_fault(values.transpose(order))
    if fault is not None:
        raise InputError(f"{_path(item)}: {item.name}: {fault}")
    xyz = values.transpose(order).astype(np.float32)
    if xyz.shape[1] == 1:
        xyz = np.concatenate([xyz, np.zeros_like(xyz)], axis=1)
    present = ((xyz != 0) | np.isnan(xyz)).any(axis=(2, 3))
    if not present.any():
        return SkippedRecording(item.name, "nobody in any of its frames")
    if meaning.padded:
        n_frames = int(np.flatnonzero(present.any(axis=1))[-1]) + 1
        xyz, present = xyz[:n_frames], present[:n_frames]
    if meaning.in_camera_frame and not meaning.gaps_are_marked:
        present = _between_first_and_last(present)
    xyz = mark_unobserved(xyz, zero_is_missing=meaning.in_camera_frame)
    xyz[~present] = np.nan
    numbers = item.numbers or NtuName(-1, -1, -1, -1, -1)
    return Recording(
        item.name,
        xyz,
        present,
        item.label,
        subject=numbers.subject,
        view=numbers.view,
        setup=numbers.setup,
        part=item.part,
    )


def _path(item: ArrayItem) -> str:
    return item.array.path if isinstance(item.array, ArrayOnDisk) else "the archive"


def _between_first_and_last(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return from the first to the last frame that shows each person, (n_frames, n_persons)."""
    begun = np.logical_or.accumulate(shown, axis=0)
    between: NDArray[np.bool_] = begun & np.logical_or.accumulate(shown[::-1], axis=0)[::-1]
    return between


def named_items(
    dataset: str,
    path: Path,
    names: Sequence[Any],
    labels: Sequence[Any],
    arrays: Sequence[ArrayOnDisk | NDArray[Any]],
) -> list[ArrayItem]:
    """Return the sequences of a dataset's part by their names.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
        Of ``ntu60``, sequences of the other 60 classes are left out.
    path : Path
        Of the file with names and labels, for messages.
    names, labels, arrays : sequence
        Names with or without extension; labels from 0.

    Raises
    ------
    InputError
        If a name is none of the dataset, comes twice, or contradicts its label.
    """
    items, seen = [], set()
    for name, label, array in zip(names, labels, arrays, strict=True):
        stem = str(name).removesuffix(".skeleton")
        numbers = parse_name(stem)
        if numbers is None:
            raise InputError(
                f"{path}: expected names like {EXAMPLE}, got '{stem[:40]}'; for other recordings "
                "use --dataset npz"
            )
        if type(label) is not int or label != numbers.label:
            raise InputError(
                f"{path}: expected label {numbers.label} for {stem} by its name, got {label!r:.20}"
                "; names and labels do not belong together"
            )
        if stem in seen:
            raise InputError(f"{path}: expected every name once, got {stem} again")
        seen.add(stem)
        if belongs_to(dataset, numbers):
            items.append(ArrayItem(stem, label, array, numbers))
    if not items:
        raise InputError(f"{path}: expected sequences of {dataset}, got none of {len(names)}")
    return items


def check_shape(path: Path, what: str, shape: tuple[int, ...], axes: Axes) -> None:
    """Refuse coordinates that are no sequence of one or two persons of 25 joints."""
    size = dict(zip(axes, shape, strict=False))
    right = len(shape) == len(axes) and size["C"] == 3 and size["V"] == NTU_25.n_joints
    if not right or not 1 <= size["M"] <= N_PERSONS:
        raise InputError(
            f"{path}: {what}: expected coordinates of 25 joints of one or two persons in the "
            f"order {', '.join(_WORDS[axis] for axis in axes)}, got the shape {shape}"
        )


_WORDS = {"C": "x y z", "T": "frames", "V": "joints", "M": "persons"}
