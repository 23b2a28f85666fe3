"""The recogniser's process for `live_latency.py`, and what the system says of it and itself."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

N_CORES = 2
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "scikit-learn", "ros-rclpy")


@contextmanager
def recognizer(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the process of a script beside this one, and end it as Ctrl-C would."""
    root = Path(__file__).resolve().parents[1]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(root / "benchmarks" / command[0]), *command[1:]],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_resident_mb(pid: int) -> float:
    """Return the most memory that a process had resident so far, mapped files included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def forget_files(folder: Path) -> None:
    """Take the files of a folder out of the file cache, as after a reboot."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def describe_machine() -> dict[str, str]:
    """Return processor and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {"processor": f"{N_CORES} cores of {names[0] if names else platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "python": platform.python_version()}
