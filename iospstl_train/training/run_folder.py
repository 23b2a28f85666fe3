"""The folder of a run: who works in it, what the run is, and its metrics."""

from __future__ import annotations

import json
import os
import platform
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError
from iospstl_core.files import new_file, read_json, remove_partials, write_json, write_through
from iospstl_train.config import Config, config_from_dict, config_to_dict
from iospstl_train.training.failures import failures_named
from iospstl_train.training.processes import process_index

CHECKPOINT = "checkpoint.pt"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
LOCK_FILE = ".lock"

_SECTIONS = (
    *("encoder", "mixer", "opstl", "mask_views", "contrast", "crossclr", "aimclr"),
    *("augment", "training"),
)
"""Sections that pre-training reads; a run may go on with others changed."""
_FREE = ("checkpoint_minutes", "keep_checkpoints", "data", "probe_epochs")
"""Settings of the training that no number depends on."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder for as long as the block runs.

    The kernel gives the lock back when the process ends, however it ends. Record locks are of one
    process: workers that it forked do not hold them on when it is killed.

    Raises
    ------
    InputError
        If another process works in the folder; it is named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with failures_named(folder / LOCK_FILE), (folder / LOCK_FILE).open("a+") as file:
        if _lock(file.fileno(), folder):
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock a folder for all processes of this run; the first one does."""
    if process_index() > 0:
        yield
        return
    with locked(folder):
        yield


def find_worker(folder: Path) -> str | None:
    """Return who works in a folder, such as "process 7 on robot"; None if nobody is known to."""
    path = folder / LOCK_FILE
    try:
        import fcntl

        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return file.read().strip() or "another process"
    except (ImportError, OSError):
        return None
    return None


def _lock(descriptor: int, folder: Path) -> bool:
    """Lock an open file; return False where there are no locks, after saying so."""
    try:
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows either
        owner = (folder / LOCK_FILE).read_text(encoding="utf-8").strip() or "another process"
        raise InputError(
            f"{folder}: {owner} works in this folder; wait for its end or choose another --out"
        ) from error
    except (ImportError, OSError) as error:
        sys.stderr.write(
            f"warning: {folder}: cannot be locked here ({error}); start no second run in it\n"
        )
        return False
    return True


def describe_run(config: Config, seed: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``run.json`` holds."""
    return {
        "command": command_line(),
        "config": config_to_dict(config),
        "seed": seed,
        "provenance": dict(provenance),
        "versions": package_versions(),
    }


def command_line() -> str:
    """Return the command of this process without the folder of its program."""
    name = Path(sys.argv[0]).name
    return shlex.join(["iospstl-train" if name == "__main__.py" else name, *sys.argv[1:]])


def package_versions() -> dict[str, str]:
    """Return the versions that matter to a result."""
    found = {"python": platform.python_version()}
    for name in ("iospstl_ros", "torch", "numpy", "scikit-learn", "faiss-cpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def start_run(folder: Path, described: Mapping[str, Any]) -> None:
    """Write what a run is into a folder that has no checkpoint yet."""
    with failures_named(folder / RUN_FILE):
        (folder / METRICS_FILE).unlink(missing_ok=True)
        write_json(folder / RUN_FILE, described)


def check_same_run(folder: Path, described: Mapping[str, Any]) -> None:
    """Raise InputError if a folder holds a run of other settings, seed or data."""
    before = read_json(folder / RUN_FILE)
    now = json.loads(json.dumps(described))
    changed = [key for key in ("seed", "provenance") if before.get(key) != now[key]]
    configs = [_compared(each.get("config", {}), folder) for each in (before, now)]
    for name in _SECTIONS:
        if getattr(configs[0], name) != getattr(configs[1], name):
            changed.append(f"config.{name}")
    if changed:
        raise InputError(
            f"{folder}: was started with another {', '.join(changed)}; resume with the settings "
            f"of {folder / RUN_FILE} or choose another --out"
        )


def _compared(data: Mapping[str, Any], folder: Path) -> Config:
    """Return a configuration with defaults in place of settings that no number depends on."""
    config = config_from_dict(data, str(folder / RUN_FILE))
    defaults = Config().training
    neutral = {name: getattr(defaults, name) for name in _FREE}
    return replace(config, training=replace(config.training, **neutral))


def clean_folder(folder: Path) -> None:
    """Remove what a killed process left half-written; call it with the lock only."""
    remove_partials(folder)


def append_metrics(folder: Path, row: str) -> None:
    """Add the row of a finished epoch, a JSON object, and wait until it is on the disk."""
    path = folder / METRICS_FILE
    with failures_named(path):
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{row}\n")
        write_through(path)


def write_metrics(folder: Path, rows: Sequence[str]) -> None:
    """Let the metrics be those of a checkpoint, whatever was written after it."""
    with failures_named(folder / METRICS_FILE), new_file(folder / METRICS_FILE) as partial:
        partial.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def read_metrics(folder: Path) -> list[str]:
    """Return the finished epochs of a run as lines of JSON; a half-written one is left out."""
    path = folder / METRICS_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def training_seconds(folder: Path) -> float:
    """Return the time that the epochs of a run took, also over several sessions."""
    return float(sum(json.loads(row)["seconds"] for row in read_metrics(folder)))
