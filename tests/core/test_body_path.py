"""Where the body goes: rigid motion by hand, a plain solver, and what must not change it."""

import numpy as np
import pytest

from iospstl_core.imputation import body_path
from iospstl_core.imputation.body_path import follow_body
from tests.core.people import REST

N_FRAMES = 50
REST_M = REST.astype(np.float32)
FRAME = np.arange(N_FRAMES)
WALK = np.stack([FRAME / 40, 0.02 * np.sin(FRAME / 3), 0.3 * np.cos(FRAME / 10)], axis=1)
STAND = np.tile([0.3, -0.2, 0.1], (N_FRAMES, 1))
MM = 1e-3


def rigid(path, hidden_frac, seed=0, shape=REST, n=3):
    """Windows of a body that moves without changing, and which joints come and go."""
    observed = np.random.default_rng(seed).random((n, N_FRAMES, 25)) >= hidden_frac
    truth = np.broadcast_to(shape + path[:, None], (n, N_FRAMES, 25, 3)).astype(np.float32)
    return np.where(observed[..., None], truth, 0), observed, truth


def follow(xyz, observed):
    path, shape = follow_body(xyz, observed, REST_M)
    assert (path.dtype, shape.dtype) == (np.float32, np.float32)
    return path, shape


def off(path, shape, truth):
    """Distance of path and shape together from every joint, metres."""
    return np.linalg.norm(path[:, :, None] + shape[:, None] - truth, axis=-1)


@pytest.mark.parametrize("hidden_frac", [0.0, 0.4, 0.8])
def test_a_body_that_stands_is_found_whatever_shows(hidden_frac):
    xyz, observed, truth = rigid(STAND, hidden_frac)
    assert off(*follow(xyz, observed), truth).max() < MM


@pytest.mark.parametrize("hidden_frac", [0.0, 0.4])
def test_a_body_that_walks_is_found_but_for_the_priors(hidden_frac, monkeypatch):
    """With next to no weight on standing still and on the mean shape, the motion is exact."""
    xyz, observed, truth = rigid(WALK, hidden_frac)
    assert off(*follow(xyz, observed), truth).mean() < 10 * MM
    monkeypatch.setattr(body_path, "_STEADINESS", 1e-4)
    monkeypatch.setattr(body_path, "_PRIOR_FRAMES", 1e-4)
    assert off(*follow(xyz, observed), truth).max() < MM


def test_the_path_does_not_jump_where_joints_come_and_go():
    """The mean over what is visible does: by a hundred times as much."""
    xyz, observed, _ = rigid(WALK, 0.4)
    observed[:, 20:30, :12], xyz[:, 20:30, :12] = False, 0  # the upper half at once
    path, _ = follow(xyz, observed)
    wrong = np.abs(np.diff(path, axis=1) - np.diff(WALK, axis=0))
    visible_mean = xyz.sum(axis=2) / observed.sum(axis=2)[..., None]
    jumps = np.abs(np.diff(visible_mean, axis=1) - np.diff(WALK, axis=0))
    assert wrong.max() < 15 * MM
    assert jumps.max() > 300 * MM


def test_a_taller_body_has_its_own_shape_and_unseen_joints_the_mean_one():
    tall = 1.2 * REST
    xyz, observed, _ = rigid(STAND * 0, 0.0, shape=tall)
    observed[:, :, 3], xyz[:, :, 3] = False, 0
    path, shape = follow(xyz, observed)
    seen = np.arange(25) != 3
    assert np.abs(path[:, :, None] + shape[:, None] - tall)[:, :, seen].max() < 10 * MM
    np.testing.assert_allclose(shape[:, 3], np.broadcast_to(REST[3], (3, 3)), atol=1e-6)


@pytest.mark.parametrize("hidden_frames", [slice(0, 9), slice(20, 30), slice(41, 50)])
def test_frames_in_which_nothing_shows_are_bridged(hidden_frames):
    path_m = STAND + np.stack([FRAME / 100, 0 * FRAME, 0 * FRAME], axis=1)
    xyz, observed, truth = rigid(path_m, 0.0)
    observed[:, hidden_frames], xyz[:, hidden_frames] = False, 0
    path, shape = follow(xyz, observed)
    assert np.isfinite(path).all()
    assert off(path, shape, truth).max() < 0.12
    assert np.abs(np.diff(path, axis=1)).max() < 25 * MM


def test_nothing_seen_at_all_is_the_mean_body_at_the_origin():
    xyz, observed = np.zeros((2, N_FRAMES, 25, 3), np.float32), np.zeros((2, N_FRAMES, 25), bool)
    path, shape = follow(xyz, observed)
    np.testing.assert_allclose(path, 0, atol=1e-6)
    np.testing.assert_allclose(shape, np.broadcast_to(REST_M, shape.shape), atol=1e-6)


def made(seed=1):
    rng = np.random.default_rng(seed)
    xyz, observed, _ = rigid(WALK, 0.5, seed)
    wriggle = rng.normal(0, 0.05, xyz.shape).astype(np.float32)
    return np.where(observed[..., None], xyz + wriggle, 0).astype(np.float32), observed


def test_windows_do_not_see_each_other():
    xyz, observed = made()
    path, shape = follow(xyz, observed)
    for row in range(len(xyz)):
        alone = follow(xyz[row : row + 1], observed[row : row + 1])
        np.testing.assert_allclose(alone[0][0], path[row], rtol=0, atol=1e-6)
        np.testing.assert_allclose(alone[1][0], shape[row], rtol=0, atol=1e-6)


def test_what_stands_in_hidden_cells_does_not_matter():
    """Both factors of a step are weighed, so no hidden value enters."""
    xyz, observed = made()
    other = np.where(observed[..., None], xyz, np.float32(7))
    for expected, found in zip(follow(xyz, observed), follow(other, observed), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_mirrored_windows_have_mirrored_paths():
    xyz, observed = made()
    sign = np.float32([-1, 1, 1])
    path, shape = follow(xyz, observed)
    mirrored_path, mirrored_shape = follow_body(xyz * sign, observed, REST_M * sign)
    np.testing.assert_allclose(mirrored_path, path * sign, atol=1e-6)
    np.testing.assert_allclose(mirrored_shape, shape * sign, atol=1e-6)


def test_windows_played_backwards_have_the_path_backwards():
    xyz, observed = made()
    path, shape = follow(xyz, observed)
    backwards, same = follow(xyz[:, ::-1], observed[:, ::-1])
    np.testing.assert_allclose(backwards, path[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(same, shape, atol=1e-5)


def solve_plainly(xyz, observed):
    """One window with all equations written out, (n_frames, 3) and (25, 3)."""
    n_seen, shape = observed.sum(axis=0)[:, None], REST.copy()
    path = np.zeros((N_FRAMES, 3))
    for _ in range(2):
        rows = [(1e-4, np.eye(N_FRAMES)[t], np.zeros(3)) for t in FRAME]
        rows += [(0.02, np.eye(N_FRAMES)[t], xyz[t, v] - shape[v]) for t, v in cells(observed)]
        for t in FRAME[1:]:
            step = np.eye(N_FRAMES)[t] - np.eye(N_FRAMES)[t - 1]
            common = observed[t] & observed[t - 1]
            rows += [(1.0, step, xyz[t, v] - xyz[t - 1, v]) for v in np.flatnonzero(common)]
            rows.append((1.0, step, np.zeros(3)))
        left = np.stack([np.sqrt(weight) * row for weight, row, _ in rows])
        right = np.stack([np.sqrt(weight) * value for weight, _, value in rows])
        path = np.linalg.lstsq(left, right, rcond=None)[0]
        total = np.where(observed[..., None], xyz - path[:, None], 0).sum(axis=0)
        shape = (total + 0.5 * REST) / (n_seen + 0.5)
    return path, shape


def cells(observed):
    return [tuple(cell) for cell in np.argwhere(observed)]


def test_equals_a_plain_solver():
    xyz, observed = made()
    observed[1, 10:14], xyz[1, 10:14] = False, 0
    path, shape = follow(xyz, observed)
    for row in range(2):
        expected_path, expected_shape = solve_plainly(xyz[row].astype(float), observed[row])
        np.testing.assert_allclose(path[row], expected_path, rtol=0, atol=1e-5)
        np.testing.assert_allclose(shape[row], expected_shape, rtol=0, atol=1e-5)
