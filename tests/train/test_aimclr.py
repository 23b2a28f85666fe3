"""Extreme views, attention that drops what stands out, distributions, neighbors as positives."""

import math

import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.config import load_config
from iospstl_train.methods.aimclr import (
    AimClr,
    AimClrSettings,
    blur,
    distribution_loss,
    draw_extreme,
)
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.contrast import ContrastSettings
from iospstl_train.models.attention_drop import drop_attended
from iospstl_train.models.stgcn import EncoderSettings, StgcnEncoder
from tests.reference import contrast as reference

CONTRAST = ContrastSettings(feature_size=5, queue_size=12, momentum=0.75, temperature=0.2)
SHAPE = EncoderSettings(widths=(4, 6), strides=(2, 2), temporal_kernel=3, dropout=0.0)
AUGMENT = AugmentSettings(shear=0.5)


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def make_method(**changes):
    torch.manual_seed(0)
    settings = AimClrSettings(mining_epoch=2, **changes)
    return AimClr(StgcnEncoder(SHAPE), 6, CONTRAST, settings, AUGMENT)


def draw_batch(n=6):
    return torch.randn(n, 3, 50, 25, 1, generator=generate(1)), torch.zeros(n, 25)


def test_distribution_loss_by_hand():
    """Wanted: 3/4 and 1/4; said: 1/2 and 1/2, so ln 2 whatever is wanted."""
    wanted = torch.tensor([[math.log(3), 0.0]])
    said = torch.zeros(1, 2, requires_grad=True)
    loss = distribution_loss(said, wanted, 1.0)
    assert float(loss.detach()) == pytest.approx(math.log(2))
    said = torch.tensor([[math.log(4), 0.0]])
    expected = -0.75 * math.log(0.8) - 0.25 * math.log(0.2)
    assert float(distribution_loss(said, wanted, 1.0)) == pytest.approx(expected)
    wanted.requires_grad_()
    assert not distribution_loss(said, wanted, 1.0).requires_grad


def plain_blur(values, deviation, normalized):
    """Return a series after the blur of 15 frames, its ends mirrored; None is not observed."""
    last = len(values) - 1
    result = []
    for frame, value in enumerate(values):
        total = weights = 0.0
        for offset in range(-7, 8):
            source = abs(frame + offset)
            source = source if source <= last else 2 * last - source
            weight = math.exp(-(offset**2) / (2 * deviation**2))
            if values[source] is not None:
                total += weight * values[source]
                weights += weight
        result.append(None if value is None else total / (weights if normalized else 1))
    return result


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_blur_is_that_of_the_plain_version(kind):
    series = torch.randn(2, 20, generator=generate()).double().tolist()
    series[1][4] = series[1][5] = None
    x = torch.zeros(3, 3, 20, 25, 1, dtype=torch.float64)
    for sample, values in enumerate(series):
        x[sample, 1, :, 3, 0] = torch.tensor([value or 0.0 for value in values])
    x[2] = 1.0
    settings = AimClrSettings(blur=kind)
    deviation = torch.tensor([2.0, 0.7, 0.0], dtype=torch.float64)
    found = blur(x, deviation, settings)
    for sample, deviation in ((0, 2.0), (1, 0.7)):
        expected = plain_blur(series[sample], deviation, kind == "mean")
        assert found[sample, 1, :, 3, 0].tolist() == pytest.approx(
            [value or 0.0 for value in expected]
        )
    assert torch.equal(found[2], x[2])


def test_published_blur_makes_five_times_as_large():
    x = torch.ones(1, 3, 50, 25, 1)
    two = torch.tensor([2.0])
    assert float(blur(x, two, AimClrSettings(blur="sum")).max()) == pytest.approx(5.0, abs=0.02)
    torch.testing.assert_close(blur(x, two, AimClrSettings()), x)


def test_extreme_draws_have_the_published_chances():
    draw = draw_extreme((2000, 3, 4, 2, 1), AimClrSettings(), AUGMENT, generate())
    noisy = draw.noise.flatten(1).any(dim=1)
    assert float(draw.noise[noisy].std()) == pytest.approx(0.01, rel=0.03)
    blurred = draw.blur_deviation[draw.blur_deviation > 0]
    assert 0.1 <= float(blurred.min()) < 0.12
    assert 1.98 < float(blurred.max()) <= 2.0
    for share in (noisy, draw.blur_deviation > 0, draw.lost_axis >= 0):
        assert float(share.float().mean()) == pytest.approx(0.5, abs=0.04)
    axes = torch.bincount(draw.lost_axis[draw.lost_axis >= 0], minlength=3)
    assert axes.min() > 280
    both = noisy & (draw.lost_axis >= 0)
    assert float(both.float().mean()) == pytest.approx(0.25, abs=0.04)  # each by itself


def test_extreme_view_keeps_what_is_not_observed_at_zero():
    method = make_method(chance=1.0)
    x, _ = draw_batch()
    x[:, :, 10:20, 7] = x[:, :, :, [4, 8]] = 0
    x[:, :, 10:20, 7 + 4] = 0  # its other side, so that flipping keeps it
    draw = draw_extreme(x.shape, method.aim, AUGMENT, generate())
    still = torch.arange(50).expand(6, 50)
    moves = type(draw.moves)(still, draw.moves.warp, draw.moves.is_flipped)
    view = method._extreme_view(
        x, type(draw)(moves, draw.noise, *(draw.blur_deviation, draw.lost_axis))
    )
    assert not view[:, :, 10:20, [7, 11]].any()
    assert not view[:, :, :, [4, 8]].any()
    for sample, axis in zip(view, draw.lost_axis.tolist(), strict=True):
        assert not sample[axis].any()
        assert sample[(axis + 1) % 3, :, 0].all()


def plain_drop(features, limit, strength):
    """Return features [person][channel][frame][joint] without what stands out."""
    attention = []
    for person in features:
        maps = []
        for channel in person:
            cells = [value for frame in channel for value in frame]
            mean = sum(cells) / len(cells)
            variance = sum((value - mean) ** 2 for value in cells) / (len(cells) - 1)
            maps.append(
                [
                    [
                        1 / (1 + math.exp(-((v - mean) ** 2 / (4 * (variance + strength)) + 0.5)))
                        for v in frame
                    ]
                    for frame in channel
                ]
            )
        attention.append(maps)
    n_channels, n_frames, n_joints = len(features[0]), len(features[0][0]), len(features[0][0][0])
    joints = [
        [
            sum(maps[c][t][v] for c in range(n_channels) for t in range(n_frames))
            / (n_channels * n_frames)
            < limit
            for v in range(n_joints)
        ]
        for maps in attention
    ]
    cells = [[[[a < limit for a in t] for t in c] for c in maps] for maps in attention]
    flat = [kept for p in cells for c in p for t in c for kept in t]
    scale = len(flat) / sum(flat)
    scale *= sum(len(row) for row in joints) / sum(sum(row) for row in joints)
    return [
        [
            [
                [v * scale * joints[p][j] * cells[p][c][t][j] for j, v in enumerate(frame)]
                for t, frame in enumerate(channel)
            ]
            for c, channel in enumerate(person)
        ]
        for p, person in enumerate(features)
    ]


def test_drop_is_that_of_the_plain_version():
    features = torch.randn(4, 3, 6, 5, generator=generate()).double() ** 3  # (n, c, t, v)
    found = drop_attended(features.permute(3, 2, 0, 1), 0.68, 1e-4).permute(2, 3, 1, 0)
    expected = torch.tensor(plain_drop(features.tolist(), 0.68, 1e-4), dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert 0.1 < float((found == 0).double().mean()) < 0.9


def test_drop_counts_the_last_person_as_many():
    features = torch.randn(5, 6, 3, 4, generator=generate()).double() ** 3
    repeated = torch.cat([features, features[:, :, -1:].expand(-1, -1, 3, -1)], dim=2)
    expected = drop_attended(repeated, 0.68, 1e-4)[:, :, :3]
    torch.testing.assert_close(drop_attended(features, 0.68, 1e-4, n_last=4), expected)


def test_first_of_both_embeddings_is_the_usual_one():
    torch.manual_seed(0)
    encoder = StgcnEncoder(SHAPE).train()
    x, _ = draw_batch()
    both = encoder.embed_both(x, 0.7, 1e-4)
    torch.testing.assert_close(both[0], encoder(x))
    assert both[1].shape == both[0].shape
    assert not torch.equal(*both)


def plain_losses(queries, keys, queue, is_mining):
    """Return the losses of query, extreme view and what is left of it, number by number."""
    rows = [
        [reference.cosines(q, k, queue) for q, k in zip(features, keys, strict=True)]
        for features in queries
    ]
    positives = []
    for three in zip(*rows, strict=True):
        near = {1 + reference.nearest(values[1:]) for values in three} if is_mining else set()
        positives.append([0, *near])
    losses = [reference.mean_loss(rows[0], positives, 0.2)]
    for extreme in rows[1:]:
        total = 0.0
        for own, other in zip(rows[0], extreme, strict=True):
            wanted = [math.exp(value) for value in reference.log_softmax(own, 0.2)]
            said = reference.log_softmax(other, 0.2)
            total -= sum(a * b for a, b in zip(wanted, said, strict=True))
        losses.append(total / len(extreme))
    return losses


@pytest.mark.parametrize("epoch", [0, 2])
def test_losses_are_those_of_the_plain_version(epoch):
    method = make_method().double()
    method.begin_epoch(epoch)
    x, hidden_frac = draw_batch()
    queries, keys = [], []
    method.projector.register_forward_hook(lambda _, __, out: queries.append(out.tolist()))
    method.keys.head.register_forward_hook(lambda _, __, out: keys.append(out.tolist()))
    queue = method.keys.queue.tolist()
    parts = method(x.double(), hidden_frac, generate())
    expected = plain_losses(queries, keys[0], queue, is_mining=epoch >= 2)
    found = [float(parts[f"loss_{name}"].detach()) for name in ("query", "extreme", "dropped")]
    assert found == pytest.approx(expected)
    assert float(parts["loss"].detach()) == pytest.approx(found[0] + (found[1] + found[2]) / 2)


def test_loss_reaches_every_weight_that_learns():
    method = make_method()
    method(*draw_batch(), generate())["loss"].backward()
    for name, weight in (*method.encoder.named_parameters(), *method.projector.named_parameters()):
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("aimclr.blur_frames=14", "aimclr.blur_frames: expected an odd number, got 14"),
        ("aimclr.blur_deviation=[2, 1]", "aimclr.blur_deviation: expected the least first"),
        ("aimclr.chance=2", "aimclr.chance: input should be less than or equal to 1"),
    ],
)
def test_faults_say_where_and_what(override, message):
    with pytest.raises(InputError, match=message):
        load_config(overrides=[override])
