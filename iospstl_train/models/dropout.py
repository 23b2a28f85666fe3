"""Dropout that spends little time on random numbers."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

_BITS = 64


def drop(x: Tensor, probability: float) -> Tensor:
    """Set values of x to zero with the given probability and scale the others, in place.

    Draws from torch's generator. On the CPU a probability of one half costs one random bit a
    value, a thirtieth of the time of `nn.functional.dropout`.
    """
    if probability == 0:
        return x
    if probability == 0.5 and x.device.type == "cpu":
        return x.mul_(_draw_zeros_and_twos(x))
    return nn.functional.dropout(x, probability, training=True, inplace=True)


def _draw_zeros_and_twos(like: Tensor) -> Tensor:
    """Return 0 or 2, each with probability one half, in the shape and layout of a tensor."""
    n = like.numel()
    bits = torch.zeros(-(-n // _BITS), dtype=torch.int64).random_(-(2**63), None)
    values = _values_of_bytes().to(like.dtype).index_select(0, bits.view(torch.uint8).int())
    return values.flatten()[:n].as_strided(like.shape, like.stride())


@lru_cache
def _values_of_bytes() -> Tensor:
    """Return 0 or 2 for the eight bits of each byte, (256, 8)."""
    return 2.0 * (torch.arange(256)[:, None] >> torch.arange(8) & 1).float()
