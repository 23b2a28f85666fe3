"""Random numbers that depend on the seed and on where the run is, on nothing else.

Every draw of a run comes from a generator that is made for its epoch and step. So there is no
random state that a checkpoint could miss: a run that goes on at a step draws what an uninterrupted
one draws there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

_ORDER, _STEP, _DROPOUT = range(3)
_WORD = 1 << 32


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order (n,) in which an epoch takes its samples."""
    return torch.randperm(n, generator=_generator(_ORDER, seed, epoch, 0))


def step_generator(seed: int, epoch: int, step: int) -> Generator:
    """Return the source of all draws of one step but dropout, the same in every process."""
    return _generator(_STEP, seed, epoch, step)


def seed_dropout(seed: int, epoch: int, step: int, process: int) -> None:
    """Set the generators that dropout draws from: each process has masks of its own."""
    torch.manual_seed(_mix(_DROPOUT, seed, epoch, step, process))


def _generator(purpose: int, seed: int, epoch: int, step: int) -> Generator:
    return Generator().manual_seed(_mix(purpose, seed, epoch, step))


def _mix(purpose: int, seed: int, epoch: int, step: int, process: int = 0) -> int:
    """Return 63 bits that are unlike those of neighbouring positions (NumPy's SeedSequence)."""
    words = [purpose, seed % _WORD, seed // _WORD % _WORD, epoch, step, process]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
