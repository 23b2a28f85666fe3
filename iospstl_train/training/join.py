"""Several processes that train one model: how they find each other, and how they end.

Lightning Fabric joins them and averages their gradients; a run of one process never imports it.
"""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from iospstl_core.errors import EXIT_FAILED, EXIT_USER_FAULT, InputError
from iospstl_train.training.launch import layout, local_index, n_launched
from iospstl_train.training.processes import control_group, n_processes, process_index
from iospstl_train.training.stopping import Interrupted

_fabric: list[Any] = []
"""The Fabric of this process while it is joined with others."""


def find_device(device: str) -> torch.device:
    """Return a torch device by name; raise InputError if this machine has none such."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device: expected a usable torch device, got '{device}': {reason}"
        ) from error


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes of this run for as long as the block runs; nothing in a single one.

    On the CPU they talk through gloo, on GPUs through nccl, and each takes the GPU of its number
    on its machine.

    Raises
    ------
    InputError
        If the device is not there for all of them, or they do not find each other.
    """
    if n_launched() == 1:
        yield
        return
    try:
        fabric = _join(device)
    except InputError:
        if local_index() > 0:  # the others of a machine would say the same
            raise SystemExit(EXIT_USER_FAULT) from None
        raise
    _fabric.append(fabric)
    try:
        yield
    except BaseException as error:
        raise _one_of_all(error) from error
    finally:
        _fabric.clear()
        control_group.cache_clear()
        distributed.destroy_process_group()


def _one_of_all(error: BaseException) -> BaseException:
    """Return what to raise for an error: the error in the process that has it first.

    In the others it is an exit without words; most often they only see that the first has gone.
    """
    if _is_first_to_fail():
        if isinstance(error, RuntimeError) and _is_about_others(error):
            return InputError(
                "processes: another process of this run has gone without a word (out of memory?); "
                "what was saved is kept; start them again to go on"
            )
        return error
    if isinstance(error, Interrupted):
        return SystemExit(error.status)
    return SystemExit(EXIT_USER_FAULT if isinstance(error, InputError | OSError) else EXIT_FAILED)


def _is_about_others(error: RuntimeError) -> bool:
    """Return whether an error says that the connection to another process broke."""
    text = str(error)
    return isinstance(error, distributed.DistError) or "Connection" in text or "gloo" in text


def _is_first_to_fail() -> bool:
    """Return whether no other process of this run has told a fault yet."""
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add("iospstl/faults", 1) == 1)
    except (RuntimeError, ValueError):  # the one that kept the store has gone
        return process_index() == 0


def _join(device: str) -> Any:
    kind, _, number = device.partition(":")
    n_local, n_machines = layout()
    if number:
        raise InputError(
            f"device: expected '{kind}' for several processes, each takes its own, got '{device}'"
        )
    if kind == "cuda" and torch.cuda.device_count() < n_local:
        raise InputError(
            f"device: expected a GPU for each of the {n_local} processes on this machine, got "
            f"{torch.cuda.device_count()}; start fewer"
        )
    try:
        fabric_class, environment, strategy = _fabric_parts()
        fabric = fabric_class(
            accelerator=kind,
            devices=n_local,
            num_nodes=n_machines,
            strategy=strategy,
            plugins=[environment],
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"processes: could not join the {n_launched()} of this run: {reason}"
        ) from error
    return fabric


def _fabric_parts() -> tuple[Any, Any, Any]:
    """Return Fabric's class, the environment that tells who is who, and the strategy."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ModuleNotFoundError as error:
        raise InputError(
            "processes: several need the package lightning-fabric; install it with: "
            "pip install 'iospstl_ros[train]'"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    environment = TorchElasticEnvironment if "WORLD_SIZE" in os.environ else SLURMEnvironment
    # batch norm is that of the global batch: there is nothing to broadcast in a step
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {name: False}
    return Fabric, environment(), DDPStrategy(**settings)


def share_gradients(module: nn.Module) -> nn.Module:
    """Return the module as one whose backward pass averages gradients over all processes."""
    if n_processes() == 1:
        return module
    return cast(nn.Module, _fabric[0].setup_module(module, move_to_device=False))
