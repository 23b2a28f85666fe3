"""Augmentations of OPSTL as batched tensor operations (PSTL, Zhou et al., AAAI 2023).

All take and return x of shape (n, 3, t, v, m) and draw from a generator, once a sample.
A value of 0 (not observed) stays 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from iospstl_train.ranges import NotNegative, Positive


@dataclass(frozen=True)
class AugmentSettings:
    """Strength of the augmentations.

    Attributes
    ----------
    crop_ratio : int
        The sequence is mirrored by t // crop_ratio frames at both ends, then cropped to t frames.
    shear : float
        Off-diagonal elements of the shear are uniform in (-shear, shear).
    main_angle_deg, other_angle_deg : float
        Largest turn about one axis drawn at random, and about the two others; never negative.
    flip : {"swap", "mirror"}
        With probability one half: exchange left and right joints, and with "mirror" also negate x,
        which makes the flip a reflection of the body.
    per_sample : bool
        Draw for each sample; False draws once a batch, as the published code does.
    """

    crop_ratio: Positive = 6
    shear: NotNegative = 1.0
    main_angle_deg: NotNegative = 30.0
    other_angle_deg: NotNegative = 1.0
    flip: Literal["swap", "mirror"] = "mirror"
    per_sample: bool = True


def augment(
    x: Tensor, flip_order: Tensor, settings: AugmentSettings, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Crop, shear, rotate and flip.

    Returns
    -------
    x : Tensor of shape (n, 3, t, v, m)
    is_flipped : Tensor of shape (n,), bool
    """
    n_draws = len(x) if settings.per_sample else 1
    x = crop(x, settings.crop_ratio, n_draws, generator)
    turn = _rotation(settings.main_angle_deg, settings.other_angle_deg, n_draws, generator)
    warp = (turn @ _shear(settings.shear, n_draws, generator)).to(x.device)
    x = torch.einsum("nij,njtvm->nitvm", warp.expand(len(x), 3, 3), x)
    is_flipped = (torch.rand(n_draws, generator=generator) < 0.5).expand(len(x)).to(x.device)
    return flip(x, is_flipped, flip_order, settings.flip == "mirror"), is_flipped


def crop(x: Tensor, ratio: int, n_draws: int, generator: Generator) -> Tensor:
    """Mirror both ends and cut out t frames at a random start."""
    n, _, t, _, _ = x.shape
    padding = t // ratio
    inside = torch.arange(t)
    mirrored = torch.cat([inside[:padding].flip(0), inside, inside[t - padding :].flip(0)])
    start = torch.randint(0, 2 * padding + 1, (n_draws, 1), generator=generator)
    frames = mirrored[start + inside].expand(n, t).to(x.device)
    return take_frames(x, frames)


def take_frames(x: Tensor, frames: Tensor) -> Tensor:
    """Return x with the given frames (n, n_taken) of each sample, in their order."""
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x.transpose(1, 2)[rows, frames].transpose(1, 2)


def flip(x: Tensor, is_flipped: Tensor, flip_order: Tensor, mirror: bool) -> Tensor:
    """Exchange left and right joints of the flipped samples, and negate x where `mirror`."""
    swapped = x[:, :, :, flip_order]
    if mirror:
        sign = torch.tensor([-1.0, 1.0, 1.0], device=x.device)
        swapped = swapped * sign.view(1, 3, 1, 1, 1)
    return torch.where(is_flipped.view(-1, 1, 1, 1, 1), swapped, x)


def _shear(amplitude: float, n_draws: int, generator: Generator) -> Tensor:
    """Shear matrices (n_draws, 3, 3) with ones on the diagonal."""
    draws = (2 * torch.rand(n_draws, 3, 3, generator=generator) - 1) * amplitude
    eye = torch.eye(3)
    return draws * (1 - eye) + eye


def _rotation(main_deg: float, other_deg: float, n_draws: int, generator: Generator) -> Tensor:
    """Rotations (n_draws, 3, 3) about x, then y, then z; one axis drawn to turn farther."""
    main = torch.randint(0, 3, (n_draws, 1), generator=generator)
    limit = torch.where(torch.arange(3) == main, main_deg, other_deg)
    angle = torch.deg2rad(torch.rand(n_draws, 3, generator=generator) * limit)
    total = torch.eye(3).expand(n_draws, 3, 3)
    for axis in range(3):
        total = _axis_rotation(angle[:, axis], axis) @ total
    return total


def _axis_rotation(angle: Tensor, axis: int) -> Tensor:
    """Rotations (n, 3, 3) about one axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = torch.eye(3).repeat(len(angle), 1, 1)
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, second, first] = angle.sin()
    turn[:, first, second] = -angle.sin()
    return turn
