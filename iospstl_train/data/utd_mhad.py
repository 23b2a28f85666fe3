"""UTD-MHAD (University of Texas at Dallas): one MATLAB file per sequence, Kinect v1 joints."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20
from iospstl_train.data.archive import ArchiveMember, list_files, read_content
from iospstl_train.data.matlab import read_array
from iospstl_train.data.recording import Recording, SkippedRecording, record_one_person
from iospstl_train.data.source import Source, coordinate_fault

ACTIONS = (
    "right arm swipe to the left",
    "right arm swipe to the right",
    "right hand wave",
    "two hand front clap",
    "right arm throw",
    "cross arms in the chest",
    "basketball shoot",
    "right hand draw x",
    "right hand draw circle (clockwise)",
    "right hand draw circle (counter clockwise)",
    "draw triangle",
    "bowling (right hand)",
    "front boxing",
    "baseball swing from right",
    "tennis right hand forehand swing",
    "arm curl (two arms)",
    "tennis serve",
    "two hand push",
    "right hand knock on door",
    "right hand catch an object",
    "right hand pick up and throw",
    "jogging in place",
    "walking in place",
    "sit to stand",
    "stand to sit",
    "forward lunge (left foot forward)",
    "squat (two arms stretch out)",
)
"""The owners' names, in the order of the numbers in the file names, which start at 1."""

SPLITS = {"xsub": "train: subject in 1,3,5,7; test: subject in 2,4,6,8"}

FILE_JOINTS = ("Head", "ShoulderCenter", "Spine", "HipCenter", *KINECT_V1_20.joints[4:])
"""Joints in the order of the files: the spine from above, then as in `KINECT_V1_20`."""

_ORDER = [FILE_JOINTS.index(joint) for joint in KINECT_V1_20.joints]
_NAME = re.compile(r"a(\d{1,2})_s([1-8])_t([1-4])_skeleton\.mat", re.ASCII)
_REMEDY = "unpack or download it again"


def open_utd_mhad(data: Path) -> Source:
    """Describe a copy of the dataset.

    Parameters
    ----------
    data : Path
        The folder ``Skeleton``, the folder that holds it, or the ``.zip`` or ``.tar.xz`` archive
        of it, which is read into memory (about 30 MB) and never unpacked to disk.

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
        dataset="utd-mhad",
        layout=KINECT_V1_20,
        class_names=ACTIONS,
        n_persons=1,
        fps=30.0,
        splits=SPLITS,
        items=list_files(data, "Skeleton", "a1_s1_t1_skeleton.mat"),
        read=read_sequence,
    )


def read_sequence(item: Path | ArchiveMember) -> Recording | SkippedRecording:
    """Read one MATLAB file; a joint at exactly (0, 0, 0) was not observed.

    The files are in metres and in the camera's frame as it is used here (x to the sensor's left,
    y up, z away from the sensor), so only the joints are brought into another order.

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
        If the file cannot be read, or its content is malformed.
    """
    file_name = PurePosixPath(item.name).name
    match = _NAME.fullmatch(file_name)
    if match is None or not 1 <= int(match[1]) <= len(ACTIONS):
        return SkippedRecording(file_name, "the file name is not one of aA_sS_tT_skeleton.mat")
    action, subject, _ = map(int, match.groups())
    xyz = _parse(str(item), read_content(item))
    name = file_name.removesuffix("_skeleton.mat")
    return record_one_person(name, xyz, action - 1, subject)


def _parse(path: str, content: bytes) -> NDArray[np.float32]:
    """Return the positions in the order of `KINECT_V1_20`, shape (n_frames, 20, 3)."""
    try:
        values = read_array(content, "d_skel")
    except ValueError as error:
        raise InputError(
            f"{path}: expected a MATLAB 5 file with the array d_skel, got {error}; {_REMEDY}"
        ) from error
    values = np.atleast_3d(values)  # MATLAB drops the last axis of a single frame
    n_joints = len(FILE_JOINTS)
    if values.shape[:-1] != (n_joints, 3):
        raise InputError(
            f"{path}: d_skel: expected the shape ({n_joints}, 3, frames), got "
            f"{values.shape}; {_REMEDY}"
        )
    xyz = values.transpose(2, 0, 1)[:, _ORDER]
    fault = coordinate_fault(xyz)
    if fault is not None:
        raise InputError(f"{path}: d_skel: {fault}")
    return xyz.astype(np.float32)
