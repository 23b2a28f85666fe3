from __future__ import annotations

import io
import pickle  # noqa: TID251 - what a process pool does
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20
from iospstl_core.splits import parse_split
from iospstl_train.data.archive import ArchiveMember
from iospstl_train.data.recording import Recording, SkippedRecording
from iospstl_train.data.utd_mhad import ACTIONS, open_utd_mhad, read_sequence
from tests.train.archive_files import make_archive

NAMES = ("a10_s2_t3_skeleton.mat", "a1_s1_t1_skeleton.mat", "a27_s8_t4_skeleton.mat")


def make_joints(n_frames: int = 4) -> Any:
    return np.random.default_rng(5).normal(size=(20, 3, n_frames))


def make_content(**variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def read_one(content: bytes, name: str = NAMES[1]) -> Recording | SkippedRecording:
    return read_sequence(ArchiveMember(Path("archive.tar.xz"), f"Skeleton/{name}", content))


def test_folder_parent_and_archives_give_the_same_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "Skeleton"
    folder.mkdir()
    content = make_content(d_skel=make_joints())
    for name in NAMES:
        (folder / name).write_bytes(content)
    files = {f"Skeleton/{name}": content for name in NAMES}
    archives = [make_archive(tmp_path / name, files) for name in ("a.tar.xz", "Skeleton.zip")]
    for data in (folder, tmp_path, *archives):
        source = open_utd_mhad(data)
        assert (source.dataset, source.layout.name) == ("utd-mhad", "kinect-v1-20")
        read, items = pickle.loads(pickle.dumps((source.read, source.items)))
        recordings = [read(item) for item in items]
        assert [(r.name, r.label, r.subject, r.view, r.setup) for r in recordings] == [
            ("a10_s2_t3", 9, 2, -1, -1),
            ("a1_s1_t1", 0, 1, -1, -1),
            ("a27_s8_t4", 26, 8, -1, -1),
        ]
        for recording in recordings:
            assert recording.xyz.shape == (4, 1, 20, 3)
            assert recording.xyz.dtype == np.float32
            assert recording.present.shape == (4, 1)
            assert recording.present.all()


def test_joints_come_in_the_order_of_the_layout() -> None:
    joints = make_joints()
    recording = read_one(make_content(d_skel=joints))
    assert isinstance(recording, Recording)
    in_file = {"Head": 0, "ShoulderCenter": 1, "Spine": 2, "HipCenter": 3}
    in_file |= {"ShoulderLeft": 4, "WristRight": 10, "HipLeft": 12, "FootRight": 19}
    for name, row in in_file.items():
        np.testing.assert_array_equal(
            recording.xyz[:, 0, KINECT_V1_20.index(name)], joints[row].T.astype(np.float32)
        )


def test_joint_at_the_origin_is_not_observed() -> None:
    joints = make_joints()
    joints[0, :, 1] = [0, 0.0, -0.0]
    joints[5, :, 2] = [0.0, 0.5, 0.0]
    recording = read_one(make_content(d_skel=joints))
    assert isinstance(recording, Recording)
    missing = np.isnan(recording.xyz)
    assert missing[1, 0, KINECT_V1_20.index("Head")].all()
    assert missing.sum() == 3
    assert recording.present.all()


def test_one_frame_is_kept_and_no_frame_is_skipped() -> None:
    for joints in (make_joints(1), make_joints(1)[..., 0]):
        recording = read_one(make_content(d_skel=joints))
        assert isinstance(recording, Recording)
        assert recording.xyz.shape == (1, 1, 20, 3)
    skipped = read_one(make_content(d_skel=make_joints(0)))
    assert skipped == SkippedRecording("a1_s1_t1", "it has no frames")


@pytest.mark.parametrize(
    "name",
    [
        *("notes.mat", "a0_s1_t1_skeleton.mat", "a28_s1_t1_skeleton.mat"),
        *("a1_s9_t1_skeleton.mat", "a1_s1_t5_skeleton.mat", "a1_s1_t1_inertial.mat"),
    ],
)
def test_unknown_name_is_skipped_with_its_reason(name: str) -> None:
    skipped = read_one(b"", name)
    assert isinstance(skipped, SkippedRecording)
    assert skipped.name == name
    assert "aA_sS_tT_skeleton.mat" in skipped.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got no header of version 5; unpack or download it again"),
        (make_content(d_skel=make_joints())[:500], "got it ends in the middle"),
        (make_content(d_iner=make_joints()), "got no variable 'd_skel'"),
        (make_content(d_skel="text"), "got the variable is no array of real numbers"),
        (make_content(d_skel=np.zeros((25, 3, 2))), "expected the shape (20, 3, frames), got (25"),
        (make_content(d_skel=np.zeros((20, 3, 2, 2))), "frames), got (20, 3, 2, 2)"),
        (make_content(d_skel=np.full((20, 3, 2), np.inf)), "metres within 1000 or NaN, got inf"),
        (make_content(d_skel=np.full((20, 3, 2), 2500)), "(120 such values); convert milli"),
    ],
    ids=["empty", "cut", "other", "text", "joints", "axes", "infinite", "millimetres"],
)
def test_malformed_content_is_one_error_with_the_file(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_one(content)
    assert str(caught.value).startswith(f"archive.tar.xz:Skeleton/{NAMES[1]}: ")


@pytest.mark.data
def test_real_archive_holds_what_its_owners_say(real_data_folder: Path) -> None:
    path = real_data_folder / "utd-mhad_skeleton.tar.xz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the folder of real recordings")
    source = open_utd_mhad(path)
    recordings = [source.read(item) for item in source.items]
    assert len(recordings) == len({r.name for r in recordings}) == 861
    xyz = np.concatenate([r.xyz[:, 0] for r in recordings])
    assert len(xyz) == 58_299
    assert not np.isnan(xyz).any()
    subject = np.array([r.subject for r in recordings])
    split = parse_split(source.splits["xsub"])
    fields = {"subject": subject}
    assert (split.train(fields).sum(), split.test(fields).sum()) == (431, 430)
    assert np.bincount(subject).tolist() == [0, 107, 108, 108, 108, 108, 107, 108, 107]
    counts = np.bincount([r.label for r in recordings])
    assert {ACTIONS[label] for label in np.flatnonzero(counts == 31)} == {
        *("right hand draw x", "walking in place", "squat (two arms stretch out)")
    }
    assert len(counts) == len(ACTIONS) == 27
    assert (counts >= 31).all()
    left, right, hip, head = (
        xyz[:, KINECT_V1_20.index(joint)]
        for joint in ("ShoulderLeft", "ShoulderRight", "HipCenter", "Head")
    )
    assert (right[:, 0] > left[:, 0]).mean() > 0.99  # they face the sensor, x goes to its left
    assert ((head - hip)[:, 1] > 0.2).mean() > 0.99
    assert (np.median(xyz[..., 2]) > 1.5) & (xyz[..., 2] > 0).all()
