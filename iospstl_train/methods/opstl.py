"""OPSTL: occluded partial spatio-temporal learning (Chen et al., arXiv 2309.12029).

Three streams of every sample go through one encoder and one projector: an anchor, one with joints
removed (ASM, or CSM of PSTL as its fallback), one with frames removed (MATM). The loss is that of
Barlow Twins, summed over the pairs anchor-temporal and anchor-spatial (equations 1-4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from iospstl_core.normalize import N_FRAMES
from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings, augment, take_frames
from iospstl_train.methods.drawn_masks import DrawnMasks
from iospstl_train.ranges import NotNegative, Positive

_DEGREE_SPAN = 3.0
_DEGREE_EPS = 1e-3


@dataclass(frozen=True)
class OpstlSettings:
    """Constants of the method.

    Attributes
    ----------
    projector_width : int
        Width of all three layers of the projector; 6144 in the paper.
    offdiag_weight : float
        Lambda of equations (2) and (3); 2e-4 in the paper for a width of 6144.
    masked_joints : int
        Joints removed in the spatial stream.
    masked_frames : int
        Frames removed in the temporal stream for their motion, and as many again at random.
    joint_mask : {"adaptive", "central"}
        ASM: weights from the frequency of occlusion; CSM: weights are the joints' degrees.
    joint_draw : {"distinct", "tickets"}
        Exactly `masked_joints` joints, or that many draws among tickets that repeat joints as the
        published code does (8.2 distinct joints on average for 9 draws).
    """

    projector_width: Positive = 6144
    offdiag_weight: NotNegative = 2e-4
    masked_joints: Positive = 9
    masked_frames: Positive = 10
    joint_mask: Literal["adaptive", "central"] = "adaptive"
    joint_draw: Literal["distinct", "tickets"] = "distinct"

    def __post_init__(self) -> None:
        if self.masked_joints >= NTU_25.n_joints:
            raise ValueError(
                f"masked_joints: expected fewer than the {NTU_25.n_joints} joints, "
                f"got {self.masked_joints}"
            )
        if 2 * self.masked_frames >= N_FRAMES:
            raise ValueError(
                f"masked_frames: expected less than half of the {N_FRAMES} frames, "
                f"got {self.masked_frames}"
            )


class Opstl(nn.Module):
    """The pre-training model: encoder, projector and the loss of a batch."""

    def __init__(
        self,
        encoder: nn.Module,
        embedding_size: int,
        settings: OpstlSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = make_projector(embedding_size, settings.projector_width)
        self.settings = settings
        self.augment_settings = augment_settings
        self.flip_order: Tensor
        self.register_buffer("flip_order", torch.from_numpy(layout.flip_order), persistent=False)
        self.degrees: Tensor
        degrees = torch.from_numpy(layout.degrees).float()
        self.register_buffer("degrees", degrees, persistent=False)
        self.drawn_masks = DrawnMasks(layout.n_joints)

    def forward(self, x: Tensor, hidden_frac: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts.

        Parameters
        ----------
        x : Tensor of shape (n, 3, t, v, m)
            0 where not observed.
        hidden_frac : Tensor of shape (n, v)
            Share of each joint's cells that are occluded (structural misses are NaN).
        generator : torch.Generator
            Source of all draws but dropout.
        """
        settings, draws = self.settings, self.augment_settings
        anchor, _ = augment(x, self.flip_order, draws, generator)
        temporal, _ = augment(x, self.flip_order, draws, generator)
        temporal = drop_frames(temporal, settings.masked_frames, generator)
        spatial, is_flipped = augment(x, self.flip_order, draws, generator)
        frequency = torch.where(is_flipped[:, None], hidden_frac[:, self.flip_order], hidden_frac)
        kept = self._draw_kept_joints(frequency, generator)
        z_anchor = self.projector(self.encoder(anchor))
        z_temporal = self.projector(self.encoder(temporal))
        z_spatial = self.projector(self.encoder(spatial, kept))
        parts: dict[str, Tensor] = {}
        for name, other in (("temporal", z_temporal), ("spatial", z_spatial)):
            diagonal, offdiagonal = barlow_twins_parts(z_anchor, other)
            parts[f"loss_{name}"] = diagonal + settings.offdiag_weight * offdiagonal
            parts[f"diagonal_{name}"] = diagonal.detach() / z_anchor.shape[1]
        parts["loss"] = parts["loss_temporal"] + parts["loss_spatial"]
        return parts

    def _draw_kept_joints(self, frequency: Tensor, generator: Generator) -> Tensor:
        """Draw the joints that stay in the graph, for the whole batch."""
        settings = self.settings
        never_seen = frequency.isnan().all(dim=0)
        totals = frequency.nan_to_num(0).sum(dim=0)
        if settings.joint_mask == "adaptive" and bool(totals.any()):
            weight = frequency_degrees(totals)
        else:
            weight = self.degrees.clone()
        weight[never_seen] = 0
        masked = draw_joints(weight, settings.masked_joints, settings.joint_draw, generator)
        keep = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        keep[masked.to(weight.device)] = False
        self.drawn_masks.add((~keep).float())
        return keep.nonzero()[:, 0]


def make_projector(n_in: int, width: int) -> nn.Sequential:
    """Three linear layers without bias, with batch norm and ReLU between them."""
    return nn.Sequential(
        nn.Linear(n_in, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
    )


def barlow_twins_parts(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over the diagonal and off the diagonal of the cross-correlation.

    Equations (2)-(4): sum_i (1 - C_ii)^2 and sum_{i != j} C_ij^2 for inputs (n, d), each feature
    brought to mean 0 and variance 1 over the batch first.
    """
    first, second = _standardize(first), _standardize(second)
    correlation = first.T @ second / len(first)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum(), off


def _standardize(z: Tensor) -> Tensor:
    return nn.functional.batch_norm(z, None, None, training=True, eps=1e-5)


def frequency_degrees(frequency: Tensor) -> Tensor:
    """Return the frequency degrees of equation (6), in [1, 4), from occlusion counts (v,)."""
    span = frequency.max() - frequency.min() + _DEGREE_EPS
    return 1 + _DEGREE_SPAN * (frequency - frequency.min()) / span


def draw_joints(weight: Tensor, n_joints: int, draw: str, generator: Generator) -> Tensor:
    """Return joint indices drawn without replacement with the given weights (v,)."""
    weight = weight.cpu()
    if draw == "tickets":
        tickets = torch.repeat_interleave(torch.arange(len(weight)), weight.to(torch.int64))
        chosen = torch.randperm(len(tickets), generator=generator)[:n_joints]
        return torch.tensor(sorted(set(tickets[chosen].tolist())))
    return torch.multinomial(weight, n_joints, replacement=False, generator=generator)


def drop_frames(x: Tensor, n_frames: int, generator: Generator) -> Tensor:
    """Motion-adaptive temporal masking: drop the fastest frames, then as many at random.

    Returns x of shape (n, 3, t - 2 * n_frames, v, m); kept frames stay in order.
    """
    n, _, t, _, _ = x.shape
    motion = torch.zeros(n, t, device=x.device)
    motion[:, :-1] = (x[:, :, 1:] - x[:, :, :-1]).square().mean(dim=(1, 3, 4))
    chance = torch.rand(n, t, generator=generator).to(x.device)
    chance.scatter_(1, motion.topk(n_frames, dim=1).indices, 2.0)
    kept = chance.topk(t - 2 * n_frames, dim=1, largest=False).indices.sort(dim=1).values
    return take_frames(x, kept)
