"""Convolution along time of tensors whose first axis is time, (t, ..., c)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

_SPECTRAL_WIDTH = 64
"""From so many channels on, products saved are worth the transforms (2 cores, AVX2)."""


def convolve_time(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return the convolution (t_out, v, n, c_out) along the first axis of x (t, v, n, c_in).

    Parameters
    ----------
    x : Tensor of shape (t, v, n, c_in)
    convolution : nn.Conv2d
        With a kernel (k, 1), k odd, padded by k // 2 in time.
    """
    if _is_spectral_faster(x, convolution):
        return _convolve_spectral(x, convolution)
    t, v, n, c = x.shape
    image = x.reshape(1, t, v * n, c).permute(0, 3, 1, 2)  # channels last
    out = convolution(image).permute(0, 2, 3, 1)
    return out.reshape(out.shape[1], v, n, -1)


def _is_spectral_faster(x: Tensor, convolution: nn.Conv2d) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and convolution.stride[0] == 1
        and min(convolution.in_channels, convolution.out_channels) >= _SPECTRAL_WIDTH
        and convolution.kernel_size[0] > 3
    )


def _convolve_spectral(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Convolve as products of frequencies: 25 instead of 97 for 13 frames and a kernel of 9."""
    t, v, n, c = x.shape
    kernel = convolution.kernel_size[0]
    analyze_kernel, analyze, synthesize = (
        torch.from_numpy(matrix) for matrix in spectral_matrices(t, kernel)
    )
    taps = convolution.weight[..., 0].permute(2, 1, 0).reshape(kernel, -1)  # (k, c_in * c_out)
    weight = (analyze_kernel @ taps).view(len(analyze), c, -1)
    bias = convolution.bias
    assert bias is not None
    out = _Spectral.apply(x.reshape(t, v * n, c), weight, bias, analyze, synthesize)  # type: ignore[no-untyped-call]
    return cast(Tensor, out.view(t, v, n, -1))


@lru_cache
def spectral_matrices(
    n_frames: int, kernel: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return A (m, kernel), B (m, n_frames) and C (n_frames, m): y = C ((A w) * (B x)).

    y is the convolution padded with zeros to n_frames, `*` a product for each of the m rows. They
    are those of the discrete Fourier transform of length n_frames + kernel // 2, where what wraps
    around falls on frames that are not there. Each complex product is three real ones (Gauss), so
    that m is 1 + 3 * ((length - 1) // 2), and one more where the length is even.
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
    in_kernel, in_data, out = (np.array(rows, dtype=np.float32) for rows in matrices)
    return in_kernel, in_data, np.ascontiguousarray(out.T)


class _Spectral(torch.autograd.Function):
    """synthesize @ ((analyze @ x) times weight, frequency by frequency) + bias."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, analyze: Tensor, synthesize: Tensor
    ) -> Tensor:
        t, rows, c = x.shape
        spectrum = (analyze @ x.view(t, -1)).view(-1, rows, c)
        products = torch.bmm(spectrum, weight)
        products[0] += bias / synthesize[0, 0]  # of frequency 0, which all frames share
        ctx.save_for_backward(spectrum, weight, analyze, synthesize)
        return (synthesize @ products.view(len(products), -1)).view(t, rows, -1)

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        spectrum, weight, analyze, synthesize = ctx.saved_tensors
        t, rows, c = gradient.shape
        products = (synthesize.T @ gradient.reshape(t, -1)).view(-1, rows, c)
        of_bias = products[0].sum(dim=0) / synthesize[0, 0]
        of_weight = torch.bmm(spectrum.transpose(1, 2), products)
        of_spectrum = torch.bmm(products, weight.transpose(1, 2))
        of_x = (analyze.T @ of_spectrum.view(len(analyze), -1)).view(t, rows, -1)
        return of_x, of_weight, of_bias, None, None
