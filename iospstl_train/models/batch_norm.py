"""Batch norm over the global batch, where one row may stand for many."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from iospstl_train.training.processes import gather_rows, n_processes, sum_over_processes

_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def normalize_batch(x: Tensor, norm: _Norm, n_last: int | None = None) -> Tensor:
    """Return the batch norm of training, with the statistics of the rows of all processes.

    Parameters
    ----------
    x : Tensor of shape (v, c, t, n), channels last
    norm : nn.BatchNorm1d or nn.BatchNorm2d
        Of c channels; its running statistics are updated.
    n_last : int, optional
        The last of the n counts so many times; 1 if left out.
    """
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    if n_last is not None or n_processes() > 1:
        out = _GlobalBatchNorm.apply(x, norm.weight, norm.bias, norm, n_last or 1)  # type: ignore[no-untyped-call]
        return cast(Tensor, out)
    return functional.batch_norm(
        *(x, norm.running_mean, norm.running_var, norm.weight, norm.bias),
        training=True,
        momentum=norm.momentum or 0.0,
        eps=norm.eps,
    )


class _GlobalBatchNorm(torch.autograd.Function):
    """Batch norm whose sums run over all processes and count the last of n as n_last.

    Gradients follow the convention of `iospstl_train.training.processes`: those of the parameters
    are sums over the rows of this process, to be averaged over the processes.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: _Norm, n_last: int
    ) -> Tensor:
        stacked = torch.stack([_moments(x, 1), _moments(x[..., -1:], n_last - 1)])
        count, mean, variance = _combine(gather_rows(stacked))
        _update_running(norm, mean, variance * count / (count - 1).clamp(min=1))
        scale = weight * (variance + norm.eps).rsqrt()
        ctx.save_for_backward(x, weight, count, mean, variance)
        ctx.eps, ctx.n_last = norm.eps, n_last
        return _scale(x, scale, bias - mean * scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, count, mean, variance = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        inverse_std = (variance + ctx.eps).rsqrt()
        scale = weight * inverse_std
        of_weight, of_bias = _parameter_gradients(x, gradient, weight, mean, inverse_std)
        sums = sum_over_processes(torch.stack([of_weight, of_bias])) / count
        slope = -scale * inverse_std * sums[0]
        offset = -scale * sums[1] - slope * mean
        of_x = _scale(gradient, scale, offset)
        of_x += _scale(x, slope, torch.zeros_like(slope))
        if ctx.n_last != 1:
            of_x[..., -1:] += (ctx.n_last - 1) * _scale(x[..., -1:], slope, offset)
        return of_x, of_weight, of_bias, None, None


def _moments(x: Tensor, weight: int) -> Tensor:
    """Count, mean and variance of x (v, c, t, n) that counts `weight` times, as (1 + 2 c,)."""
    count = x.numel() // x.shape[1] * weight
    if count == 0:
        return torch.zeros(1 + 2 * x.shape[1], device=x.device, dtype=_precise(x))
    if x.device.type == "cpu" and x.dtype == _precise(x):  # 10 times as fast as var_mean
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    else:
        variance, mean = torch.var_mean(x.to(_precise(x)), dim=(0, 2, 3), correction=0)
    return torch.cat([mean.new_tensor([count]), mean, variance])


def _precise(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _combine(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance (c,) of the union of groups with moments (n_groups, 1 + 2 c)."""
    count = moments[:, :1]
    mean, variance = moments[:, 1:].chunk(2, dim=1)
    total = count.sum().clamp(min=1)
    overall = (count * mean).sum(dim=0) / total
    return total, overall, (count * (variance + (mean - overall).square())).sum(dim=0) / total


def _update_running(norm: _Norm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.lerp_(mean, norm.momentum or 0.0)
    norm.running_var.lerp_(variance, norm.momentum or 0.0)


def _scale(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return x * scale + offset; the batch norm of evaluation is the fastest way to it."""
    if x.numel() == 0:
        return torch.empty_like(x)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    return functional.batch_norm(x, zero, one, scale, offset, training=False, eps=0.0)


def _parameter_gradients(
    x: Tensor, gradient: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients (c,) of weight and bias: sums over the rows of this process."""
    if x.numel() == 0:
        return torch.zeros_like(mean), torch.zeros_like(mean)
    _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        *(gradient, x, weight, None, None, mean, inverse_std, True, 0.0),
        [False, True, True],
    )
    return of_weight, of_bias
