import pytest
import torch

from iospstl_core.skeleton import NTU_25
from iospstl_train.methods.augment import (
    AugmentSettings,
    _axis_rotation,
    _rotation,
    _shear,
    augment,
    draw_crop,
    draw_stream,
    flip,
    take_frames,
)

ORDER = torch.from_numpy(NTU_25.flip_order)


def generate(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_windows(n=4, frames=12, persons=2):
    return torch.randn(n, 3, frames, 25, persons, generator=generate(7))


def augment_by(x, settings, generator):
    """Draw for a batch and augment it; return also which samples are flipped."""
    draw = draw_stream(len(x), x.shape[2], settings, generator)
    return augment(x, draw, ORDER, settings.flip == "mirror"), draw.is_flipped


def test_crop_by_hand():
    """Six frames, padding 2: 1 0 | 0 1 2 3 4 5 | 5 4, any six in a row."""
    mirrored = [1, 0, 0, 1, 2, 3, 4, 5, 5, 4]
    allowed = {tuple(mirrored[start : start + 6]) for start in range(5)}
    frames = draw_crop(6, 3, 200, generate())
    assert frames.shape == (200, 6)
    got = {tuple(row) for row in frames.tolist()}
    assert got == allowed  # every start is drawn, the first and the last too


def test_crop_of_the_paper_pads_eight_frames():
    frames = draw_crop(50, 6, 500, generate())
    assert frames[:, 0].max() == 8  # latest start
    assert frames[:, -1].min() == 41  # earliest end
    assert (frames.diff().abs() <= 1).all()


def test_crop_moves_all_joints_together():
    x = draw_windows()
    cropped = take_frames(x, draw_crop(12, 3, 4, generate()))
    for sample, original in zip(cropped, x, strict=True):
        for frame in sample.unbind(1):
            assert any(torch.equal(frame, other) for other in original.unbind(1))


def test_take_frames_by_hand():
    x = draw_windows(n=2, frames=5)
    frames = torch.tensor([[4, 0], [2, 2]])
    taken = take_frames(x, frames)
    assert torch.equal(taken[0, :, 0], x[0, :, 4])
    assert torch.equal(taken[0, :, 1], x[0, :, 0])
    assert torch.equal(taken[1, :, 1], x[1, :, 2])


@pytest.mark.parametrize("mirror", [False, True])
def test_flip_twice_is_nothing(mirror):
    x = draw_windows()
    yes = torch.ones(4, dtype=torch.bool)
    once = flip(x, yes, ORDER, mirror)
    assert not torch.equal(once, x)
    assert torch.equal(flip(once, yes, ORDER, mirror), x)


def test_flip_exchanges_sides_of_the_flipped_only():
    x = draw_windows()
    left, right = NTU_25.index("HandLeft"), NTU_25.index("HandRight")
    flipped = flip(x, torch.tensor([True, False, False, True]), ORDER, mirror=False)
    assert torch.equal(flipped[0, :, :, left], x[0, :, :, right])
    assert torch.equal(flipped[3, :, :, right], x[3, :, :, left])
    assert torch.equal(flipped[1:3], x[1:3])
    head = NTU_25.index("Head")
    assert torch.equal(flipped[0, :, :, head], x[0, :, :, head])


def test_mirror_reflects_the_body():
    """A symmetric body is its own mirror image; exchanging sides alone turns it around."""
    rest = torch.tensor(NTU_25.rest_m)  # (25, 3)
    x = rest.T.view(1, 3, 1, 25, 1)
    yes = torch.ones(1, dtype=torch.bool)
    torch.testing.assert_close(flip(x, yes, ORDER, mirror=True), x)
    swapped = flip(x, yes, ORDER, mirror=False)
    torch.testing.assert_close(swapped[:, 0], -x[:, 0])
    torch.testing.assert_close(swapped[:, 1:], x[:, 1:])


def test_rotations_are_rotations():
    turns = _rotation(30.0, 1.0, 300, generate())
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(300, 3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(300))


def test_one_axis_turns_by_up_to_thirty_degrees_and_the_others_by_one():
    turns = _rotation(30.0, 1.0, 600, generate())
    angle = torch.rad2deg(torch.arccos((turns.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2))
    assert 25 < angle.max() < 32
    # about x: z to y and y to z; positive only
    about = torch.stack([turns[:, 2, 1], turns[:, 0, 2], turns[:, 1, 0]], dim=1)
    degrees = torch.rad2deg(torch.arcsin(about))
    assert degrees.min() > -1.1
    main = degrees.argmax(dim=1)
    assert torch.bincount(main, minlength=3).min() > 150  # each axis about a third
    others = degrees.scatter(1, main[:, None], 0.0)
    assert others.abs().max() < 1.6  # one degree, and what the order of the turns adds


def test_axes_turn_counter_clockwise():
    quarter = torch.tensor([torch.pi / 2])
    e_x, e_y, e_z = torch.eye(3)
    torch.testing.assert_close(_axis_rotation(quarter, 0)[0] @ e_y, e_z)
    torch.testing.assert_close(_axis_rotation(quarter, 1)[0] @ e_z, e_x)
    torch.testing.assert_close(_axis_rotation(quarter, 2)[0] @ e_x, e_y)


def test_shear_has_ones_on_the_diagonal():
    shears = _shear(0.5, 400, generate())
    assert torch.equal(shears.diagonal(dim1=1, dim2=2), torch.ones(400, 3))
    off = shears[:, ~torch.eye(3, dtype=torch.bool)]
    assert off.abs().max() <= 0.5
    assert off.min() < -0.45
    assert off.max() > 0.45
    assert torch.equal(_shear(0.0, 2, generate()), torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("mode", ["swap", "mirror"])
def test_what_is_not_observed_stays_zero(mode):
    x = draw_windows(frames=24)
    x[:, :, :, 5] = x[:, :, :, 9] = 0  # a pair, so that flipping keeps it
    x[..., 1] = 0
    out, _ = augment_by(x, AugmentSettings(flip=mode), generate())
    assert out[:, :, :, [5, 9]].abs().max() == 0
    assert out[..., 1].abs().max() == 0
    assert (out[:, :, :, 0, 0] != 0).all()


def test_without_strength_only_crop_and_flip_are_left():
    still = AugmentSettings(
        crop_ratio=100, shear=0, main_angle_deg=0, other_angle_deg=0, flip="swap"
    )
    x = draw_windows()
    out, is_flipped = augment_by(x, still, generate(2))
    assert is_flipped.any()
    assert not is_flipped.all()
    torch.testing.assert_close(out, flip(x, is_flipped, ORDER, mirror=False))


def test_one_draw_serves_the_whole_batch():
    same = draw_windows(n=1, frames=24).expand(16, -1, -1, -1, -1)
    together, is_flipped = augment_by(same, AugmentSettings(per_sample=False), generate())
    assert len(is_flipped.unique()) == 1
    torch.testing.assert_close(together, together[:1].expand_as(together))
    each, is_flipped = augment_by(same, AugmentSettings(), generate())
    assert len(is_flipped.unique()) == 2
    assert len({tuple(sample.flatten()[:9].tolist()) for sample in each}) == 16


def test_same_seed_same_bytes():
    x = draw_windows()
    first, _ = augment_by(x, AugmentSettings(), generate(5))
    again, _ = augment_by(x, AugmentSettings(), generate(5))
    other, _ = augment_by(x, AugmentSettings(), generate(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_shape_is_kept():
    assert augment_by(draw_windows(), AugmentSettings(), generate())[0].shape == (
        4,
        3,
        12,
        25,
        2,
    )
