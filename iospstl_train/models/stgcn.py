"""The ST-GCN encoder (Yan et al., AAAI 2018) with the reduced widths of PSTL and OPSTL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.models.attention_drop import drop_attended
from iospstl_train.models.batch_norm import normalize_batch
from iospstl_train.models.dropout import drop
from iospstl_train.models.graph_conv import convolve_graph
from iospstl_train.models.temporal import convolve_time
from iospstl_train.ranges import Fraction, Positive


@dataclass(frozen=True)
class EncoderSettings:
    """Shape of the encoder.

    Attributes
    ----------
    widths : tuple of int
        Output channels of each block; the last one is the size of the embedding.
    strides : tuple of int
        Temporal stride of each block.
    temporal_kernel : int
        Frames of a temporal convolution; odd.
    dropout : float
        Dropout after every block but the first.
    partition : {"distance", "st-gcn"}
        Neighbours by their true distance from the centre, or the partition of the released
        ST-GCN, where joints more than one hop from the centre all count as equally far.
    skip_absent : bool
        Leave absent persons out of the computation and of the mean. False averages over all
        persons, absent ones as zeros, as the published code does.
    """

    widths: tuple[Positive, ...] = (16, 16, 16, 16, 32, 32, 32, 64, 64, 256)
    strides: tuple[Positive, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    temporal_kernel: Positive = 9
    dropout: Fraction = 0.5
    partition: Literal["distance", "st-gcn"] = "distance"
    skip_absent: bool = True

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("widths: expected at least one block, got none")
        if len(self.widths) != len(self.strides):
            raise ValueError(
                f"strides: expected one for each of the {len(self.widths)} widths, "
                f"got {len(self.strides)}"
            )
        if self.temporal_kernel % 2 == 0:
            raise ValueError(
                f"temporal_kernel: expected an odd number, got {self.temporal_kernel}"
            )


def adjacency(layout: SkeletonLayout, partition: str = "distance") -> NDArray[np.float32]:
    """Return the three normalised adjacency matrices, shape (3, n_joints, n_joints).

    Element [k, v, w] weighs what joint w receives from joint v: the joint itself and neighbours
    as far from the centre (k = 0), neighbours nearer to it (1), and farther from it (2). Columns
    of the sum add up to 1.
    """
    linked = np.eye(layout.n_joints)
    for child, parent in layout.bones:
        linked[child, parent] = linked[parent, child] = 1
    hops = _hops_from_center(layout, linked)
    if partition == "st-gcn":
        hops = np.where(hops > 1, np.inf, hops)
    with np.errstate(invalid="ignore"):
        source, target = hops[:, None], hops[None, :]
        parts = [source == target, source < target, source > target]
    normalized = linked / linked.sum(axis=0, keepdims=True)
    return np.stack([normalized * part for part in parts]).astype(np.float32)


def _hops_from_center(layout: SkeletonLayout, linked: NDArray[np.float64]) -> NDArray[np.float64]:
    hops = np.full(layout.n_joints, np.inf)
    reached = np.arange(layout.n_joints) == layout.center
    for distance in range(layout.n_joints):
        hops[reached & np.isinf(hops)] = distance
        reached = linked @ reached > 0
    return hops


_Temporal = tuple[nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.Dropout]
_Residual = tuple[nn.Conv2d, nn.BatchNorm2d]


class StgcnBlock(nn.Module):
    """Graph convolution, then temporal convolution, with a residual."""

    def __init__(
        self, n_in: int, n_out: int, stride: int, settings: EncoderSettings, is_first: bool
    ) -> None:
        super().__init__()
        kernel = settings.temporal_kernel
        self.n_out = n_out
        self.spatial = nn.Conv2d(n_in, 3 * n_out, 1)
        self.temporal = nn.Sequential(
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, (kernel, 1), (stride, 1), (kernel // 2, 0)),
            nn.BatchNorm2d(n_out),
            nn.Dropout(0.0 if is_first else settings.dropout),
        )
        self.residual: nn.Module | None
        if is_first:
            self.residual = None
        elif n_in == n_out and stride == 1:
            self.residual = nn.Identity()
        else:
            self.residual = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, (stride, 1)), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Return (n, n_out, t, v) from x (n, n_in, t, v), channels last, and graph (3, v, v)."""
        out = self.temporal(self._convolve_graph(x, graph))
        if self.residual is not None:
            out = out + self.residual(x)
        return torch.relu(out)

    def forward_batch(self, x: Tensor, graph: Tensor, n_last: int | None) -> Tensor:
        """Return what `forward` does in training, for tensors (v, c, t, n), channels last.

        The last of the n persons stands for `n_last` that are all alike.
        """
        before, _, convolution, after, dropout = cast(_Temporal, tuple(self.temporal))
        weight, bias = self.spatial.weight, self.spatial.bias
        assert bias is not None
        mix = weight.view(3, self.n_out, -1).transpose(1, 2)
        out = convolve_graph(x.permute(0, 2, 3, 1), graph, mix, bias.view(3, -1))
        out = normalize_batch(out.permute(0, 3, 1, 2), before, n_last).relu_()
        out = normalize_batch(convolve_time(out, convolution), after, n_last)
        out = drop(out, dropout.p)
        if isinstance(self.residual, nn.Sequential):
            project, norm = cast(_Residual, tuple(self.residual))
            shortened = x[:, :, :: project.stride[0]].permute(0, 2, 3, 1)
            projected = nn.functional.linear(shortened, project.weight[..., 0, 0], project.bias)
            out += normalize_batch(projected.permute(0, 3, 1, 2), norm, n_last)
        elif self.residual is not None:
            out += x
        return out.relu_()

    def _convolve_graph(self, x: Tensor, graph: Tensor) -> Tensor:
        """Sum ``graph[k]^T (x weight[k] + bias[k])`` over k, the graph first: larger products.

        Convolving first is the same sum with an intermediate three times the output.
        """
        n, c, t, v = x.shape
        nodes = x.permute(0, 2, 3, 1)
        gathered = torch.matmul(graph.permute(2, 0, 1).reshape(v * 3, v), nodes)  # (n, t, v*3, c)
        weight = self.spatial.weight.view(3, self.n_out, c).transpose(1, 2).reshape(3 * c, -1)
        bias = graph.sum(dim=1).T @ self.spatial.bias.view(3, self.n_out)  # type: ignore[union-attr]
        mixed = (gathered.view(n, t, v, 3 * c) @ weight) + bias
        return mixed.permute(0, 3, 1, 2)


class StgcnEncoder(nn.Module):
    """ST-GCN from windows to embeddings.

    Parameters
    ----------
    settings : EncoderSettings
    layout : SkeletonLayout
        Graph of the joints.
    """

    def __init__(self, settings: EncoderSettings, layout: SkeletonLayout = NTU_25) -> None:
        super().__init__()
        graph = torch.from_numpy(adjacency(layout, settings.partition))
        self.graph: Tensor
        self.register_buffer("graph", graph)
        self.skip_absent = settings.skip_absent
        self.input_norm = nn.BatchNorm1d(3 * layout.n_joints)
        inputs = (3, *settings.widths[:-1])
        shapes = zip(inputs, settings.widths, settings.strides, strict=True)
        self.blocks = nn.ModuleList(
            StgcnBlock(n_in, n_out, stride, settings, is_first=index == 0)
            for index, (n_in, n_out, stride) in enumerate(shapes)
        )
        self.importance = nn.ParameterList(torch.ones_like(graph) for _ in settings.widths)

    def forward(
        self,
        x: Tensor,
        kept_joints: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Return embeddings (n, widths[-1]).

        In training an absent person is not computed. Without `skip_absent` one person made of
        zeros stands for all absent ones, with their number as its weight in every batch norm:
        exactly what computing each of them gives, but that they share one draw of the dropout.

        Parameters
        ----------
        x : Tensor of shape (n, 3, t, v, m)
            0 where not observed; a person whose values are all 0 is absent.
        kept_joints : Tensor of shape (n_kept,), optional
            Joints that stay in the graph; the others are removed after the input normalisation
            and the graph is not normalised again.
        present : Tensor of shape (n, m), bool, on the CPU, optional
            In training: persons that are not absent; saves looking at x on its device.
        """
        if self.training:
            return self._embed_batch(x, kept_joints, present)
        n, c, t, v, m = x.shape
        persons = x.permute(0, 4, 1, 2, 3).reshape(n * m, c, t, v)
        features = self._embed_person(persons, kept_joints)
        if self.skip_absent:
            is_there = (persons != 0).flatten(1).any(dim=1)
            return _mean_over_persons(features, is_there, n, m)
        return features.view(n, m, -1).mean(dim=1)

    def embed_both(
        self, x: Tensor, limit: float, strength: float, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return embeddings (n, widths[-1]), and those without what stands out, in training.

        Parameters
        ----------
        x, present
            As of `forward`.
        limit, strength : float
            As of `iospstl_train.models.attention_drop.drop_attended`.
        """

        def pool(features: Tensor, n_last: int | None) -> Tensor:
            dropped = drop_attended(features, limit, strength, n_last)
            return torch.cat([_mean_over_cells(features), _mean_over_cells(dropped)], dim=1)

        first, second = self._embed_batch(x, None, present, pool).chunk(2, dim=1)
        return first, second

    def _embed_batch(
        self,
        x: Tensor,
        kept_joints: Tensor | None,
        present: Tensor | None,
        pool: Callable[[Tensor, int | None], Tensor] | None = None,
    ) -> Tensor:
        n, c, t, v, m = x.shape
        if present is None:
            present = (x != 0).any(dim=3).any(dim=2).any(dim=1).cpu()
        is_there = present.flatten()
        there, n_absent = is_there.nonzero()[:, 0], n * m - int(is_there.sum())
        persons = x.permute(2, 0, 4, 3, 1).reshape(t, n * m, v * c)
        persons = persons.index_select(1, there.to(x.device))
        n_last = None
        if n_absent and not self.skip_absent:
            persons, n_last = nn.functional.pad(persons, (0, 0, 0, 1)), n_absent
        maps = self._map_there(persons, kept_joints, n_last)
        features = _mean_over_cells(maps) if pool is None else pool(maps, n_last)
        if n_last is None:
            features = nn.functional.pad(features, (0, 0, 0, 1))
        person = torch.full((n * m,), len(there)).index_put((there,), torch.arange(len(there)))
        each = features.index_select(0, person.to(x.device)).view(n, m, -1)
        if not self.skip_absent:
            return each.mean(dim=1)
        n_there = present.sum(dim=1, keepdim=True).clamp(min=1)
        return each.sum(dim=1) / n_there.to(x.device, x.dtype)

    def _map_there(
        self, persons: Tensor, kept_joints: Tensor | None, n_last: int | None
    ) -> Tensor:
        """Features (v, t, n, widths[-1]) of persons (t, n, v * 3) in training."""
        t, n, _ = persons.shape
        columns = persons.permute(0, 2, 1)[:, :, None]  # (t, v * 3, 1, n), channels last
        x = normalize_batch(columns, self.input_norm, n_last)
        x = x.view(t, -1, 3, n).permute(1, 2, 0, 3)
        if kept_joints is not None:
            x = x[kept_joints]
        x = x.contiguous(memory_format=torch.channels_last)
        for block, importance in zip(self.blocks, self.importance, strict=True):
            weighted = self.graph * importance
            if kept_joints is not None:
                weighted = weighted[:, kept_joints][:, :, kept_joints]
            x = cast(StgcnBlock, block).forward_batch(x, weighted, n_last)
        return x.permute(0, 2, 3, 1)

    def _embed_person(self, x: Tensor, kept_joints: Tensor | None) -> Tensor:
        """Mean over joints and time, (n, widths[-1]), of x (n, 3, t, v)."""
        n, c, t, v = x.shape
        flat = x.permute(0, 3, 1, 2).reshape(n, v * c, t)
        x = self.input_norm(flat).view(n, v, c, t).permute(0, 2, 3, 1)
        graph = self.graph
        if kept_joints is not None:
            x = x[..., kept_joints]
        for block, importance in zip(self.blocks, self.importance, strict=True):
            weighted = graph * importance
            if kept_joints is not None:
                weighted = weighted[:, kept_joints][:, :, kept_joints]
            x = block(x, weighted)
        return x.mean(dim=(2, 3))


def _mean_over_cells(maps: Tensor) -> Tensor:
    """Mean (n, c) of features (v, t, n, c) over joints and time."""
    return maps.flatten(0, 1).mean(dim=0)


def _mean_over_persons(features: Tensor, is_there: Tensor, n: int, m: int) -> Tensor:
    """Mean (n, d) of features (n * m, d) over the persons that are there; 0 where nobody is."""
    weight = is_there.view(n, m, 1).to(features.dtype)
    total = (features.view(n, m, -1) * weight).sum(dim=1)
    return total / weight.sum(dim=1).clamp(min=1)
