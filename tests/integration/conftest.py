"""The command line run in this process, and recordings that it prepared once."""

import contextlib
import io

import pytest

from tests.integration.commands import METHODS, ONE_EPOCH, data, faults


@pytest.fixture(scope="session")
def command():
    """A function that runs one command and returns its status, its output and its faults.

    Progress bars, and what a training says that it needs, are left out of the faults.
    """
    import torch  # not a requirement of the robot, whose tests in this folder run without

    from iospstl_train.cli import main

    torch.set_num_threads(1)

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([str(argument) for argument in arguments])
            except SystemExit as exit_:  # of argparse
                status = exit_.code
        lines = [line.rpartition("\r")[2] for line in err.getvalue().split("\n")]
        return status, out.getvalue(), faults(lines)

    return run


@pytest.fixture(scope="session")
def root(command, tmp_path_factory):
    """Folder of the stores; ``synthetic`` is there with three occlusions. Do not change."""
    root = tmp_path_factory.mktemp("data")
    synthetic = ("--dataset", "synthetic", "--root", root, "--workers", 1)
    assert command("prepare", *synthetic, "--subjects", 2)[0] == 0
    assert command("occlude", *synthetic, "--kind", "realistic")[0] == 0
    assert command("occlude", *synthetic, "--kind", "random", "--fraction", 0.2)[0] == 0
    nothing = ("--name", "nothing", "--kind", "random", "--fraction", 0)
    assert command("occlude", *synthetic, *nothing)[0] == 0
    return root


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
