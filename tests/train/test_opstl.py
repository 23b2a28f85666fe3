import numpy as np
import pytest
import torch

from iospstl_core.skeleton import NTU_25
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.barlow_twins import barlow_twins_parts, make_projector
from iospstl_train.methods.opstl import (
    Opstl,
    OpstlSettings,
    draw_joints,
    draw_ranks,
    drop_frames,
    frequency_degrees,
)
from iospstl_train.methods.pstl import Pstl
from iospstl_train.models.stgcn import EncoderSettings, StgcnEncoder
from tests.reference import barlow_twins as reference

DEGREES = torch.from_numpy(NTU_25.degrees).float()


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def make_method(seed=0, flip="swap", **changes):
    torch.manual_seed(seed)
    encoder = StgcnEncoder(
        EncoderSettings(widths=(4, 6), strides=(2, 2), temporal_kernel=3, dropout=0.0)
    )
    settings = OpstlSettings(projector_width=8, **changes)
    return Opstl(encoder, 6, settings, AugmentSettings(flip=flip))


def draw_batch(n=6):
    x = torch.randn(n, 3, 50, 25, 1, generator=generate(1))
    return x, torch.rand(n, 25, generator=generate(2))


def test_parts_are_those_of_the_formula():
    first, second = torch.randn(2, 7, 5, generator=generate()).double()
    second = first + 0.5 * second
    expected = reference.barlow_twins_parts(first.tolist(), second.tolist())
    got = [float(part) for part in barlow_twins_parts(first, second)]
    assert got == pytest.approx(expected, rel=1e-6)
    assert min(expected) > 0.01


def test_parts_of_equal_inputs_have_no_diagonal():
    z = torch.randn(64, 5, generator=generate())
    diagonal, off = barlow_twins_parts(z, z)
    assert float(diagonal) < 1e-8
    assert float(off) > 0.01


def test_scale_and_shift_of_a_feature_change_nothing():
    first, second = torch.randn(2, 40, 6, generator=generate())
    expected = barlow_twins_parts(first, second)
    scale, shift = torch.tensor([2.0, 5, 30, 1, 10, 3]), torch.tensor([1.0, -2, 0, 3, 4, 5])
    got = barlow_twins_parts(first * scale + shift, second * scale.flip(0) - shift)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_frequency_degrees_span_those_of_the_graph():
    degrees = frequency_degrees(torch.tensor([0.0, 5, 10, 20, 100]))
    assert degrees[0] == 1
    assert degrees[2] == pytest.approx(1.3, abs=1e-4)
    assert 3.99 < degrees[-1] < 4
    assert torch.equal(frequency_degrees(torch.full((25,), 7.0)), torch.ones(25))


def test_draws_are_distinct_and_complete():
    generator = generate()
    for _ in range(200):
        joints = draw_joints(DEGREES, 9, "distinct", generator)
        assert len(set(joints.tolist())) == 9


def test_draws_follow_the_weights():
    weight = torch.ones(25)
    weight[3], weight[7] = 20.0, 0.0
    generator = generate()
    drawn = torch.stack([draw_joints(weight, 9, "distinct", generator) for _ in range(300)])
    counts = torch.bincount(drawn.flatten(), minlength=25)
    assert counts[7] == 0
    assert counts[3] > 280
    assert 60 < counts[0] < 160  # a little more than a third


def test_tickets_repeat_joints_as_published():
    generator = generate()
    draws = [draw_joints(DEGREES, 9, "tickets", generator) for _ in range(2000)]
    sizes = np.array([len(joints) for joints in draws])
    assert sizes.mean() == pytest.approx(8.16, abs=0.05)
    assert sizes.max() == 9
    assert (sizes == 9).mean() == pytest.approx(0.37, abs=0.04)
    share = torch.bincount(torch.cat(draws), minlength=25) / 2000
    for degree, expected in ((1, 0.19), (2, 0.34), (3, 0.47), (4, 0.58)):
        assert float(share[degree == DEGREES].mean()) == pytest.approx(expected, abs=0.03)


def draw_masked(method, frequency, n_draws=200):
    """How often each joint is masked, and the numbers of masked joints."""
    generator = generate(3)
    kept = [method._draw_kept_joints(frequency, generator) for _ in range(n_draws)]
    share = 1 - torch.bincount(torch.cat(kept), minlength=25) / n_draws
    return share, {25 - len(joints) for joints in kept}


def test_adaptive_mask_follows_what_is_hidden():
    frequency = torch.full((8, 25), 0.1)
    frequency[:, :5] = 0.9
    share, sizes = draw_masked(make_method(), frequency)
    assert sizes == {9}
    assert share[:5].min() > 0.6
    assert share[5:].max() < 0.45


def test_adaptive_mask_counts_over_the_batch():
    frequency = torch.zeros(4, 25)
    frequency[0, 2] = 1.0
    share, _ = draw_masked(make_method(), frequency)
    assert share.argmax() == 2


def test_joints_that_a_source_never_has_are_not_masked():
    frequency = torch.full((8, 25), 0.2)
    frequency[:, [21, 22, 23, 24, 2]] = torch.nan
    for joint_mask in ("adaptive", "central"):
        share, sizes = draw_masked(make_method(joint_mask=joint_mask), frequency)
        assert sizes == {9}
        assert share[[21, 22, 23, 24, 2]].max() == 0


@pytest.mark.parametrize("joint_mask", ["adaptive", "central"])
def test_degrees_are_the_weights_where_nothing_is_hidden(joint_mask):
    share, _ = draw_masked(make_method(joint_mask=joint_mask), torch.zeros(8, 25), 1500)
    by_degree = [float(share[degree == DEGREES].mean()) for degree in (1, 2, 3, 4)]
    assert by_degree == sorted(by_degree)
    assert by_degree[3] - by_degree[0] > 0.3


def test_central_mask_does_not_look_at_what_is_hidden():
    frequency = torch.zeros(8, 25)
    frequency[:, 3] = 1.0  # the head, of degree 1
    central, _ = draw_masked(make_method(joint_mask="central"), frequency)
    adaptive, _ = draw_masked(make_method(), frequency)
    assert central[3] < 0.35
    assert adaptive[3] > 0.6


def test_fastest_frames_are_dropped_in_order():
    """Frames 5, 6 and 7 of sample 0 move on, those of sample 1 at 20, 21 and 22."""
    x = torch.zeros(2, 3, 50, 25, 2)
    frame = torch.arange(50.0)
    x += frame.view(1, 1, 50, 1, 1) * 1e-4
    x[0, :, 6:] += 5
    x[0, :, 7:] += 4
    x[0, :, 8:] += 3
    x[1, :, 21:] += 5
    x[1, :, 22:] += 4
    x[1, :, 23:] += 3
    kept = drop_frames(x, 3, draw_ranks(50, 3, 2, generate()))
    assert kept.shape == (2, 3, 44, 25, 2)
    for sample, original, fast in ((kept[0], x[0], (5, 6, 7)), (kept[1], x[1], (20, 21, 22))):
        values = original[0, :, 0, 0].tolist()
        frames = [values.index(value) for value in sample[0, :, 0, 0].tolist()]
        assert frames == sorted(set(frames))
        assert not set(fast) & set(frames)


def test_thirty_of_fifty_frames_remain():
    x = torch.randn(3, 3, 50, 25, 1, generator=generate())
    kept = drop_frames(x, 10, draw_ranks(50, 10, 3, generate()))
    assert kept.shape == (3, 3, 30, 25, 1)


def test_other_half_is_dropped_at_random():
    x = torch.arange(50.0).view(1, 1, 50, 1, 1).expand(400, 3, 50, 25, 1)
    kept = drop_frames(x, 10, draw_ranks(50, 10, 400, generate()))[:, 0, :, 0, 0].long()
    counts = torch.bincount(kept.flatten(), minlength=50)
    assert counts[-1] > 0  # it never counts as moving, but can be drawn
    slow = counts[counts > 0]
    assert len(slow) == 40
    assert slow.min() > 400 * 0.6
    assert slow.max() < 400 * 0.9


def test_mask_follows_the_flip(monkeypatch):
    """Where a sample is flipped, the joint that was hidden is on the other side."""
    left, right = NTU_25.index("HandLeft"), NTU_25.index("HandRight")
    seen = {}
    method = make_method()
    monkeypatch.setattr(
        method,
        "_draw_kept_joints",
        lambda frequency, generator: seen.update(frequency=frequency) or torch.arange(16),
    )
    hidden_frac = torch.zeros(40, 25)
    hidden_frac[:, left] = 1.0

    is_flipped = method.draw(hidden_frac, 50, generate()).spatial.is_flipped
    assert 0 < int(is_flipped.sum()) < 40
    assert torch.equal(seen["frequency"][:, right] == 1, is_flipped)
    assert torch.equal(seen["frequency"][:, left] == 1, ~is_flipped)


def drawn_frequency(method, hidden_frac, monkeypatch):
    """Return what the masks of a batch are drawn from, and which samples are flipped."""
    seen = {}
    monkeypatch.setattr(
        method,
        "_draw_kept_joints",
        lambda frequency, generator: seen.update(frequency=frequency) or torch.arange(16),
    )
    is_flipped = method.draw(hidden_frac, 50, generate()).spatial.is_flipped
    return seen["frequency"], is_flipped


def test_published_masks_favor_the_wrong_side_of_flipped_samples(monkeypatch):
    hidden_frac = torch.rand(40, 25, generator=generate())
    found, is_flipped = drawn_frequency(make_method(follow_flip=False), hidden_frac, monkeypatch)
    assert 0 < int(is_flipped.sum()) < 40
    assert torch.equal(found, hidden_frac)


def test_published_counts_saturate(monkeypatch):
    """By hand: hidden in 1 % or 80 % of the cells is 1, never is 0, no such joint is NaN."""
    hidden_frac = torch.zeros(2, 25)
    hidden_frac[:, 0] = torch.tensor([0.01, 0.8])
    hidden_frac[1, 3] = torch.nan
    method = make_method(frequency="any", follow_flip=False)
    found, _ = drawn_frequency(method, hidden_frac, monkeypatch)
    expected = torch.zeros(2, 25)
    expected[:, 0] = 1
    expected[1, 3] = torch.nan
    torch.testing.assert_close(found, expected, equal_nan=True)
    share, _ = drawn_frequency(make_method(follow_flip=False), hidden_frac, monkeypatch)
    torch.testing.assert_close(share, hidden_frac, equal_nan=True)


def test_published_tickets_never_reach_four():
    """The frequency degree of the joint that is hidden most is a little less than 4."""
    weight = frequency_degrees(torch.linspace(0, 100, 25))
    tickets = weight.to(torch.int64)
    assert sorted(set(tickets.tolist())) == [1, 2, 3]
    generator = generate()
    drawn = torch.cat([draw_joints(weight, 1, "tickets", generator) for _ in range(3000)])
    for number in (1, 2, 3):
        expected = 3000 * float((tickets == number).sum() * number / tickets.sum())
        found = int((tickets[drawn] == number).sum())
        assert found == pytest.approx(expected, abs=4 * expected**0.5)


def test_pstl_masks_by_degree_whatever_was_hidden():
    torch.manual_seed(0)
    encoder = StgcnEncoder(EncoderSettings(widths=(4, 6), strides=(2, 2), temporal_kernel=3))
    method = Pstl(encoder, 6, OpstlSettings(projector_width=8), AugmentSettings())
    frequency = torch.zeros(8, 25)
    frequency[:, 3] = 1.0  # the head, of degree 1
    share, _ = draw_masked(method, frequency, 1500)
    by_degree = [float(share[degree == DEGREES].mean()) for degree in (1, 2, 3, 4)]
    assert by_degree == sorted(by_degree)
    assert share[3] < 0.35


def test_loss_is_the_sum_of_both_pairs():
    x, hidden_frac = draw_batch()
    with torch.no_grad():
        parts = make_method(offdiag_weight=0.3)(x, hidden_frac, generate())
        light = make_method(offdiag_weight=0.0)(x, hidden_frac, generate())
    assert set(parts) == {
        *("loss", "loss_temporal", "loss_spatial", "diagonal_temporal", "diagonal_spatial"),
        *("offdiagonal_temporal", "offdiagonal_spatial"),
    }
    total = float(parts["loss_temporal"]) + float(parts["loss_spatial"])
    assert float(parts["loss"]) == pytest.approx(total)
    assert float(light["loss_temporal"]) == pytest.approx(8 * float(light["diagonal_temporal"]))
    off = 8 * 7 * (float(parts["offdiagonal_temporal"]) + float(parts["offdiagonal_spatial"]))
    assert float(parts["loss"]) == pytest.approx(float(light["loss"]) + 0.3 * off)


def test_same_generator_same_loss():
    x, hidden_frac = draw_batch()
    with torch.no_grad():
        losses = [float(make_method()(x, hidden_frac, generate(s))["loss"]) for s in (4, 4, 5)]
    assert losses[0] == losses[1] != losses[2]


def test_loss_reaches_every_parameter():
    method = make_method()
    method(*draw_batch(), generate())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert method.encoder.blocks[0].spatial.weight.grad.abs().max() > 0


def test_projector_of_the_paper():
    sizes = [layer.weight.numel() for layer in make_projector(256, 64) if hasattr(layer, "bias")]
    assert sizes == [256 * 64, 64, 64 * 64, 64, 64 * 64]
    linear = [layer for layer in make_projector(4, 8) if isinstance(layer, torch.nn.Linear)]
    assert all(layer.bias is None for layer in linear)
