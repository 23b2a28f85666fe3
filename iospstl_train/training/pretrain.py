"""Pre-training: one loop for every stage, resumable at every step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_train.config import Config, config_from_dict
from iospstl_train.methods.method import Method
from iospstl_train.models.encoder import Encoder
from iospstl_train.training.batches import Batches, PretrainData, own_rows
from iospstl_train.training.checkpoint import (
    VERSION,
    checkpoint_paths,
    read_checkpoint,
    restore_state,
)
from iospstl_train.training.estimate import Estimate, check_disk, estimate_run
from iospstl_train.training.join import find_device, share_gradients
from iospstl_train.training.loop import Loop, Training, learning_rate
from iospstl_train.training.memory import keep_freed_memory
from iospstl_train.training.model import make_model
from iospstl_train.training.processes import process_index, share_from_first
from iospstl_train.training.progress import Progress
from iospstl_train.training.run_folder import (
    CHECKPOINT,
    METRICS_FILE,
    RUN_FILE,
    check_same_run,
    claimed,
    clean_folder,
    command_line,
    describe_run,
    package_versions,
    read_metrics,
    start_run,
    training_seconds,
    write_metrics,
)
from iospstl_train.training.stepper import Stepper, compile_parts, make_optimizer
from iospstl_train.training.stopping import stop_requests

__all__ = [
    "CHECKPOINT",
    "METRICS_FILE",
    "RUN_FILE",
    "PretrainData",
    "command_line",
    "estimate_pretraining",
    "find_device",
    "learning_rate",
    "load_encoder",
    "make_model",
    "package_versions",
    "pretrain",
    "read_metrics",
    "training_seconds",
]


def pretrain(
    data: PretrainData,
    config: Config,
    folder: Path,
    seed: int = 1,
    device: str = "cpu",
    resume: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Encoder:
    """Train an encoder without labels and leave a run folder behind.

    Where several processes train together (see `iospstl_train.training.join`) all call this
    with the same arguments; the first one writes.

    Parameters
    ----------
    data : PretrainData
    config : Config
    folder : Path
        Gets ``run.json`` (configuration, command, versions, seed, provenance), ``metrics.jsonl``,
        TensorBoard events, ``checkpoint.pt`` and the checkpoints before it.
    seed : int
        Of weights, order, augmentation, masks and dropout.
    device : str
        A torch device.
    resume : bool
        Go on after the last step that was saved; on the CPU the result is the one of an
        uninterrupted run, bit for bit.
    provenance : mapping, optional
        What the data are, for ``run.json``.

    Raises
    ------
    InputError
        If the folder holds another run or another process works in it, the device does not exist,
        there are fewer than two samples a batch, a loss is no number, or the disk is full.
    Interrupted
        After SIGTERM, SIGINT or SIGUSR1, when the run is saved.
    """
    if min(len(data.xyz), config.training.batch_size) < 2:
        raise InputError(
            f"{folder}: expected batches of 2 training sequences at least, got {len(data.xyz)} "
            f"sequences and training.batch_size={config.training.batch_size}"
        )
    torch_device = _take_device(device)
    torch.manual_seed(seed)
    needs_masks = config.training.method_name == "mask-views"
    model = make_model(config, data.mask_pool() if needs_masks else None).to(torch_device)
    optimizer = make_optimizer(model, config.training, torch_device)
    described = describe_run(config, seed, provenance or {})
    with claimed(folder), stop_requests() as request:
        state = share_from_first(lambda: _start_or_resume(folder, described, resume))
        progress = _restore(folder, state, config, model, optimizer)
        if progress.epoch < config.training.epochs:
            own_rows(min(config.training.batch_size, len(data.xyz)))  # or an error
            _tell_needs(folder, model, config, data, torch_device)
            batches = Batches(data, config.training, torch_device)
            stepper = _make_stepper(model, config, torch_device)
            training = Training(
                folder, config, seed, data, torch_device, batches, model, stepper, optimizer
            )
            Loop(training, progress, request).run()
    encoder: Encoder = model.encoder.eval()  # type: ignore[assignment]
    return encoder


def estimate_pretraining(config: Config, shape: tuple[int, ...], device: str) -> Estimate:
    """Return what `pretrain` would need for training windows of a shape, which need not be there.

    Parameters
    ----------
    config : Config
    shape : tuple of int
        (n, n_frames, n_persons, n_joints, 3).
    device : str
        A torch device.
    """
    torch_device = _take_device(device)
    return estimate_run(make_model(config).to(torch_device), config, shape, torch_device)


def _take_device(name: str) -> torch.device:
    """Return a device by name, the memory of this process made ready for it."""
    device = find_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _start_or_resume(
    folder: Path, described: Mapping[str, Any], resume: bool
) -> dict[str, Any] | None:
    """Return the checkpoint to go on from, None for a new run; refuse to mix or overwrite runs."""
    if not checkpoint_paths(folder / CHECKPOINT):
        clean_folder(folder)
        start_run(folder, described)
        return None
    if not resume:
        raise InputError(f"{folder}: holds a run already; give --resume or another --out")
    check_same_run(folder, described)
    clean_folder(folder)
    state = read_checkpoint(folder / CHECKPOINT, repair=True)
    if state["version"] == VERSION:
        write_metrics(folder, state["rows"])
    return state


def _restore(
    folder: Path,
    state: Mapping[str, Any] | None,
    config: Config,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Put a checkpoint in place; return where it leaves the run."""
    if state is None:
        return Progress()
    path, n_epochs = folder / CHECKPOINT, config.training.epochs
    if state["version"] == VERSION:
        restore_state(path, state, model, optimizer)
        return Progress.from_state(state, next(model.parameters()).device)
    if state["epoch"] < n_epochs:
        raise InputError(
            f"{path}: was written by an older release, which only that one can go on with "
            f"({state['epoch']} of {n_epochs} epochs); choose another --out"
        )
    restore_state(path, state, model)
    return Progress(state["epoch"])


def _tell_needs(
    folder: Path, model: Method, config: Config, data: PretrainData, device: torch.device
) -> None:
    """Say what the run will need; raise InputError where the disk has no room for it."""
    estimate = estimate_run(model, config, data.xyz.shape, device)
    share_from_first(lambda: check_disk(folder, estimate, config.training.keep_checkpoints))
    if process_index() == 0:
        for line in estimate.lines():
            tqdm.write(f"{folder.name}: {line}", file=sys.stderr)


def _make_stepper(model: torch.nn.Module, config: Config, device: torch.device) -> torch.nn.Module:
    """Return what computes the losses of a batch, with the gradients of all processes."""
    if config.training.compile:
        compile_parts(model, device)
    return share_gradients(Stepper(model, config.training.precision, device))


def load_encoder(folder: Path, device: str = "cpu") -> tuple[Encoder, Config]:
    """Return the trained encoder of a run folder, in eval mode, and its configuration."""
    path = folder / CHECKPOINT
    if not checkpoint_paths(path):
        raise InputError(
            f"{folder}: expected a pre-training run with {CHECKPOINT}, got none; run: "
            "iospstl-train pretrain"
        )
    torch_device = find_device(device)
    described = read_json(folder / RUN_FILE)
    config = config_from_dict(described["config"], str(folder / RUN_FILE))
    model = make_model(config)
    state = read_checkpoint(path)
    if state["epoch"] < config.training.epochs:
        raise InputError(
            f"{folder}: expected a finished run, got {state['epoch']} of "
            f"{config.training.epochs} epochs; finish it with --resume"
        )
    restore_state(path, state, model)
    encoder: Encoder = model.encoder.eval()  # type: ignore[assignment]
    return encoder.to(torch_device), config
