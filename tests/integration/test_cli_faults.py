"""Faults of the input: one line, status 2, nothing half-written."""

import os
import shutil

import pytest

from iospstl_train.cli import main
from tests.integration.commands import ONE_EPOCH, TINY, data, fault, list_all

COMMANDS = ("prepare", "occlude", "pretrain", "impute", "evaluate", "export", "pipeline")


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
        (
            ("--fraction", 1.5),
            "--severity: hidden_frac: expected a share between 0 and 1, got 1.5",
        ),
    ],
)
def test_wrong_option_of_the_pipeline(command, root, tmp_path, options, message):
    got = fault(command, "pipeline", *data(root), "--out", tmp_path / "run", *options)
    assert got.startswith(message)
    assert list_all(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fraction", 1.0), "--severity: fraction: expected 0 <= fraction < 1, got 1"),
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
