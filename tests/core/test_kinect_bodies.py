from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.kinect_bodies import read_bodies

WriteSkeletonFile = Callable[..., Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "S001C001P001R001A001.skeleton"


def make_bodies(n_frames: int, n_bodies: int) -> NDArray[np.float64]:
    return np.random.default_rng(2).normal(size=(n_frames, n_bodies, 25, 3)).round(5)


def change_line(path: Path, number: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("crlf", [False, True])
def test_arrays_hold_what_was_written(
    path: Path, write_skeleton_file: WriteSkeletonFile, crlf: bool
) -> None:
    xyz, state = make_bodies(6, 2), np.random.default_rng(1).integers(0, 3, size=(6, 2, 25))
    present = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 1], [0, 1]], dtype=bool)
    write_skeleton_file(
        path, xyz, present, crlf=crlf, tracking_state=state, swap_order=True, body_ids=[5, 3]
    )
    file = read_bodies(path)
    assert file.n_frames == 6
    assert len(file.bodies) == 2
    for m, body in enumerate(file.bodies):
        np.testing.assert_array_equal(body.present, present[:, m])
        np.testing.assert_allclose(body.xyz[present[:, m]], xyz[present[:, m], m], atol=1e-6)
        np.testing.assert_array_equal(body.state[present[:, m]], state[present[:, m], m])
        assert np.isnan(body.xyz[~present[:, m]]).all()
        assert (body.state[~present[:, m]] == 0).all()


@pytest.mark.parametrize("blank", ["  ", "\t", " \t "])
def test_other_white_space_reads_the_same(
    path: Path, write_skeleton_file: WriteSkeletonFile, blank: str
) -> None:
    xyz = make_bodies(2, 1)
    write_skeleton_file(path, xyz)
    text = path.read_text()
    path.write_text(text.replace(" ", blank).replace("\n", " \n") + "\n \n")
    body = read_bodies(path).bodies[0]
    np.testing.assert_allclose(body.xyz, xyz[:, 0], atol=1e-6)


# Lines of a one-body file: 1 frames, 2 bodies, 3 body, 4 joints, 5-29 joints, 30 bodies, ...
@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "", "line 1: expected the number of frames, 1 on the line, got 0"),
        (1, "two", "line 1: expected the number of frames, got 'two'"),
        (1, "-2", "line 1: expected the number of frames, got '-2'"),
        (
            1,
            "3",
            "line 58: expected the number of bodies in frame 3 of 3, got the end of the file",
        ),
        (1, "9" * 30, "line 58: expected the number of bodies in frame 3 of 9"),
        (1, "1", "line 30: expected the end of the file after 1 frames, got more"),
        (2, "1.5", "line 2: expected the number of bodies in frame 1 of 2, got '1.5'"),
        (2, "2000", "line 2: expected the number of bodies in frame 1 of 2, got '2000'"),
        (2, "2", "line 30: expected the fields of a body in frame 1 of 2, 10 on the line, got 1"),
        (2, "0", "line 3: expected the number of bodies in frame 2 of 2, 1 on the line, got 10"),
        (3, "1 2", "line 3: expected the fields of a body in frame 1 of 2, 10 on the line, got 2"),
        (8, "0\t0 0 0 0 0 0 0 0 0 0 0 2", "frame 1 of 2, 12 on the line, got 13"),
        (4, "20", "line 4: expected 25 joints in frame 1 of 2, got 20"),
        (8, "1 2 3", "line 8: expected the fields of joint Head in frame 1 of 2, 12 on the line"),
        (
            8,
            "",
            "line 8: expected the fields of joint Head in frame 1 of 2, 12 on the line, got 0",
        ),
        (
            8,
            "0 0 x 0 0 0 0 0 0 0 0 2",
            "line 8: expected metres within 1000 or NaN for joint Head",
        ),
        (36, "0 inf 0 0 0 0 0 0 0 0 0 2", "line 36: expected metres within 1000 or NaN for joint"),
        (36, "0 0 2e3 0 0 0 0 0 0 0 0 2", "for joint Head, got '2e3'"),
        (8, "0 0 0 0 0 0 0 0 0 0 0 3", "line 8: expected state 0, 1, 2 for joint Head, got '3'"),
        (8, "0 0 0 0 0 0 0 0 0 0 0 nan", "expected state 0, 1, 2 for joint Head, got 'nan'"),
        (8, "0 0 0 0 0 0 0 0 0 0 0 \xe9", "expected state 0, 1, 2 for joint Head, got"),
    ],
)
def test_malformed_line_is_named(
    path: Path, write_skeleton_file: WriteSkeletonFile, line: int, text: str, message: str
) -> None:
    write_skeleton_file(path, make_bodies(2, 1))
    change_line(path, line, text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_bodies(path)
    assert str(caught.value).startswith(f"{path}: line ")
    assert str(caught.value).endswith(
        "unpack this file again, or put its name on the missing list"
    )


def test_every_cut_is_an_error_that_names_the_line(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    content = write_skeleton_file(path, make_bodies(2, 2)).read_bytes().rstrip()
    for kept in range(0, len(content), 97):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=r"\.skeleton: line \d+: expected"):
            read_bodies(path)


def test_unreadable_file_is_an_error(path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_bodies(path)
