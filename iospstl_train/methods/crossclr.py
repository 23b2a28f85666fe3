"""2s-CrosSCLR: two streams that show each other what is alike (Li et al., CVPR 2021).

A SkeletonCLR for the joints and one for their motion. First each learns by itself; then what is
near to a sequence in one stream is near to it in the other one, too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Generator, Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.contrast import (
    ContrastSettings,
    Keys,
    contrast_loss,
    embed_view,
    make_head,
    nearest_keys,
    own_key,
    to_unit_rows,
)
from iospstl_train.methods.method import Method
from iospstl_train.methods.skeletonclr import describe_similarity
from iospstl_train.models.stream_encoders import StreamEncoders, make_stream
from iospstl_train.ranges import Count, Positive

STREAMS = ("joint", "motion")


@dataclass(frozen=True)
class CrossClrSettings:
    """What CrosSCLR has beside the section ``contrast``.

    Attributes
    ----------
    cross_epoch : int
        Finished epochs before the streams show each other their neighbors.
    neighbors : int
        Keys of a queue that count as positives with the own one.
    context : bool
        Compare with the products of both streams' similarities, too.
    keys_follow : {"both", "motion"}
        Whose key networks follow from `cross_epoch` on; "motion" as in the published code, where
        the joints' stand still.
    shared_head : bool
        Let the head of the motion end in that of the joints, as the published code does.
    """

    cross_epoch: Count = 150
    neighbors: Positive = 1
    context: bool = True
    keys_follow: Literal["both", "motion"] = "both"
    shared_head: bool = False


class CrossClr(Method):
    """Two encoders, heads, key networks and queues; the sum of both streams' losses.

    Parameters
    ----------
    encoder : StreamEncoders
        Of the streams joint and motion.
    embedding_size : int
        Of each stream.
    contrast : ContrastSettings
    settings : CrossClrSettings
    augment_settings : AugmentSettings
        Only crop and shear are used; the motion is that of the joints after them.
    layout : SkeletonLayout
    """

    def __init__(
        self,
        encoder: StreamEncoders,
        embedding_size: int,
        contrast: ContrastSettings,
        settings: CrossClrSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        heads = {name: make_head(embedding_size, contrast.feature_size) for name in STREAMS}
        keys = {name: Keys(encoder.encoders[name], heads[name], contrast) for name in STREAMS}
        if settings.shared_head:
            heads["motion"] = _lengthen(heads["joint"], embedding_size)
            head = copy.deepcopy(heads["motion"])
            head[-1] = keys["joint"].head
            keys["motion"].head = head.requires_grad_(False)
        super().__init__(encoder, nn.ModuleDict(heads), augment_settings, layout)
        self.keys = nn.ModuleDict(keys)
        self.contrast = contrast
        self.settings = settings
        self.is_crossing = False

    def begin_epoch(self, epoch: int) -> None:
        """Let the streams show each other their neighbors from `cross_epoch` on."""
        self.is_crossing = epoch >= self.settings.cross_epoch

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
        queries = {name: self._query(views[0], name, present) for name in STREAMS}
        if self.training:
            self._follow()
        keys = {
            name: self._keys(name).describe(make_stream(views[1], name), present)
            for name in STREAMS
        }
        similarity = {
            name: self._keys(name).compare(queries[name], keys[name]) for name in STREAMS
        }
        parts = self._compare(similarity)
        if self.training:
            for name in STREAMS:
                self._keys(name).push(keys[name])
        return parts

    def _compare(self, similarity: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of both streams, each taught by the other one, and their sum."""
        parts: dict[str, Tensor] = {}
        for name, other in (STREAMS, STREAMS[::-1]):
            own = similarity[name]
            candidates, positive = own, own_key(own)
            if self.is_crossing:
                candidates, positive = cross(own, similarity[other], self.settings)
            temperature = self.contrast.temperature
            parts[f"loss_{name}"] = contrast_loss(candidates, positive, temperature)
            found = describe_similarity(own)
            parts.update({f"{key}_{name}": value for key, value in found.items()})
        parts["loss"] = parts["loss_joint"] + parts["loss_motion"]
        return parts

    def _keys(self, name: str) -> Keys:
        return cast(Keys, self.keys[name])

    def _query(self, view: Tensor, name: str, present: Tensor | None) -> Tensor:
        encoder = cast(StreamEncoders, self.encoder).encoders[name]
        embedded = embed_view(encoder, make_stream(view, name), present)
        return to_unit_rows(cast(nn.ModuleDict, self.projector)[name](embedded))

    def _follow(self) -> None:
        """Let the key networks follow those of the queries."""
        is_partial = self.is_crossing and self.settings.keys_follow == "motion"
        for name in STREAMS[1:] if is_partial else STREAMS:
            encoder = cast(StreamEncoders, self.encoder).encoders[name]
            self._keys(name).follow(encoder, cast(nn.ModuleDict, self.projector)[name])


def cross(own: Tensor, other: Tensor, settings: CrossClrSettings) -> tuple[Tensor, Tensor]:
    """Return what a stream is compared with when another one teaches it, and which is positive.

    Parameters
    ----------
    own, other : Tensor of shape (n, 1 + queue_size)
        Cosines of both streams, as of `Keys.compare`; row by row the queues hold the same samples.
    settings : CrossClrSettings

    Returns
    -------
    candidates, positive : Tensor of shape (n, n_candidates)
        As `contrast_loss` takes them. Own cosines and, with context, the products of both streams'
        cosines with the queue; positive are the own key and the neighbors of the other stream.
    """
    neighbors = nearest_keys(other[:, 1:], settings.neighbors)
    positive = torch.cat([torch.ones_like(neighbors[:, :1]), neighbors], dim=1)
    if not settings.context:
        return own, positive
    context = own[:, 1:] * other[:, 1:]
    return torch.cat([own, context], dim=1), torch.cat([positive, neighbors], dim=1)


def _lengthen(head: nn.Sequential, n_in: int) -> nn.Sequential:
    """Return a head that goes through one more layer into a given one."""
    return nn.Sequential(nn.Linear(n_in, n_in), nn.ReLU(), head)
