"""The neutral archive: anybody's skeletons as one ``.npz`` file without pickles."""

from __future__ import annotations

import difflib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import SkeletonLayout, mark_unobserved
from iospstl_core.splits import parse_split
from iospstl_train.data.recording import Recording, SkippedRecording
from iospstl_train.data.source import Source, coordinate_fault

REQUIRED = ("xyz", "offset", "label")
PER_SEQUENCE = ("subject", "view", "setup")
OPTIONAL = ("name", *PER_SEQUENCE, "class_names", "confidence")
MAX_CLASSES = 100_000

Arrays = Mapping[str, NDArray[Any]]


class NpzItem(NamedTuple):
    """The slices of one sequence; views, so that a worker is sent no more than it needs."""

    name: str
    xyz: NDArray[Any]
    confidence: NDArray[Any] | None
    label: int
    subject: int
    view: int
    setup: int


def open_npz(
    data: Path,
    layout: SkeletonLayout,
    split: str,
    zero_is_missing: bool = False,
    fps: float = 30.0,
) -> Source:
    """Read and check an archive; it stays in memory.

    Parameters
    ----------
    data : Path
        Archive with ``xyz`` of shape (n_frames, n_joints, 3) or (n_frames, n_persons, n_joints, 3)
        in metres, all sequences one after another; ``offset`` (n_sequences + 1,), where each
        begins and ends; ``label`` (n_sequences,), from 0; optionally ``name``, ``subject``,
        ``view``, ``setup`` (n_sequences,), ``class_names`` (n_classes,) and ``confidence``, the
        shape of ``xyz`` without its last axis. NaN, and a confidence of 0 or NaN, mean that a
        joint was not observed.
    layout : SkeletonLayout
        Joints of ``xyz``, in order.
    split : str
        Split expression.
    zero_is_missing : bool, default=False
        Also treat a joint at exactly (0, 0, 0) as not observed.
    fps : float, default=30.0
        Frames per second.

    Returns
    -------
    source : Source

    Raises
    ------
    InputError
        If the file is not such an archive; one message lists all its faults.
    """
    parse_split(split)
    arrays = _load(data)
    faults = _name_faults(arrays)
    if not faults:
        faults = _shape_faults(arrays, layout) or _value_faults(arrays)
    if faults:
        raise InputError(f"{data}: {'; '.join(faults)}")
    items = _items(arrays)
    return Source(
        dataset="npz",
        layout=layout,
        class_names=_class_names(arrays),
        n_persons=items[0].xyz.shape[1],
        fps=fps,
        splits={"custom": split},
        items=items,
        read=partial(read_sequence, zero_is_missing=zero_is_missing),
    )


def read_sequence(item: NpzItem, *, zero_is_missing: bool = False) -> Recording | SkippedRecording:
    """Turn the slices of one sequence into a recording.

    A person is present from the first to the last frame in which any joint was observed.

    Parameters
    ----------
    item : NpzItem
        The slices.
    zero_is_missing : bool, default=False
        Treat a joint at exactly (0, 0, 0) as not observed.

    Returns
    -------
    recording : Recording or SkippedRecording
        Skipped if it has no frames or no joint was ever observed.
    """
    if len(item.xyz) == 0:
        return SkippedRecording(item.name, "it has no frames")
    xyz = mark_unobserved(item.xyz.astype(np.float32), zero_is_missing=zero_is_missing)
    if item.confidence is not None:
        xyz[~(item.confidence > 0)] = np.nan
    seen = np.any(~np.isnan(xyz[..., 0]), axis=-1)
    if not seen.any():
        return SkippedRecording(item.name, f"no joint observed in any of its {len(xyz)} frames")
    begun = np.logical_or.accumulate(seen, axis=0)
    not_over = np.logical_or.accumulate(seen[::-1], axis=0)[::-1]
    return Recording(
        name=item.name,
        xyz=xyz,
        present=begun & not_over,
        label=item.label,
        subject=item.subject,
        view=item.view,
        setup=item.setup,
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of the file that is no pickle and has none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; set --data to your .npz archive")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            if "x_train" in archive.files:
                raise InputError(
                    f"{path}: expected a neutral archive, got one of CTR-GCN (x_train); use "
                    "--dataset ntu60 or ntu120"
                )
            arrays = {name: archive[name] for name in archive.files}
        for name, array in arrays.items():
            _check_member(name, array)
        return arrays
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{path}: expected an .npz archive of plain arrays, which numpy.savez writes, got: "
            f"{str(error) or type(error).__name__}"
        ) from error


def _check_member(name: str, array: object) -> None:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' is no array")
    if array.dtype.kind == "U":
        array.tolist()  # raises ValueError or SystemError on what is no Unicode


_DAMAGE = (
    *(ValueError, TypeError, KeyError, OSError, EOFError, MemoryError, RuntimeError, SystemError),
    *(SyntaxError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy and zipfile raise on bytes that are no archive, are cut, or hold a pickle."""


def _name_faults(arrays: Arrays) -> list[str]:
    faults = [f"{name}: expected this array, got none" for name in REQUIRED if name not in arrays]
    known = (*REQUIRED, *OPTIONAL)
    for name in sorted(arrays.keys() - set(known)):
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
        faults.append(f"{name}: an array of this name has no meaning here; {hint}")
    return faults


def _shape_faults(arrays: Arrays, layout: SkeletonLayout) -> list[str]:
    """Return what is wrong with types and shapes."""
    xyz = arrays["xyz"]
    n_sequences = len(arrays["label"]) if arrays["label"].ndim else 0
    faults = []
    if xyz.ndim not in (3, 4) or xyz.shape[-1] != 3 or xyz.dtype.kind != "f":
        faults.append(
            "xyz: expected floats of shape (frames, joints, 3) or (frames, persons, joints, 3), "
            f"got {_describe(xyz)}"
        )
    elif xyz.shape[-2] != layout.n_joints:
        faults.append(
            f"xyz: expected {layout.n_joints} joints ({layout.name}), got {xyz.shape[-2]}; "
            "set --layout to the layout of your data"
        )
    elif 0 in xyz.shape:
        faults.append(f"xyz: expected frames and persons, got {_describe(xyz)}")
    whole = ("iu", "whole numbers")
    expectations: dict[str, tuple[str, str, tuple[int, ...]]] = {
        "offset": (*whole, (n_sequences + 1,)),
        "label": (*whole, (max(n_sequences, 1),)),
        **{name: (*whole, (n_sequences,)) for name in PER_SEQUENCE},
        "name": ("U", "texts", (n_sequences,)),
        "class_names": ("U", "texts", (arrays.get("class_names", xyz).size,)),
        "confidence": ("fiub", "numbers", xyz.shape[:-1]),
    }
    for name, (kinds, words, shape) in expectations.items():
        array = arrays.get(name)
        if array is not None and (array.dtype.kind not in kinds or array.shape != shape):
            faults.append(f"{name}: expected {words} of shape {shape}, got {_describe(array)}")
    return faults


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _value_faults(arrays: Arrays) -> list[str]:
    """Return what is wrong with the values of well-shaped arrays."""
    faults = []
    xyz_fault = coordinate_fault(arrays["xyz"])
    if xyz_fault is not None:
        faults.append(f"xyz: {xyz_fault}")
    if "confidence" in arrays and (arrays["confidence"] < 0).any():
        faults.append(f"confidence: expected 0 or more, got {np.nanmin(arrays['confidence']):g}")
    return faults + _offset_faults(arrays) + _label_faults(arrays) + _identity_faults(arrays)


def _offset_faults(arrays: Arrays) -> list[str]:
    offset, n_frames = arrays["offset"], len(arrays["xyz"])
    faults = []
    if offset[0] != 0 or offset[-1] != n_frames:
        faults.append(
            f"offset: expected to begin at 0 and end at the {n_frames} frames of xyz, "
            f"got {offset[0]} and {offset[-1]}"
        )
    falls = np.argwhere(offset[1:] < offset[:-1])
    if falls.size:
        at = int(falls[0, 0])
        faults.append(
            f"offset: expected increasing values, got {offset[at + 1]} after {offset[at]} "
            f"at index {at + 1}"
        )
    return faults


def _label_faults(arrays: Arrays) -> list[str]:
    label = arrays["label"]
    n_classes = len(arrays["class_names"]) if "class_names" in arrays else MAX_CLASSES
    if label.min() >= 0 and label.max() < n_classes:
        return []
    return [
        f"label: expected 0 to {n_classes - 1}, got {label.min()} to {label.max()}; "
        "labels count from 0"
    ]


def _identity_faults(arrays: Arrays) -> list[str]:
    faults = []
    for name in ("name", "class_names"):
        values, counts = np.unique(arrays.get(name, np.zeros(0)), return_counts=True)
        if (counts > 1).any():
            faults.append(f"{name}: expected each once, got '{values[counts > 1][0]}' again")
    for name in PER_SEQUENCE:
        if name in arrays and (arrays[name].min() < -1 or arrays[name].max() >= 2**31):
            faults.append(f"{name}: expected -1 (not known) or more, got {arrays[name].min()}")
    return faults


def _items(arrays: Arrays) -> list[NpzItem]:
    xyz, confidence = arrays["xyz"], arrays.get("confidence")
    if xyz.ndim == 3:
        xyz = xyz[:, None]
        confidence = None if confidence is None else confidence[:, None]
    bounds = arrays["offset"].tolist()
    n_sequences = len(bounds) - 1
    names = arrays["name"].tolist() if "name" in arrays else _numbered("sequence", n_sequences)
    unknown = np.full(n_sequences, -1)
    columns = [arrays.get(key, unknown).tolist() for key in ("label", *PER_SEQUENCE)]
    return [
        NpzItem(name, xyz[a:b], None if confidence is None else confidence[a:b], *numbers)
        for name, a, b, *numbers in zip(names, bounds, bounds[1:], *columns, strict=False)
    ]


def _class_names(arrays: Arrays) -> tuple[str, ...]:
    if "class_names" in arrays:
        return tuple(arrays["class_names"].tolist())
    return tuple(_numbered("class", int(arrays["label"].max()) + 1))


def _numbered(word: str, count: int) -> list[str]:
    return [f"{word} {number}" for number in range(count)]
