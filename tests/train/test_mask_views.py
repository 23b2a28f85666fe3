import dataclasses

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_core.normalize import N_FRAMES
from iospstl_core.skeleton import NTU_25
from iospstl_train.config import load_config
from iospstl_train.methods import mask_views
from iospstl_train.methods.barlow_twins import barlow_twins_parts
from iospstl_train.methods.mask_views import draw_masks, mask_pool
from iospstl_train.training.batches import training_data
from iospstl_train.training.model import make_model
from iospstl_train.training.pretrain import PretrainData, load_encoder, pretrain
from tests.train.tiny_training import tiny_config

FLIP = torch.from_numpy(NTU_25.flip_order)
CONFIG = tiny_config(
    *("training.encoder=mask-mixer", "mixer.width=12", "mixer.n_layers=1", "mixer.embedding=8")
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hide_more(x, pool, share, seed=0):
    draw = draw_masks(len(x), x.shape[4], len(pool), share, generator(seed))
    return mask_views.hide_more(x, pool, FLIP, draw)


def draw_pool(n=4):
    """Masks that no mirroring or reversal makes alike, and of which each hides one cell in six."""
    return torch.rand((n, N_FRAMES, 25), generator=generator(5)) < 1 / 6


def variants(pool):
    """The masks that may be drawn, with the number of the one they come from."""
    return [
        (index, changed)
        for index, mask in enumerate(pool)
        for once in (mask, mask.flip(0))
        for changed in (once, once[:, FLIP])
    ]


def test_what_is_hidden_is_a_mask_of_the_pool():
    pool, x = draw_pool(), torch.ones(40, 3, N_FRAMES, 25, 1)
    hidden = (hide_more(x, pool, 1.0) == 0)[..., 0]
    assert torch.equal(hidden.any(dim=1), hidden.all(dim=1))
    drawn = [
        [i for i, (_, mask) in enumerate(variants(pool)) if torch.equal(mask, found)]
        for found in hidden[:, 0]
    ]
    assert all(len(number) == 1 for number in drawn)
    assert len({number[0] for number in drawn}) == 16 - sum([i] not in drawn for i in range(16))
    assert {number[0] // 4 for number in drawn} == set(range(4))  # every window lends its mask
    assert {number[0] % 4 for number in drawn} == set(range(4))  # both ways, and mirrored


def test_persons_of_a_window_are_hidden_by_masks_of_their_own():
    x = torch.ones(8, 3, N_FRAMES, 25, 2)
    hidden = hide_more(x, draw_pool(), 1.0) == 0
    assert not torch.equal(hidden[..., 0], hidden[..., 1])


def test_share_of_samples_that_are_hidden():
    x = torch.ones(400, 3, N_FRAMES, 25, 1)
    for share in (0.0, 0.25, 1.0):
        changed = (hide_more(x, draw_pool(), share) == 0).flatten(1).any(dim=1)
        assert float(changed.float().mean()) == pytest.approx(share, abs=0.08)


def test_nothing_comes_to_light_and_somebody_is_left():
    x = torch.randn((30, 3, N_FRAMES, 25, 1), generator=generator(2))
    x[:, :, :, 3] = 0
    result = hide_more(x, draw_pool(), 1.0)
    assert torch.equal(result[result != 0], x[result != 0])
    assert (result[:, :, :, 3] == 0).all()
    everything = torch.ones(1, N_FRAMES, 25, dtype=torch.bool)
    assert torch.equal(hide_more(x, everything, 1.0), x)


def test_pool_is_what_persons_have_hidden():
    hidden = torch.zeros(3, N_FRAMES, 2, 25, dtype=torch.bool)
    hidden[0, 2, 1, 7] = hidden[2, 4, 0, 1] = True
    pool = mask_pool(hidden)
    assert pool.shape == (2, N_FRAMES, 25)
    assert pool.nonzero().tolist() == [[0, 2, 7], [1, 4, 1]]


def test_masks_are_those_of_the_training_windows(windows):
    xyz, truth, present = windows.xyz.copy(), windows.truth.copy(), windows.present.copy()
    xyz[..., 21, :] = truth[..., 21, :] = np.nan  # the source never has it
    present[0, 3] = False
    changed = dataclasses.replace(windows, xyz=xyz, truth=truth, present=present)
    expected = np.isnan(xyz[..., 0]) & present[..., None]
    assert expected[..., 21].any()
    expected[..., 21] = False
    np.testing.assert_array_equal(changed.unseen, expected)


def test_loss_is_barlow_twins_of_a_view_and_one_with_more_hidden():
    pool, x = draw_pool(), torch.randn((14, 3, N_FRAMES, 25, 1), generator=generator(3))
    torch.manual_seed(0)
    model = make_model(CONFIG, pool).eval()
    seen = []
    model.encoder.register_forward_hook(
        lambda _, inputs, output: seen.append((inputs[0], model.projector(output)))
    )
    parts = model(x, torch.zeros(14, 25), generator())
    (first, z_first), (second, z_second) = seen
    assert (first != 0).all()
    assert (second == 0).any()
    diagonal, offdiagonal = barlow_twins_parts(z_first, z_second)
    expected = diagonal + CONFIG.opstl.offdiag_weight * offdiagonal
    torch.testing.assert_close(parts["loss"], expected)
    assert float(parts["diagonal"]) == pytest.approx(float(diagonal.detach()) / 16)


def test_nothing_hidden_in_training_hides_nothing():
    model = make_model(CONFIG, torch.zeros(0, N_FRAMES, 25, dtype=torch.bool)).eval()
    inputs = []
    model.encoder.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    model(torch.ones(14, 3, N_FRAMES, 25, 1), torch.zeros(14, 25), generator())
    assert all((x != 0).any(dim=1).all() for x in inputs)


def test_training_goes_on_and_comes_back(windows, tmp_path):
    data = training_data(windows, windows)
    encoder = pretrain(data, CONFIG, tmp_path / "run")
    found, config = load_encoder(tmp_path / "run")
    assert config == CONFIG
    x = torch.randn(2, 3, N_FRAMES, 25, 2)
    assert torch.equal(found(x), encoder(x))
    again = pretrain(data, CONFIG, tmp_path / "again")
    assert torch.equal(again(x), encoder(x))
    other = PretrainData(data.xyz, data.hidden_frac, np.zeros_like(data.hidden))
    assert not torch.equal(pretrain(other, CONFIG, tmp_path / "other")(x), encoder(x))


def test_masks_are_needed_and_runs_do_not_mix(windows, tmp_path):
    train = windows.is_train
    data = PretrainData(windows.xyz[train], windows.hidden_frac()[train])
    with pytest.raises(ValueError, match="hidden: expected the masks"):
        pretrain(data, CONFIG, tmp_path / "run")
    pretrain(data, tiny_config(), tmp_path / "run")
    with_masks = PretrainData(data.xyz, data.hidden_frac, windows.unseen[train])
    with pytest.raises(InputError, match="another"):
        pretrain(with_masks, CONFIG, tmp_path / "run", resume=True)
    assert load_config("mask-mixer").training.encoder == "mask-mixer"


def test_two_processes_hide_what_one_would():
    """Draws are those of the whole batch: each process takes its own rows of them."""
    pool, x = draw_pool(), torch.randn((14, 3, N_FRAMES, 25, 2), generator=generator(3))
    model = make_model(CONFIG, pool).eval()
    views = []
    model.encoder.register_forward_pre_hook(lambda _, given: views.append(given[0]))
    model(x, torch.zeros(14, 25), generator())
    for rows in (slice(0, 7), slice(7, 14)):
        model(x[rows], torch.zeros(14, 25), generator(), rows=rows)
    whole, halves = views[:2], (views[2::2], views[3::2])
    for view, parts in zip(whole, halves, strict=True):
        assert torch.equal(view, torch.cat(parts))
