"""What the restoring imputer is trained on: persons of the training windows, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import nan_mean
from iospstl_core.imputation.restore import own_windows
from iospstl_core.skeleton import NTU_25
from iospstl_train.data.windows import WindowSet

_MIN_HELD_OUT = 4


@dataclass(frozen=True)
class RestorerData:
    """Persons of the training windows, in the joints that the recordings have."""

    joints: tuple[str, ...]
    rest_m: Tensor  # (v, 3)
    flip_order: Tensor  # (v,)
    xyz: Tensor  # (n, t, v, 3), 0 where not observed
    observed: Tensor  # (n, t, v)


def training_persons(windows: WindowSet, folder: Path) -> RestorerData:
    """Return everybody of whom a training window shows anything, alone and in their own frame."""
    xyz = windows.xyz[windows.is_train]
    seen = ~np.isnan(xyz[..., 0])
    known = np.asarray(seen.any(axis=(0, 1, 2)))
    indices = np.flatnonzero(known | known[NTU_25.flip_order]).tolist()
    joints = [NTU_25.joints[index] for index in indices]
    window, person = np.nonzero(seen.any(axis=(1, 3)))
    if not len(window):
        raise InputError(f"{folder}: expected training windows with observed joints, got none")
    own = own_windows(xyz, window, person)[0][:, :, indices]
    rest = nan_mean(own.reshape(-1, *own.shape[2:]))
    flip = [joints.index(NTU_25.joints[NTU_25.flip_order[index]]) for index in indices]
    rest = nan_mean(np.stack([rest, rest[flip] * np.array([-1, 1, 1], dtype=np.float32)]))
    return RestorerData(
        tuple(joints),
        torch.from_numpy(rest),
        torch.tensor(flip),
        torch.from_numpy(np.nan_to_num(own)),
        torch.from_numpy(~np.isnan(own[..., 0])),
    )


def hold_out(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows that train and those that calibrate; very small sets share their rows."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    n_held_out = int(n * share)
    if n_held_out < _MIN_HELD_OUT:
        return order, order
    return order[n_held_out:], order[:n_held_out]
