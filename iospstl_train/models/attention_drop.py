"""Features without the joints and cells that stand out, for AimCLR (Guo et al., AAAI 2022).

Attention is that of SimAM (Yang et al., ICML 2021): how far a feature is from its mean over joints
and time, measured by its variance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iospstl_train.training.processes import sum_over_processes


def drop_attended(
    features: Tensor, limit: float, strength: float, n_last: int | None = None
) -> Tensor:
    """Return features with those at 0 to which most attention goes, and the others the larger.

    First joints go, by their mean attention, then single features; each time the rest is scaled by
    the inverse of the share that stays, over the persons of all processes.

    Parameters
    ----------
    features : Tensor of shape (v, t, n, c)
        Of n persons.
    limit : float
        Attention, from 0.62 to 1, from which on joints and features are dropped.
    strength : float
        Added to the variance.
    n_last : int, optional
        The last of the n persons counts so many times; 1 if left out.
    """
    with torch.no_grad():
        precise = features.to(torch.promote_types(features.dtype, torch.float32))
        offset = (precise - precise.mean(dim=(0, 1), keepdim=True)).square()
        n_others = max(features.shape[0] * features.shape[1] - 1, 1)
        variance = offset.sum(dim=(0, 1), keepdim=True) / n_others
        attention = torch.sigmoid(offset / (4 * (variance + strength)) + 0.5)
        joints = attention.mean(dim=(1, 3), keepdim=True) < limit
        cells = attention < limit
        share = _share(joints, n_last) * _share(cells, n_last)
        scale = (joints & cells) / share
    return features * scale.to(features.dtype)


def _share(stays: Tensor, n_last: int | None) -> Tensor:
    """Share of the entries (v, t, n, c) that stay, over all processes; 1 where none does."""
    weight = torch.ones(stays.shape[2], device=stays.device, dtype=torch.float64)
    if n_last is not None:
        weight[-1] = n_last
    counts = (stays.sum(dim=(0, 1, 3), dtype=torch.float64) * weight).sum()
    total = weight.sum() * (stays.numel() / max(stays.shape[2], 1))
    both = sum_over_processes(torch.stack([counts, total]))
    return torch.where(both[0] > 0, both[0] / both[1].clamp(min=1), torch.ones_like(both[0]))
