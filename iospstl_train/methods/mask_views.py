"""Views for encoders with mask tokens: what one window hides is hidden from another one.

Two streams of every sample go through one encoder and one projector, both augmented, the second
one with more hidden. The loss is that of Barlow Twins (Zbontar et al., ICML 2021), so what the
embedding says may not depend on what happens to be hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings, augment
from iospstl_train.methods.drawn_masks import DrawnMasks
from iospstl_train.methods.hide_again import own_masks
from iospstl_train.methods.opstl import OpstlSettings, barlow_twins_parts, make_projector
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


class MaskViews(nn.Module):
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
        super().__init__()
        self.encoder = encoder
        self.projector = make_projector(embedding_size, loss.projector_width)
        self.loss = loss
        self.settings = settings
        self.augment_settings = augment_settings
        self.flip_order: Tensor
        self.register_buffer("flip_order", torch.from_numpy(layout.flip_order), persistent=False)
        self.hidden: Tensor | None
        self.register_buffer("hidden", hidden, persistent=False)
        self.drawn_masks = DrawnMasks(layout.n_joints)

    def forward(self, x: Tensor, hidden_frac: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts.

        Parameters
        ----------
        x : Tensor of shape (n, 3, t, v, m)
            0 where not observed.
        hidden_frac : Tensor of shape (n, v)
            Not used: whole masks say more than how often each joint is hidden.
        generator : torch.Generator
            Source of all draws.
        """
        first = self._project(x, self.settings.first, generator)
        second = self._project(x, self.settings.second, generator)
        diagonal, offdiagonal = barlow_twins_parts(first, second)
        return {
            "loss": diagonal + self.loss.offdiag_weight * offdiagonal,
            "diagonal": diagonal.detach() / first.shape[1],
        }

    def _project(self, x: Tensor, share: float, generator: Generator) -> Tensor:
        """Return one view of every sample, as the loss takes it."""
        moved, _ = augment(x, self.flip_order, self.augment_settings, generator)
        if self.hidden is not None and len(self.hidden):
            hidden = hide_more(moved, self.hidden, self.flip_order, share, generator)
            self.drawn_masks.add((hidden != moved).any(dim=1).float().mean(dim=(0, 1, 3)))
            moved = hidden
        projected: Tensor = self.projector(self.encoder(moved))
        return projected


def hide_more(
    x: Tensor, pool: Tensor, flip_order: Tensor, share: float, generator: Generator
) -> Tensor:
    """Return x with more cells at 0: what one window hides is hidden from another one.

    Parameters
    ----------
    x : Tensor of shape (n, 3, t, v, m)
        0 where not observed.
    pool : Tensor of shape (n_masks, t, v), bool
        True where hidden. Each person gets a mask of the pool, half of them backwards in time,
        half mirrored; one that would leave next to nothing is not used.
    flip_order : Tensor of shape (v,), int64
        Joint indices with left and right exchanged.
    share : float
        Share of the samples that are given masks.
    generator : torch.Generator
        Source of all randomness.
    """
    n, _, t, v, m = x.shape
    hidden = own_masks(~pool, n * m, flip_order, generator).view(n, m, t, v).permute(0, 2, 3, 1)
    is_masked = torch.rand((n, 1, 1, 1), generator=generator).to(x.device) < share
    seen = (x != 0).any(dim=1)  # (n, t, v, m)
    visible = (seen & ~hidden).flatten(1, 2).sum(dim=1)[:, None, None] >= _MIN_VISIBLE
    return x.masked_fill((hidden & is_masked & visible)[:, None], 0)


def mask_pool(hidden: Tensor) -> Tensor:
    """Return the masks (n_masks, t, v) of the persons of whom something is hidden.

    Parameters
    ----------
    hidden : Tensor of shape (n, t, m, v), bool
        As of `iospstl_train.data.windows.WindowSet.unseen`.
    """
    persons = hidden.transpose(1, 2).flatten(0, 1)
    return persons[persons.flatten(1).any(dim=1)]
