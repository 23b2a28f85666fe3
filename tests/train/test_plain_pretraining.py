"""The fast pre-training step against the paper's, written down literally."""

import dataclasses

import pytest
import torch

from iospstl_train.config import load_config
from iospstl_train.training.pretrain import learning_rate, make_model
from tests.reference import plain_pretraining as plain

CHANNELS, STRIDES = (4, 6, 64), (1, 2, 2)
WIDTH = 40
N_STEPS = 20
STEPS_AN_EPOCH = 40_091 // 128


def make_pair(dtype):
    """Return our model of the preset `paper`, narrow, and the plain one with its weights."""
    torch.manual_seed(0)
    config = load_config("paper")
    config = dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, widths=CHANNELS, strides=STRIDES, dropout=0.0),
        opstl=dataclasses.replace(config.opstl, projector_width=WIDTH),
    )
    ours = make_model(config).to(dtype).train()
    theirs = plain.PlainOpstl(CHANNELS, STRIDES, 0.0, WIDTH).to(dtype).train()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def draw_windows(dtype, n=8):
    """Windows of which most lack the second person, one lacks both, and some joints."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 3, 50, 25, 2, generator=generator, dtype=torch.float64)
    x = 0.3 * x.cumsum(dim=2) / 7 + torch.randn(n, 3, 1, 25, 2, generator=generator)
    x[: n - 2, ..., 1] = 0
    x[3] = 0
    hidden_frac = torch.rand(n, 25, generator=generator).round()
    x[hidden_frac[:, None, None, :, None].expand_as(x) == 1] = 0
    return x.to(dtype), hidden_frac


def as_plain(draw, t):
    """Return a batch's draw in the form of the plain version."""

    def stream(one):
        padding = t // 6
        first = list(range(padding))[::-1] + list(range(t)) + list(range(t - padding, t))[::-1]
        start = next(
            s for s in range(2 * padding + 1) if first[s : s + t] == one.frames[0].tolist()
        )
        warp = one.warp[0].tolist()
        flipped = bool(one.is_flipped[0])
        return {"start": start, "shear": warp, "turns": [], "is_flipped": flipped}

    return {
        **{name: stream(getattr(draw, name)) for name in ("anchor", "temporal", "spatial")},
        "frames": draw.ranks[0].tolist(),
        "joints": set(range(25)) - set(draw.kept_joints.tolist()),
    }


def train_both(dtype, rates):
    """Return the losses of both versions from the same weights, windows and draws."""
    ours, theirs = make_pair(dtype)
    x, hidden_frac = draw_windows(dtype)
    optimizers = [plain.make_optimizer(model) for model in (ours, theirs)]
    generator = torch.Generator().manual_seed(5)
    losses = []
    for rate in rates:
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
        draw = ours.draw(hidden_frac, x.shape[2], generator)
        expected = plain.step(theirs, optimizers[1], x, as_plain(draw, x.shape[2]))
        loss = ours.compare(x, draw)["loss"]
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        losses.append((loss.item(), expected))
    return losses, ours, theirs


def test_first_twenty_steps_have_the_losses_of_the_plain_version():
    """With the rates of the preset on NTU RGB+D 60, where it warms up."""
    training = load_config("paper").training
    rates = [learning_rate((step + 1) / STEPS_AN_EPOCH, training) for step in range(N_STEPS)]
    losses, _, _ = train_both(torch.float32, rates)
    for loss, expected in losses:
        assert loss == pytest.approx(expected, rel=1e-4)


def test_in_double_precision_they_are_the_same_at_the_full_rate():
    """In single precision rounding alone soon makes two versions differ at this rate."""
    losses, ours, theirs = train_both(torch.float64, [plain.LEARNING_RATE] * N_STEPS)
    for loss, expected in losses:
        assert loss == pytest.approx(expected, rel=1e-9)
    assert losses[-1][1] < 0.5 * losses[0][1]
    expected_buffers = dict(theirs.named_buffers())
    for name, value in ours.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, expected_buffers[name], rtol=1e-6, atol=1e-9)
