"""Modules of ours as processes of their own, and how to wait for what they write."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Processes:
    """Modules of ours as processes; whatever is still alive at the end is killed."""

    def __init__(self, folder):
        self._folder = folder
        self._started = []

    def start(self, module, *arguments):
        log = self._folder / f"{len(self._started)}-{module}.log"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment["ROS_LOG_DIR"] = str(self._folder)
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", f"iospstl_ros.{module}", *map(str, arguments)],
                cwd=self._folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        process.log = log
        self._started.append(process)
        return process

    def stop(self, process, number=signal.SIGINT):
        """Send a signal; return the exit status and the seconds that it took."""
        started = time.monotonic()
        process.send_signal(number)
        return process.wait(timeout=20), time.monotonic() - started

    def close(self):
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for_text(process, text, timeout_s=20.0):
    """Wait until a process has written something; fail with its output if it does not."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if text in process.log.read_text():
            return process.log.read_text()
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"expected '{text}' in:\n{process.log.read_text()}")
