"""The imputers that need no neighbours, by hand."""

import numpy as np
import pytest

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.fill import CellSource
from iospstl_core.imputation.plain import (
    fill_linear,
    fill_mean,
    fill_none,
    fill_random,
    observed_limits,
)
from tests.core.people import everybody

NAN = np.nan
OBSERVED, ABSENT, UNFILLED, RANDOM, LINEAR, _, _, BANK, JOINT, *_ = CellSource
SHAPE = (6, 2, 4, 3)


def track(values):
    """One window of one person from the x of one joint in each frame; y = 2 x, z = -x."""
    xyz = np.array(values, dtype=np.float32)[:, None, None, None] * np.float32([1, 2, -1])
    return xyz[None]


def bank_of(*tracks):
    return build_bank(np.concatenate([track(values) for values in tracks]), np.zeros(1, int), 1)


def filled_track(filled):
    """The x of each frame and its source, after a look at y and z."""
    xyz = filled.xyz[0, :, 0, 0]
    np.testing.assert_allclose(xyz[:, 1:], xyz[:, :1] * [2, -1], rtol=1e-6)
    return xyz[:, 0].tolist(), [CellSource(source) for source in filled.source[0, :, 0, 0]]


@pytest.fixture
def setting():
    """Windows with hidden cells, absent persons and a joint that nobody has; their bank."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(8, *SHAPE)).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = NAN
    present = everybody(xyz)
    present[::2, :, 1] = False
    present[1, 4:] = False
    xyz[~present] = NAN
    xyz[..., 3, :] = NAN
    return xyz, present, build_bank(xyz, np.zeros(8, dtype=int), 1)


def rules(bank):
    limits = np.float32([[-1, -2, -3], [1, 2, 3]])
    return {
        "none": fill_none,
        "mean": lambda xyz, present: fill_mean(xyz, present, bank),
        "linear": lambda xyz, present: fill_linear(xyz, present, bank),
        "random": lambda xyz, present: fill_random(
            xyz, present, bank, limits, np.random.default_rng(3)
        ),
    }


@pytest.mark.parametrize("rule", ["none", "mean", "linear", "random"])
def test_what_was_observed_stays_and_the_absent_stay_absent(setting, rule):
    xyz, present, bank = setting
    before = xyz.copy()
    filled = rules(bank)[rule](xyz, present)
    np.testing.assert_array_equal(xyz, before)
    seen = ~np.isnan(xyz)
    assert filled.xyz.dtype == np.float32
    assert filled.xyz[seen].tobytes() == xyz[seen].tobytes()
    np.testing.assert_array_equal(filled.source == OBSERVED, seen[..., 0])
    np.testing.assert_array_equal((filled.source == ABSENT).all(axis=-1), ~present)
    np.testing.assert_array_equal((filled.source == ABSENT).any(axis=-1), ~present)
    assert np.isnan(filled.xyz[~present]).all()
    counts = filled.counts()
    assert sum(counts.values()) == filled.source.size
    assert all(counts.values())


@pytest.mark.parametrize("rule", ["mean", "linear", "random"])
def test_only_what_nobody_has_stays_empty(setting, rule):
    xyz, present, bank = setting
    filled = rules(bank)[rule](xyz, present)
    unfilled = filled.source == UNFILLED
    assert unfilled[present][:, 3].all()
    assert not unfilled[..., :3].any()
    np.testing.assert_array_equal(
        np.isnan(filled.xyz).any(axis=-1), unfilled | (filled.source == ABSENT)
    )


@pytest.mark.parametrize("rule", ["none", "mean", "linear"])
def test_windows_do_not_see_each_other(setting, rule):
    xyz, present, bank = setting
    whole = rules(bank)[rule](xyz, present)
    for row in range(len(xyz)):
        one = rules(bank)[rule](xyz[row : row + 1], present[row : row + 1])
        np.testing.assert_array_equal(one.xyz[0], whole.xyz[row])
        np.testing.assert_array_equal(one.source[0], whole.source[row])


def test_none_fills_nothing(setting):
    xyz, present, _ = setting
    filled = fill_none(xyz, present)
    np.testing.assert_array_equal(filled.xyz, xyz)
    assert set(filled.counts()) == {"observed", "absent", "unfilled"}


def test_mean_by_hand():
    bank = bank_of([1, 2, 9], [3, NAN, 9])
    xyz = track([NAN, NAN, 5])
    expected = [2, 2, 5], [BANK, BANK, OBSERVED]
    assert filled_track(fill_mean(xyz, everybody(xyz), bank)) == expected


def test_mean_of_the_joint_where_nobody_has_the_cell():
    bank = bank_of([1, NAN, 9], [3, NAN, 9])
    xyz = track([NAN, NAN, 4])
    expected = [2, 5.5, 4], [BANK, JOINT, OBSERVED]
    assert filled_track(fill_mean(xyz, everybody(xyz), bank)) == expected


def test_linear_by_hand():
    bank = bank_of([50] * 8)
    xyz = track([NAN, 1, NAN, NAN, 4, 0, NAN, NAN])
    expected = [1, 1, 2, 3, 4, 0, 0, 0]
    sources = [LINEAR, OBSERVED, LINEAR, LINEAR, OBSERVED, OBSERVED, LINEAR, LINEAR]
    values, found = filled_track(fill_linear(xyz, everybody(xyz), bank))
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert found == sources


def test_linear_bridges_an_absence_without_filling_it():
    bank = bank_of([50] * 6)
    xyz, present = track([0, NAN, NAN, NAN, NAN, 5]), np.ones((1, 6, 1), dtype=bool)
    present[0, 2:4] = False
    filled = fill_linear(xyz, present, bank)
    values, sources = filled_track(filled)
    np.testing.assert_allclose(values, [0, 1, NAN, NAN, 4, 5], atol=1e-6)
    assert sources == [OBSERVED, LINEAR, ABSENT, ABSENT, LINEAR, OBSERVED]


def test_linear_takes_the_mean_where_the_window_never_shows_the_joint():
    bank = bank_of([1, NAN, 3], [3, NAN, 3])
    xyz = track([NAN, NAN, NAN])
    expected = [2, 2.5, 3], [BANK, JOINT, BANK]
    assert filled_track(fill_linear(xyz, everybody(xyz), bank)) == expected


def test_linear_is_numpys_interpolation(setting):
    xyz, present, bank = setting
    filled = fill_linear(xyz, present, bank)
    frames = np.arange(SHAPE[0])
    n_checked = 0
    for window, person, joint, axis in np.ndindex(len(xyz), 2, 4, 3):
        column = xyz[window, :, person, joint, axis]
        seen = ~np.isnan(column)
        chosen = filled.source[window, :, person, joint] == LINEAR
        if seen.any():
            expected = np.interp(frames, frames[seen], column[seen])
            found = filled.xyz[window, :, person, joint, axis]
            np.testing.assert_allclose(found[chosen], expected[chosen], atol=1e-6)
            n_checked += chosen.sum()
        else:
            assert not chosen.any()
    assert n_checked > 100


def test_random_stays_within_the_limits_and_reaches_them():
    xyz = np.full((40, *SHAPE), NAN, dtype=np.float32)
    bank = build_bank(np.zeros((1, *SHAPE), dtype=np.float32), np.zeros(1, dtype=int), 1)
    low, high = limits = np.float32([[-1, 0.25, -3], [1, 0.5, -2]])
    filled = fill_random(xyz, everybody(xyz), bank, limits, np.random.default_rng(0))
    assert (filled.source == RANDOM).all()
    flat = filled.xyz.reshape(-1, 3)
    assert (flat >= low).all()
    assert (flat <= high).all()
    np.testing.assert_allclose(flat.min(axis=0), low, atol=0.01)
    np.testing.assert_allclose(flat.max(axis=0), high, atol=0.01)
    np.testing.assert_allclose(flat.mean(axis=0), (low + high) / 2, atol=0.02)


def test_random_is_the_same_for_the_same_generator_only(setting):
    xyz, present, bank = setting
    limits = observed_limits(xyz)
    first, again, other = (
        fill_random(xyz, present, bank, limits, np.random.default_rng(seed)).xyz.tobytes()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_limits_are_those_of_what_was_observed(setting):
    xyz, _, _ = setting
    seen = xyz[~np.isnan(xyz[..., 0])]
    limits = observed_limits(xyz)
    assert limits.shape == (2, 3)
    np.testing.assert_array_equal(limits, [seen.min(axis=0), seen.max(axis=0)])
