"""Every command with the encoder that takes hidden joints as mask tokens, on tiny data."""

import json

import numpy as np
import pytest

from iospstl_core.bundle import open_bundle
from iospstl_core.normalize import normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.session import OnnxModel
from iospstl_core.store import find_occlusion, hide, open_store
from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.training.pretrain import load_encoder

TINY = (
    *("--set", "mixer.width=12", "--set", "mixer.n_layers=1"),
    *("--set", "mixer.embedding=16", "--set", "opstl.projector_width=16"),
    *("--set", "training.epochs=1", "--set", "training.batch_size=14"),
    *("--set", "linear.epochs=20", "--set", "restorer.steps=60", "--set", "restorer.width=16"),
    *("--set", "restorer.n_layers=1", "--set", "restorer.batch_size=8"),
)


@pytest.fixture(scope="module")
def out(command, root, tmp_path_factory):
    """What the pipeline leaves behind."""
    out = tmp_path_factory.mktemp("runs") / "run"
    status, _, lines = command(
        *("pipeline", "--dataset", "synthetic", "--root", root, "--occlusion", "realistic"),
        *("--rows", "none,restore", "--out", out, *TINY),
    )
    assert (status, lines) == (0, [])
    return out


def test_pipeline_trains_exports_and_reports(out):
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["none", "restore"]
    assert report["settings"]["training"]["encoder"] == "mask-mixer"
    assert "encoder: mask-mixer" in (out / "report.md").read_text()
    for stage in ("stage1-none", "stage2-restore"):
        assert isinstance(load_encoder(out / stage)[0], MaskMixer)
    bundle = open_bundle(out / "bundle")
    for path in (bundle.encoder_path, bundle.classifier_path):
        assert OnnxModel(path, ["CPUExecutionProvider"]).takes_any_persons


def test_robot_says_what_training_said(out, root):
    store = open_store(root / "synthetic")
    occlusion = find_occlusion(store, "realistic")
    recognizer = Recognizer(open_bundle(out / "bundle"), ["CPUExecutionProvider"])
    labels = {}
    for index in np.flatnonzero(store.split("xsub")[1]):
        xyz, present = store.sequence(index)
        window = normalize(hide(xyz, occlusion.hidden[store.frames(index)]), present)
        labels[store.names[index]] = recognizer.recognize([window])[0].label
    assert labels == json.loads((out / "offline.json").read_text())


def test_single_steps_take_it_too(command, root, out, tmp_path):
    def run(*arguments):
        status, printed, lines = command(*arguments)
        assert status == 0, lines
        return printed

    data = ("--dataset", "synthetic", "--root", root)
    report = json.loads((out / "report.json").read_text())
    occluded = (*data, "--occlusion", "realistic")
    run("pretrain", *occluded, "--out", tmp_path / "stage1", *TINY)
    printed = run("evaluate", *occluded, "--encoder", tmp_path / "stage1")
    assert f"linear accuracy: {report['rows'][0]['accuracy']:.4f} over 42" in printed
    imputed = tmp_path / "restore"
    run("impute", *occluded, "--encoder", tmp_path / "stage1", "--seed", 1, "--out", imputed)
    run("pretrain", *data, "--imputed", imputed, "--out", tmp_path / "stage2", *TINY)
    run(
        *("export", *occluded, "--stage1", tmp_path / "stage1", "--imputed", imputed),
        *("--stage2", tmp_path / "stage2", "--out", tmp_path / "bundle"),
    )
    first, second = (open_bundle(folder / "bundle").settings for folder in (out, tmp_path))
    assert first.classes == second.classes
    printed = run("evaluate", *data, "--encoder", tmp_path / "stage2", "--imputed", imputed)
    assert f"linear accuracy: {report['rows'][1]['accuracy']:.4f} over 42" in printed


def test_own_classes_over_its_bundle(command, root, out, tmp_path):
    status, printed, lines = command(
        *("classes", "--bundle", out / "bundle", "--data", root / "synthetic"),
        *("--out", tmp_path / "own"),
    )
    assert status == 0, lines
    assert open_bundle(tmp_path / "own").settings.classes
    assert "cross-validated accuracy" in printed
