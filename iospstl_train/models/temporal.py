"""Convolution along time as products of frequencies, where that costs less."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

_SPECTRAL_WIDTH = 64
"""From so many channels on, the products saved are worth the transforms (2 cores, AVX2)."""
_SPECTRAL_KERNEL = 5


def convolve_time(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return ``convolution(x)`` in training.

    On the CPU, wide ones in single or double precision are computed as products of frequencies:
    for 13 frames and a kernel of 9 these are 25 products instead of 97, and results are as close
    to the exact ones as those of the convolution.

    Parameters
    ----------
    x : Tensor of shape (v, c_in, t, n), channels last
    convolution : nn.Conv2d
        With a kernel (k, 1), k odd, padded by k // 2 in time.
    """
    if not _is_spectral_cheaper(x, convolution):
        return cast(Tensor, convolution(x))
    stride, kernel = convolution.stride[0], convolution.kernel_size[0]
    analyze_kernel, analyze, synthesize = (
        torch.from_numpy(matrix).to(x.dtype)
        for matrix in spectral_matrices(x.shape[2], kernel, stride)
    )
    taps = convolution.weight[..., 0].permute(2, 1, 0).reshape(kernel, -1)  # (k, c_in * c_out)
    weight = (analyze_kernel @ taps).view(len(analyze), x.shape[1], -1)
    frames = x.permute(0, 2, 3, 1)
    out = _Spectral.apply(frames, weight, convolution.bias, analyze, synthesize)  # type: ignore[no-untyped-call]
    return cast(Tensor, out).permute(0, 3, 1, 2)


def _is_spectral_cheaper(x: Tensor, convolution: nn.Conv2d) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and min(convolution.in_channels, convolution.out_channels) >= _SPECTRAL_WIDTH
        and convolution.kernel_size[0] >= _SPECTRAL_KERNEL
    )


@lru_cache
def spectral_matrices(
    n_frames: int, kernel: int, stride: int = 1
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return A (m, kernel), B (m, n_frames) and C (n_out, m): y = C ((A w) * (B x)).

    y is the convolution padded with zeros on both sides, every stride-th frame of it, and `*` a
    product for each of the m rows. They are those of the discrete Fourier transform of length
    n_frames + kernel // 2, where what wraps around falls on frames that are not there. Each
    complex product is three real ones (Gauss), so that m is 1 + 3 * ((length - 1) // 2), and one
    more where the length is even.
    """
    length = n_frames + kernel // 2
    frame, tap = np.arange(n_frames), np.arange(kernel) - kernel // 2
    kernel_rows, data_rows, output_columns = [], [], []
    for frequency in range(length // 2 + 1):
        angle = 2 * np.pi * frequency / length
        a, b = np.cos(angle * frame), -np.sin(angle * frame)
        c, d = np.cos(angle * tap), np.sin(angle * tap)
        if 2 * frequency in (0, length):  # real
            kernel_rows += [c]
            data_rows += [a]
            output_columns += [a / length]
        else:  # (a + ib)(c + id) from c(a + b), a(d - c) and b(c + d)
            kernel_rows += [c, d - c, c + d]
            data_rows += [a + b, a, b]
            output_columns += [2 / length * column for column in (a + b, b, -a)]
    matrices = kernel_rows, data_rows, output_columns
    in_kernel, in_data, out = (np.array(rows) for rows in matrices)
    return in_kernel, in_data, np.ascontiguousarray(out.T[::stride])


class _Spectral(torch.autograd.Function):
    """synthesize @ ((analyze @ x) times weight, frequency by frequency) + bias, joint by joint.

    The frequencies of one joint fit into the cache; they are computed again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, analyze: Tensor, synthesize: Tensor
    ) -> Tensor:
        v, _, n, _ = x.shape
        out = x.new_empty(v, len(synthesize), n, weight.shape[2])
        for joint, joint_out in zip(x, out, strict=True):
            products = torch.bmm(_transform(analyze, joint), weight)
            products[0] += bias / synthesize[0, 0]  # frequency 0: what all frames share
            torch.mm(synthesize, products.flatten(1), out=joint_out.flatten(1))
        ctx.save_for_backward(x, weight, analyze, synthesize)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, analyze, synthesize = ctx.saved_tensors
        of_x, of_weight = torch.empty_like(x), torch.zeros_like(weight)
        of_bias = torch.zeros_like(weight[0, 0])
        transposed = weight.transpose(1, 2)
        for joint, joint_gradient, joint_of_x in zip(x, gradient, of_x, strict=True):
            products = _transform(synthesize.T, joint_gradient)
            of_bias += products[0].sum(dim=0) / synthesize[0, 0]
            of_weight.baddbmm_(_transform(analyze, joint).transpose(1, 2), products)
            spectrum = torch.bmm(products, transposed)
            torch.mm(analyze.T, spectrum.flatten(1), out=joint_of_x.flatten(1))
        return of_x, of_weight, of_bias, None, None


def _transform(matrix: Tensor, frames: Tensor) -> Tensor:
    """Return matrix (m, t) times frames (t, n, c), as (m, n, c)."""
    t, n, c = frames.shape
    return (matrix @ frames.reshape(t, n * c)).view(-1, n, c)
