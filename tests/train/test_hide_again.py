"""What the restorer is asked to find: views of the training windows with other masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iospstl_core.skeleton import NTU_25
from iospstl_train.methods import hide_again
from iospstl_train.methods.hide_again import adapt_masks, draw_views
from tests.train.tiny_restorers import N_FRAMES, SETTINGS, made

STILL = replace(SETTINGS, max_yaw_deg=0.0, max_scale=0.0, curtain_masks=0.0)
FLIP_ORDER = torch.from_numpy(NTU_25.flip_order)


def draw(xyz, settings=SETTINGS, seed=0, rows=None, flip_order=FLIP_ORDER):
    observed = torch.from_numpy(~np.isnan(xyz[..., 0]))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(xyz)) if rows is None else rows
    values = torch.from_numpy(np.nan_to_num(xyz))
    return draw_views(values, observed, rows, flip_order, settings, generator)


@pytest.mark.parametrize("plain_masks", [0.0, 0.2, 1.0])
def test_only_what_was_observed_is_ever_a_target(plain_masks):
    """Every window is all 1 where observed and 0 elsewhere, and is not moved."""
    xyz = np.where(np.isnan(made(40)), np.float32(np.nan), np.float32(1))
    settings = replace(STILL, plain_masks=plain_masks)
    views = draw(xyz, settings)
    assert views.target.any()
    assert views.visible.any()
    assert not (views.target & views.visible).any()
    for used in (views.target, views.visible):
        assert (views.xyz[used].abs() == 1).all()
    known = views.xyz[..., 0] != 0
    torch.testing.assert_close(views.target | views.visible, known)


def test_mirrored_windows_keep_their_sides():
    """Observed cells of a mirrored view are those of the other side, with x turned round."""
    xyz = made(30)
    views = draw(xyz, replace(STILL, plain_masks=1.0))
    assert len(views.xyz) == 30
    plain = np.nan_to_num(xyz)
    swapped = plain[:, :, NTU_25.flip_order] * np.float32([-1, 1, 1])
    found = views.xyz.numpy()
    is_plain = (found == plain).all(axis=(1, 2, 3))
    is_swapped = (found == swapped).all(axis=(1, 2, 3))
    assert (is_plain ^ is_swapped).all()
    assert 5 < is_swapped.sum() < 25
    seen = ~np.isnan(xyz[..., 0])
    either = np.where(is_swapped[:, None, None], seen[:, :, NTU_25.flip_order], seen)
    np.testing.assert_array_equal((views.visible | views.target).numpy(), either)


def test_masks_are_those_of_the_training_set_forwards_or_backwards_or_mirrored():
    """One window hides the left knee from frame 30 on: no other cells are ever a target."""
    xyz = np.ones((12, N_FRAMES, 25, 3), np.float32)
    left, right = NTU_25.index("KneeLeft"), NTU_25.index("KneeRight")
    xyz[0, 30:, left] = np.nan
    observed = torch.from_numpy(~np.isnan(xyz[..., 0]))
    rows, generator = torch.ones(400, dtype=torch.int64), torch.Generator().manual_seed(0)
    settings = replace(STILL, plain_masks=0.0)
    values = torch.from_numpy(np.nan_to_num(xyz))
    target = draw_views(values, observed, rows, FLIP_ORDER, settings, generator).target
    kinds = {tuple(map(tuple, mask.nonzero().tolist())) for mask in target}
    expected = {
        tuple((frame, knee) for frame in frames)
        for knee in (left, right)
        for frames in (range(30, 50), range(20))
    }
    assert kinds == expected | {()}


def test_plain_masks_hide_cells_and_whole_joints():
    xyz = np.ones((1, N_FRAMES, 25, 3), np.float32)
    rows = torch.zeros(300, dtype=torch.int64)
    target = draw(xyz, replace(STILL, plain_masks=1.0), rows=rows).target
    share = target.float().mean(dim=(1, 2))
    assert 0.5 < share.max() < 0.8
    assert share.mean() == pytest.approx(0.3, abs=0.03)
    is_joints = (target == target[:, :1]).flatten(1).all(dim=1)
    assert 0.35 < is_joints.float().mean() < 0.65


def pole(n, steps_m=0.0):
    """Joints one above the other, 10 cm apart from 0 m on, that walk along x; all observed."""
    xyz = np.zeros((n, N_FRAMES, 25, 3), np.float32)
    xyz[..., 0] = steps_m * (np.arange(N_FRAMES) - N_FRAMES / 2)[:, None]
    xyz[..., 1] = 0.1 * np.arange(25)
    return torch.from_numpy(xyz), torch.ones((n, N_FRAMES, 25), dtype=torch.bool)


def runs(flags):
    """How often a row of flags turns on."""
    padded = torch.nn.functional.pad(flags.int(), (1, 0))
    return int((padded[1:] > padded[:-1]).sum())


def test_a_curtain_hides_what_is_below_its_top_or_a_range_of_it():
    """A pole that stands is hidden in all frames alike, up to below the joint at the top."""
    hidden = hide_again._curtains(*pole(400), torch.Generator().manual_seed(0))
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    columns = hidden[:, 0]
    assert not columns[:, -1].any()
    assert max(runs(column) for column in columns) == 1
    n_hidden = columns.sum(dim=1)
    assert set(n_hidden.tolist()) == set(range(25))
    floating = n_hidden.bool() & ~columns[:, 0]
    assert 0.05 < floating.float().mean() < 0.3
    depth = columns[floating].sum(dim=1)
    assert depth.min() >= 2
    assert depth.max() <= 10


def test_who_walks_past_a_curtain_disappears_once():
    """For at least its width, in whatever direction the curtain is looked at."""
    hidden = hide_again._curtains(*pole(400, steps_m=0.1), torch.Generator().manual_seed(0))
    is_behind = hidden.any(dim=2)
    assert max(runs(frames) for frames in is_behind) == 1
    n_frames = is_behind.sum(dim=1)
    assert len(set(n_frames.tolist())) > 20
    assert (n_frames[n_frames > 0] >= 1).all()
    assert 10 < n_frames.float().mean() < 40
    comes_and_goes = n_frames.bool() & ~is_behind[:, 0] & ~is_behind[:, -1]
    assert comes_and_goes.float().mean() > 0.2


def test_persistence_by_hand():
    observed = torch.ones((1, 8, 2), dtype=torch.bool)
    assert hide_again.persistence(observed) == 1
    observed[0, :, 1] = False
    assert hide_again.persistence(observed) == 1
    observed[0, ::2, 1] = True  # hidden in every second frame: never twice in a row
    assert hide_again.persistence(observed) == 0
    observed[0] = torch.tensor([[1] * 8, [1, 0, 0, 0, 1, 1, 1, 1]]).T
    expected = (2 / 3 - 3 / 16) / (1 - 3 / 16)
    assert hide_again.persistence(observed) == pytest.approx(expected)
    assert hide_again.persistence(~torch.ones((2, 3, 4), dtype=torch.bool)) >= 0
    random = torch.rand((50, N_FRAMES, 25), generator=torch.Generator().manual_seed(0)) < 0.6
    assert hide_again.persistence(random) < 0.02


def test_curtains_are_drawn_as_often_as_hidden_cells_hang_together():
    """Of windows that hide one joint, for long or in every second frame; joint 0 never."""
    xyz, observed = pole(2000)
    shares = []
    for frames in (slice(None), slice(0, None, 2)):
        seen = observed.clone()
        seen[:, frames, 24] = False
        settings = adapt_masks(replace(STILL, curtain_masks=0.5, plain_masks=0.0), seen)
        rows, generator = torch.arange(2000), torch.Generator().manual_seed(0)
        target = draw_views(xyz, seen, rows, FLIP_ORDER, settings, generator).target
        shares.append(float(target[:, :, 0].any(dim=1).float().mean()))
    assert 0.3 < shares[0] < 0.5
    assert shares[1] == 0


def test_moved_windows_are_turned_about_the_vertical_and_scaled():
    xyz = np.nan_to_num(made(200), nan=0.5)
    settings = replace(SETTINGS, max_yaw_deg=30.0, max_scale=0.1)
    views = draw(xyz, settings)
    found = views.xyz.double()
    plain = torch.from_numpy(xyz).double()
    length = torch.linalg.vector_norm(found, dim=-1).sum(dim=(1, 2))
    scale = length / torch.linalg.vector_norm(plain, dim=-1).sum(dim=(1, 2))
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    spine = NTU_25.center  # its own other side
    height = found[:, :, spine, 1] / scale[:, None]
    torch.testing.assert_close(height, plain[:, :, spine, 1], atol=1e-5, rtol=0)
    start, end = (
        torch.atan2(xyz_[:, 0, spine, 2], xyz_[:, 0, spine, 0].abs()) for xyz_ in (plain, found)
    )
    is_mirrored = (found[:, 0, spine, 0] * plain[:, 0, spine, 0]) < 0
    turn = torch.rad2deg(end - start)[~is_mirrored]
    assert turn.abs().max() <= 30 * 1.001
    assert turn.abs().max() > 25


def test_views_that_would_show_next_to_nothing_are_left_out():
    xyz = made(4)
    xyz[1] = np.nan
    xyz[1, 0, :19] = 1.0  # one cell less than is needed
    views = draw(xyz, replace(STILL, plain_masks=1.0))
    assert len(views.xyz) == 3
    assert (views.visible.flatten(1).sum(1) >= hide_again._MIN_VISIBLE).all()


def test_same_seed_same_views():
    first, again, other = (draw(made(), seed=seed) for seed in (1, 1, 2))
    for name in ("xyz", "visible", "target"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.xyz, other.xyz)
