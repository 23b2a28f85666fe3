"""Text of one raw NTU RGB+D ``.skeleton`` file to arrays, nothing interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import MAX_COORDINATE_M, NTU_25

NOT_TRACKED, INFERRED, TRACKED = 0, 1, 2
"""Kinect's tracking states of a joint."""

_N_BODY_FIELDS = 10
_N_JOINT_FIELDS = 12
_COLUMNS = (0, 1, 2, 11)  # x, y, z, tracking state; between them pixels and orientation
_MAX_BODIES = 10  # Kinect tracks six; above that, the line is not a body count
_MAX_CELLS = 1_000_000  # frames of all bodies, 300 MB; the dataset has some thousands a file
_OTHER_BLANKS_TO_SPACE = bytes.maketrans(b"\t\r\x0b\x0c\x1c\x1d\x1e\x1f", b" " * 8)
_REMEDY = "unpack this file again, or put its name on the missing list"


@dataclass(frozen=True)
class Body:
    """One tracked body.

    Attributes
    ----------
    present : ndarray of shape (n_frames,), bool
        True in the frames that list the body.
    xyz : ndarray of shape (n_frames, 25, 3), float32
        Metres, camera frame; NaN in frames that do not list the body.
    state : ndarray of shape (n_frames, 25), int8
        Tracking state of each joint; `NOT_TRACKED` in frames that do not list the body.
    """

    present: NDArray[np.bool_]
    xyz: NDArray[np.float32]
    state: NDArray[np.int8]


@dataclass(frozen=True)
class SkeletonFile:
    """All bodies of one file, in order of appearance.

    Attributes
    ----------
    n_frames : int
        Frames without a body included.
    bodies : tuple of Body
        One for each body id; an id that one frame lists twice makes two bodies.
    """

    n_frames: int
    bodies: tuple[Body, ...]


class _Block(NamedTuple):
    """Where the joints of one body in one frame belong, and the line before them."""

    body: int
    frame: int
    line: int


def read_bodies(path: Path) -> SkeletonFile:
    """Read one file; bodies are followed by their id, whatever their order in a frame.

    Parameters
    ----------
    path : Path
        File with LF or CRLF line ends.

    Returns
    -------
    file : SkeletonFile

    Raises
    ------
    InputError
        If the file cannot be read, is cut or malformed; it names the line.
    """
    try:
        lines = _Lines(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the file") from error
    n_frames = lines.take_count("the number of frames")
    bodies: dict[tuple[str, int], int] = {}
    blocks: list[_Block] = []
    joints: list[str] = []
    for frame in range(n_frames):
        where = f"in frame {frame + 1} of {n_frames}"
        listed: list[str] = []
        for _ in range(lines.take_count(f"the number of bodies {where}", _MAX_BODIES)):
            body_id = lines.take(f"the fields of a body {where}", _N_BODY_FIELDS)[0]
            lines.take_joint_count(where)
            body = bodies.setdefault((body_id, listed.count(body_id)), len(bodies))
            listed.append(body_id)
            blocks.append(_Block(body, frame, lines.number))
            joints.extend(lines.take_joints(where))
    lines.take_end(n_frames)
    if n_frames * len(bodies) > _MAX_CELLS:
        lines.fail(1, f"a recording of minutes, got {n_frames} frames and {len(bodies)} bodies")
    values = _to_numbers(lines, joints, blocks)
    return SkeletonFile(n_frames, _split_bodies(n_frames, len(bodies), blocks, values))


class _Lines:
    """Takes the lines of a file one after another; `number` is the last one taken, from 1."""

    def __init__(self, path: Path, content: bytes) -> None:
        blanks = content.replace(b"\r\n", b"\n").translate(_OTHER_BLANKS_TO_SPACE)
        text = blanks.decode("ascii", errors="replace").rstrip()
        self._path = path
        self._lines = text.split("\n")
        if any(uneven in text for uneven in ("  ", " \n", "\n ")):
            self._lines = [" ".join(line.split()) for line in self._lines]
        self.number = 0

    def take(self, expected: str, n_fields: int) -> list[str]:
        self.number += 1
        if self.number > len(self._lines):
            self.fail(self.number, f"{expected}, got the end of the file")
        fields = self._lines[self.number - 1].split()
        if len(fields) != n_fields:
            self.fail(self.number, f"{expected}, {n_fields} on the line, got {len(fields)}")
        return fields

    def take_count(self, expected: str, largest: int | None = None) -> int:
        text = self.take(expected, 1)[0]
        if not text.isdecimal() or (largest is not None and float(text) > largest):
            self.fail(self.number, f"{expected}, got '{text[:40]}'")
        return int(text[:18])  # longer than any file: it ends first

    def take_joint_count(self, where: str) -> None:
        n_joints = self.take_count(f"the number of joints {where}")
        if n_joints != NTU_25.n_joints:
            self.fail(self.number, f"{NTU_25.n_joints} joints {where}, got {n_joints}")

    def take_joints(self, where: str) -> list[str]:
        joints = self._lines[self.number : self.number + NTU_25.n_joints]
        if [line.count(" ") + 1 for line in joints] != [_N_JOINT_FIELDS] * NTU_25.n_joints:
            for joint in NTU_25.joints:  # one by one, to meet the fault
                self.take(f"the fields of joint {joint} {where}", _N_JOINT_FIELDS)
        self.number += NTU_25.n_joints
        return joints

    def take_end(self, n_frames: int) -> None:
        if self.number < len(self._lines):
            self.fail(self.number + 1, f"the end of the file after {n_frames} frames, got more")

    def fail(self, line: int, expected_and_got: str) -> NoReturn:
        raise InputError(f"{self._path}: line {line}: expected {expected_and_got}; {_REMEDY}")


def _to_numbers(lines: _Lines, joints: list[str], blocks: list[_Block]) -> NDArray[np.float32]:
    """Return x, y, z and tracking state of every joint, shape (n_blocks, 25, 4)."""
    if not joints:
        return np.zeros((0, NTU_25.n_joints, 4), dtype=np.float32)
    try:
        table = np.loadtxt(joints, usecols=_COLUMNS, comments=None, ndmin=2)
    except ValueError:
        table = np.array([[_number_or_inf(line.split()[c]) for c in _COLUMNS] for line in joints])
    values = table.reshape(len(blocks), NTU_25.n_joints, len(_COLUMNS))
    right = (np.abs(values) <= MAX_COORDINATE_M) | np.isnan(values)
    right[..., 3] = np.isin(values[..., 3], (NOT_TRACKED, INFERRED, TRACKED))
    if not right.all():
        block, joint, column = np.argwhere(~right)[0]
        expected = f"metres within {MAX_COORDINATE_M:g} or NaN" if column < 3 else "state 0, 1, 2"
        got = joints[block * NTU_25.n_joints + joint].split()[_COLUMNS[column]][:40]
        lines.fail(
            blocks[block].line + joint + 1,
            f"{expected} for joint {NTU_25.joints[joint]}, got '{got}'",
        )
    return values.astype(np.float32)


def _number_or_inf(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.inf


def _split_bodies(
    n_frames: int, n_bodies: int, blocks: list[_Block], values: NDArray[np.float32]
) -> tuple[Body, ...]:
    """Give every block of `values`, shape (n_blocks, 25, 4), to its body and frame."""
    owner = [block.body for block in blocks]
    frame = [block.frame for block in blocks]
    shape = (n_bodies, n_frames, NTU_25.n_joints)
    xyz = np.full((*shape, 3), np.nan, dtype=np.float32)
    state = np.full(shape, NOT_TRACKED, dtype=np.int8)
    present = np.zeros(shape[:2], dtype=np.bool_)
    xyz[owner, frame] = values[..., :3]
    state[owner, frame] = values[..., 3]
    present[owner, frame] = True
    return tuple(Body(p, x, s) for p, x, s in zip(present, xyz, state, strict=True))
