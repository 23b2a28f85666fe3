"""Writing so that nothing half-written is ever left under its final name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError


def find_installed(folder: Path) -> Path | None:
    """Return where a folder of data files is, such as ``config/paper``: None where it is not.

    Beside the sources; else below ``share/iospstl_ros`` of whatever installed this: pip, colcon
    and system packages all put it below the folder below whose ``lib`` this module lies.
    """
    here = Path(__file__).resolve()
    shares = [parent / "share" / "iospstl_ros" for parent in here.parents]
    places = (place / folder for place in (here.parents[1], *shares))
    return next((place for place in places if place.is_dir()), None)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place when the block succeeds.

    A folder already at `path` is replaced only then; after an error it is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        replaced = path.with_name(f".{path.name}.replaced-{os.getpid()}")
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)  # left by a process of the same id
            path.rename(replaced)
        partial.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_through(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut keeps them."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows does this by itself and refuses to be asked
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that nobody else works in."""
    for partial in folder.glob(".*.partial-*"):
        partial.unlink()


def write_json(path: Path, data: Any) -> None:
    """Write JSON under its final name only when it is complete."""
    with new_file(path) as partial:
        partial.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise InputError naming the file when it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable JSON file, got: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
