"""``pipeline``: what it leaves, and that it goes on where it stopped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from iospstl_core.bundle import open_bundle
from iospstl_train import pipeline as pipeline_module
from iospstl_train.training import loop
from tests.integration.commands import METHODS, ONE_EPOCH, TINY, data, fault
from tests.integration.offline_labels import label_with, name_of


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
    run_epoch, save = loop.Loop._run_epoch, loop.save_checkpoint

    def watch(self, bar):
        trained.append(self.progress.epoch)
        return run_epoch(self, bar)

    def stop_in_second(path, state, keep):
        if state["epoch"] == 2:
            raise KeyboardInterrupt
        save(path, state, keep)

    monkeypatch.setattr(loop.Loop, "_run_epoch", watch)
    monkeypatch.setattr(pipeline_module, "draw_results", lambda *_: None)  # takes longest
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "impute", interrupt)
        assert run(out)[0] == 130
    assert trained == [0, 1]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stop_in_second)
        assert run(out)[0] == 130
    assert trained == [0, 1, 0, 1]  # stage 1 was there, stage 2 began
    assert run(out)[0] == 0
    assert trained == [0, 1, 0, 1, 1]
    described = json.loads((out / "pipeline.json").read_text())
    del described["config"]["sensor"]  # as an older release, which knew no such section
    (out / "pipeline.json").write_text(json.dumps(described))
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
