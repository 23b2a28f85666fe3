"""Whole runs through the command ``iospstl-train``, on data and networks as small as they go."""

import json
import os
import re
import shutil
import signal

import pytest

from iospstl_train.training import loop
from tests.integration.commands import METHODS, ONE_EPOCH, TINY, data, fault, list_all


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
    assert {"restorer.onnx", "restorer.json", "restorer.pt", ".lock"} == set(list_all(trained))
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
    assert "\nlast epoch: none yet\n" in out


@pytest.mark.usefixtures("hears_interrupts")
def test_interrupted_run_goes_on(command, root, tmp_path, monkeypatch):
    arguments = (
        *("pretrain", *data(root), "--occlusion", "random", "--out", tmp_path / "run"),
        *(*TINY, "--set", "training.epochs=2"),
    )
    save = loop.save_checkpoint

    def interrupt_after_first(path, state, keep):
        save(path, state, keep)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", interrupt_after_first)
        status, _, lines = command(*arguments)
    assert status == 130
    assert lines == [
        f"iospstl-train: stopped by SIGINT; {tmp_path / 'run'}: saved after epoch 1; "
        "go on with the same command and --resume"
    ]
    assert "holds a run already; give --resume" in fault(command, *arguments)
    assert command(*arguments, "--resume")[0] == 0
    assert command("info", tmp_path / "run")[1].startswith("pre-training run, 2 of 2 epochs")


def test_run_folder_is_named_after_data_and_stage(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("pretrain", *data(root), "--occlusion", "random", *ONE_EPOCH)
    assert status == 0
    assert out.startswith("runs/synthetic-random: trained on 42 sequences")
    assert (tmp_path / "runs" / "synthetic-random" / "checkpoint.pt").is_file()
