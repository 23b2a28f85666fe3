"""Checkpoints: everything that a run needs to go on, written atomically, read without pickles."""

from __future__ import annotations

from pathlib import Path

import torch

from iospstl_core.errors import InputError
from iospstl_core.files import new_file

_VERSION = 1


def save_checkpoint(
    path: Path,
    epoch: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Write weights, optimizer and random states after `epoch` finished epochs."""
    state = {
        "version": _VERSION,
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "torch_rng": torch.get_rng_state(),
    }
    with new_file(path) as partial:
        torch.save(state, partial)


def load_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """Restore a run in place and return its number of finished epochs.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["version"] != _VERSION:
            raise InputError(f"{path}: expected version {_VERSION}, got {state['version']}")
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
        if generator is not None:
            generator.set_state(state["generator"])
            torch.set_rng_state(state["torch_rng"])
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = reason.partition(". ")[0].rstrip(": ")  # torch goes on with advice
        raise InputError(
            f"{path}: expected a checkpoint of this model, got: {reason}; start the run again"
        ) from error
    return int(state["epoch"])
