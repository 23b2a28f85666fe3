"""Views for encoders with mask tokens: what one window hides is hidden from another one.

Two streams of every sample go through one encoder and one projector, both augmented, the second
one with more hidden. The loss is that of Barlow Twins (Zbontar et al., ICML 2021), so what the
embedding says may not depend on what happens to be hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings, draw_stream
from iospstl_train.methods.barlow_twins import (
    DECORRELATE,
    barlow_twins_parts,
    make_projector,
    project_streams,
)
from iospstl_train.methods.hide_again import turn_masks
from iospstl_train.methods.method import Method
from iospstl_train.methods.opstl import OpstlSettings
from iospstl_train.ranges import Share

_MIN_VISIBLE = 20
"""Cells that must stay visible: one frame of a body."""


@dataclass(frozen=True)
class MaskViewSettings:
    """How often a stream gets a mask of the training set.

    Attributes
    ----------
    first, second : float
        Share of the samples of each stream that are hidden behind another window's mask.
    """

    first: Share = 0.0
    second: Share = 1.0


class MaskViews(Method):
    """The pre-training model: encoder, projector and the loss of a batch.

    Parameters
    ----------
    encoder : nn.Module
    embedding_size : int
    loss : OpstlSettings
        Width of the projector and weight off the diagonal; the rest of it is OPSTL's own.
    settings : MaskViewSettings
    augment_settings : AugmentSettings
    hidden : Tensor of shape (n_masks, t, v), bool, optional
        The pool of masks: what persons of the training set have hidden. Needed for training only.
    layout : SkeletonLayout
    """

    projector: nn.Sequential
    remedy = DECORRELATE

    def __init__(
        self,
        encoder: nn.Module,
        embedding_size: int,
        loss: OpstlSettings,
        settings: MaskViewSettings,
        augment_settings: AugmentSettings,
        hidden: Tensor | None = None,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        projector = make_projector(embedding_size, loss.projector_width)
        super().__init__(encoder, projector, augment_settings, layout)
        self.loss = loss
        self.settings = settings
        self.hidden: Tensor | None
        self.register_buffer("hidden", hidden, persistent=False)

    def forward(
        self,
        x: Tensor,
        hidden_frac: Tensor,
        generator: Generator,
        present: Tensor | None = None,
        rows: slice | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts, those of the batch of all processes.

        Parameters
        ----------
        x : Tensor of shape (n, 3, t, v, m)
            0 where not observed.
        hidden_frac : Tensor of shape (n_global, v)
            Only its length is used: whole masks say more than how often each joint is hidden.
        generator : torch.Generator
            Source of all draws.
        present : Tensor of shape (n, m), bool, optional
            Not used: the encoder sees who is there.
        rows : slice, optional
            Of the batch of all processes: the samples in x; all if left out.
        """
        n, shares = len(hidden_frac), (self.settings.first, self.settings.second)
        own = slice(0, n) if rows is None else rows
        views = [self._view(x, n, own, share, generator) for share in shares]
        embedded = [self.encoder(view) for view in views]
        first, second = project_streams(self.projector, embedded)
        diagonal, offdiagonal = barlow_twins_parts(first, second)
        d = first.shape[1]
        return {
            "loss": diagonal + self.loss.offdiag_weight * offdiagonal,
            "diagonal": diagonal.detach() / d,
            "offdiagonal": offdiagonal.detach() / (d * max(d - 1, 1)),
        }

    def _view(self, x: Tensor, n: int, own: slice, share: float, generator: Generator) -> Tensor:
        """Return one view of the own samples out of n, all of which are drawn for."""
        moves = draw_stream(n, x.shape[2], self.augment_settings, generator).take(own)
        moved = self.move(x, moves)
        if self.hidden is None or not len(self.hidden):
            return moved
        masks = draw_masks(n, x.shape[4], len(self.hidden), share, generator).take(own)
        view = hide_more(moved, self.hidden, self.flip_order, masks)
        self.drawn_masks.add((view != moved).any(dim=1).float().mean(dim=(0, 1, 3)))
        return view


@dataclass(frozen=True)
class MaskDraw:
    """Masks drawn for the persons of a batch, on the CPU.

    Attributes
    ----------
    index : Tensor of shape (n, m), int64
        Of the pool.
    is_backwards, is_mirrored : Tensor of shape (n, m), bool
    is_masked : Tensor of shape (n,), bool
        Samples that are hidden at all.
    """

    index: Tensor
    is_backwards: Tensor
    is_mirrored: Tensor
    is_masked: Tensor

    def take(self, rows: slice) -> MaskDraw:
        """Return the draws of some samples."""
        return MaskDraw(*(getattr(self, item.name)[rows] for item in fields(self)))


def draw_masks(n: int, m: int, n_masks: int, share: float, generator: Generator) -> MaskDraw:
    """Draw one of n_masks for each person (n, m), half of them backwards, half mirrored."""
    index = torch.randint(n_masks, (n, m), generator=generator)
    is_backwards, is_mirrored = (torch.rand((2, n, m), generator=generator) < 0.5).unbind()
    return MaskDraw(index, is_backwards, is_mirrored, torch.rand(n, generator=generator) < share)


def hide_more(x: Tensor, pool: Tensor, flip_order: Tensor, draw: MaskDraw) -> Tensor:
    """Return x with more cells at 0: what one window hides is hidden from another one.

    Parameters
    ----------
    x : Tensor of shape (n, 3, t, v, m)
        0 where not observed.
    pool : Tensor of shape (n_masks, t, v), bool
        True where hidden. A mask that would leave next to nothing of a person is not used.
    flip_order : Tensor of shape (v,), int64
        Joint indices with left and right exchanged.
    draw : MaskDraw
        Of the n samples.
    """
    n, _, t, v, m = x.shape
    index, backwards, mirrored, is_masked = (
        getattr(draw, item.name).to(x.device) for item in fields(draw)
    )
    masks = turn_masks(pool[index.flatten()], backwards.flatten(), mirrored.flatten(), flip_order)
    hidden = masks.view(n, m, t, v).permute(0, 2, 3, 1)
    visible = ((x != 0).any(dim=1) & ~hidden).flatten(1, 2).sum(dim=1) >= _MIN_VISIBLE  # (n, m)
    used = (visible & is_masked[:, None])[:, None, None]
    return x.masked_fill((hidden & used)[:, None], 0)


def mask_pool(hidden: Tensor) -> Tensor:
    """Return the masks (n_masks, t, v) of the persons of whom something is hidden.

    Parameters
    ----------
    hidden : Tensor of shape (n, t, m, v), bool
        As of `iospstl_train.data.windows.WindowSet.unseen`.
    """
    persons = hidden.transpose(1, 2).flatten(0, 1)
    return persons[persons.flatten(1).any(dim=1)]
