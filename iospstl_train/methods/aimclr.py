"""AimCLR: contrast that learns from extreme augmentations (Guo et al., AAAI 2022).

A SkeletonCLR with a third view that is changed too much to be told to equal the key. Instead, what
it says about all keys shall be distributed as what the query says; so shall its features without
the joints and frames that stand out. Later the nearest keys count as positives, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Generator, Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings, StreamDraw, draw_stream
from iospstl_train.methods.contrast import (
    ContrastSettings,
    contrast_loss,
    embed_view,
    nearest_keys,
    own_key,
    to_unit_rows,
)
from iospstl_train.methods.skeletonclr import SkeletonClr, describe_similarity
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.ranges import AboveZero, Count, NotNegative, Positive, Share


@dataclass(frozen=True)
class AimClrSettings:
    """What AimCLR has beside the section ``contrast``.

    Attributes
    ----------
    mining_epoch : int
        Finished epochs before the nearest keys count as positives.
    neighbors : int
        Keys that each of the three features adds then.
    distribution_weight : float
        Of the two losses that compare distributions.
    chance : float
        Of noise, blur and a lost axis in the extreme view, of each by itself.
    noise_m : float
        Deviation of the noise, in metres.
    blur_frames : int
        Length of the blur; odd.
    blur_deviation : tuple of float
        The least and the largest deviation of its Gaussian, in frames.
    blur : {"mean", "sum"}
        Weights of the blur add up to 1 over the frames that show the joint; or, as in the
        published code, are not normalized and make coordinates up to 5 times as large.
    attention_limit : float
        Joints, and then cells, whose attention reaches it are dropped.
    attention_lambda : float
        Keeps features that do not vary at little attention.
    """

    mining_epoch: Count = 150
    neighbors: Positive = 1
    distribution_weight: NotNegative = 0.5
    chance: Share = 0.5
    noise_m: NotNegative = 0.01
    blur_frames: Positive = 15
    blur_deviation: tuple[AboveZero, AboveZero] = (0.1, 2.0)
    blur: Literal["mean", "sum"] = "mean"
    attention_limit: Share = 0.7
    attention_lambda: AboveZero = 1e-4

    def __post_init__(self) -> None:
        if self.blur_frames % 2 == 0:
            raise ValueError(f"blur_frames: expected an odd number, got {self.blur_frames}")
        low, high = self.blur_deviation
        if low > high:
            raise ValueError(f"blur_deviation: expected the least first, got [{low}, {high}]")


@dataclass(frozen=True)
class ExtremeDraw:
    """What is drawn for the extreme views of a batch, on the CPU; one row for each sample.

    Attributes
    ----------
    moves : StreamDraw
        Crop, shear, turn and flip.
    noise : Tensor of shape (n, 3, t, v, m)
        In metres; 0 for the samples without.
    blur_deviation : Tensor of shape (n,)
        In frames; 0 for the samples without.
    lost_axis : Tensor of shape (n,), int64
        -1 for the samples without.
    """

    moves: StreamDraw
    noise: Tensor
    blur_deviation: Tensor
    lost_axis: Tensor

    def take(self, rows: slice) -> ExtremeDraw:
        """Return the draws of some samples."""
        parts = (self.noise, self.blur_deviation, self.lost_axis)
        return ExtremeDraw(self.moves.take(rows), *(part[rows] for part in parts))


class AimClr(SkeletonClr):
    """A SkeletonCLR with an extreme view, and later with neighbors as positives.

    Parameters
    ----------
    encoder : StgcnEncoder
        Can embed without what stands out.
    embedding_size : int
    contrast : ContrastSettings
    settings : AimClrSettings
    augment_settings : AugmentSettings
    layout : SkeletonLayout
    """

    def __init__(
        self,
        encoder: StgcnEncoder,
        embedding_size: int,
        contrast: ContrastSettings,
        settings: AimClrSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        super().__init__(encoder, embedding_size, contrast, augment_settings, layout)
        self.aim = settings
        self.is_mining = False

    def begin_epoch(self, epoch: int) -> None:
        """Count the nearest keys as positives from `mining_epoch` on."""
        self.is_mining = epoch >= self.aim.mining_epoch

    def forward(
        self,
        x: Tensor,
        hidden_frac: Tensor,
        generator: Generator,
        present: Tensor | None = None,
        rows: slice | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts, as `Method.forward`."""
        n = len(hidden_frac)
        own = slice(0, n) if rows is None else rows
        views = [self.crop_and_shear(x, n, own, generator) for _ in range(2)]
        drawn = draw_extreme((n, *x.shape[1:]), self.aim, self.augment_settings, generator)
        extreme = self._extreme_view(x, drawn.take(own))
        features = [embed_view(self.encoder, views[0], present), *self._embed(extreme, present)]
        queries = [to_unit_rows(self.projector(each)) for each in features]
        if self.training:
            self.keys.follow(self.encoder, self.projector)
        keys = self.keys.describe(views[1], present)
        parts = self._compare([self.keys.compare(query, keys) for query in queries])
        if self.training:
            self.keys.push(keys)
        return parts

    def _compare(self, similarity: list[Tensor]) -> dict[str, Tensor]:
        """Return the losses of query, extreme view and what is left of it, and their sum."""
        query, *extremes = similarity
        positive, temperature = own_key(query), self.settings.temperature
        if self.is_mining:
            for each in similarity:
                positive[:, 1:] |= nearest_keys(each[:, 1:], self.aim.neighbors)
        parts = {"loss_query": contrast_loss(query, positive, temperature)}
        for name, extreme in zip(("extreme", "dropped"), extremes, strict=True):
            parts[f"loss_{name}"] = distribution_loss(extreme, query, temperature)
        others = parts["loss_extreme"] + parts["loss_dropped"]
        parts["loss"] = parts["loss_query"] + self.aim.distribution_weight * others
        return parts | describe_similarity(query)

    def _embed(self, view: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return embeddings of a view, and those without what stands out."""
        limit, strength = self.aim.attention_limit, self.aim.attention_lambda
        encoder = cast(StgcnEncoder, self.encoder)
        return encoder.embed_both(view, limit, strength, present)

    def _extreme_view(self, x: Tensor, draw: ExtremeDraw) -> Tensor:
        """Return x (n, 3, t, v, m) changed as drawn; what is not observed stays 0."""
        x = self.move(x, draw.moves)
        x = x + draw.noise.to(x) * (x != 0).any(dim=1, keepdim=True)
        x = blur(x, draw.blur_deviation.to(x), self.aim)
        axis = torch.arange(3, device=x.device)
        is_lost = axis == draw.lost_axis.to(x.device)[:, None]
        return x.masked_fill(is_lost[:, :, None, None, None], 0)


def draw_extreme(
    shape: tuple[int, ...],
    settings: AimClrSettings,
    augment_settings: AugmentSettings,
    generator: Generator,
) -> ExtremeDraw:
    """Draw for a batch of windows (n, 3, t, v, m)."""
    n, _, n_frames, _, _ = shape
    moves = draw_stream(n, n_frames, augment_settings, generator)
    is_noisy, is_blurred, is_lost = torch.rand(3, n, generator=generator) < settings.chance
    noise = torch.randn(shape, generator=generator) * settings.noise_m
    low, high = settings.blur_deviation
    deviation = low + (high - low) * torch.rand(n, generator=generator)
    axis = torch.randint(0, 3, (n,), generator=generator)
    return ExtremeDraw(
        moves,
        noise * is_noisy.view(-1, 1, 1, 1, 1),
        deviation * is_blurred,
        torch.where(is_lost, axis, -1),
    )


def blur(x: Tensor, deviation: Tensor, settings: AimClrSettings) -> Tensor:
    """Smooth x (n, 3, t, v, m) in time by Gaussians of deviations (n,) in frames; 0 for none.

    The ends are mirrored. Cells that are not observed stay 0, and lend nothing to others.
    """
    observed = (x != 0).any(dim=1, keepdim=True)
    kernel = _blur_kernel(x.shape[2], deviation, settings.blur_frames)
    smooth = torch.einsum("nts,ncsvm->nctvm", kernel, x)
    if settings.blur == "mean":
        weight = torch.einsum("nts,ncsvm->nctvm", kernel, observed.to(x.dtype))
        smooth = smooth / weight.clamp(min=torch.finfo(x.dtype).tiny)
    is_blurred = (deviation > 0).view(-1, 1, 1, 1, 1)
    return torch.where(is_blurred, smooth * observed, x)


def _blur_kernel(n_frames: int, deviation: Tensor, n_blur: int) -> Tensor:
    """Weights (n, n_frames, n_frames) of source frames for each frame, 1 for itself."""
    half = n_blur // 2
    offset = torch.arange(-half, half + 1, device=deviation.device)
    frame = torch.arange(n_frames, device=deviation.device)[:, None] + offset
    period = 2 * max(n_frames - 1, 1)
    source = frame.abs() % period
    source = torch.minimum(source, period - source)
    width = deviation.clamp(min=torch.finfo(deviation.dtype).eps)[:, None]
    weight = torch.exp(-(offset**2) / (2 * width**2))
    kernel = deviation.new_zeros(len(deviation), n_frames, n_frames)
    index = source.expand(len(deviation), -1, -1)
    return kernel.scatter_add(2, index, weight[:, None].expand(-1, n_frames, -1).contiguous())


def distribution_loss(similarity: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of how cosines are distributed over the keys (D3M).

    Parameters
    ----------
    similarity, target : Tensor of shape (n, 1 + queue_size)
        The target is taken as it is: nothing is learned through it.
    temperature : float
    """
    wanted = nn.functional.softmax(target.detach() / temperature, dim=1)
    chance = nn.functional.log_softmax(similarity / temperature, dim=1)
    return -(wanted * chance).sum(dim=1).mean()
