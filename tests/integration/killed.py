"""Commands in processes that a test may kill; forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

PRELOADED = ["iospstl_train.steps", "torch._dynamo", "tests.integration.killed"]
"""Adam imports dynamo when it is made, which takes longer than a tiny run."""
TIMEOUT_S = 120


def run_command(words, log):
    """Run one command as a process of its own does, its output in a file."""
    import torch

    from iospstl_train.cli import main

    torch.set_num_threads(1)
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            status = main([str(word) for word in words])
    sys.exit(status)


class Commands:
    """Starts commands, and ends what is left of them."""

    def __init__(self):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._started = []

    def start(self, log, *words):
        process = self._context.Process(target=run_command, args=(words, log))
        process.start()
        self._started.append(process)
        return process

    def end(self):
        for process in self._started:
            process.kill()
            process.join()


def wait_for(condition, process):
    """Wait until a condition holds or the process has ended; return whether it holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if not process.is_alive():
            return condition()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)
    return True
