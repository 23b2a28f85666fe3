"""A second process in the folder of a run, and signals that end the first."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iospstl_core.errors import InputError
from iospstl_train.training import stepper
from iospstl_train.training.pretrain import pretrain
from iospstl_train.training.run_folder import CHECKPOINT, LOCK_FILE, locked
from iospstl_train.training.stopping import Interrupted
from tests.train.ended_runs import CONFIG, assert_same_run, states

HOLD = """
import sys
from pathlib import Path
from iospstl_train.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(train_data, finished_run, tmp_path):
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
            pretrain(train_data, CONFIG, folder)
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    pretrain(train_data, CONFIG, folder)
    assert_same_run(folder, finished_run)


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.usefixtures("hears_interrupts", "counts_steps")
def test_a_signal_ends_the_run_after_its_step(
    train_data, finished_run, tmp_path, monkeypatch, number
):
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
            pretrain(train_data, CONFIG, folder)
    assert caught.value.status == 128 + number
    assert signal.getsignal(number) is before
    assert states(folder / CHECKPOINT) == [(1, 2), (1, 0)]
    pretrain(train_data, CONFIG, folder, resume=True)
    assert_same_run(folder, finished_run)
