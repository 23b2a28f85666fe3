"""Processes that were started to train together: by torchrun, by srun, or by ``--processes``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from iospstl_train.training.stopping import SIGNALS

_POLL_S = 0.1
_GRACE_S = 30.0
"""After the first process has failed, the others have this long to end by themselves."""


def n_launched() -> int:
    """Return how many processes were started for this run."""
    return _read("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", default=1)


def launched_index() -> int:
    """Return which of them this one is, from 0."""
    return _read("RANK", "SLURM_PROCID", default=0) if n_launched() > 1 else 0


def local_index() -> int:
    """Return which of those on this machine this one is, from 0."""
    return _read("LOCAL_RANK", "SLURM_LOCALID", default=0) if n_launched() > 1 else 0


def layout() -> tuple[int, int]:
    """Return the processes on this machine, and the machines."""
    n_local = _read("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", default=n_launched())
    return n_local, n_launched() // n_local


def _read(torchrun_name: str, slurm_name: str, default: int) -> int:
    """Return what torchrun says of this process, or srun (not sbatch, which starts only one)."""
    if torchrun_name in os.environ:
        return int(os.environ[torchrun_name])
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return int(os.environ.get(slurm_name, default))
    return default


def run_processes(words: Sequence[str], n: int) -> int:
    """Run this command in n processes on this machine.

    Signals are passed on to all. When one process fails the others are ended.

    Parameters
    ----------
    words : sequence of str
        Arguments of ``iospstl-train``.
    n : int

    Returns
    -------
    int
        Exit status of the first process that failed; 0 if none did.
    """
    command = [sys.executable, "-m", "iospstl_train", *words]
    children = [
        # a session of their own: Ctrl+C comes from here, once
        subprocess.Popen(command, env=environment, start_new_session=True)
        for environment in _environments(n)
    ]

    def pass_on(number: int, _: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        return _wait(children)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for child in children:
            child.kill()
            child.wait()


def _environments(n: int) -> list[dict[str, str]]:
    """Return the environment of each process, as torchrun would make it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(max(1, (os.cpu_count() or 1) // n))
    shared = {
        "OMP_NUM_THREADS": threads,
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
    }
    return [{**shared, "RANK": str(index), "LOCAL_RANK": str(index)} for index in range(n)]


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all processes; return the status of the first that failed."""
    first = 0
    deadline = float("inf")
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        failed = [child.returncode for child in children if child.returncode]
        if failed and not first:
            first = failed[0]
            deadline = time.monotonic() + _GRACE_S
        time.sleep(_POLL_S)
    first = first or next((child.returncode for child in children if child.returncode), 0)
    return 128 - first if first < 0 else first
