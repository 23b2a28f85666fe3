"""What the processes of one run share: sums and rows of the global batch, with gradients.

All functions work in a single process too, where they cost nothing. In the backward pass every
process counts its own loss, so gradients are those of the sum of all losses: where each process
computes the same loss of the global batch, the mean of their gradients is the gradient of one
process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from iospstl_core.errors import InputError

Result = TypeVar("Result")

_PATIENCE = timedelta(days=7)
"""What one process does alone, such as a training of its own, the others wait for."""


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


def share_from_first(make: Callable[[], Result]) -> Result:
    """Return what the first process makes; the others only wait for it.

    The result must be picklable. An InputError of the first process is raised in all.
    """
    if n_processes() == 1:
        return make()
    parcel: list[Any] = [None]
    if process_index() == 0:
        try:
            parcel = [(make(), None)]
        except InputError as error:
            parcel = [(None, str(error))]
    distributed.broadcast_object_list(parcel, src=0, group=control_group())
    result, fault = parcel[0]
    if fault is not None:
        raise InputError(fault)
    return cast(Result, result)


def gather_from_all(own: Result) -> list[Result]:
    """Return what every process has, in their order; it must be picklable."""
    if n_processes() == 1:
        return [own]
    found: list[Any] = [None] * n_processes()
    distributed.all_gather_object(found, own, group=control_group())
    return found


class Vote:
    """Whether any process wants to stop, asked every step without waiting for the answer."""

    def __init__(self) -> None:
        self._asked: tuple[Any, Tensor] | None = None

    def any_before(self, wish: bool) -> bool:
        """Tell the wish of this process; return whether any had one in the call before.

        All processes get the same answer. A single one gets its own, at once.
        """
        if n_processes() == 1:
            return wish
        answer = self._answer()
        told = torch.tensor([int(wish)])
        work = distributed.all_reduce(told, group=control_group(), async_op=True)
        self._asked = work, told
        return answer

    def any_now(self, wish: bool) -> bool:
        """Return whether any process has the wish, and wait for all of them to tell."""
        earlier = self._answer()
        return any(gather_from_all(wish or earlier))

    def _answer(self) -> bool:
        if self._asked is None:
            return False
        work, told = self._asked
        work.wait()
        self._asked = None
        return bool(told > 0)


@cache
def control_group() -> Any:
    """Return the group of all processes that agree with each other beside the training."""
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)


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
