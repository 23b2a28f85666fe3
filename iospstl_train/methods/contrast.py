"""Contrast with momentum (MoCo v2, Chen et al., 2020): what SkeletonCLR and its heirs share.

Two views of a sequence pass through two networks: a query through the encoder that is trained, a
key through a copy that follows it slowly. The query shall be nearer to its key than to the keys of
earlier sequences, which wait in a queue.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.ranges import AboveZero, Positive, Share
from iospstl_train.training.processes import gather_rows

_DEVIATION = 0.02
"""Of the weights that the published code draws."""


@dataclass(frozen=True)
class ContrastSettings:
    """Constants of SkeletonCLR, CrosSCLR and AimCLR.

    Attributes
    ----------
    feature_size : int
        Values of a query or key; the layer before has as many as the embedding.
    queue_size : int
        Keys that wait; the oldest go.
    momentum : float
        What a weight of the key network keeps of itself in a step.
    temperature : float
        Similarities, from -1 to 1, are divided by it.
    key_start : {"copy", "own"}
        Weights of the key network at the start: those of the query network; or, as in the
        published code, convolutions and batch norms of both drawn anew, each for itself.
    """

    feature_size: Positive = 128
    queue_size: Positive = 32768
    momentum: Share = 0.999
    temperature: AboveZero = 0.07
    key_start: Literal["copy", "own"] = "copy"


def make_head(n_in: int, feature_size: int) -> nn.Sequential:
    """Two linear layers with a ReLU between them."""
    return nn.Sequential(nn.Linear(n_in, n_in), nn.ReLU(), nn.Linear(n_in, feature_size))


def embed_view(encoder: nn.Module, x: Tensor, present: Tensor | None) -> Tensor:
    """Return embeddings of a view; `present` spares the ST-GCN a look at x on its device."""
    is_graph = isinstance(encoder, StgcnEncoder)
    embedded: Tensor = encoder(x, None, present) if is_graph else encoder(x)
    return embedded


def to_unit_rows(features: Tensor) -> Tensor:
    """Return features (n_global, d) of length 1, of all processes, in single precision or more."""
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    return gather_rows(nn.functional.normalize(precise, dim=1))


class Keys(nn.Module):
    """The network of the keys, and the queue of those that it gave last.

    Its running statistics of batch norms are its own: in training no number depends on them.

    Parameters
    ----------
    encoder, head : nn.Module
        Of the queries.
    settings : ContrastSettings
    """

    def __init__(
        self, encoder: nn.Module, head: nn.Sequential, settings: ContrastSettings
    ) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.head = copy.deepcopy(head)
        if settings.key_start == "own":
            for network in (encoder, self.encoder):
                network.apply(_draw_weights)
        self.requires_grad_(False)
        self._momentum = settings.momentum
        queue = torch.randn(settings.queue_size, settings.feature_size)
        self.queue: Tensor
        self.register_buffer("queue", nn.functional.normalize(queue, dim=1))
        self.position: Tensor
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, encoder: nn.Module, head: nn.Module) -> None:
        """Move all weights a little toward those of the queries."""
        for own, other in ((self.encoder, encoder), (self.head, head)):
            for weight, target in zip(own.parameters(), other.parameters(), strict=True):
                weight.lerp_(target, 1 - self._momentum)

    @torch.no_grad()
    def describe(self, x: Tensor, present: Tensor | None) -> Tensor:
        """Return the keys (n_global, d) of a view of each sample of all processes."""
        return to_unit_rows(self.head(embed_view(self.encoder, x, present)))

    def compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return cosines (n, 1 + queue_size) of queries with their keys and with the queue."""
        own = (queries * keys).sum(dim=1, keepdim=True)
        with torch.autocast(queries.device.type, enabled=False):
            # a copy: `push` changes the queue before the backward pass needs it
            return torch.cat([own, queries @ self.queue.clone().T.to(queries.dtype)], dim=1)

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Put keys (n_global, d) into the queue in the place of the oldest ones."""
        size = len(self.queue)
        newest = keys[-size:]
        place = (self.position + torch.arange(len(newest), device=keys.device)) % size
        self.queue[place] = newest.to(self.queue.dtype)
        self.position.copy_((self.position + len(newest)) % size)


def contrast_loss(similarity: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Return how unlikely the positives are among all, a mean over the positives of each row.

    Parameters
    ----------
    similarity : Tensor of shape (n, n_candidates)
    positive : Tensor of shape (n, n_candidates), bool
        At least one in each row.
    temperature : float
    """
    chance = nn.functional.log_softmax(similarity / temperature, dim=1)
    return -((chance * positive).sum(dim=1) / positive.sum(dim=1)).mean()


def own_key(similarity: Tensor) -> Tensor:
    """Return positives, as of `contrast_loss`, that are the key of each query: the first."""
    positive = torch.zeros_like(similarity, dtype=torch.bool)
    positive[:, 0] = True
    return positive


def nearest_keys(similarity: Tensor, n: int) -> Tensor:
    """Return which n keys of a queue are the nearest, bool, from similarities (rows, n_keys)."""
    nearest = similarity.topk(min(n, similarity.shape[1]), dim=1).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter(1, nearest, True)


def _draw_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, _DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _DEVIATION)
        nn.init.zeros_(module.bias)
