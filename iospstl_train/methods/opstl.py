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
from iospstl_train.methods.augment import (
    AugmentSettings,
    StreamDraw,
    draw_stream,
    take_frames,
)
from iospstl_train.methods.barlow_twins import (
    DECORRELATE,
    barlow_twins_parts,
    make_projector,
    project_streams,
)
from iospstl_train.methods.method import Method
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
        Exactly `masked_joints` joints by real weights; or that many draws among tickets as in the
        published code: as many of a joint as its weight without the fraction, so that joints
        repeat (8.2 distinct ones on average for 9 draws) and weights are 1, 2 or 3.
    frequency : {"share", "any"}
        How often a joint is hidden in a sequence: in which share of its cells; or, as published,
        1 where it is hidden at all, which saturates when joints are hidden at random.
    follow_flip : bool
        Count what a flipped sample hides on the other side. False, as published, counts it where
        it was before the flip: the masks of half the samples favor the wrong side.
    """

    projector_width: Positive = 6144
    offdiag_weight: NotNegative = 2e-4
    masked_joints: Positive = 9
    masked_frames: Positive = 10
    joint_mask: Literal["adaptive", "central"] = "adaptive"
    joint_draw: Literal["distinct", "tickets"] = "distinct"
    frequency: Literal["share", "any"] = "share"
    follow_flip: bool = True

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


@dataclass(frozen=True)
class BatchDraw:
    """What is drawn for one batch, on the CPU.

    Attributes
    ----------
    anchor, temporal, spatial : StreamDraw
    ranks : Tensor of shape (n, n_kept)
        Frames that the temporal stream keeps, counted among those that are not the fastest.
    kept_joints : Tensor of shape (n_joints_kept,)
        Joints that stay in the graph of the spatial stream, for the whole batch.
    """

    anchor: StreamDraw
    temporal: StreamDraw
    spatial: StreamDraw
    ranks: Tensor
    kept_joints: Tensor

    def take(self, rows: slice) -> BatchDraw:
        """Return the draws of some samples."""
        return BatchDraw(
            self.anchor.take(rows),
            self.temporal.take(rows),
            self.spatial.take(rows),
            self.ranks[rows],
            self.kept_joints,
        )


class Opstl(Method):
    """The pre-training model: encoder, projector and the loss of a batch."""

    projector: nn.Sequential
    remedy = DECORRELATE

    def __init__(
        self,
        encoder: nn.Module,
        embedding_size: int,
        settings: OpstlSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        projector = make_projector(embedding_size, settings.projector_width)
        super().__init__(encoder, projector, augment_settings, layout)
        self.settings = settings

    def forward(
        self,
        x: Tensor,
        hidden_frac: Tensor,
        generator: Generator,
        present: Tensor | None = None,
        rows: slice | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts, as `Method.forward`."""
        draw = self.draw(hidden_frac, x.shape[2], generator)
        return self.compare(x, draw if rows is None else draw.take(rows), present)

    def draw(self, hidden_frac: Tensor, n_frames: int, generator: Generator) -> BatchDraw:
        """Draw for a batch of `n_frames` whose joints were hidden as in hidden_frac (n, v)."""
        settings, n = self.settings, len(hidden_frac)
        anchor, temporal, spatial = (
            draw_stream(n, n_frames, self.augment_settings, generator) for _ in range(3)
        )
        n_draws = n if self.augment_settings.per_sample else 1
        ranks = draw_ranks(n_frames, settings.masked_frames, n_draws, generator)
        frequency = self._count_hidden(hidden_frac, spatial.is_flipped)
        kept = self._draw_kept_joints(frequency, generator)
        return BatchDraw(anchor, temporal, spatial, ranks.expand(n, -1), kept)

    def compare(
        self, x: Tensor, draw: BatchDraw, present: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of a batch, as `forward`, for given draws."""
        settings = self.settings
        if present is None:
            present = (x != 0).any(dim=3).any(dim=2).any(dim=1).cpu()
        anchor, temporal, spatial = (
            self.move(x, stream) for stream in (draw.anchor, draw.temporal, draw.spatial)
        )
        temporal = drop_frames(temporal, settings.masked_frames, draw.ranks.to(x.device))
        streams = ((anchor, None), (temporal, None), (spatial, draw.kept_joints.to(x.device)))
        embedded = [self.encoder(stream, kept, present) for stream, kept in streams]
        z_anchor, *others = project_streams(self.projector, embedded)
        parts: dict[str, Tensor] = {}
        n_off = settings.projector_width * max(settings.projector_width - 1, 1)
        for name, other in zip(("temporal", "spatial"), others, strict=True):
            diagonal, offdiagonal = barlow_twins_parts(z_anchor, other)
            parts[f"loss_{name}"] = diagonal + settings.offdiag_weight * offdiagonal
            parts[f"diagonal_{name}"] = diagonal.detach() / settings.projector_width
            parts[f"offdiagonal_{name}"] = offdiagonal.detach() / n_off
        parts["loss"] = parts["loss_temporal"] + parts["loss_spatial"]
        return parts

    def _count_hidden(self, hidden_frac: Tensor, is_flipped: Tensor) -> Tensor:
        """How often each joint is hidden in the samples as they are shown, (n, v)."""
        if self.settings.frequency == "any":
            hidden_frac = torch.where(hidden_frac > 0, 1.0, hidden_frac)  # NaN stays
        if not self.settings.follow_flip:
            return hidden_frac
        order = torch.from_numpy(self.layout.flip_order)
        return torch.where(is_flipped[:, None], hidden_frac[:, order], hidden_frac)

    def _draw_kept_joints(self, frequency: Tensor, generator: Generator) -> Tensor:
        """Draw the joints that stay in the graph, for the whole batch."""
        settings = self.settings
        never_seen = frequency.isnan().all(dim=0)
        totals = frequency.nan_to_num(0).sum(dim=0)
        if settings.joint_mask == "adaptive" and bool(totals.any()):
            weight = frequency_degrees(totals)
        else:
            weight = torch.from_numpy(self.layout.degrees).float()
        weight[never_seen] = 0
        masked = draw_joints(weight, settings.masked_joints, settings.joint_draw, generator)
        keep = torch.ones(len(weight), dtype=torch.bool)
        keep[masked] = False
        self.drawn_masks.add((~keep).float())
        return keep.nonzero()[:, 0]


def frequency_degrees(frequency: Tensor) -> Tensor:
    """Return the frequency degrees of equation (6), in [1, 4), from occlusion counts (v,)."""
    span = frequency.max() - frequency.min() + _DEGREE_EPS
    return 1 + _DEGREE_SPAN * (frequency - frequency.min()) / span


def draw_joints(weight: Tensor, n_joints: int, draw: str, generator: Generator) -> Tensor:
    """Return joint indices drawn without replacement with the given weights (v,)."""
    if draw == "tickets":
        tickets = torch.repeat_interleave(torch.arange(len(weight)), weight.to(torch.int64))
        chosen = torch.randperm(len(tickets), generator=generator)[:n_joints]
        return torch.tensor(sorted(set(tickets[chosen].tolist())))
    return torch.multinomial(weight, n_joints, replacement=False, generator=generator)


def draw_ranks(n_frames: int, n_masked: int, n_draws: int, generator: Generator) -> Tensor:
    """Draw which frames stay when n_masked have gone for their motion and as many go at random.

    Returns ranks (n_draws, n_frames - 2 * n_masked) among the frames left, in order.
    """
    n_left = n_frames - n_masked
    chance = torch.rand(n_draws, n_left, generator=generator)
    return chance.topk(n_left - n_masked, dim=1).indices.sort(dim=1).values


def drop_frames(x: Tensor, n_masked: int, ranks: Tensor) -> Tensor:
    """Motion-adaptive temporal masking: drop the fastest frames, keep those drawn of the others.

    Parameters
    ----------
    x : Tensor of shape (n, 3, t, v, m)
    n_masked : int
        Frames to drop for their motion.
    ranks : Tensor of shape (n, n_kept)
        As from `draw_ranks`.

    Returns
    -------
    Tensor of shape (n, 3, n_kept, v, m)
        Frames stay in order.
    """
    n, _, t, _, _ = x.shape
    motion = torch.zeros(n, t, device=x.device)
    motion[:, :-1] = (x[:, :, 1:] - x[:, :, :-1]).square().mean(dim=(1, 3, 4))
    slow = motion.topk(t - n_masked, dim=1, largest=False).indices.sort(dim=1).values
    return take_frames(x, slow.gather(1, ranks))
