from __future__ import annotations

import pickle  # noqa: TID251 - what a process pool does
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.splits import parse_split
from iospstl_train.data.ntu import NtuItem, open_ntu, read_sequence
from iospstl_train.data.recording import Recording, SkippedRecording

NAME = "S017C002P040R001A060"

XSUB_60 = [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
XSUB_120_MORE = [
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86),
    *(89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
]

WriteSkeletonFile = Callable[..., Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{NAME}.skeleton"


def make_bodies(n_frames: int, *speeds_m: float) -> NDArray[np.float64]:
    """Return standing people side by side, who walk by so many metres a frame."""
    standing = np.array(NTU_25.rest_m) + np.array([0, 0, 3])
    xyz = np.tile(standing, (n_frames, len(speeds_m), 1, 1))
    for m, speed_m in enumerate(speeds_m):
        xyz[:, m, :, 0] += m + speed_m * np.arange(n_frames)[:, None]
    return xyz.round(5)


def read(path: Path, **options: bool) -> Recording:
    recording = read_sequence(NtuItem(path, listed_missing=False), **options)
    assert isinstance(recording, Recording)
    return recording


def change_line(path: Path, number: int, change: Callable[[str], str]) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("crlf", [False, True])
@pytest.mark.parametrize("swap_order", [False, True])
def test_round_trip_follows_bodies_by_id(
    path: Path, write_skeleton_file: WriteSkeletonFile, crlf: bool, swap_order: bool
) -> None:
    xyz = make_bodies(20, 0.05, 0.01)
    write_skeleton_file(path, xyz, crlf=crlf, swap_order=swap_order)
    recording = read(path)
    np.testing.assert_allclose(recording.xyz, xyz, atol=1e-6)
    assert recording.xyz.dtype == np.float32
    assert recording.present.all()
    assert recording.present.shape == (20, 2)
    assert recording.name == NAME
    assert (recording.label, recording.subject) == (59, 40)
    assert (recording.view, recording.setup) == (2, 17)


def test_one_body_leaves_the_second_person_absent(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    recording = read(write_skeleton_file(path, make_bodies(3, 0.0)))
    assert recording.xyz.shape == (3, 2, 25, 3)
    assert recording.present.tolist() == [[True, False]] * 3
    assert np.isnan(recording.xyz[:, 1]).all()
    assert not np.isnan(recording.xyz[:, 0]).any()


def test_frames_without_a_body_are_kept_as_absence(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    present = np.array([False, True, False, True, False])[:, None]
    recording = read(write_skeleton_file(path, make_bodies(5, 0.1), present))
    np.testing.assert_array_equal(recording.present[:, 0], present[:, 0])
    np.testing.assert_array_equal(np.isnan(recording.xyz[:, 0]).all((1, 2)), ~present[:, 0])


def test_person_who_moves_most_comes_first(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    xyz = make_bodies(20, 0.0, 0.02, 0.05)
    recording = read(write_skeleton_file(path, xyz))
    np.testing.assert_allclose(recording.xyz, xyz[:, [2, 1]], atol=1e-6)


def test_body_wider_than_high_is_a_ghost(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    xyz = make_bodies(20, 0.01, 0.5)
    xyz[:, 1] = xyz[:, 1][..., [1, 0, 2]]  # lying: its height became its width
    recording = read(write_skeleton_file(path, xyz))
    np.testing.assert_allclose(recording.xyz[:, 0], xyz[:, 0], atol=1e-6)
    assert not recording.present[:, 1].any()


def test_short_body_is_a_ghost_beside_a_lasting_one(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    present = np.ones((20, 2), dtype=bool)
    present[11:, 1] = False
    xyz = make_bodies(20, 0.01, 0.5)
    assert not read(write_skeleton_file(path, xyz, present)).present[:, 1].any()
    present[11, 1] = True
    assert read(write_skeleton_file(path, xyz, present)).present.sum() == 32


def test_suspicious_bodies_stay_where_there_are_no_others(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    lying = make_bodies(20, 0.0)[..., [1, 0, 2]]
    assert read(write_skeleton_file(path, lying)).present[:, 0].all()
    two_lying = make_bodies(20, 0.0, 0.1)[..., [1, 0, 2]]
    assert read(write_skeleton_file(path, two_lying)).present.all()
    two_short = make_bodies(4, 0.0, 0.1)
    assert read(write_skeleton_file(path, two_short)).present.all()


def test_new_id_of_a_lost_person_continues_their_place(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    xyz = make_bodies(40, 0.05, 0.02, 0.01)
    present = np.ones((40, 3), dtype=bool)
    present[22:, 0] = False
    present[:25, 2] = False
    recording = read(write_skeleton_file(path, xyz, present))
    np.testing.assert_array_equal(recording.present[:, 0], present[:, 0] | present[:, 2])
    np.testing.assert_allclose(recording.xyz[:22, 0], xyz[:22, 0], atol=1e-6)
    np.testing.assert_allclose(recording.xyz[25:, 0], xyz[25:, 2], atol=1e-6)
    np.testing.assert_allclose(recording.xyz[:, 1], xyz[:, 1], atol=1e-6)


def test_id_listed_twice_in_a_frame_makes_two_bodies(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    xyz = make_bodies(20, 0.05, 0.01)
    recording = read(write_skeleton_file(path, xyz, body_ids=[7, 7]))
    np.testing.assert_allclose(recording.xyz, xyz, atol=1e-6)


@pytest.mark.parametrize(("inferred_is_missing", "expected"), [(False, {0}), (True, {0, 1})])
def test_tracking_state_says_what_was_observed(
    path: Path,
    write_skeleton_file: WriteSkeletonFile,
    inferred_is_missing: bool,
    expected: set[int],
) -> None:
    state = np.full((3, 1, 25), 2)
    state[1, 0, 4], state[2, 0, 5] = 0, 1
    write_skeleton_file(path, make_bodies(3, 0.0), tracking_state=state)
    xyz = read(path, inferred_is_missing=inferred_is_missing).xyz[:, 0]
    np.testing.assert_array_equal(
        np.isnan(xyz), np.isin(state[:, 0], list(expected))[..., None] & [True] * 3
    )


def test_zeros_and_nan_are_not_observed(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    xyz = make_bodies(3, 0.0)
    xyz[1, 0, 6] = np.nan
    write_skeleton_file(path, xyz)
    change_line(path, 5, lambda line: "NaN " + line.split(maxsplit=1)[1])
    recording = read(path)
    np.testing.assert_array_equal(
        np.argwhere(np.isnan(recording.xyz[:, 0, :, 0])), [[0, 0], [1, 6]]
    )
    assert np.isnan(recording.xyz[0, 0, 0]).all()
    assert recording.present[:, 0].all()


def test_pixel_columns_may_hold_anything(
    path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    write_skeleton_file(path, make_bodies(1, 0.0))
    change_line(path, 5, lambda line: line.replace("283.03", "-1.#IND"))
    assert not np.isnan(read(path).xyz[:, 0]).any()


def test_files_that_are_left_out_say_why(
    tmp_path: Path, path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    none = np.zeros((4, 1), dtype=bool)
    write_skeleton_file(path, make_bodies(4, 0.0), none)
    assert read_sequence(NtuItem(path, False)) == SkippedRecording(
        NAME, "no body in any of its 4 frames"
    )
    path.write_text("0\n")
    assert read_sequence(NtuItem(path, False)) == SkippedRecording(
        NAME, "no body in any of its 0 frames"
    )
    assert read_sequence(NtuItem(path, True)) == SkippedRecording(
        NAME, "on the missing-skeleton list"
    )
    for name in ("S001C001P001R001A121", "S001C001P001R001A000", "walk"):
        skipped = read_sequence(NtuItem(tmp_path / f"{name}.skeleton", False))
        assert isinstance(skipped, SkippedRecording)
        assert "SsssCcccPpppRrrrAaaa" in skipped.reason


@pytest.fixture
def folder(tmp_path: Path, write_skeleton_file: WriteSkeletonFile) -> Path:
    xyz = make_bodies(2, 0.0)
    names = (
        *("S001C001P001R001A001", "S017C003P040R002A060", "S001C001P003R001A061"),
        *("S018C001P041R001A001", "S032C003P106R002A120"),
    )
    for name in names:
        write_skeleton_file(tmp_path / "raw" / name[:4] / f"{name}.skeleton", xyz)
    return tmp_path / "raw"


def test_ntu60_takes_its_part_of_a_folder_that_holds_more(folder: Path) -> None:
    source = open_ntu("ntu60", folder)
    names = [source.read(item).name for item in source.items]
    assert names == ["S001C001P001R001A001", "S017C003P040R002A060"]
    assert (source.layout, source.n_persons, source.fps) == (NTU_25, 2, 30.0)
    assert len(source.class_names) == 60
    assert source.class_names[59] == "walking apart from each other"
    assert list(source.splits) == ["xsub", "xview"]


def test_ntu120_takes_all(folder: Path) -> None:
    source = open_ntu("ntu120", folder)
    read_item, items = pickle.loads(pickle.dumps((source.read, source.items)))
    recordings = [read_item(item) for item in items]
    assert [r.label for r in recordings] == [0, 60, 59, 0, 119]
    assert len(set(source.class_names)) == 120
    assert source.class_names[66] == "hush (quite)"
    assert source.class_names[108] == "grab other person’s stuff"
    assert list(source.splits) == ["xsub", "xset"]


def test_unknown_names_in_the_folder_are_skipped_with_a_reason(
    folder: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    write_skeleton_file(folder / "walk.skeleton", make_bodies(2, 0.0))
    source = open_ntu("ntu60", folder)
    assert len(source.items) == 3
    assert isinstance(source.read(source.items[-1]), SkippedRecording)


def test_inferred_joints_can_be_missing(
    tmp_path: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    write_skeleton_file(tmp_path / f"{NAME}.skeleton", make_bodies(2, 0.0), tracking_state=1)
    for option in (False, True):
        source = open_ntu("ntu60", tmp_path, inferred_is_missing=option)
        assert np.isnan(source.read(source.items[0]).xyz[:, 0]).all() == option


def test_missing_list_leaves_files_out(tmp_path: Path, folder: Path) -> None:
    missing = tmp_path / "missing.txt"
    missing.write_bytes(
        b"2 of the samples have missing skeletons.\r\n\r\n# a remark\r\n#remark\r\n"
        b"S001C001P001R001A001\r\nS017C003P040R002A060.skeleton\r\n"
    )
    source = open_ntu("ntu120", folder, missing)
    read = [source.read(item) for item in source.items]
    assert [r.name for r in read if isinstance(r, SkippedRecording)] == [
        *("S001C001P001R001A001", "S017C003P040R002A060")
    ]
    assert len(read) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a heading only\n", "one on a line, got none; leave the option out"),
        (
            b"S001C001P001R001A001\nS001C001P001\n",
            "line 2: expected a name like .* got 'S001C001P001'",
        ),
        (b"\xff\xff", "cannot be read as text"),
        (None, "cannot be read as text: .*No such file"),
    ],
)
def test_faulty_missing_list_is_an_error(
    tmp_path: Path, folder: Path, content: bytes | None, message: str
) -> None:
    missing = tmp_path / "missing.txt"
    if content is not None:
        missing.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_ntu("ntu60", folder, missing)


def test_faulty_folder_names_the_remedy(
    tmp_path: Path, folder: Path, write_skeleton_file: WriteSkeletonFile
) -> None:
    with pytest.raises(InputError, match="got nothing there; unpack the archives"):
        open_ntu("ntu60", tmp_path / "nowhere")
    file = write_skeleton_file(tmp_path / "other" / "walk.skeleton", make_bodies(2, 0.0))
    with pytest.raises(InputError, match="got a file; unpack the archives"):
        open_ntu("ntu60", file)
    with pytest.raises(InputError, match=r"files of ntu60 .* got none \(1 other"):
        open_ntu("ntu60", file.parent)
    with pytest.raises(InputError, match="expected every name once"):
        write_skeleton_file(folder / "S001C001P001R001A001.skeleton", make_bodies(2, 0.0))
        open_ntu("ntu60", folder)


def test_splits_choose_the_published_subjects_views_and_setups(folder: Path) -> None:
    subject = np.arange(1, 107)
    ntu60, ntu120 = (open_ntu(name, folder).splits for name in ("ntu60", "ntu120"))
    train_120 = parse_split(ntu120["xsub"]).train({"subject": subject})
    train_60 = parse_split(ntu60["xsub"]).train({"subject": subject})
    assert subject[train_60].tolist() == XSUB_60
    assert subject[train_120].tolist() == XSUB_60 + XSUB_120_MORE
    view = np.array([1, 2, 3])
    assert parse_split(ntu60["xview"]).test({"view": view}).tolist() == [True, False, False]
    setup = np.arange(1, 33)
    split = parse_split(ntu120["xset"])
    np.testing.assert_array_equal(split.train({"setup": setup}), setup % 2 == 0)
    np.testing.assert_array_equal(split.test({"setup": setup}), setup % 2 == 1)
