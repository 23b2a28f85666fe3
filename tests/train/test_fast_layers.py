"""Layers of the pre-training step against the plain ones."""

import pytest
import torch
from torch import nn

from iospstl_train.models.batch_norm import normalize_batch
from iospstl_train.models.dropout import drop
from iospstl_train.models.graph_conv import convolve_graph
from iospstl_train.models.temporal import convolve_time, spectral_matrices


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_layer(v=4, c=64, t=13, n=5, dtype=torch.float64):
    x = torch.randn(v, c, t, n, generator=generate(), dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


def gradients(out, inputs):
    """Gradients of a sum with fixed random weights."""
    weights = torch.randn(out.shape, generator=generate(9), dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad((out * weights).sum(), inputs)


@pytest.mark.parametrize(("kernel", "stride", "t"), [(9, 1, 13), (9, 2, 25), (5, 1, 8), (9, 1, 3)])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_frequencies_give_the_convolution_and_its_gradients(kernel, stride, t, dtype, close):
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 66, (kernel, 1), (stride, 1), (kernel // 2, 0)).double()
    exact_x = draw_layer(t=t).requires_grad_()
    exact = convolution(exact_x)
    exact_gradients = gradients(exact, [exact_x, *convolution.parameters()])

    convolution = convolution.to(dtype)
    x = exact_x.detach().to(dtype).requires_grad_()
    out = convolve_time(x, convolution)
    assert "Spectral" in str(out.grad_fn.next_functions)
    got = (out, *gradients(out, [x, *convolution.parameters()]))
    for value, expected in zip(got, (exact, *exact_gradients), strict=True):
        assert (value - expected).abs().max() < close * expected.abs().max()


def test_thirteen_frames_take_twenty_five_products():
    assert len(spectral_matrices(13, 9)[0]) == 25


def test_narrow_convolutions_and_half_precision_stay_as_they_are():
    x = draw_layer(c=8, dtype=torch.float32).requires_grad_()
    narrow = nn.Conv2d(8, 8, (9, 1), 1, (4, 0))
    assert torch.equal(convolve_time(x, narrow), narrow(x))
    wide = nn.Conv2d(64, 64, (9, 1), 1, (4, 0))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve_time(draw_layer(dtype=torch.float32), wide).dtype == torch.bfloat16


def test_one_that_stands_for_many_is_many_in_the_batch_norm():
    torch.manual_seed(0)
    norm, plain = nn.BatchNorm2d(6).double(), nn.BatchNorm2d(6).double()
    x = draw_layer(c=6).requires_grad_()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        plain.weight.copy_(norm.weight)
    out = normalize_batch(x, norm, n_last=4)
    repeated = plain(torch.cat([x, *[x[..., -1:]] * 3], dim=3))
    torch.testing.assert_close(out, repeated[..., :5])
    # the last one is used four times downstream
    many = torch.cat([out, *[out[..., -1:]] * 3], dim=3)
    for got, expected in zip(
        gradients(many, [x, *norm.parameters()]),
        gradients(repeated, [x, *plain.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)
    for name, value in norm.named_buffers():
        torch.testing.assert_close(value, dict(plain.named_buffers())[name])


def test_batch_norm_without_weights_is_the_usual_one():
    norm, plain = nn.BatchNorm2d(6).double(), nn.BatchNorm2d(6).double()
    x = draw_layer(c=6)
    assert torch.equal(normalize_batch(x, norm), plain(x))
    torch.testing.assert_close(normalize_batch(x, norm, n_last=1), plain(x))


def test_graph_convolution_has_the_gradients_of_the_sum():
    x = torch.randn(5, 3, 2, 4, generator=generate(), dtype=torch.float64, requires_grad=True)
    graph = torch.rand(3, 5, 5, generator=generate(1), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 6, generator=generate(2), dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, 6, generator=generate(3), dtype=torch.float64, requires_grad=True)
    inputs = (x, graph, weight, bias)
    out = convolve_graph(*inputs)
    messages = torch.einsum("vtnc,kco->kvtno", x, weight) + bias[:, None, None, None]
    expected = torch.einsum("kvtno,kvw->wtno", messages, graph)
    torch.testing.assert_close(out, expected)
    for got, wanted in zip(gradients(out, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_dropout_drops_its_share_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    x = torch.ones(25, 16, 50, 7).contiguous(memory_format=torch.channels_last)
    out = drop(x.clone(), probability)
    assert out.stride() == x.stride()
    kept = out != 0
    assert float(kept.float().mean()) == pytest.approx(1 - probability, abs=0.01)
    assert out[kept].unique().tolist() == pytest.approx([1 / (1 - probability)])
    for dim in range(4):  # nothing is dropped by row
        others = [d for d in range(4) if d != dim]
        share = kept.float().mean(dim=others)
        assert (share - (1 - probability)).abs().max() < 0.04


def test_dropout_repeats_with_the_seed_and_passes_gradients_where_it_keeps():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        x = torch.ones(5, 4, 3, 7, requires_grad=True)
        out = drop(x * 1, 0.5)
        draws.append(out.detach())
        assert torch.equal(torch.autograd.grad(out.sum(), x)[0], out.detach())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert drop(x, 0.0) is x
