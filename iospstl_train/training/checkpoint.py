"""Checkpoints: everything that a run needs to go on, written atomically, read without pickles."""

from __future__ import annotations

import itertools
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from iospstl_core.errors import InputError
from iospstl_core.files import new_file, write_through
from iospstl_train.training.failures import failures_named

VERSION = 2
"""Version 1 held random states instead of a position; only its weights are still read."""


def checkpoint_paths(path: Path) -> list[Path]:
    """Return the checkpoints that there are, newest first: `path`, then ``STEM-1``, ``STEM-2``."""
    older = path.parent.glob(f"{path.stem}-*{path.suffix}")
    numbered = {item.stem.removeprefix(f"{path.stem}-"): item for item in older}
    ranked = sorted((int(number), item) for number, item in numbered.items() if number.isdigit())
    return [item for item in (path, *(item for _, item in ranked)) if item.is_file()]


def save_checkpoint(path: Path, state: Mapping[str, Any], keep: int = 1) -> None:
    """Write a state under its final name when it is complete, and on the disk.

    Parameters
    ----------
    path : Path
    state : mapping
        Tensors, numbers, text, lists and mappings.
    keep : int
        Checkpoints that stay, this one included; the one before becomes ``STEM-1``.

    Raises
    ------
    InputError
        If it cannot be written; all earlier checkpoints are as they were.
    """
    with failures_named(path):
        with new_file(path) as partial:
            _write(partial, {"version": VERSION, **state})
            _rotate(path, keep)
        write_through(path.parent)


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a file and wait until it is on the disk."""
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # of torch, which hides what the disk said
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    write_through(path)


def _rotate(path: Path, keep: int) -> None:
    """Make room for a new checkpoint: each gets the name of the one before it."""
    names = [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(1, keep))]
    for item in checkpoint_paths(path):
        if item not in names:
            item.unlink()
    for newer, older in reversed(list(itertools.pairwise(names))):
        if newer.is_file():
            newer.replace(older)


def read_checkpoint(path: Path, repair: bool = False) -> dict[str, Any]:
    """Return the newest checkpoint that can be read, and say so if it is not the newest.

    Parameters
    ----------
    path : Path
        Of the newest one.
    repair : bool
        Put away damaged ones as ``STEM-damaged``, so that they do not take the place of whole
        ones.

    Raises
    ------
    InputError
        If none can be read, or they are of another version.
    """
    faults: list[InputError] = []
    damaged: list[Path] = []
    for candidate in checkpoint_paths(path):
        try:
            state = _read(candidate)
        except InputError as error:
            faults.append(error)
            damaged.append(candidate)
            continue
        if faults:
            sys.stderr.write(f"warning: {faults[0]}; going on from {candidate.name}\n")
        for item in damaged if repair else ():
            item.replace(path.with_stem(f"{path.stem}-damaged"))
        if state.get("version") not in (1, VERSION):
            raise InputError(
                f"{candidate}: expected version {VERSION}, got {state.get('version')}; use the "
                "release that wrote it"
            )
        return state
    raise (
        InputError(f"{faults[0]}; start the run again")
        if faults
        else InputError(f"{path}: expected a checkpoint, got none")
    )


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds; raise InputError if a single byte of it is not as written."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise InputError(f"{path}: expected a whole checkpoint, got a wrong sum of {broken}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: expected a checkpoint, got: {_reason(error)}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: expected a checkpoint, got {type(state).__name__}")
    return state


def restore_state(
    path: Path,
    state: Mapping[str, Any],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Put weights and the optimizer's state of a checkpoint in place.

    Raises
    ------
    InputError
        If they are those of another model.
    """
    try:
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
    except Exception as error:
        raise InputError(
            f"{path}: expected a checkpoint of this model, got: {_reason(error)}; start the run "
            "again"
        ) from error


def _reason(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return reason.partition(". ")[0].rstrip(": ")  # torch goes on with advice
