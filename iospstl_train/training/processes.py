"""What the processes of one run share: sums and rows of the global batch, with gradients.

All functions work in a single process too, where they cost nothing. In the backward pass every
process counts its own loss, so gradients are those of the sum of all losses: where each process
computes the same loss of the global batch, the mean of their gradients is the gradient of one
process with the whole batch.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed


def n_processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if _is_shared() else 1


def process_index() -> int:
    """Return which of them this one is, from 0."""
    return distributed.get_rank() if _is_shared() else 0


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    return cast(Tensor, _Sum.apply(x)) if n_processes() > 1 else x  # type: ignore[no-untyped-call]


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows (n, ...) of all processes, in their order: (n_processes * n, ...)."""
    return cast(Tensor, _Rows.apply(x)) if n_processes() > 1 else x  # type: ignore[no-untyped-call]


def _is_shared() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.zeros_like(x) for _ in range(n_processes())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total.chunk(n_processes())[process_index()]
