"""Whole runs through the command ``iospstl-train``, on data and networks as small as they go."""

import io
import json
import os
import re
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from iospstl_core.bundle import FORMAT_VERSION, open_bundle
from iospstl_core.normalize import normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.store import find_occlusion, hide, open_store
from iospstl_train import pipeline as pipeline_module
from iospstl_train.cli import main
from iospstl_train.data.synthetic import SyntheticSettings, make_recording
from iospstl_train.training import pretrain as pretrain_module

COMMANDS = ("prepare", "occlude", "pretrain", "impute", "evaluate", "export", "pipeline")
METHODS = ("none", "random", "mean", "linear", "knn", "restore")
RESTORER = (
    *("--set", "restorer.steps=60", "--set", "restorer.width=16"),
    *("--set", "restorer.n_layers=1", "--set", "restorer.batch_size=8"),
)
TINY = (
    *("--set", "encoder.widths=[8,16]", "--set", "encoder.strides=[2,2]"),
    *("--set", "encoder.temporal_kernel=3", "--set", "opstl.projector_width=16"),
    *("--set", "training.batch_size=14", "--set", "linear.epochs=20", *RESTORER),
)
ONE_EPOCH = (*TINY, "--set", "training.epochs=1")


def list_all(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def data(root, dataset="synthetic"):
    return ("--dataset", dataset, "--root", root)


def fault(command, *arguments):
    """Run a command that must fail by a fault of the user, in one line; return the line."""
    status, out, lines = command(*arguments)
    assert status == 2
    assert out == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("iospstl-train: ")
    return lines[0].removeprefix("iospstl-train: ")


# The steps, one after the other.


@pytest.fixture(scope="session")
def chain(command, root, tmp_path_factory):
    """What pretrain, impute, pretrain and export leave behind."""
    out = tmp_path_factory.mktemp("runs")

    def run(*arguments):
        status, printed, lines = command(*arguments)
        assert status == 0, lines
        return printed

    run("pretrain", *data(root), "--occlusion", "realistic", "--out", out / "stage1", *ONE_EPOCH)
    for method in METHODS:
        printed = run(
            *("impute", *data(root), "--occlusion", "realistic", "--encoder", out / "stage1"),
            *("--method", method, "--out", out / method),
        )
        (out / f"{method}.txt").write_text(printed)
    imputed = ("--imputed", out / "knn")
    run("pretrain", *data(root), *imputed, "--out", out / "stage2", *ONE_EPOCH)
    for name, method in (("bundle", "knn"), ("bundle-restore", "restore")):
        run(
            *("export", *data(root), "--occlusion", "realistic", "--stage1", out / "stage1"),
            *("--stage2", out / "stage2", "--imputed", out / method, "--out", out / name),
        )
    return out


def test_prepare_tells_what_it_wrote(command, tmp_path):
    status, out, _ = command("prepare", *data(tmp_path), "--subjects", 3, "--workers", 2)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'synthetic'}: 126 sequences, ")
    assert lines[1] == "left out: none"
    assert lines[2] == "split xsub: 84 train / 42 test"
    manifest = json.loads((tmp_path / "synthetic" / "manifest.json").read_text())
    assert manifest["steps"][0]["step"] == "prepare"
    assert manifest["steps"][0]["subjects"] == 3


def test_one_subject_can_be_prepared(command, tmp_path):
    """Its splits cannot be used, which is said, and is no fault."""
    status, out, lines = command("prepare", *data(tmp_path), "--subjects", 1, "--workers", 1)
    assert (status, lines) == (0, [])
    assert "split xsub: cannot be used: " in out
    assert "split xview: 28 train / 14 test" in out


def test_every_imputer_reports_its_error(chain):
    errors = {}
    for method in METHODS:
        manifest = json.loads((chain / method / "manifest.json").read_text())
        assert manifest["method"] == method
        assert (manifest["dataset"], manifest["split"]) == ("synthetic", "xsub")
        assert manifest["occlusion"] == "realistic"
        errors[method] = manifest["error_mm"]["test"]
        assert f"test {errors[method]:.1f} mm" in (chain / f"{method}.txt").read_text()
    others = (error for method, error in errors.items() if method not in ("random", "none"))
    assert max(others) < errors["random"]


def test_restore_is_the_default_and_leaves_its_training_beside(command, root, chain, tmp_path):
    """The training is found again, so that nothing is trained twice; --set starts another one."""
    impute = (
        *("impute", *data(root), "--occlusion", "realistic", "--encoder", chain / "stage1"),
        *("--out", tmp_path / "done"),
    )
    trained = chain / "restore-restorer"
    assert {"restorer.onnx", "restorer.json", "restorer.pt"} == set(list_all(trained))
    before = (trained / "restorer.onnx").read_bytes()
    assert command(*impute, "--restorer", trained)[0] == 0
    assert (trained / "restorer.onnx").read_bytes() == before
    assert (tmp_path / "done" / "restorer.onnx").read_bytes() == before
    assert list_all(tmp_path / "done") == list_all(chain / "restore")
    described = json.loads((trained / "restorer.json").read_text())
    assert described["settings"]["steps"] == 60  # of the run of the encoder
    assert described["provenance"]["occlusion"] == "realistic"
    other = (*impute, "--restorer", trained, "--set", "restorer.steps=61")
    message = fault(command, *other)
    assert message.startswith(f"{trained}: holds an imputer that was trained with another setting")
    assert command(*impute, "--set", "restorer.steps=3")[0] == 0
    own = json.loads((tmp_path / "done-restorer" / "restorer.json").read_text())
    assert own["settings"] == {**described["settings"], "steps": 3}


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "knn", "--set", "restorer.steps=3"),
        ("--set", "imputation.n_neighbors=3"),
        ("--set", "training.stream=bone"),
    ],
)
def test_impute_changes_the_restorer_only(command, root, chain, tmp_path, options):
    message = fault(
        *(command, "impute", *data(root), "--occlusion", "realistic"),
        *("--encoder", chain / "stage1", "--out", tmp_path / "out", *options),
    )
    assert message.startswith("--set: impute takes restorer.KEY=VALUE with --method restore only")
    assert list_all(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("knn", "--workers", 0), "expected a number from 1 on, or -1 for all cores, got 0"),
        (("knn", "--workers", -2), "expected a number from 1 on, or -1 for all cores, got -2"),
        (("restore", "--workers", 2), "expected --method knn, .*, got restore; leave them out"),
        (("restore", "--workers", -1), "expected --method knn, .*, got restore; leave them out"),
        (("linear", "--dask", "tcp://a:1"), "expected --method knn, .*, got linear; leave them"),
    ],
)
def test_workers_that_have_nothing_to_do_are_refused(
    command, root, chain, tmp_path, options, message
):
    got = fault(
        *(command, "impute", *data(root), "--occlusion", "realistic"),
        *("--encoder", chain / "stage1", "--out", tmp_path / "out", "--method", *options),
    )
    assert re.match(f"--workers.*: {message}", got)
    assert list_all(tmp_path) == []


def test_evaluate_leaves_the_accuracy_in_the_run(command, root, chain):
    arguments = (
        "evaluate",
        *data(root),
        "--encoder",
        chain / "stage2",
        "--imputed",
        chain / "knn",
    )
    status, out, _ = command(*arguments)
    assert status == 0
    report = json.loads((chain / "stage2" / "evaluation.json").read_text())
    assert 0 < report["linear_accuracy"] <= 1
    assert report["occlusion"] == "realistic"
    shown = f"linear accuracy: {report['linear_accuracy']:.4f} over 42 test sequences (last epoch)"
    assert out == f"{shown}\n"
    assert command(*arguments)[1] == out


def test_evaluate_without_imputation(command, root, chain):
    for occlusion in ((), ("--occlusion", "random")):
        status, out, _ = command(
            "evaluate", *data(root), "--encoder", chain / "stage1", *occlusion
        )
        assert status == 0
        assert out.startswith("linear accuracy: ")


@pytest.mark.parametrize(("name", "imputer"), [("bundle", "knn"), ("bundle-restore", "restore")])
def test_exported_bundle_is_as_accurate_as_its_manifest_says(root, chain, name, imputer):
    bundle = open_bundle(chain / name)
    assert bundle.settings.imputer == imputer
    assert bundle.restorer_path.exists() == (imputer == "restore")
    assert bundle.settings.training["occlusion"] == "realistic"
    labels = label_with(chain / name, root)
    right = [name_of(root, name) == label for name, label in labels.items()]
    measured = bundle.settings.training["labels"]["test"]
    assert np.mean(right) == pytest.approx(measured["accuracy_whole"])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("stage1", "pre-training run, 1 of 1 epochs in "),
        ("knn", "completed windows: 84 sequences, 14 clusters"),
        ("bundle", "bundle, every file as its manifest says: 14 classes, windows of 50 frames"),
    ],
)
def test_info_describes_what_commands_leave(command, chain, name, start):
    status, out, lines = command("info", chain / name)
    assert (status, lines) == (0, [])
    assert out.startswith(start)


@pytest.fixture
def export_knn(command, root, chain, tmp_path):
    """Copy of the windows that KNN completed, and the arguments that export them."""
    folder = shutil.copytree(chain / "knn", tmp_path / "knn")
    return folder, (
        *("export", *data(root), "--occlusion", "realistic", "--stage1", chain / "stage1"),
        *("--stage2", chain / "stage2", "--imputed", folder, "--out", tmp_path / "bundle"),
    )


def edit_manifest(folder, **changes):
    """Write values of a manifest, or take keys out that are to be None."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def test_export_takes_the_settings_that_windows_were_completed_with(command, chain, export_knn):
    """Not those of the stage-1 encoder's run, which may have been another one."""
    folder, export = export_knn
    imputation = json.loads((folder / "manifest.json").read_text())["imputation"]
    run = json.loads((chain / "stage1" / "run.json").read_text())
    assert imputation == run["config"]["imputation"]
    changed = {"n_neighbors": 2, "nprobe": 3, "max_donors": 4}
    assert not imputation.items() & changed.items()
    edit_manifest(folder, imputation={**imputation, **changed})
    assert command(*export)[0] == 0
    settings = open_bundle(folder.with_name("bundle")).settings
    assert (settings.n_neighbors, settings.nprobe, settings.max_donors) == (2, 3, 4)


@pytest.mark.parametrize("imputation", [None, {"n_neighbours": 3}])
def test_export_without_those_settings_says_impute_again(command, export_knn, imputation):
    folder, export = export_knn
    edit_manifest(folder, imputation=imputation)
    assert fault(command, *export) == (
        f"{folder / 'manifest.json'}: imputation: expected the settings that completed these "
        f"windows, got {imputation}; impute again"
    )
    assert not folder.with_name("bundle").exists()


def test_info_describes_a_store(command, root):
    status, out, _ = command("info", root / "synthetic")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("store synthetic: 84 sequences, ")
    assert lines[2] == "occlusions: nothing, random, realistic"
    assert lines[3].startswith("split xsub: 42 train / 42 test (train: subject in 1-1;")


def test_info_describes_the_installation(command):
    status, out, _ = command("info")
    assert status == 0
    assert {"torch", "numpy", "python"} <= {line.split()[0] for line in out.splitlines()}


def test_info_of_a_run_that_has_just_begun(command, chain, tmp_path):
    shutil.copy(chain / "stage1" / "run.json", tmp_path)
    status, out, _ = command("info", tmp_path)
    assert status == 0
    assert out.startswith("pre-training run, 0 of 1 epochs in 0 s\n")
    assert out.endswith("last epoch: none yet\n")


def test_interrupted_run_goes_on(command, root, tmp_path, monkeypatch):
    arguments = (
        *("pretrain", *data(root), "--occlusion", "random", "--out", tmp_path / "run"),
        *(*TINY, "--set", "training.epochs=2"),
    )
    save = pretrain_module.save_checkpoint

    def stop_after_first(path, epoch, *rest):
        save(path, epoch, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "save_checkpoint", stop_after_first)
        status, _, lines = command(*arguments)
    assert status == 130
    assert lines == ["iospstl-train: interrupted; start it again to go on"]
    assert "holds a run already; give --resume" in fault(command, *arguments)
    assert command(*arguments, "--resume")[0] == 0
    assert command("info", tmp_path / "run")[1].startswith("pre-training run, 2 of 2 epochs")


# The pipeline.


def test_pipeline_leaves_report_pictures_and_bundle(command, root, tmp_path):
    out = tmp_path / "run"
    status, printed, lines = command(
        "pipeline", *data(root), "--occlusion", "realistic", "--out", out, *ONE_EPOCH
    )
    assert (status, lines) == (0, [])
    rows = ("clean", *METHODS)
    assert [line.split()[0] for line in printed.splitlines()[1:8]] == list(rows)
    assert f"report: {out / 'report.md'}  bundle: {out / 'bundle'}" in printed
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == list(rows)
    assert report["n_train"] == report["n_test"] == 42
    for row in rows:
        assert f"| {row}" in (out / "report.md").read_text()
    for picture in ("imputation.png", "imputation.gif", "confusion.png"):
        assert (out / "pictures" / picture).stat().st_size > 1000
    assert command("info", out / "bundle")[0] == 0
    assert command("info", out)[1].startswith("dataset: synthetic\n")

    labels = json.loads((out / "offline.json").read_text())
    assert labels == label_with(out / "bundle", root)
    right = [name_of(root, name) == label for name, label in labels.items()]
    assert np.mean(right) == pytest.approx(report["labels"]["test"]["accuracy_whole"])
    assert open_bundle(out / "bundle").settings.imputer == "restore"
    restorers = [
        (folder / "restorer.onnx").read_bytes()
        for folder in (out / "restorer", out / "bundle", out / "imputed" / "restore")
    ]
    assert restorers[0] == restorers[1] == restorers[2]

    check_that_steps_take_what_the_pipeline_left(command, root, out)


def label_with(bundle, root):
    """Labels of all test sequences by the code that the robot runs."""
    store = open_store(root / "synthetic")
    occlusion = find_occlusion(store, "realistic")
    recognizer = Recognizer(open_bundle(bundle), ["CPUExecutionProvider"])
    labels = {}
    for index in np.flatnonzero(store.split("xsub")[1]):
        xyz, present = store.sequence(index)
        window = normalize(hide(xyz, occlusion.hidden[store.frames(index)]), present)
        labels[store.names[index]] = recognizer.recognize([window])[0].label
    return labels


def name_of(root, name):
    store = open_store(root / "synthetic")
    return store.class_names[store.label[store.names.index(name)]]


def check_that_steps_take_what_the_pipeline_left(command, root, out):
    imputed = ("--imputed", out / "imputed" / "restore")
    status, printed, lines = command(
        "evaluate", *data(root), "--encoder", out / "stage2-restore", *imputed
    )
    assert status == 0, lines
    report = json.loads((out / "report.json").read_text())
    assert f"linear accuracy: {report['rows'][-1]['accuracy']:.4f} over 42" in printed
    status, _, lines = command(
        *("export", *data(root), "--occlusion", "realistic", "--stage1", out / "stage1-none"),
        *("--stage2", out / "stage2-restore", *imputed, "--out", out / "second"),
    )
    assert status == 0, lines
    first, second = (open_bundle(out / name).settings for name in ("bundle", "second"))
    assert replace(first, training={}) == replace(second, training={})


def read_weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def test_interrupted_pipeline_goes_on_where_it_stopped(command, root, tmp_path, monkeypatch):
    """Stopped between two rows, then within one; the end is that of an uninterrupted run."""

    def run(out):
        return command(
            *("pipeline", *data(root), "--occlusion", "random", "--rows", "none,linear"),
            *("--bundle-row", "linear", "--out", out, *TINY, "--set", "training.epochs=2"),
        )

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    trained = []
    train_epoch, save = pretrain_module._train_epoch, pretrain_module.save_checkpoint

    def watch(model, optimizer, x, hidden_frac, config, epoch, generator):
        trained.append(epoch)
        return train_epoch(model, optimizer, x, hidden_frac, config, epoch, generator)

    def stop_in_second(path, epoch, *rest):
        if epoch == 2:
            raise KeyboardInterrupt
        save(path, epoch, *rest)

    monkeypatch.setattr(pretrain_module, "_train_epoch", watch)
    monkeypatch.setattr(pipeline_module, "draw_results", lambda *_: None)  # takes longest
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "impute", interrupt)
        assert run(out)[0] == 130
    assert trained == [0, 1]
    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "save_checkpoint", stop_in_second)
        assert run(out)[0] == 130
    assert trained == [0, 1, 0, 1]  # stage 1 was there, stage 2 began
    assert run(out)[0] == 0
    assert trained == [0, 1, 0, 1, 1]
    status, table, _ = run(out)  # all is there: nothing is trained
    assert status == 0
    assert trained == [0, 1, 0, 1, 1]

    assert run(tmp_path / "whole")[0] == 0
    for row in ("stage1-none", "stage2-linear"):
        expected = read_weights(tmp_path / "whole" / row)
        for name, value in read_weights(out / row).items():
            assert torch.equal(value, expected[name]), name
    labels = [(tmp_path / name / "offline.json").read_text() for name in ("stopped", "whole")]
    assert labels[0] == labels[1]
    assert "linear" in table

    other = fault(
        *(command, "pipeline", *data(root), "--occlusion", "random", "--rows", "none,linear"),
        *("--bundle-row", "linear", "--out", out, *TINY, "--seed", 7),
    )
    assert other.startswith(f"{out}: holds a run with another config, seed; repeat its options")


def test_pipeline_refuses_an_occlusion_made_otherwise(command, root, tmp_path):
    given = ("pipeline", *data(root), "--out", tmp_path / "run", *ONE_EPOCH)
    message = fault(command, *given, "--occlusion-seed", 7)
    assert message.startswith("occlusion realistic: expected the seed 7, got 0 in the one")
    assert not (tmp_path / "run").exists()


def test_pipeline_with_nothing_hidden(command, root, tmp_path, monkeypatch):
    """There is no error to measure, and no fault."""
    monkeypatch.setattr(pipeline_module, "draw_results", lambda *_: None)
    status, _, lines = command(
        *("pipeline", *data(root), "--occlusion", "nothing", "--rows", "none,mean"),
        *("--bundle-row", "mean", "--out", tmp_path / "run", *ONE_EPOCH),
    )
    assert (status, lines) == (0, [])
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["rows"]
    assert [row["error_mm"] for row in rows] == [None, None]
    assert rows[0]["accuracy"] == rows[1]["accuracy"]


# Recordings of NTU RGB+D.


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


def test_ntu60_without_a_store_names_download_and_command(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IOSPSTL_DATA", str(tmp_path / "data"))
    message = fault(command, "pretrain", "--dataset", "ntu60")
    assert message.startswith(f"ntu60: no prepared store at {tmp_path / 'data' / 'ntu60'}. Get ")
    assert "nturgbd_skeletons_s001_to_s017.zip" in message
    assert "Rapid-Rich Object Search (ROSE) Lab, https://rose1.ntu.edu.sg/" in message
    assert "iospstl-train prepare --dataset ntu60 --data FOLDER_WITH_SKELETON_FILES" in message
    assert list_all(tmp_path) == []


def test_run_folder_is_named_after_data_and_stage(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("pretrain", *data(root), "--occlusion", "random", *ONE_EPOCH)
    assert status == 0
    assert out.startswith("runs/synthetic-random: trained on 42 sequences")
    assert (tmp_path / "runs" / "synthetic-random" / "checkpoint.pt").is_file()


# Faults of the input: one line, status 2, nothing half-written.


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


@pytest.mark.parametrize("name", ["pretrain", "pipeline"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "syntetic"), "got 'syntetic'; did you mean 'synthetic'?"),
        (
            ("--occlusion", "sofa"),
            "occlusion: synthetic has nothing, random, realistic, got 'sofa'; run: ",
        ),
        (("--split", "xsup"), "split: synthetic has xsub, xview, got 'xsup'"),
        (("--set", "training.epoch=3"), "unknown key 'epoch'; did you mean 'epochs'?"),
        (("--set", "trainings.epochs=3"), "unknown section 'trainings'; did you mean 'training'?"),
        (("--set", "training.epochs=0"), "training.epochs: input should be greater than"),
        (("--preset", "papre"), "expected one of "),
        (("--config", "none.yaml"), "none.yaml: expected a readable YAML file"),
        (("--device", "abacus"), "device: expected a usable torch device, got 'abacus'"),
    ],
)
def test_wrong_option_of_a_training(command, root, tmp_path, name, options, message):
    dataset = data(root)
    assert message in fault(command, name, *dataset, "--out", tmp_path / "run", *options)
    assert list_all(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "none,magic"), "rows: expected some of clean, none, random, mean, linear"),
        (("--rows", "none,mean"), "bundle row: expected one of the rows mean, got 'restore'"),
        (("--fraction", 1.5), "--fraction: expected 0 <= fraction < 1, got 1.5"),
    ],
)
def test_wrong_option_of_the_pipeline(command, root, tmp_path, options, message):
    got = fault(command, "pipeline", *data(root), "--out", tmp_path / "run", *options)
    assert got.startswith(message)
    assert list_all(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fraction", 1.0), "--fraction: expected 0 <= fraction < 1, got 1.0"),
        (("--name", "../../x"), "--name: expected a name without folders, got '../../x'"),
        (("--set", "realistic.n_objects=[3,1]"), "realistic.n_objects: expected 1 <= low <= high"),
    ],
)
def test_wrong_option_of_occlude(command, root, options, message):
    before = list_all(root)
    options = ("--kind", "random", "--workers", 1, *options)
    assert message in fault(command, "occlude", *data(root), *options)
    assert list_all(root) == before


def test_damaged_store_is_named(command, root, tmp_path):
    shutil.copytree(root / "synthetic", tmp_path / "synthetic")
    path = tmp_path / "synthetic" / "xyz.npy"
    os.truncate(path, path.stat().st_size - 4)
    before = list_all(tmp_path)
    options = ("--out", tmp_path / "run", *ONE_EPOCH)
    message = fault(command, "pretrain", *data(tmp_path), *options)
    assert message.startswith(f"{path}: expected ")
    assert list_all(tmp_path) == before


@pytest.mark.parametrize("out", ["stage1", "file"])
def test_run_is_not_written_over_something_else(command, root, chain, out):
    (chain / "file").write_text("mine")
    before = list_all(chain)
    options = ("--out", chain / out, *TINY)
    message = fault(command, "pretrain", *data(root), *options)
    assert str(chain / out) in message
    assert list_all(chain) == before


def test_run_with_other_settings_is_not_resumed(command, root, chain):
    options = ("--out", chain / "stage1", "--resume", *TINY, "--occlusion", "realistic")
    message = fault(command, "pretrain", *data(root), *options)
    assert message.startswith(f"{chain / 'stage1'}: was started with another config.training;")


def test_results_do_not_replace_a_run(command, root, chain):
    before = list_all(chain)
    realistic = (*data(root), "--occlusion", "realistic")
    encoder = ("--encoder", chain / "stage1")
    message = fault(command, "impute", *realistic, *encoder, "--out", chain / "stage1")
    assert message == f"{chain / 'stage1'}: holds something else already; choose another --out"
    stages = ("--stage1", chain / "stage1", "--stage2", chain / "stage2")
    export = ("export", *realistic, *stages, "--imputed", chain / "knn")
    message = fault(command, *export, "--out", chain / "knn")
    assert message == f"{chain / 'knn'}: holds something else already; choose another --out"
    assert list_all(chain) == before


def test_random_imputation_is_not_for_robots(command, root, chain, tmp_path):
    stages = ("--stage1", chain / "stage1", "--stage2", chain / "stage2")
    message = fault(
        *(command, "export", *data(root), "--occlusion", "realistic", *stages),
        *("--imputed", chain / "random", "--out", tmp_path / "bundle"),
    )
    assert "a robot cannot complete windows as 'random' does" in message
    assert list_all(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "xview"), "was completed for the split 'xsub', got 'xview'; give --split"),
        (("--occlusion", "random"), "for the occlusion 'realistic', got 'random'"),
    ],
)
def test_completed_windows_are_for_one_split_and_occlusion(
    command, root, chain, tmp_path, options, message
):
    """With another split, test sequences would have been donors."""
    imputed = ("--imputed", chain / "knn", *options)
    got = fault(command, "pretrain", *data(root), *imputed, "--out", tmp_path / "run", *TINY)
    assert message in got
    encoder = ("--encoder", chain / "stage2")
    assert message in fault(command, "evaluate", *data(root), *imputed, *encoder)
    assert list_all(tmp_path) == []


def test_missing_encoder_names_the_command(command, root, tmp_path):
    options = ("--occlusion", "realistic", "--encoder", tmp_path, "--out", tmp_path / "knn")
    message = fault(command, "impute", *data(root), *options)
    assert message.endswith("run: iospstl-train pretrain")
    assert list_all(tmp_path) == []


def test_changed_byte_in_a_bundle_is_found(command, chain, tmp_path):
    shutil.copytree(chain / "bundle-restore", tmp_path / "bundle")
    networks = ("encoder.onnx", "classifier.onnx", "restorer.onnx")
    for name in (*networks, "centroids.npy", "bank/donors.npy"):
        path = tmp_path / "bundle" / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        message = fault(command, "info", tmp_path / "bundle")
        assert message.startswith(f"{path}: its content differs from the manifest's sha256")
        path.write_bytes(content)
    assert command("info", tmp_path / "bundle")[0] == 0


def test_bundle_of_another_version_is_refused(command, chain, tmp_path):
    shutil.copytree(chain / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    version = FORMAT_VERSION + 1
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    message = fault(command, "info", tmp_path / "bundle")
    expected = f"{path}: expected bundle format version {FORMAT_VERSION}, got {version}; export it"
    assert message.startswith(expected)


def test_info_of_nothing(command, tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        assert fault(command, "info", path).startswith(f"{path}: expected a store, a run folder")


@pytest.mark.parametrize("name", [*COMMANDS, "demo", "info", None])
def test_help_of_every_command(command, name):
    status, out, _ = command(*([] if name is None else [name]), "--help")
    assert status == 0
    assert "usage: iospstl-train" in out
    assert "show this help message" in out


def test_missing_package_names_the_install(capsys, monkeypatch):
    def run(_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("iospstl_train.cli._run_info", run)
    assert main(["info"]) == 2
    assert "needs the package 'torch'; install the toolkit with: pip install" in (
        capsys.readouterr().err
    )
