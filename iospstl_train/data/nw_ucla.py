"""Northwestern-UCLA Multiview Action 3D: one JSON file per sequence, Kinect v1 joints."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20
from iospstl_train.data.archive import ArchiveMember, list_files, read_content
from iospstl_train.data.recording import Recording, SkippedRecording, record_one_person
from iospstl_train.data.source import Source, coordinate_fault

ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
"""Number in the file name -> class name. Classes count without the gaps."""

SPLITS = {"xview": "train: view in 1,2; test: view in 3"}

_NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json", re.ASCII)
_REMEDY = "unpack or download it again"


def open_nw_ucla(data: Path) -> Source:
    """Describe a copy of the dataset.

    Parameters
    ----------
    data : Path
        The folder ``all_sqe``, the folder that holds it, or a ``.tar.xz`` or ``.zip`` archive of
        it, which is read into memory (about 40 MB) and never unpacked to disk.

    Returns
    -------
    source : Source
        Its items are in name order.

    Raises
    ------
    InputError
        If there is nothing to read at `data`, or the archive is damaged.
    """
    return Source(
        dataset="nw-ucla",
        layout=KINECT_V1_20,
        class_names=tuple(ACTIONS.values()),
        n_persons=1,
        fps=30.0,
        splits=SPLITS,
        items=list_files(data, "all_sqe", "a01_s01_e00_v01.json"),
        read=read_sequence,
    )


def read_sequence(item: Path | ArchiveMember) -> Recording | SkippedRecording:
    """Read one JSON file; a joint at exactly (0, 0, 0) was not observed.

    Parameters
    ----------
    item : Path or ArchiveMember
        The file, on disk or in memory.

    Returns
    -------
    recording : Recording or SkippedRecording
        Skipped if its name is not one of the dataset, or it has no frames.

    Raises
    ------
    InputError
        If the file cannot be read, or its content is malformed or contradicts its name.
    """
    file_name = PurePosixPath(item.name).name
    match = _NAME.fullmatch(file_name)
    if match is None or int(match[1]) not in ACTIONS:
        return SkippedRecording(file_name, "the file name is not one of aAA_sSS_eEE_vVV.json")
    action, subject, _, view = map(int, match.groups())
    label = list(ACTIONS).index(action)
    xyz = _parse(str(item), read_content(item), label)
    name = file_name.removesuffix(".json")
    return record_one_person(name, xyz, label, subject, view)


def _parse(path: str, content: bytes, label: int) -> NDArray[np.float32]:
    """Return the positions, shape (n_frames, 20, 3)."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, got {error}; {_REMEDY}") from error
    if not isinstance(document, dict) or not {"skeletons", "label"} <= document.keys():
        raise InputError(f"{path}: expected an object with 'skeletons' and 'label'; {_REMEDY}")
    if document["label"] != label + 1:
        raise InputError(
            f"{path}: label: expected {label + 1} ({tuple(ACTIONS.values())[label]}) by the file "
            f"name, got {_shorten(document['label'])}; {_REMEDY}"
        )
    return _positions(path, document["skeletons"])


def _positions(path: str, skeletons: Any) -> NDArray[np.float32]:
    n_joints = KINECT_V1_20.n_joints
    if skeletons == []:
        return np.zeros((0, n_joints, 3), dtype=np.float32)
    expected = f"{path}: skeletons: expected numbers in the shape (frames, {n_joints}, 3)"
    try:
        values = np.asarray(skeletons)
    except ValueError as error:
        raise InputError(f"{expected}, got lists of unequal length; {_REMEDY}") from error
    if values.dtype.kind not in "fi" or values.shape[1:] != (n_joints, 3):
        raise InputError(f"{expected}, got {values.dtype} in {values.shape}; {_REMEDY}")
    fault = coordinate_fault(values)
    if fault is not None:
        raise InputError(f"{path}: skeletons: {fault}")
    return values.astype(np.float32)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
