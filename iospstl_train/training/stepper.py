"""One step of the training: losses in the chosen precision, and the optimizer."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Generator, Tensor, nn

from iospstl_core.errors import InputError
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.settings import SGD_MOMENTUM, TrainingSettings
from iospstl_train.training.batches import Batch


class Stepper(nn.Module):
    """The model in the precision of its training.

    With "bf16" the large products are computed in half precision (`torch.autocast`); weights,
    their gradients and the optimizer stay in single precision, and so does what the model itself
    keeps there: statistics and correlations.
    """

    def __init__(self, model: nn.Module, precision: str, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._device_type = device.type
        self._is_half = precision == "bf16"

    def forward(self, x: Tensor, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts; everything but `x` stays where it is."""
        with torch.autocast(self._device_type, torch.bfloat16, self._is_half):
            parts: dict[str, Tensor] = self.model(
                x, batch.hidden_frac, generator, batch.present, batch.rows
            )
        return parts


def make_optimizer(
    model: nn.Module, settings: TrainingSettings, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimizer of all weights that learn, by their gradients, in few passes."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            weights,
            lr=settings.learning_rate,
            momentum=SGD_MOMENTUM,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.Adam(
        weights,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def compile_parts(model: nn.Module, device: torch.device) -> None:
    """Let torch compile encoder and projector when they first run; minutes, then faster steps.

    Raises
    ------
    InputError
        If the compiler that this takes is not there, or the encoder is the ST-GCN, whose step is
        written as fused operations with gradients of their own already.
    """
    if any(isinstance(part, StgcnEncoder) for part in model.modules()):
        raise InputError(
            "training.compile: expected training.encoder=mask-mixer, got st-gcn, whose operations "
            "are fused by hand; leave training.compile out"
        )
    compilers = [os.environ.get("CXX", "g++"), "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in compilers):
        raise InputError(
            "training.compile: needs a C++ compiler such as g++, got none; install one or leave "
            "training.compile out"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise InputError(
            "training.compile: needs the package triton on a GPU; install it or leave "
            "training.compile out"
        )
    for part in model.children():
        part.compile()
