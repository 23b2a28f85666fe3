"""Recordings from files: NTU RGB+D and archives, damaged ones too."""

import io
import json
import os
import re
import shutil
import tarfile

import numpy as np
import pytest

from iospstl_core.store import open_store
from iospstl_train.data.synthetic import SyntheticSettings, make_recording
from tests.integration.commands import ONE_EPOCH, data, fault, list_all
from tests.train import ntu_copies


@pytest.fixture(scope="session")
def ntu_files(write_skeleton_file, tmp_path_factory):
    """Eight files of four people: two that train and two that do not."""
    folder = tmp_path_factory.mktemp("nturgb+d_skeletons")
    settings = SyntheticSettings(n_subjects=1)
    for subject in (1, 2, 3, 6):
        for action in (1, 60):
            recording = make_recording(action % 7, settings)
            name = f"S001C00{1 + subject % 2}P00{subject}R001A{action:03}.skeleton"
            write_skeleton_file(folder / name, recording.xyz[:20, :1])
    return folder


def test_ntu60_from_files_to_an_encoder(command, ntu_files, tmp_path):
    status, out, _ = command("prepare", *data(tmp_path, "ntu60"), "--data", ntu_files)
    assert status == 0
    assert "8 sequences, 160 frames" in out
    assert "split xsub: 4 train / 4 test" in out
    status, out, _ = command(
        *("pretrain", *data(tmp_path, "ntu60"), "--split", "xview"),
        *("--out", tmp_path / "run", *ONE_EPOCH),
    )
    assert status == 0
    assert out == f"{tmp_path / 'run'}: trained on 4 sequences\n"
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["provenance"] == {"dataset": "ntu60", "split": "xview", "occlusion": None}


def test_ntu60_is_cleaned_counted_and_compared(command, ntu_files, tmp_path, write_skeleton_file):
    folder = tmp_path / "files"
    shutil.copytree(ntu_files, folder)
    two = make_recording(3, SyntheticSettings(n_subjects=1)).xyz[:40, [0, 0]]
    two[:, 1, :, 0] += 1
    two[20:] = two[20:, ::-1]  # the ids change hands
    write_skeleton_file(folder / "S001C001P008R001A050.skeleton", two)
    write_skeleton_file(folder / "S001C001P009R001A001.skeleton", two[:, :1])  # not published
    write_skeleton_file(folder / "S001C002P005R002A008.skeleton", two[:, :1])  # known as broken
    write_skeleton_file(folder / "S001C001P002R001A002.skeleton", two[:, :0])  # nobody
    status, out, _ = command("prepare", *data(tmp_path, "ntu60"), "--data", folder)
    assert status == 0
    store = tmp_path / "ntu60"
    lines = out.splitlines()
    assert lines[:-1] == [
        f"{store}: 10 sequences, 240 frames",
        "left out 1: no body in any of its 40 frames",
        "left out 1: on the missing-skeleton list",
        "split xsub: 6 train / 4 test; published: 40091 train / 16487 test",
        "split xview: 4 train / 6 test; published: 37646 train / 18932 test",
        "cleaned: 1 exchanged body ids in 1 sequences",
        "not there: 56568 of 56578 published sequences: S001C001P001R001A001, "
        "S001C001P001R001A002, S001C001P001R001A003 and 56565 more",
        "not published: 1 sequences: S001C001P009R001A001",
        f"the names of all that: {store / 'report.json'}",
    ]
    assert re.fullmatch(r"read 12 in \d+\.\d s: \d+ a second, \d+ process(es)?", lines[-1])
    report = json.loads((store / "report.json").read_text())
    assert report["cleaned"] == {"exchanged body ids": {"S001C001P008R001A050": 1}}
    assert report["left_out"].keys() == {"S001C002P005R002A008", "S001C001P002R001A002"}
    assert len(report["not_there"]) == 56568
    tracking = open_store(store).tracking
    assert tracking.shape == open_store(store).xyz.shape[:-1]
    assert set(np.unique(tracking)) == {0, 2}


@pytest.mark.parametrize("form", ["pyskl", "data", "position", "npz"])
def test_ntu60_in_other_formats(command, tmp_path, form):
    sequences = ntu_copies.make_sequences()
    if form == "pyskl":
        path = tmp_path / "ntu60_3danno.pkl"
        ntu_copies.write_pickle(path, ntu_copies.pyskl_content(sequences))
    elif form == "npz":
        path = tmp_path / "NTU60_CS.npz"
        np.savez(path, **ntu_copies.ctr_gcn_arrays(sequences))
    else:
        write = {"data": ntu_copies.write_arrays, "position": ntu_copies.write_positions}[form]
        path = write(tmp_path / "xsub", sequences)
    status, out, _ = command("prepare", *data(tmp_path, "ntu60"), "--data", path)
    assert status == 0
    assert "ntu60: 6 sequences, " in out
    split = "given" if form == "npz" else "xsub"
    assert f"split {split}: 3 train / 3 test" in out
    assert ("not there: 56572 of 56578 published" in out) == (form != "npz")
    store = open_store(tmp_path / "ntu60")
    assert store.tracking is None
    assert store.camera_frame == (form in ("pyskl", "data"))
    is_train, _ = store.split()
    assert sorted(store.label[is_train]) == [0, 0, 59]
    if not store.camera_frame:
        message = fault(command, "occlude", *data(tmp_path, "ntu60"))
        assert "expected camera coordinates for the kind 'realistic'" in message


def test_pickle_that_would_run_code(command, tmp_path):
    path = tmp_path / "ntu60_3danno.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch was-run'\ntR.")
    message = fault(command, "prepare", *data(tmp_path / "data", "ntu60"), "--data", path)
    assert message.startswith(f"{path}: expected a pickle of lists, numbers, texts and arrays")
    assert "names 'os.system', which could run code: nothing of it was run" in message
    assert list_all(tmp_path) == ["ntu60_3danno.pkl"]


def test_ntu60_without_a_store_names_download_and_command(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IOSPSTL_DATA", str(tmp_path / "data"))
    message = fault(command, "pretrain", "--dataset", "ntu60")
    assert message.startswith(f"ntu60: no prepared store at {tmp_path / 'data' / 'ntu60'}. Get ")
    assert "nturgbd_skeletons_s001_to_s017.zip" in message
    assert "Rapid-Rich Object Search (ROSE) Lab, https://rose1.ntu.edu.sg/" in message
    assert "iospstl-train prepare --dataset ntu60 --data FOLDER_WITH_SKELETON_FILES" in message
    assert list_all(tmp_path) == []


def test_skeleton_file_cut_mid_frame(command, ntu_files, tmp_path):
    folder = tmp_path / "files"
    shutil.copytree(ntu_files, folder)
    path = folder / "S001C002P001R001A001.skeleton"
    os.truncate(path, path.stat().st_size // 2)
    before = list_all(tmp_path)
    message = fault(command, "prepare", *data(tmp_path, "ntu60"), "--data", folder)
    assert str(path) in message
    assert list_all(tmp_path) == before


def write_npz(path, **changes):
    arrays = {
        "xyz": np.zeros((6, 20, 3), dtype=np.float32) + 0.5,
        "offset": np.array([0, 2, 4, 6]),
        "label": np.array([0, 1, 0]),
        "view": np.array([1, 2, 1]),
        **changes,
    }
    np.savez(path, **arrays)
    return path


def npz_options(root, path, split="train: view in 1; test: view in 2"):
    layout = ("--layout", "kinect-v1-20", "--split", split)
    return ("prepare", *data(root, "npz"), "--data", path, *layout)


def test_neutral_archive_can_be_prepared(command, tmp_path):
    path = write_npz(tmp_path / "mine.npz")
    status, out, _ = command(*npz_options(tmp_path, path), "--name", "mine")
    assert status == 0
    assert "split custom: 2 train / 1 test" in out
    assert open_store(tmp_path / "mine").dataset == "mine"
    where = ("--dataset", "mine", "--root", tmp_path)
    message = fault(command, "pretrain", *where, "--occlusion", "none")
    assert f"occlude --dataset mine --root {tmp_path}" in message  # a command that works


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xyz": np.zeros((6, 21, 3), np.float32)}, "xyz: expected 20 joints"),
        ({"offset": np.array([0, 6])}, "offset: expected whole numbers of shape (4,)"),
        ({"label": np.array([{"a": 1}, 1, 0], dtype=object)}, "expected an .npz archive of plain"),
    ],
)
def test_archive_of_wrong_shapes_or_with_a_pickle(command, tmp_path, changes, message):
    path = write_npz(tmp_path / "mine.npz", **changes)
    got = fault(command, *npz_options(tmp_path / "data", path))
    assert got.startswith(f"{path}: ")
    assert message in got
    assert list_all(tmp_path) == ["mine.npz"]


def test_cut_archives(command, tmp_path):
    npz = write_npz(tmp_path / "mine.npz")
    os.truncate(npz, npz.stat().st_size - 50)
    assert str(npz) in fault(command, *npz_options(tmp_path / "data", npz))
    archive = tmp_path / "all_sqe.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        content = json.dumps({"skeletons": np.random.default_rng(0).random((40, 60)).tolist()})
        info = tarfile.TarInfo("all_sqe/a01_s01_e00_v01.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content.encode()))
    os.truncate(archive, archive.stat().st_size // 2)
    options = ("prepare", *data(tmp_path / "data", "nw-ucla"), "--data", archive)
    assert str(archive) in fault(command, *options)
    assert list_all(tmp_path) == ["all_sqe.tar.xz", "mine.npz"]


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("ntu60", "--data: ntu60 needs it. Get the skeleton archive"),
        ("ntu-60", "got 'ntu-60'; did you mean 'ntu60'?"),
        ("npz", "--data: npz needs it. Get nothing"),
    ],
)
def test_prepare_says_what_it_needs(command, tmp_path, dataset, words):
    assert words in fault(command, "prepare", *data(tmp_path, dataset))
    assert list_all(tmp_path) == []


def test_prepare_does_not_replace_what_is_no_store(command, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"miau")
    options = ("--subjects", 1, "--workers", 1, "--name", "photos")
    message = fault(command, "prepare", *data(tmp_path), *options)
    assert message.startswith(f"{tmp_path / 'photos'}: holds something else than a store")
    assert list_all(tmp_path) == ["photos", "photos/cat.jpg"]
