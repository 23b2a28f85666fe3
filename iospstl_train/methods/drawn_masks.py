"""What a method has hidden of late, for those who watch a training."""

from __future__ import annotations

import torch
from torch import Tensor


class DrawnMasks:
    """Counts how often the masks of a method hid each joint.

    Parameters
    ----------
    n_joints : int
    """

    def __init__(self, n_joints: int) -> None:
        self._total = torch.zeros(n_joints)
        self._n_steps = 0

    def add(self, share: Tensor) -> None:
        """Count a step that hid some share of each joint's cells, (n_joints,), wherever it is."""
        self._total = self._total.to(share.device) + share.detach()
        self._n_steps += 1

    def take(self) -> list[float]:
        """Return the mean shares since the last call, and start again."""
        shares: list[float] = (self._total / max(self._n_steps, 1)).tolist()
        self._total, self._n_steps = torch.zeros_like(self._total), 0
        return shares
