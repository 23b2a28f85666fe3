"""SkeletonCLR: contrast with momentum between two crops (Li et al., CVPR 2021)."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.contrast import (
    ContrastSettings,
    Keys,
    contrast_loss,
    embed_view,
    make_head,
    own_key,
    to_unit_rows,
)
from iospstl_train.methods.method import Method


class SkeletonClr(Method):
    """Two views of every sample, cropped and sheared; each query shall find its key.

    Parameters
    ----------
    encoder : nn.Module
    embedding_size : int
    settings : ContrastSettings
    augment_settings : AugmentSettings
        Only crop and shear are used.
    layout : SkeletonLayout
    """

    def __init__(
        self,
        encoder: nn.Module,
        embedding_size: int,
        settings: ContrastSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        head = make_head(embedding_size, settings.feature_size)
        super().__init__(encoder, head, augment_settings, layout)
        self.keys = Keys(encoder, head, settings)
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
        n = len(hidden_frac)
        own = slice(0, n) if rows is None else rows
        views = [self.crop_and_shear(x, n, own, generator) for _ in range(2)]
        queries = to_unit_rows(self.projector(embed_view(self.encoder, views[0], present)))
        if self.training:
            self.keys.follow(self.encoder, self.projector)
        keys = self.keys.describe(views[1], present)
        similarity = self.keys.compare(queries, keys)
        loss = contrast_loss(similarity, own_key(similarity), self.settings.temperature)
        if self.training:
            self.keys.push(keys)
        return {"loss": loss, **describe_similarity(similarity)}


def describe_similarity(similarity: Tensor) -> dict[str, Tensor]:
    """Return the mean cosine of queries with their keys, and how many found them first."""
    found = similarity.detach()
    return {
        "positive": found[:, 0].mean(),
        "found": (found.argmax(dim=1) == 0).to(found.dtype).mean(),
    }
