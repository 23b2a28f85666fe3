"""Each format gives the same recordings; what is none of them is refused by its content."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what a process pool does
import shutil
from pathlib import Path

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_train.data.ntu_formats import open_ntu_copy
from iospstl_train.data.recording import Recording
from iospstl_train.data.source import Source
from tests.train import ntu_copies as copies

THREE = pickle.dumps(np.ones(3, np.float32), 4)
TEN_SEVEN = "S001C001P001R001A107"


@pytest.fixture
def sequences():
    return copies.make_sequences()


def read_all(source: Source) -> dict[str, Recording]:
    read, items = pickle.loads(pickle.dumps((source.read, list(source.items))))
    recordings = [read(item) for item in items]
    assert all(isinstance(recording, Recording) for recording in recordings)
    for recording in recordings:
        assert recording.xyz.dtype == np.float32
        assert recording.xyz.shape == (*recording.present.shape, 25, 3)
        assert np.isnan(recording.xyz[~recording.present]).all()
    return {recording.name: recording for recording in recordings}


def check_names_and_numbers(source: Source, sequences) -> None:
    recordings = read_all(source)
    assert sorted(recordings) == sorted(sequences)
    first = recordings["S001C002P003R001A002"]
    assert (first.label, first.subject, first.view, first.setup) == (1, 3, 2, 1)
    assert list(source.splits) == ["xsub", "xview"]
    assert source.n_persons == 2
    assert len(source.class_names) == 60


@pytest.mark.parametrize("protocol", range(6))
def test_pyskl(tmp_path, sequences, protocol):
    path = tmp_path / "some.bin"
    copies.write_pickle(path, copies.pyskl_content(sequences), protocol)
    if protocol < 2:
        path = path.rename(tmp_path / "some.pkl")
    source = open_ntu_copy("ntu60", path)
    check_names_and_numbers(source, sequences)
    assert source.camera_frame
    assert source.notes == ()
    for name, recording in read_all(source).items():
        np.testing.assert_allclose(recording.xyz, sequences[name], atol=2e-3)
        assert recording.present[:, 0].all()


def test_pyskl_persons_come_and_go(tmp_path, sequences):
    content = copies.pyskl_content(sequences)
    keypoint = content["annotations"][1]["keypoint"]
    keypoint[1, :4] = 0
    keypoint[1, 8:10] = 0
    keypoint[0, 5, 3] = 0
    source = open_ntu_copy("ntu60", copies.write_pickle(tmp_path / "a.pkl", content))
    recording = read_all(source)[copies.NAMES[1]]
    assert recording.present[:, 1].tolist() == [False] * 4 + [True] * 19
    assert np.isnan(recording.xyz[8:10, 1]).all()
    assert np.argwhere(np.isnan(recording.xyz[:, 0, :, 0])).tolist() == [[5, 3]]


def test_pyskl_lists_that_differ_are_named(tmp_path, sequences):
    content = copies.pyskl_content(sequences)
    content["split"]["xsub_train"].append("S001C001P003R001A060")
    source = open_ntu_copy("ntu60", copies.write_pickle(tmp_path / "a.pkl", content))
    assert source.notes == ("the file lists xsub_train otherwise for 1: S001C001P003R001A060",)


@pytest.mark.parametrize("suffix", ["data", "data_nan"])
def test_data(tmp_path, sequences, suffix):
    name = copies.NAMES[1]
    sequences[name][3, 0, 5] = np.nan
    sequences[name][7, 1] = np.nan
    folder = copies.write_arrays(tmp_path / "xsub", sequences, suffix)
    source = open_ntu_copy("ntu60", folder)
    check_names_and_numbers(source, sequences)
    assert source.camera_frame
    recordings = read_all(source)
    for each, recording in recordings.items():
        np.testing.assert_allclose(recording.xyz, sequences[each], atol=1e-6)
    if suffix == "data":
        assert recordings[name].present.all()
        assert not recordings[copies.NAMES[0]].present[:, 1].any()


def test_zeros_beside_nan_are_the_absent(tmp_path, sequences):
    name = copies.NAMES[1]
    sequences[name][3, 0, 5] = np.nan
    sequences[name][6:9, 1] = 0
    source = open_ntu_copy("ntu60", copies.write_arrays(tmp_path, sequences, "data_nan"))
    present = read_all(source)[name].present
    assert present[:, 0].all()
    assert np.flatnonzero(~present[:, 1]).tolist() == [6, 7, 8]


def test_position(tmp_path, sequences):
    folder = copies.write_positions(tmp_path / "xsub", sequences)
    source = open_ntu_copy("ntu60", folder)
    check_names_and_numbers(source, sequences)
    assert not source.camera_frame
    for name, recording in read_all(source).items():
        assert recording.xyz.shape[0] == 50
        expected = copies.positions(sequences[name]).transpose(1, 3, 2, 0)
        there = np.isfinite(sequences[name][:, 1]).any()
        np.testing.assert_array_equal(recording.xyz[:, 0], expected[:, 0])
        assert not recording.xyz[:, 0, copies.CENTER].any()  # the origin is no gap
        assert recording.present[:, 1].all() == there


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ctr_gcn_without_names(tmp_path, sequences, save):
    path = tmp_path / "NTU60_CS.npz"
    save(path, **copies.ctr_gcn_arrays(sequences))
    source = open_ntu_copy("ntu60", path)
    assert not source.camera_frame
    assert source.splits == {"given": "train: part in 1; test: part in 2"}
    assert source.published is None
    assert "expected the numbers of a split (xsub 40091 / 16487; xview" in source.notes[0]
    recordings = read_all(source)
    assert list(recordings) == [
        *(f"train {n}" for n in range(3)),
        *(f"test {n}" for n in range(3)),
    ]
    name = copies.NAMES[1]
    recording, xyz = recordings["test 0"], sequences[name]
    np.testing.assert_allclose(recording.xyz, xyz - xyz[0, 0, 1], atol=1e-6)
    assert (recording.label, recording.part, recording.subject) == (59, 2, -1)
    assert recordings["train 0"].present.tolist() == [[True, False]] * 20


def test_ctr_gcn_rows_of_a_published_split_get_their_names(tmp_path):
    """Rows are grouped by subject: not in the order of their names."""
    from iospstl_train.data.ctr_gcn import _names

    arrays = {}
    for part in ("train", "test"):
        labels = [int(name[-3:]) - 1 for name in _names("ntu60", "xsub", part)]
        arrays[f"x_{part}"] = np.ones((len(labels), 1, 150), np.float16)
        arrays[f"y_{part}"] = np.eye(60, dtype=np.uint8)[labels]
    np.savez(tmp_path / "a.npz", **arrays)
    source = open_ntu_copy("ntu60", tmp_path / "a.npz")
    assert source.notes == (
        "rows and labels are those of xsub: names were put back by that order",
    )
    names = [item.name for item in source.items]
    assert len(names) == 56_578
    assert names[0] == "S001C001P001R001A001"
    assert [n[8:12] for n in names[:40_091]] == sorted(n[8:12] for n in names[:40_091])
    assert names[40_091][8:12] == "P003"
    recording = source.read(source.items[40_090])
    assert (recording.subject, recording.part) == (38, -1)
    arrays["y_train"] = np.roll(arrays["y_train"], 1, axis=0)
    np.savez(tmp_path / "b.npz", **arrays)
    assert "rows without names" in open_ntu_copy("ntu60", tmp_path / "b.npz").notes[0]


def test_ntu60_takes_its_part_of_the_other(tmp_path):
    sequences = copies.make_sequences([*copies.NAMES, TEN_SEVEN])
    path = copies.write_pickle(tmp_path / "a.pkl", copies.pyskl_content(sequences))
    assert len(open_ntu_copy("ntu60", path).items) == 6
    assert len(open_ntu_copy("ntu120", path).items) == 7
    only = copies.write_pickle(
        tmp_path / "b.pkl", copies.pyskl_content({TEN_SEVEN: sequences[TEN_SEVEN]})
    )
    with pytest.raises(InputError, match="expected sequences of ntu60, got none of 1"):
        open_ntu_copy("ntu60", only)


def test_content_counts_and_not_the_name(tmp_path, sequences):
    folder = copies.write_positions(tmp_path / "arrays", sequences)
    shutil.move(folder / "train_position.npy", folder / "train_data.npy")
    assert not open_ntu_copy("ntu60", folder / "train_data.npy").camera_frame
    shutil.copy(folder / "train_motion.npy", folder / "train_position.npy")
    with pytest.raises(InputError, match="expected positions of joints, got motion by its cont"):
        open_ntu_copy("ntu60", folder / "train_position.npy")
    path = copies.write_pickle(tmp_path / "NTU60_CS.npz", copies.pyskl_content(sequences))
    assert len(open_ntu_copy("ntu60", path).items) == 6


def test_mixed_folders_are_told_apart(tmp_path, sequences, write_skeleton_file):
    folder = copies.write_arrays(tmp_path / "mixed", sequences)
    two = copies.write_positions(tmp_path / "other", sequences)
    shutil.copy(two / "train_position.npy", folder / "train_position.npy")
    with pytest.raises(
        InputError, match="of one kind, got data, position; choose one with --kind"
    ):
        open_ntu_copy("ntu60", folder)
    assert len(open_ntu_copy("ntu60", folder, kind="data").items) == 6
    assert len(open_ntu_copy("ntu60", folder, kind="position").items) == 3
    with pytest.raises(InputError, match="expected data-nan, got data, position"):
        open_ntu_copy("ntu60", folder, kind="data-nan")
    write_skeleton_file(folder / f"{copies.NAMES[0]}.skeleton", np.ones((2, 1, 25, 3)))
    with pytest.raises(InputError, match=r"one format, got \.skeleton files and data, position"):
        open_ntu_copy("ntu60", folder)


def test_options_of_raw_files_are_refused_elsewhere(tmp_path, sequences):
    path = copies.write_pickle(tmp_path / "a.pkl", copies.pyskl_content(sequences))
    with pytest.raises(InputError, match="--inferred-is-missing: only for a folder of"):
        open_ntu_copy("ntu60", path, inferred_is_missing=True)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Changed:
    def __reduce__(self):
        return getattr, ([], "append")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["alone", "annotation", "labels"])
def test_pickle_that_would_run_code_is_refused(tmp_path, sequences, protocol, place):
    marker = tmp_path / "was-run"
    hostile = Hostile(marker)
    if place == "labels":
        data = copies.write_arrays(tmp_path / "xsub", sequences)
        copies.write_pickle(data / "train_label.pkl", ([hostile], [0]), protocol)
    else:
        content = copies.pyskl_content(sequences)
        content["annotations"][2]["label"] = hostile
        data = tmp_path / "ntu60_3danno.pkl"
        copies.write_pickle(data, hostile if place == "alone" else content, protocol)
    with pytest.raises(InputError, match=r"names 'posix\.system', which could run code") as caught:
        open_ntu_copy("ntu60", data)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x95", "complete pickle, got a damaged or cut file"),
        (pickle.dumps(Changed(), 4), r"names 'builtins\.getattr', which could run code"),
        (pickle.dumps(Path("a"), 4), "which could run code"),
        (THREE.replace(b"K\x03\x85", b"K\x04\x85"), r"array of 12 bytes for the shape \(4,\)"),
        (THREE[:-10], "it ends within an array"),
        (pickle.dumps([1, 2], 4), "expected a pickle with 'split' and 'annotations'.*got a list"),
        (pickle.dumps({"a": 1}, 4), "got one with the keys a"),
        (pickle.dumps({"annotations": [3]}, 4), "annotation 0: expected frame_dir, label, keyp"),
        (b"", "got an empty file"),
        (b"hello", "got a file of another format"),
        (b"2\n1\n", r"got one \.skeleton file; set --data to its folder"),
        (b"PK\x03\x04rest", "got a damaged or cut one"),
        (b"\x93NUMPY\x01\x00\x10\x00{'shape': (1,)} ", "an array as NumPy writes it"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_ntu_copy("ntu60", path)
    assert str(caught.value).startswith(f"{path}: ")


def test_key_points_in_images_are_refused(tmp_path, sequences):
    content = copies.pyskl_content(sequences)
    content["annotations"][0] |= {
        "keypoint_score": np.ones((1, 20, 17)),
        "img_shape": (1080, 1920),
    }
    path = copies.write_pickle(tmp_path / "ntu60_hrnet.pkl", content)
    with pytest.raises(InputError, match="got 2D key points of images"):
        open_ntu_copy("ntu60", path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 5}, "expected label 0 for S001C001P001R001A001 by its name, got 5"),
        ({"frame_dir": "walk"}, "expected names like S001C001P001R001A001, got 'walk'"),
        ({"frame_dir": copies.NAMES[2]}, "expected every name once"),
        ({"total_frames": 99}, "annotation 0: expected total_frames"),
        ({"keypoint": [1, 2]}, "annotation 0: keypoint: expected an array"),
        ({"keypoint": np.zeros((1, 20, 17, 3))}, "expected coordinates of 25 joints"),
        ({"keypoint": np.zeros((3, 20, 25, 3))}, "of one or two persons"),
    ],
)
def test_mislabelled_annotations_are_refused(tmp_path, sequences, change, message):
    content = copies.pyskl_content(sequences)
    content["annotations"][0] |= change
    path = copies.write_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(InputError, match=message):
        open_ntu_copy("ntu60", path)


def test_millimetres_are_refused(tmp_path, sequences):
    sequences = {name: xyz * 1000 for name, xyz in sequences.items()}
    source = open_ntu_copy("ntu60", copies.write_arrays(tmp_path, sequences))
    with pytest.raises(
        InputError, match=r"train_data\.npy: S001C001P001R001A001: expected metres"
    ):
        read_all(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "its names and labels beside it, as train_label.pkl, got none"),
        ("swapped", "expected a name and a label for each of the 2 sequences .* got 5 names"),
        ("mislabelled", "expected label 0 for S001C001P001R001A001 by its name, got 3"),
        ("cut", r"train_data\.npy: expected \d+ bytes by its header, got \d+: it is cut"),
        ("other shape", "expected coordinates of 25 joints of one or two persons"),
        ("names only", "expected two lists, names and labels"),
    ],
)
def test_arrays_and_labels_have_to_fit(tmp_path, sequences, change, message):
    del sequences[copies.NAMES[0 if change == "swapped" else 3]]
    sequences |= copies.make_sequences(["S001C001P003R001A009", "S001C001P003R001A010"])
    folder = copies.write_arrays(tmp_path / "xsub", sequences)
    labels, array = folder / "train_label.pkl", folder / "train_data.npy"
    if change == "missing":
        labels.unlink()
        (folder / "val_label.pkl").unlink()
    elif change == "swapped":
        (folder / "val_label.pkl").rename(labels)
    elif change == "mislabelled":
        names, _ = pickle.loads(labels.read_bytes())
        copies.write_pickle(labels, (names, [3, 0, 59]))
    elif change == "cut":
        os.truncate(array, array.stat().st_size - 5)
    elif change == "other shape":
        np.save(array, np.zeros((3, 3, 300, 18, 2), np.float32))
    else:
        copies.write_pickle(labels, ["a", "b", "c"])
    with pytest.raises(InputError, match=message):
        open_ntu_copy("ntu60", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.eye(120)[[0, 59, 0]]}, "of ntu60, got .*use --dataset ntu120"),
        ({"y_train": np.ones((3, 60))}, "expected one 1 and zeros in every row, got others in 3"),
        ({"x_test": np.zeros((3, 300, 75), np.float32)}, "x_test: expected floats of shape"),
        ({"x_test": None}, "expected the arrays x_train, y_train, x_test, y_test"),
        ({"y_test": np.array([{"a": 1}], dtype=object)}, "expected an array of numbers, got obj"),
    ],
)
def test_other_archives_are_refused(tmp_path, sequences, change, message):
    arrays = copies.ctr_gcn_arrays(sequences, n_frames=40) | change
    path = tmp_path / "NTU60_CS.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=message):
        open_ntu_copy("ntu60", path)


def test_cut_and_empty_archives_are_refused(tmp_path, sequences):
    path = tmp_path / "NTU60_CS.npz"
    np.savez(path, **copies.ctr_gcn_arrays(sequences, n_frames=40))
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(InputError, match="damaged or cut"):
        open_ntu_copy("ntu60", path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected files of ntu60 named like"):
        open_ntu_copy("ntu60", tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"expected a folder of \.skeleton files.*got notes\.txt"):
        open_ntu_copy("ntu60", tmp_path / "empty")
