"""The loss that decorrelates: Barlow Twins (Zbontar et al., ICML 2021), and its projector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iospstl_train.models.batch_norm import normalize_batch
from iospstl_train.training.processes import gather_rows

DECORRELATE = "lower training.learning_rate or raise opstl.offdiag_weight"
"""What helps where embeddings collapse all the same."""


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


def project_streams(projector: nn.Sequential, embedded: Sequence[Tensor]) -> list[Tensor]:
    """Return projections (n_global, d) of the streams' embeddings (n, c).

    The streams share the products with the large matrices; each has the statistics of its own
    rows in the batch norms, as if it passed alone, and the rows of all processes in the result.
    """
    together = torch.cat(list(embedded))
    for layer in projector:
        if isinstance(layer, nn.BatchNorm1d) and layer.training:
            streams = (rows[:, :, None, None] for rows in together.chunk(len(embedded)))
            together = torch.cat([normalize_batch(rows, layer) for rows in streams])[..., 0, 0]
        else:
            together = layer(together)
    return [gather_rows(rows) for rows in together.chunk(len(embedded))]


def barlow_twins_parts(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over the diagonal and off the diagonal of the cross-correlation.

    Equations (2)-(4): sum_i (1 - C_ii)^2 and sum_{i != j} C_ij^2 for inputs (n, d), each feature
    brought to mean 0 and variance 1 over the batch first. Of C, (d, d), only the diagonal is
    made where d > n: the sum of all C_ij^2 = |X^T Y|^2 / n^2 is that of the products of
    X X^T and Y Y^T, both (n, n), element by element.
    """
    dtype = torch.promote_types(first.dtype, torch.float32)
    first, second = _standardize(first.to(dtype)), _standardize(second.to(dtype))
    n, d = first.shape
    diagonal = (first * second).sum(dim=0) / n
    with torch.autocast(first.device.type, enabled=False):
        if d > n:
            total = ((first @ first.T) * (second @ second.T)).sum()
        else:
            total = (first.T @ second).square().sum()
    return (1 - diagonal).square().sum(), total / n**2 - diagonal.square().sum()


def _standardize(z: Tensor) -> Tensor:
    return nn.functional.batch_norm(z, None, None, training=True, eps=1e-5)
