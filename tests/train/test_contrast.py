"""Contrast with momentum: losses by hand and against a plain version; keys that follow; queues."""

import math

import pytest
import torch

from iospstl_train.methods.augment import AugmentSettings, draw_crop_and_shear
from iospstl_train.methods.contrast import (
    ContrastSettings,
    Keys,
    contrast_loss,
    make_head,
    nearest_keys,
    own_key,
    to_unit_rows,
)
from iospstl_train.methods.skeletonclr import SkeletonClr
from iospstl_train.models.stgcn import EncoderSettings, StgcnEncoder
from tests.reference import contrast as reference

SETTINGS = ContrastSettings(feature_size=5, queue_size=12, momentum=0.75, temperature=0.2)


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def make_encoder(seed=0):
    torch.manual_seed(seed)
    return StgcnEncoder(
        EncoderSettings(widths=(4, 6), strides=(2, 2), temporal_kernel=3, dropout=0.0)
    )


def make_keys(settings=SETTINGS):
    encoder = make_encoder()
    head = make_head(6, settings.feature_size)
    return Keys(encoder, head, settings), encoder, head


def draw_batch(n=6):
    return torch.randn(n, 3, 50, 25, 1, generator=generate(1)), torch.rand(n, 25)


def test_loss_by_hand():
    """Cosines 1, 0 and -1 at temperature 1/2: the key has the chance e^2 / (e^2 + 1 + e^-2)."""
    similarity = torch.tensor([[1.0, 0.0, -1.0]])
    total = math.exp(2) + 1 + math.exp(-2)
    loss = contrast_loss(similarity, own_key(similarity), 0.5)
    assert float(loss) == pytest.approx(math.log(total) - 2)
    positive = torch.tensor([[True, True, False]])
    assert float(contrast_loss(similarity, positive, 0.5)) == pytest.approx(math.log(total) - 1)


def test_keys_that_say_nothing_cost_the_logarithm_of_their_number():
    similarity = torch.zeros(3, 8)
    assert float(contrast_loss(similarity, own_key(similarity), 0.07)) == pytest.approx(
        math.log(8)
    )


def test_loss_is_that_of_the_plain_version():
    queries, features = torch.randn(2, 4, 5, generator=generate()).double()
    keys = make_keys()[0].double()
    q, k = to_unit_rows(queries), to_unit_rows(features)
    similarity = keys.compare(q, k)
    expected = reference.info_nce(queries.tolist(), features.tolist(), keys.queue.tolist(), 0.2)
    assert float(contrast_loss(similarity, own_key(similarity), 0.2)) == pytest.approx(expected)


def test_nearest_keys_by_hand():
    similarity = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, -0.1]])
    assert nearest_keys(similarity, 1).tolist() == [[False, True, False], [True, False, False]]
    assert nearest_keys(similarity, 2).tolist() == [[False, True, True], [True, True, False]]
    assert nearest_keys(similarity, 9).all()


def test_oldest_keys_go_first():
    keys = make_keys()[0]
    assert torch.allclose(keys.queue.norm(dim=1), torch.ones(12))
    before = keys.queue.clone()
    first, second, third = (torch.full((5, 5), float(number)) for number in (1, 2, 3))
    keys.push(first)
    keys.push(second)
    assert keys.queue[:, 0].tolist()[:10] == [1] * 5 + [2] * 5
    assert torch.equal(keys.queue[10:], before[10:])
    keys.push(third)  # over the end: the first three are the oldest
    assert keys.queue[:, 0].tolist() == [3] * 3 + [1] * 2 + [2] * 5 + [3] * 2
    assert int(keys.position) == 3
    keys.push(torch.arange(20.0)[:, None].expand(20, 5))
    assert sorted(keys.queue[:, 0].tolist()) == list(range(8, 20))


def test_keys_follow_by_hand():
    keys, encoder, head = make_keys()
    with torch.no_grad():
        head[0].weight.fill_(1.0)
        keys.head[0].weight.fill_(0.0)
    keys.follow(encoder, head)
    torch.testing.assert_close(keys.head[0].weight, torch.full((6, 6), 0.25))
    keys.follow(encoder, head)
    torch.testing.assert_close(keys.head[0].weight, torch.full((6, 6), 0.4375))
    assert not any(weight.requires_grad for weight in keys.parameters())


def test_keys_start_as_a_copy_or_as_published():
    keys, encoder, _ = make_keys()
    weight = "blocks.1.temporal.2.weight"
    assert torch.equal(keys.encoder.get_parameter(weight), encoder.get_parameter(weight))
    own = ContrastSettings(feature_size=5, queue_size=12, key_start="own")
    keys, encoder, head = make_keys(own)
    drawn = [each.get_parameter(weight) for each in (encoder, keys.encoder)]
    assert not torch.equal(*drawn)
    for values in drawn:
        assert float(values.detach().std()) == pytest.approx(0.02, rel=0.3)
    norm = "blocks.1.temporal.0.weight"
    assert 0 < float((encoder.get_parameter(norm).detach() - 1).abs().max()) < 0.1
    assert torch.equal(keys.head[0].weight, head[0].weight)


def test_views_are_cropped_and_sheared_only():
    settings = AugmentSettings(shear=0.5)
    draw = draw_crop_and_shear(300, 50, settings, generate())
    assert not draw.is_flipped.any()
    assert torch.equal(draw.warp.diagonal(dim1=1, dim2=2), torch.ones(300, 3))
    off = draw.warp[:, ~torch.eye(3, dtype=torch.bool)]
    assert 0.45 < off.abs().max() <= 0.5
    assert draw.frames[:, 0].max() == 8
    same = draw_crop_and_shear(9, 50, AugmentSettings(per_sample=False), generate())
    assert len({tuple(frames.tolist()) for frames in same.frames}) == 1


def make_skeletonclr(seed=0):
    return SkeletonClr(make_encoder(seed), 6, SETTINGS, AugmentSettings(shear=0.5))


def test_skeletonclr_is_contrast_of_two_views():
    """The loss from the views that the networks got, by the plain version."""
    model = make_skeletonclr().double()
    x, hidden_frac = draw_batch()
    given = {}
    model.encoder.register_forward_hook(lambda *call: given.update(query=call[2]))
    model.keys.encoder.register_forward_hook(lambda *call: given.update(key=call[2]))
    queue = model.keys.queue.clone()
    parts = model(x.double(), hidden_frac, generate())
    queries = model.projector(given["query"])
    keys = model.keys.head(given["key"])
    expected = reference.info_nce(queries.tolist(), keys.tolist(), queue.tolist(), 0.2)
    assert float(parts["loss"].detach()) == pytest.approx(expected)
    assert torch.equal(model.keys.queue[:6], to_unit_rows(keys))
    assert torch.equal(model.keys.queue[6:], queue[6:])
    assert not torch.allclose(given["query"], given["key"])  # of another view


def test_skeletonclr_learns_its_queries_only():
    model = make_skeletonclr()
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.add_(0.01)
    before = [weight.clone() for weight in model.keys.parameters()]
    model(*draw_batch(), generate())["loss"].backward()
    for weight, old in zip(model.keys.encoder.parameters(), before, strict=False):
        torch.testing.assert_close(weight, old + 0.25 * 0.01)
        assert weight.grad is None
    learned = [*model.encoder.parameters(), *model.projector.parameters()]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in learned)


def test_nothing_changes_outside_of_a_training():
    model = make_skeletonclr().eval()
    with torch.no_grad():
        model.projector[0].weight.add_(0.01)  # there is something to follow
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(*draw_batch(), generate())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
