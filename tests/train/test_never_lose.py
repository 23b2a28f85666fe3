"""What must not end a run, and what a run leaves behind that has to end."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.training import loop, stepper
from iospstl_train.training import pretrain as pretrain_module
from iospstl_train.training.checkpoint import checkpoint_paths, read_checkpoint, save_checkpoint
from iospstl_train.training.monitor import Monitor
from iospstl_train.training.pretrain import PretrainData, load_encoder, pretrain
from iospstl_train.training.run_folder import (
    CHECKPOINT,
    LOCK_FILE,
    METRICS_FILE,
    append_metrics,
    locked,
    read_metrics,
)
from iospstl_train.training.stopping import Interrupted
from tests.train.tiny_training import tiny_config

CONFIG = tiny_config("training.epochs=3", "training.batch_size=7", "encoder.dropout=0.3")
EACH_STEP = tiny_config(
    *("training.epochs=3", "training.batch_size=7", "encoder.dropout=0.3"),
    *("training.checkpoint_minutes=0", "training.keep_checkpoints=4"),
)
N_STEPS = 4


class Killed(BaseException):
    """As SIGKILL: nobody catches it on the way."""


@pytest.fixture(autouse=True)
def untried(monkeypatch):
    """No steps are tried before a run: some tests count the steps."""
    monkeypatch.setattr(pretrain_module, "_tell_needs", lambda *_: None)


@pytest.fixture(scope="module")
def data(windows):
    train = windows.is_train
    return PretrainData(windows.xyz[train], windows.hidden_frac()[train])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    pretrain(data, CONFIG, folder)
    return folder


def read_rows(folder):
    rows = [json.loads(line) for line in read_metrics(folder)]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(folder, other):
    assert read_rows(folder) == read_rows(other)
    found, expected = (read_checkpoint(each / CHECKPOINT) for each in (folder, other))
    assert (found["epoch"], found["step"]) == (expected["epoch"], expected["step"])
    for name, value in expected["model"].items():
        assert torch.equal(found["model"][name], value), name
    for index, values in expected["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(found["optimizer"]["state"][index][name], value), (index, name)


def run_until(folder, data, monkeypatch, save, config=EACH_STEP):
    """Run with another way of saving, which ends it."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save)
        pretrain(data, config, folder, resume=True)


# Going on.


@pytest.mark.parametrize("position", [(0, 1), (1, 3), (2, 0), (2, 2)])
def test_resumed_at_any_step_it_is_the_uninterrupted_run(
    data, finished, tmp_path, monkeypatch, position
):
    def die(path, state, keep):
        save_checkpoint(path, state, keep)
        if (state["epoch"], state["step"]) == position:
            raise Killed

    with pytest.raises(Killed):
        run_until(tmp_path / "run", data, monkeypatch, die)
    torch.rand(5)
    pretrain(data, CONFIG, tmp_path / "run", resume=True)  # how often it saves may change
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.parametrize("kind", ["before", "half", "moved"])
def test_killed_while_it_saves(data, finished, tmp_path, monkeypatch, kind):
    """Before anything is written, within the file, and between the two renames."""
    folder = tmp_path / "run"

    def die(path, state, keep):
        if (state["epoch"], state["step"]) == (1, 2):
            if kind == "half":
                (path.parent / ".checkpoint.pt.partial-1.pt").write_bytes(b"half a checkpoint")
            if kind == "moved":
                path.replace(path.with_stem("checkpoint-1"))
            raise Killed
        save_checkpoint(path, state, keep)

    with pytest.raises(Killed):
        run_until(folder, data, monkeypatch, die)
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]


def test_streamed_windows_give_the_same_run(data, finished, tmp_path):
    config = tiny_config(
        *("training.epochs=3", "training.batch_size=7", "encoder.dropout=0.3"),
        "training.data=streamed",
    )
    pretrain(data, config, tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_half_written_row_is_nobodys(data, finished, tmp_path, monkeypatch):
    """Killed while it wrote the row of an epoch, whose weights were not yet saved."""
    folder = tmp_path / "run"

    def die(row_folder, row):
        if '"epoch": 2' in row:
            with (row_folder / METRICS_FILE).open("a") as file:
                file.write(row[:40])
            raise Killed
        append_metrics(row_folder, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "append_metrics", die)
        with pytest.raises(Killed):
            pretrain(data, CONFIG, folder)
    assert len(read_metrics(folder)) == 1
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)


def test_lost_rows_come_back_from_the_checkpoint(data, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def die(path, state, keep):
        save_checkpoint(path, state, keep)
        if state["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        run_until(folder, data, monkeypatch, die)
    (folder / METRICS_FILE).unlink()
    pretrain(data, CONFIG, folder, resume=True)
    assert read_rows(folder) == read_rows(finished)


# Checkpoints.


def states(path):
    found = [torch.load(each, weights_only=True) for each in checkpoint_paths(path)]
    return [(state["epoch"], state["step"]) for state in found]


def test_old_checkpoints_rotate(data, finished, tmp_path):
    assert states(finished / CHECKPOINT) == [(3, 0), (2, 0)]
    pretrain(data, EACH_STEP, tmp_path / "run")
    assert states(tmp_path / "run" / CHECKPOINT) == [(3, 0), (2, 3), (2, 2), (2, 1)]
    names = [path.name for path in checkpoint_paths(tmp_path / "run" / CHECKPOINT)]
    assert names == ["checkpoint.pt", "checkpoint-1.pt", "checkpoint-2.pt", "checkpoint-3.pt"]


def test_fewer_checkpoints_than_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for number in range(4):
        save_checkpoint(path, {"epoch": number, "step": 0}, keep=3)
    assert states(path) == [(3, 0), (2, 0), (1, 0)]
    save_checkpoint(path, {"epoch": 4, "step": 0}, keep=1)
    assert states(path) == [(4, 0)]
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("kind", ["empty", "cut", "bit"])
def test_a_damaged_checkpoint_is_passed_over(data, finished, tmp_path, monkeypatch, capsys, kind):
    """One warning; and it does not push out the whole one when the next is saved."""
    folder = tmp_path / "run"

    def die(path, state, keep):
        save_checkpoint(path, state, keep)
        if state["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        run_until(folder, data, monkeypatch, die, CONFIG)
    content = (folder / CHECKPOINT).read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "cut": content[:middle],
        "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[kind]
    (folder / CHECKPOINT).write_bytes(damaged)
    capsys.readouterr()
    with pytest.raises(Killed):
        run_until(folder, data, monkeypatch, die, CONFIG)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "checkpoint.pt: expected a" in warnings[0]
    assert warnings[0].endswith("going on from checkpoint-1.pt")
    assert states(folder / CHECKPOINT) == [(2, 0), (1, 0)]
    assert (folder / "checkpoint-damaged.pt").read_bytes() == damaged
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)


def as_version_1(folder, epoch):
    """Rewrite a run's checkpoint as release 0.3 left it."""
    state = read_checkpoint(folder / CHECKPOINT)
    for path in checkpoint_paths(folder / CHECKPOINT):
        path.unlink()
    generator = torch.Generator().get_state()
    old = {name: state[name] for name in ("model", "optimizer")}
    random = {"generator": generator, "torch_rng": generator}
    torch.save({"version": 1, "epoch": epoch, **old, **random}, folder / CHECKPOINT)


def test_finished_runs_of_older_releases_are_read(data, finished, tmp_path):
    folder = tmp_path / "old"
    pretrain(data, CONFIG, folder)
    rows = read_rows(folder)
    as_version_1(folder, 3)
    described = json.loads((folder / "run.json").read_text())
    for name in ("precision", "compile", "data", "checkpoint_minutes", "keep_checkpoints"):
        del described["config"]["training"][name]
    (folder / "run.json").write_text(json.dumps(described))
    expected, _ = load_encoder(finished)
    for encoder in (load_encoder(folder)[0], pretrain(data, CONFIG, folder, resume=True)):
        for name, value in expected.state_dict().items():
            assert torch.equal(encoder.state_dict()[name], value)
    assert read_rows(folder) == rows


def test_unfinished_runs_of_older_releases_are_refused(data, tmp_path):
    pretrain(data, CONFIG, tmp_path / "old")
    as_version_1(tmp_path / "old", 2)
    with pytest.raises(InputError, match="was written by an older release, which only that one"):
        pretrain(data, CONFIG, tmp_path / "old", resume=True)


# A loss that is no number.


@pytest.mark.parametrize("between_looks", [1, 3, 50])
def test_the_step_of_a_bad_loss_is_named(data, finished, tmp_path, monkeypatch, between_looks):
    """Whenever it is looked at; what was saved before is whole, and goes on to the same end."""
    folder, forward, calls = tmp_path / "run", stepper.Stepper.forward, []

    def spoil(self, x, batch, generator):
        parts = forward(self, x, batch, generator)
        calls.append(1)
        return {**parts, "loss": parts["loss"] * torch.nan} if len(calls) > 6 else parts

    with monkeypatch.context() as patch:
        patch.setattr(stepper.Stepper, "forward", spoil)
        patch.setattr(loop, "steps_between_looks", lambda _: between_looks)
        with pytest.raises(InputError, match=r"is nan in step 3 of epoch 2; .* after epoch 1 is"):
            pretrain(data, CONFIG, folder)
    assert states(folder / CHECKPOINT) == [(1, 0)]
    assert len(read_metrics(folder)) == 1
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)


def test_a_bad_loss_is_found_before_it_is_saved(data, tmp_path, monkeypatch):
    forward, calls = stepper.Stepper.forward, []

    def spoil(self, x, batch, generator):
        parts = forward(self, x, batch, generator)
        calls.append(1)
        return {**parts, "loss": parts["loss"] * torch.inf} if len(calls) > 6 else parts

    monkeypatch.setattr(stepper.Stepper, "forward", spoil)
    monkeypatch.setattr(loop, "steps_between_looks", lambda _: 50)
    message = r"is inf in step 3 of epoch 2; what was saved after step 2 of epoch 2 is kept"
    with pytest.raises(InputError, match=message):
        pretrain(data, EACH_STEP, tmp_path / "run")
    assert states(tmp_path / "run" / CHECKPOINT)[0] == (1, 2)


# A disk that takes no more.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_while_a_checkpoint_is_written(data, finished, tmp_path, monkeypatch):
    """The file that is written is one that takes nothing; it does not stay behind."""
    folder = tmp_path / "run"

    def fill(path, state, keep):
        if state["epoch"] == 2:
            (folder / f".checkpoint.pt.partial-{os.getpid()}.pt").symlink_to("/dev/full")
        save_checkpoint(path, state, keep)

    message = r"checkpoint.pt: could not be written: No space left on device; .* make room"
    with pytest.raises(InputError, match=message) as caught:
        run_until(folder, data, monkeypatch, fill, CONFIG)
    assert "\n" not in str(caught.value)
    assert states(folder / CHECKPOINT) == [(1, 0)]
    assert not [path.name for path in folder.iterdir() if "partial" in path.name]
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)


def test_what_the_disk_said_is_told_not_what_torch_makes_of_it(tmp_path, monkeypatch):
    def fail(*_):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1, "step": 0})
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match=r"checkpoint.pt: could not be written: No space left"):
        save_checkpoint(path, {"epoch": 2, "step": 0})
    assert states(path) == [(1, 0)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_fault_is_told_though_closing_fails_too(data, tmp_path, monkeypatch):
    def spoil(self, x, batch, generator):
        return {"loss": (x.sum() * torch.nan).requires_grad_()}

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(stepper.Stepper, "forward", spoil)
    monkeypatch.setattr(Monitor, "__exit__", fail)
    with pytest.raises(InputError, match=r"the loss is nan in step 1 of epoch 1") as caught:
        pretrain(data, CONFIG, tmp_path / "run")
    assert "could not be written" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_while_metrics_are_written(data, tmp_path):
    folder = tmp_path / "run"
    pretrain(data, tiny_config("training.epochs=1"), folder)
    (folder / METRICS_FILE).unlink()
    (folder / METRICS_FILE).symlink_to("/dev/full")
    message = r"metrics.jsonl: could not be written: No space left on device"
    with pytest.raises(InputError, match=message):
        append_metrics(folder, "{}")


def test_full_disk_while_events_are_written(data, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail_again(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "epoch", fail)
        patch.setattr(Monitor, "__exit__", fail_again)  # as files do when they are closed
        message = r"run: could not be written: No space left on device; what was saved"
        with pytest.raises(InputError, match=message):
            pretrain(data, CONFIG, tmp_path / "run")


# Two processes.

HOLD = """
import sys
from pathlib import Path
from iospstl_train.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(data, finished, tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=rf"run: process {holder.pid} on .* works in this"):
            pretrain(data, CONFIG, folder)
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    pretrain(data, CONFIG, folder)
    assert_same_run(folder, finished)


def test_a_forked_worker_does_not_hold_the_lock_on(tmp_path):
    """As the workers of a pool that outlive their killed parent."""
    script = HOLD.replace("    print(", "    import os\n    if os.fork(): print(")
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert holder.stdout.readline() == b"locked\n"
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            pass
    finally:
        holder.stdin.close()
        holder.stdout.close()


def test_a_file_system_without_locks_is_told_once(tmp_path, monkeypatch, capsys):
    import fcntl

    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", fail)
    with locked(tmp_path):
        pass
    assert "cannot be locked here" in capsys.readouterr().err


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.usefixtures("hears_interrupts")
def test_a_signal_ends_the_run_after_its_step(data, finished, tmp_path, monkeypatch, number):
    folder, forward, calls = tmp_path / "run", stepper.Stepper.forward, []

    def send(self, x, batch, generator):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), number)
        return forward(self, x, batch, generator)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(stepper.Stepper, "forward", send)
        with pytest.raises(Interrupted, match="saved after step 2 of epoch 2") as caught:
            pretrain(data, CONFIG, folder)
    assert caught.value.status == 128 + number
    assert signal.getsignal(number) is before
    assert states(folder / CHECKPOINT) == [(1, 2), (1, 0)]
    pretrain(data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished)
