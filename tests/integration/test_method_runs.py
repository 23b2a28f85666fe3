"""Methods by command: two streams in one run up to the bundle, several runs fused."""

import json

import pytest

from iospstl_core.bundle import open_bundle
from iospstl_core.session import OnnxModel
from iospstl_train.models.stream_encoders import StreamEncoders
from iospstl_train.training.pretrain import load_encoder
from tests.integration.commands import ONE_EPOCH, data, fault


def test_two_streams_of_one_run_reach_the_bundle(command, root, tmp_path):
    out = tmp_path / "run"
    status, _, lines = command(
        *("pipeline", *data(root), "--occlusion", "random", "--rows", "none,linear"),
        *("--bundle-row", "linear", "--out", out, *ONE_EPOCH),
        *("--set", "training.method=crossclr", "--set", "contrast.queue_size=28"),
    )
    assert (status, lines) == (0, [])
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["training"]["method"] == "crossclr"
    assert isinstance(load_encoder(out / "stage1-none")[0], StreamEncoders)
    bundle = open_bundle(out / "bundle")
    for path in (bundle.encoder_path, bundle.classifier_path):
        assert OnnxModel(path, ["CPUExecutionProvider"]).takes_any_persons


@pytest.fixture(scope="module")
def streams(command, root, tmp_path_factory):
    """Runs of the streams joint and bone."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("joint", "bone")]
    for folder in folders:
        stream = ("--set", f"training.stream={folder.name}")
        status, _, lines = command("pretrain", *data(root), "--out", folder, *ONE_EPOCH, *stream)
        assert (status, lines) == (0, [])
    return folders


def test_runs_are_fused(command, root, streams):
    status, printed, _ = command("evaluate", *data(root), "--encoder", *streams)
    assert status == 0
    lines = printed.splitlines()
    alone = [
        json.loads((folder / "evaluation.json").read_text())["linear_accuracy"]
        for folder in streams
    ]
    for folder, line, accuracy in zip(streams, lines, alone, strict=False):
        assert line == f"{folder}: linear accuracy: {accuracy:.4f}"
    assert lines[2].startswith("fused accuracy: 0.")
    one = ("--weights", 0, 1)
    status, printed, _ = command("evaluate", *data(root), "--encoder", *streams, *one)
    assert f"fused accuracy: {alone[1]:.4f} over 42 test sequences" in printed


def test_weights_are_one_for_each_run(command, root, streams):
    told = fault(command, "evaluate", *data(root), "--encoder", *streams, "--weights", 1)
    assert told == "--weights: expected one for each of the 2 runs, got 1"
