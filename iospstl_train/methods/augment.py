"""Augmentations as batched tensor operations: those of PSTL (Zhou et al., AAAI 2023) and before.

All draws are made on the CPU before anything is computed. A value of 0 (not observed) stays 0.
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


@dataclass(frozen=True)
class StreamDraw:
    """What is drawn for one stream, on the CPU; one row for each sample.

    Attributes
    ----------
    frames : Tensor of shape (n, t)
        Frames to take.
    warp : Tensor of shape (n, 3, 3)
        Rotation times shear.
    is_flipped : Tensor of shape (n,), bool
    """

    frames: Tensor
    warp: Tensor
    is_flipped: Tensor

    def take(self, rows: slice) -> StreamDraw:
        """Return the draws of some samples."""
        return StreamDraw(self.frames[rows], self.warp[rows], self.is_flipped[rows])


def draw_stream(
    n: int, n_frames: int, settings: AugmentSettings, generator: Generator
) -> StreamDraw:
    """Draw for n samples of n_frames: each for itself, or one draw for all."""
    n_draws = n if settings.per_sample else 1
    frames = draw_crop(n_frames, settings.crop_ratio, n_draws, generator)
    turn = _rotation(settings.main_angle_deg, settings.other_angle_deg, n_draws, generator)
    warp = turn @ _shear(settings.shear, n_draws, generator)
    is_flipped = torch.rand(n_draws, generator=generator) < 0.5
    return StreamDraw(frames.expand(n, n_frames), warp.expand(n, 3, 3), is_flipped.expand(n))


def draw_crop_and_shear(
    n: int, n_frames: int, settings: AugmentSettings, generator: Generator
) -> StreamDraw:
    """Draw as `draw_stream`, but neither turns nor flips."""
    n_draws = n if settings.per_sample else 1
    frames = draw_crop(n_frames, settings.crop_ratio, n_draws, generator)
    warp = _shear(settings.shear, n_draws, generator)
    is_flipped = torch.zeros(n, dtype=torch.bool)
    return StreamDraw(frames.expand(n, n_frames), warp.expand(n, 3, 3), is_flipped)


def augment(x: Tensor, draw: StreamDraw, flip_order: Tensor, mirror: bool) -> Tensor:
    """Crop, shear, rotate and flip x (n, 3, t, v, m) as drawn.

    `flip_order` (v,) names the joint on the other side; `mirror` negates x of what is flipped.
    """
    device = x.device
    x = take_frames(x, draw.frames.to(device))
    x = torch.einsum("nij,njtvm->nitvm", draw.warp.to(x), x)
    return flip(x, draw.is_flipped.to(device), flip_order, mirror)


def draw_crop(n_frames: int, ratio: int, n_draws: int, generator: Generator) -> Tensor:
    """Return frames (n_draws, n_frames): both ends mirrored, then cut at a random start."""
    padding = n_frames // ratio
    inside = torch.arange(n_frames)
    mirrored = torch.cat([inside[:padding].flip(0), inside, inside[n_frames - padding :].flip(0)])
    start = torch.randint(0, 2 * padding + 1, (n_draws, 1), generator=generator)
    return mirrored[start + inside]


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
