"""What a pre-training run will need, measured on a few small steps before it starts."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from iospstl_core.errors import InputError
from iospstl_train.config import Config
from iospstl_train.methods.method import Method
from iospstl_train.training.batches import Batch, own_rows, samples_an_epoch
from iospstl_train.training.memory import free_memory
from iospstl_train.training.processes import n_processes
from iospstl_train.training.stepper import Stepper, make_optimizer

_N_MOMENTS = {"adam": 2, "sgd": 1}
"""That an optimizer keeps of every weight that learns."""
_FLOAT_BYTES = 4
_STEPS = 3
_SMALL_BATCHES = ((8, 2), (4, 4))
"""Parts of a batch that are tried on the CPU, where time and memory grow in proportion, and how
many samples they have at least."""


@dataclass(frozen=True)
class Estimate:
    """What a run needs.

    Attributes
    ----------
    n_encoder, n_projector : int
        Weights.
    n_steps, n_epochs : int
        Steps an epoch, and epochs.
    step_s : float
        Duration of a step on this machine.
    memory_bytes : int
        Of the device: all that the model holds, gradients and moments, what a step keeps for its
        gradients, and the training windows.
    free_bytes : int or None
        What the device has left; None where that is not known.
    checkpoint_bytes : int
        Size of one checkpoint.
    """

    n_encoder: int
    n_projector: int
    n_steps: int
    n_epochs: int
    step_s: float
    memory_bytes: int
    free_bytes: int | None
    checkpoint_bytes: int

    def lines(self) -> list[str]:
        """Return the estimate in words."""
        epoch_s = self.n_steps * self.step_s
        free = "" if self.free_bytes is None else f" of {_size(self.free_bytes)} free"
        lines = [
            f"weights: encoder {self.n_encoder:,}, projector {self.n_projector:,}",
            f"time: about {_duration(epoch_s)} an epoch of {self.n_steps} steps, "
            f"{_duration(epoch_s * self.n_epochs)} for {self.n_epochs} epochs",
            f"memory: about {_size(self.memory_bytes)}{free}; "
            f"{_size(self.checkpoint_bytes)} of disk a checkpoint",
        ]
        if self.free_bytes is not None and self.memory_bytes > self.free_bytes:
            lines.append("memory: this may not fit; lower training.batch_size")
        return lines


def estimate_run(
    model: Method, config: Config, shape: tuple[int, ...], device: torch.device
) -> Estimate:
    """Try a few steps on noise; the model is afterwards as it was.

    Where several processes train together, all call this: a batch is that of all of them.

    Parameters
    ----------
    model : Method
        On its device.
    config : Config
    shape : tuple of int
        Of the training windows: (n, n_frames, n_persons, n_joints, 3).
    device : torch.device
    """
    batch_size = min(config.training.batch_size, shape[0])
    state_bytes = sum(value.nbytes for value in model.state_dict().values())
    learned_bytes = _FLOAT_BYTES * _count(model)
    n_moments = _N_MOMENTS[config.training.optimizer]
    step_s, kept_bytes = _measure(model, config, batch_size // n_processes(), shape, device)
    data_bytes = _FLOAT_BYTES * torch.Size(shape).numel()
    return Estimate(
        n_encoder=_count(model.encoder),
        n_projector=_count(model.projector),
        n_steps=max(-(-samples_an_epoch(shape[0], config.training) // batch_size), 1),
        n_epochs=config.training.epochs,
        step_s=step_s,
        memory_bytes=state_bytes + (1 + n_moments) * learned_bytes + kept_bytes + data_bytes,
        free_bytes=free_memory(device),
        checkpoint_bytes=state_bytes + n_moments * learned_bytes,
    )


def check_disk(folder: Path, estimate: Estimate, n_checkpoints: int) -> None:
    """Raise InputError where the checkpoints of a run cannot fit beside a new one."""
    needed = (n_checkpoints + 1) * estimate.checkpoint_bytes
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"{folder}: expected {_size(needed)} of free disk for checkpoints, got {_size(free)}; "
            "make room, or lower training.keep_checkpoints"
        )


def _measure(
    model: Method,
    config: Config,
    n: int,
    shape: tuple[int, ...],
    device: torch.device,
) -> tuple[float, int]:
    """Return seconds and bytes kept of a step of n samples; on the CPU from two small steps."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stepper = Stepper(model, config.training.precision, device)
    sizes = [n]
    if device.type == "cpu":
        sizes = [max(n // part, least) for part, least in _SMALL_BATCHES]
    tried = [_try_step(stepper, config, _noise(size, shape, device)) for size in sizes]
    model.load_state_dict(before)
    model.zero_grad(set_to_none=True)
    model.drawn_masks.take()
    (time_s, kept), (more_s, more_kept) = tried[0], tried[-1]
    if len(tried) == 1:
        return time_s, kept
    beyond = (n - sizes[0]) / (sizes[-1] - sizes[0])
    return (
        max(time_s + beyond * (more_s - time_s), more_s),
        int(max(kept + beyond * (more_kept - kept), more_kept)),
    )


def _noise(n: int, shape: tuple[int, ...], device: torch.device) -> Batch:
    """Return n samples for each process in which everybody is there."""
    _, n_frames, n_persons, n_joints, _ = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, n_frames, n_joints, n_persons, generator=generator)
    n_all = n * n_processes()
    present = torch.ones(n, n_persons, dtype=torch.bool)
    frac = torch.rand(n_all, n_joints, generator=generator)
    return Batch(x.to(device), present, frac, own_rows(n_all))


def _try_step(stepper: Stepper, config: Config, batch: Batch) -> tuple[float, int]:
    """Return the shortest time of a few steps, and the bytes that one keeps for its gradients."""
    generator = torch.Generator().manual_seed(0)
    optimizer = make_optimizer(stepper, config.training, batch.x.device)
    stepper.train()
    seconds: list[float] = []
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    for step in range(_STEPS):
        began = time.perf_counter()
        watch = saved_tensors_hooks(keep, lambda tensor: tensor) if step == 0 else nullcontext()
        with watch:
            loss = stepper(batch.x, batch, generator)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if batch.x.device.type == "cuda":
            torch.cuda.synchronize(batch.x.device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:]), sum(kept.values())


def _count(module: torch.nn.Module) -> int:
    """Weights that learn."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad)


def _size(n_bytes: float) -> str:
    for unit, per in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= per:
            return f"{n_bytes / per:.1f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    for limit, unit, per in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / per:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
