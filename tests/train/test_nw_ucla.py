from __future__ import annotations

import json
import pickle  # noqa: TID251 - what a process pool does
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.splits import parse_split
from iospstl_train.data.archive import ArchiveMember
from iospstl_train.data.nw_ucla import ACTIONS, open_nw_ucla, read_sequence
from iospstl_train.data.recording import Recording, SkippedRecording
from tests.train.archive_files import make_archive

NAMES = ("a01_s01_e00_v01.json", "a08_s02_e01_v03.json", "a12_s10_e04_v02.json")


def make_skeletons(n_frames: int = 4) -> list[Any]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(n_frames, 20, 3)).round(4).tolist()


def make_content(label: int, skeletons: list[Any] | None = None) -> bytes:
    chosen = make_skeletons() if skeletons is None else skeletons
    return json.dumps({"file_name": "any", "skeletons": chosen, "label": label}).encode()


@pytest.fixture
def files() -> dict[str, bytes]:
    return dict(zip(NAMES, map(make_content, (1, 7, 10)), strict=True))


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "all_sqe"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read_one(content: bytes, name: str = NAMES[0]) -> Recording | SkippedRecording:
    return read_sequence(ArchiveMember(Path("archive.tar.xz"), f"all_sqe/{name}", content))


def test_folder_parent_and_archive_give_the_same_recordings(
    tmp_path: Path, folder: Path, files: dict[str, bytes]
) -> None:
    archive = make_archive(tmp_path / "a.tar.xz", {f"all_sqe/{n}": c for n, c in files.items()})
    sources = [open_nw_ucla(data) for data in (folder, tmp_path, archive)]
    for source in sources:
        assert (source.dataset, source.layout.name) == ("nw-ucla", "kinect-v1-20")
        recordings = [source.read(item) for item in source.items]
        assert [r.name for r in recordings] == [n.removesuffix(".json") for n in NAMES]
        assert [(r.label, r.subject, r.view, r.setup) for r in recordings] == [
            (0, 1, 1, -1),
            (6, 2, 3, -1),
            (9, 10, 2, -1),
        ]
        assert [source.class_names[r.label] for r in recordings] == [
            "pick up with one hand",
            "donning",
            "carry",
        ]
        expected = np.array(make_skeletons(), dtype=np.float32)[:, None]
        for recording in recordings:
            np.testing.assert_array_equal(recording.xyz, expected)
            assert recording.xyz.dtype == np.float32
            assert recording.present.all()
            assert recording.present.shape == (4, 1)


def test_source_can_be_sent_to_a_worker(folder: Path) -> None:
    source = open_nw_ucla(folder)
    read, items = pickle.loads(pickle.dumps((source.read, source.items)))
    assert read(items[0]).name == "a01_s01_e00_v01"


def test_joint_at_the_origin_is_not_observed() -> None:
    skeletons = make_skeletons()
    skeletons[1][3] = [0, 0.0, -0.0]
    skeletons[2][5] = [0.0, 0.5, 0.0]
    recording = read_one(make_content(1, skeletons))
    assert isinstance(recording, Recording)
    missing = np.isnan(recording.xyz)
    assert missing[1, 0, 3].all()
    assert missing.sum() == 3
    assert recording.present.all()


def test_one_frame_is_kept_and_no_frame_is_skipped() -> None:
    recording = read_one(make_content(1, make_skeletons(1)))
    assert isinstance(recording, Recording)
    assert recording.xyz.shape == (1, 1, 20, 3)
    assert read_one(make_content(1, [])) == SkippedRecording("a01_s01_e00_v01", "it has no frames")


@pytest.mark.parametrize("name", ["notes.json", "a07_s01_e00_v01.json", "a1_s1_e0_v1.json"])
def test_unknown_name_is_skipped_with_its_reason(name: str) -> None:
    skipped = read_one(b"", name)
    assert isinstance(skipped, SkippedRecording)
    assert skipped.name == name
    assert "aAA_sSS_eEE_vVV" in skipped.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_content(1)[:500], "expected JSON, got"),
        (b"\xff\xfe", "expected JSON, got"),
        (b"[" * 100_000, "expected JSON, got"),
        (b"[]", "expected an object with 'skeletons' and 'label'"),
        (b'{"label": 1}', "expected an object with 'skeletons' and 'label'"),
        (make_content(2), "label: expected 1 (pick up with one hand) by the file name, got 2"),
        (b'{"label": null, "skeletons": []}', "by the file name, got None"),
        (make_content(1, np.zeros((2, 25, 3)).tolist()), "got float64 in (2, 25, 3)"),
        (make_content(1, np.zeros((2, 20)).tolist()), "got float64 in (2, 20)"),
        (make_content(1, [[["1"] * 3] * 20]), "(frames, 20, 3), got <U1 in (1, 20, 3)"),
        (make_content(1, [[[1, 2, None]] * 20]), "got object in (1, 20, 3)"),
        (make_content(1, [[[1, 2, 10**30]] * 20]), "got object in (1, 20, 3)"),
        (make_content(1, [[[1, 2, 3]] * 20, [[1, 2, 3]] * 19]), "got lists of unequal length"),
        (make_content(1, [[[0.5, 2, 10**400]] * 20]), "got object in (1, 20, 3)"),
        (
            make_content(1, [[[1, 2, np.inf]] * 20]),
            "metres within 1000 or NaN, got inf in frame 0",
        ),
        (make_content(1, [[[1, 2, 2500]] * 20]), "got 2500 in frame 0 (20 such values); convert"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "content",
)
def test_malformed_content_is_one_error_with_the_file(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_one(content)
    assert str(caught.value).startswith(f"archive.tar.xz:all_sqe/{NAMES[0]}: ")


@pytest.mark.data
def test_real_archive_holds_what_its_owners_say(real_data_folder: Path) -> None:
    path = real_data_folder / "nw-ucla_all_sqe.tar.xz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the folder of real recordings")
    source = open_nw_ucla(path)
    recordings = [source.read(item) for item in source.items]
    assert len(recordings) == len({r.name for r in recordings}) == 1484
    assert sum(len(r.xyz) for r in recordings) == 58_534
    assert sum(int(np.isnan(r.xyz).all(-1).sum()) for r in recordings) == 12
    fields = {
        name: np.array([getattr(r, name) for r in recordings]) for name in ("view", "subject")
    }
    split = parse_split(source.splits["xview"])
    assert (split.train(fields).sum(), split.test(fields).sum()) == (1020, 464)
    assert set(fields["subject"]) == set(range(1, 11))
    assert np.bincount([r.label for r in recordings]).tolist() == [
        *(150, 152, 141, 173, 148, 149, 142, 142, 145, 142)
    ]
    assert len(ACTIONS) == len(source.class_names) == 10
