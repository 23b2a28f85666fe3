from __future__ import annotations

import io
import pickle  # noqa: TID251 - what a process pool does
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, NTU_25
from iospstl_train.data.npz import open_npz
from iospstl_train.data.recording import Recording, SkippedRecording
from iospstl_train.data.source import Source

SPLIT = "train: view in 1; test: view in 2"
LENGTHS = (3, 5, 2)

Arrays = dict[str, NDArray[Any]]


def make_arrays(n_persons: int = 0) -> Arrays:
    """Return the required arrays; without a person axis where n_persons is 0."""
    rng = np.random.default_rng(3)
    shape = (sum(LENGTHS), *([n_persons] if n_persons else []), 20, 3)
    return {
        "xyz": rng.normal(size=shape).astype(np.float32),
        "offset": np.cumsum([0, *LENGTHS]),
        "label": np.array([0, 2, 1]),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def open_arrays(path: Path, arrays: Arrays, **options: Any) -> Source:
    np.savez(path, **arrays)
    return open_npz(path, KINECT_V1_20, SPLIT, **options)


def read_all(source: Source) -> list[Recording]:
    recordings = [source.read(item) for item in source.items]
    assert all(isinstance(r, Recording) for r in recordings)
    return recordings  # type: ignore[return-value]


def test_required_arrays_suffice(path: Path) -> None:
    arrays = make_arrays()
    source = open_arrays(path, arrays)
    assert (source.dataset, source.n_persons, source.fps) == ("npz", 1, 30.0)
    assert source.layout is KINECT_V1_20
    assert source.class_names == ("class 0", "class 1", "class 2")
    assert dict(source.splits) == {"custom": SPLIT}
    recordings = read_all(source)
    assert [r.name for r in recordings] == ["sequence 0", "sequence 1", "sequence 2"]
    assert [(r.label, r.subject, r.view, r.setup) for r in recordings] == [
        *((0, -1, -1, -1), (2, -1, -1, -1), (1, -1, -1, -1))
    ]
    joined = np.concatenate([r.xyz for r in recordings])
    np.testing.assert_array_equal(joined[:, 0], arrays["xyz"])
    assert [r.present.shape for r in recordings] == [(3, 1), (5, 1), (2, 1)]
    assert all(r.present.all() for r in recordings)


def test_optional_arrays_are_taken_over(path: Path) -> None:
    more = {
        "name": np.array(["a", "b", "ç"]),
        "subject": np.array([7, 8, 9], dtype=np.uint8),
        "view": np.array([1, 2, -1]),
        "setup": np.array([4, 5, 6]),
        "class_names": np.array(["walk", "sit", "wave"]),
    }
    source = open_arrays(path, make_arrays(2) | more, fps=25.0)
    assert (source.n_persons, source.fps) == (2, 25.0)
    assert source.class_names == ("walk", "sit", "wave")
    recordings = read_all(source)
    assert [(r.name, r.subject, r.view, r.setup) for r in recordings] == [
        *(("a", 7, 1, 4), ("b", 8, 2, 5), ("ç", 9, -1, 6))
    ]
    assert recordings[1].xyz.shape == (5, 2, 20, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_any_float_becomes_float32(path: Path, dtype: Any) -> None:
    arrays = make_arrays()
    arrays["xyz"] = arrays["xyz"].astype(dtype)
    first = read_all(open_arrays(path, arrays))[0]
    assert first.xyz.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(first.xyz[:, 0], arrays["xyz"][:3].astype(np.float32))


def test_source_can_be_sent_to_a_worker(path: Path) -> None:
    source = open_arrays(path, make_arrays())
    read, item = pickle.loads(pickle.dumps((source.read, source.items[1])))
    np.testing.assert_array_equal(read(item).xyz, source.read(source.items[1]).xyz)
    assert len(pickle.dumps(source.items[2])) < len(pickle.dumps(source.items[1]))


@pytest.mark.parametrize("unseen", [0.0, np.nan])
def test_confidence_of_zero_or_nan_is_not_observed(path: Path, unseen: float) -> None:
    arrays = make_arrays()
    arrays["confidence"] = np.full((10, 20), 0.01)
    arrays["confidence"][1, 4] = unseen
    first = read_all(open_arrays(path, arrays))[0]
    missing = np.isnan(first.xyz)
    assert missing[1, 0, 4].all()
    assert missing.sum() == 3


def test_one_missing_coordinate_hides_the_joint(path: Path) -> None:
    arrays = make_arrays()
    arrays["xyz"][2, 7, 1] = np.nan
    first = read_all(open_arrays(path, arrays))[0]
    assert np.isnan(first.xyz[2, 0, 7]).all()
    assert np.isnan(first.xyz).sum() == 3


@pytest.mark.parametrize("zero_is_missing", [False, True])
def test_zero_is_a_coordinate_unless_told(path: Path, zero_is_missing: bool) -> None:
    arrays = make_arrays()
    arrays["xyz"][2, 7] = 0
    first = read_all(open_arrays(path, arrays, zero_is_missing=zero_is_missing))[0]
    assert np.isnan(first.xyz[2, 0, 7]).all() == zero_is_missing


def test_person_is_present_from_first_to_last_observation(path: Path) -> None:
    arrays = make_arrays(2)
    arrays["xyz"][3:8, 1] = np.nan
    arrays["xyz"][[4, 6], 1, 5] = 1.0
    second = read_all(open_arrays(path, arrays))[1]
    assert second.present[:, 0].all()
    assert second.present[:, 1].tolist() == [False, True, True, True, False]
    assert np.isnan(second.xyz[2, 1]).all()


def test_sequences_without_content_are_skipped_with_a_reason(path: Path) -> None:
    arrays = make_arrays()
    arrays["offset"] = np.array([0, 3, 3, 10])
    arrays["xyz"][:3] = np.nan
    source = open_arrays(path, arrays)
    assert [source.read(item) for item in source.items[:2]] == [
        SkippedRecording("sequence 0", "no joint observed in any of its 3 frames"),
        SkippedRecording("sequence 1", "it has no frames"),
    ]
    assert isinstance(source.read(source.items[2]), Recording)


def replaced(array: NDArray[Any], index: Any, value: Any) -> NDArray[Any]:
    copy = array.copy()
    copy[index] = value
    return copy


BASE = make_arrays()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xyz": None}, "xyz: expected this array, got none"),
        (
            {"confidance": BASE["label"]},
            "confidance: an array of this name has no meaning here; did you mean 'confidence'?",
        ),
        ({"zzz": BASE["label"]}, "zzz: an array of this name has no meaning here; known: xyz"),
        ({"xyz": np.zeros((10, 60), np.float32)}, "got float32 of shape (10, 60)"),
        ({"xyz": np.zeros((10, 20, 2), np.float32)}, "got float32 of shape (10, 20, 2)"),
        ({"xyz": np.zeros((10, 20, 3), int)}, "xyz: expected floats of shape (frames, joints, 3)"),
        (
            {"xyz": np.zeros((10, 25, 3), np.float32)},
            "xyz: expected 20 joints (kinect-v1-20), got 25; set --layout",
        ),
        ({"xyz": np.zeros((0, 20, 3), np.float32)}, "xyz: expected frames and persons"),
        ({"xyz": np.zeros((10, 0, 20, 3), np.float32)}, "xyz: expected frames and persons"),
        (
            {"xyz": replaced(BASE["xyz"], (4, 3, 1), np.inf)},
            "xyz: expected metres within 1000 or NaN, got inf in frame 4 (1 such values)",
        ),
        (
            {"xyz": replaced(BASE["xyz"], (4, 3), -2500)},
            "got -2500 in frame 4 (3 such values); convert millimetres",
        ),
        (
            {"offset": np.array([0, 3, 10])},
            "offset: expected whole numbers of shape (4,), got int64 of shape (3,)",
        ),
        (
            {"offset": BASE["offset"] / 1},
            "offset: expected whole numbers of shape (4,), got float64",
        ),
        (
            {"offset": np.array([0, 5, 3, 10])},
            "offset: expected increasing values, got 3 after 5 at index 2",
        ),
        ({"offset": np.array([0, 5, 3, 10], np.uint64)}, "got 3 after 5 at index 2"),
        (
            {"offset": np.array([1, 3, 8, 10])},
            "begin at 0 and end at the 10 frames of xyz, got 1 and 10",
        ),
        (
            {"label": np.array(3)},
            "label: expected whole numbers of shape (1,), got int64 of shape ()",
        ),
        ({"label": np.zeros(0, int), "offset": np.array([0])}, "label: expected whole numbers"),
        ({"label": np.array([0, 1])}, "offset: expected whole numbers of shape (3,)"),
        (
            {"label": np.array([0.0, 1, 2])},
            "label: expected whole numbers of shape (3,), got float64",
        ),
        ({"label": np.array([-1, 1, 2])}, "label: expected 0 to 99999, got -1 to 2; labels count"),
        ({"class_names": np.array(["a", "b"])}, "label: expected 0 to 1, got 0 to 2"),
        ({"class_names": np.array(["a", "b", "a"])}, "class_names: expected each once, got 'a'"),
        (
            {"class_names": np.array([["a", "b", "c"]])},
            "class_names: expected texts of shape (3,)",
        ),
        ({"class_names": np.arange(3)}, "class_names: expected texts of shape (3,), got int64"),
        ({"name": np.array(["a", "b", "b"])}, "name: expected each once, got 'b' again"),
        (
            {"name": np.array(["a", "b"])},
            "name: expected texts of shape (3,), got <U1 of shape (2,)",
        ),
        ({"subject": np.array([1, 2])}, "subject: expected whole numbers of shape (3,)"),
        (
            {"view": np.array(["1", "2", "3"])},
            "view: expected whole numbers of shape (3,), got <U1",
        ),
        ({"setup": np.array([1, 2, -3])}, "setup: expected -1 (not known) or more, got -3"),
        ({"confidence": np.ones((10, 19))}, "confidence: expected numbers of shape (10, 20)"),
        ({"confidence": np.full((10, 20), -0.5)}, "confidence: expected 0 or more, got -0.5"),
    ],
)
def test_faulty_array_is_named(
    path: Path, changes: dict[str, NDArray[Any] | None], message: str
) -> None:
    arrays = {k: v for k, v in (make_arrays() | changes).items() if v is not None}
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        open_arrays(path, arrays)
    assert str(caught.value).startswith(f"{path}: ")


def test_all_faults_come_in_one_message(path: Path) -> None:
    arrays = make_arrays() | {"offset": np.array([0, 5, 3, 9]), "label": np.array([0, -2, 1])}
    arrays["xyz"][0, 0, 0] = np.inf
    with pytest.raises(InputError) as caught:
        open_arrays(path, arrays)
    assert str(caught.value).count("expected") == 4
    for name in ("xyz: ", "offset: expected to begin", "offset: expected increasing", "label: "):
        assert name in str(caught.value)


def test_layout_must_fit(path: Path) -> None:
    np.savez(path, **make_arrays())
    with pytest.raises(InputError, match=r"expected 25 joints \(ntu-25\), got 20"):
        open_npz(path, NTU_25, SPLIT)


def test_faulty_split_is_found_before_the_file_is_read(path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'view'"):
        open_npz(path, KINECT_V1_20, "train: veiw in 1; test: view in 2")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle of the archive was run",))


def test_pickle_inside_is_refused_and_not_run(path: Path) -> None:
    arrays = make_arrays() | {"name": np.array([Trap(), Trap(), Trap()], dtype=object)}
    with pytest.raises(InputError, match=r"mine\.npz: expected an \.npz .* Object arrays cannot"):
        open_arrays(path, arrays)


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1]), b"PK\x03\x04 cut"])
def test_file_that_is_no_archive_is_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.npz: expected an \.npz archive of plain arrays"):
        open_npz(path, KINECT_V1_20, SPLIT)


def test_single_array_and_foreign_member_are_errors(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="it holds a single array"):
        open_npz(path, KINECT_V1_20, SPLIT)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xyz.csv", "0,0,0")
    with pytest.raises(InputError, match=r"'xyz\.csv' is no array"):
        open_npz(path, KINECT_V1_20, SPLIT)


def test_text_that_is_no_unicode_is_an_error(path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.frombuffer(b"\xff" * 12, dtype="<U1"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name.npy", stream.getvalue())
    with pytest.raises(InputError, match=r"expected an \.npz archive of plain arrays"):
        open_npz(path, KINECT_V1_20, SPLIT)


def test_missing_file_and_cut_archive_are_errors(path: Path) -> None:
    with pytest.raises(InputError, match="no such file; set --data"):
        open_npz(path, KINECT_V1_20, SPLIT)
    np.savez_compressed(path, **make_arrays())
    content = path.read_bytes()
    for kept in range(0, len(content), 61):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=r"expected an \.npz archive of plain arrays"):
            open_npz(path, KINECT_V1_20, SPLIT)


def test_archive_of_ctr_gcn_names_its_dataset(path: Path) -> None:
    np.savez(path, x_train=np.zeros(3), y_train=np.zeros(3))
    with pytest.raises(InputError, match=r"CTR-GCN \(x_train\); use --dataset ntu60"):
        open_npz(path, NTU_25, SPLIT)
