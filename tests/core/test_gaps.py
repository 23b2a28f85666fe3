"""The nearest observed frames and the lines between them: by hand, and against plain ones."""

import numpy as np
import pytest

from iospstl_core.imputation.gaps import find_gaps, interpolate, interpolate_smoothly

NAN = np.nan


def masks(seed, shape=(5, 9, 2, 4)):
    """Observed cells of which some joints have none, all, or only the first or the last."""
    rng = np.random.default_rng(seed)
    observed = rng.random(shape) < 0.4
    observed[0, :, 0, 0], observed[0, :, 0, 1] = False, True
    observed[0, :, 0, 2], observed[0, :, 0, 3] = False, False
    observed[0, 0, 0, 2], observed[0, -1, 0, 3] = True, True
    return observed


def test_by_hand():
    gaps = find_gaps(np.array([[0, 1, 0, 0, 1, 0, 0]], dtype=bool))
    assert gaps.before.tolist() == [[1, 1, 1, 1, 4, 4, 4]]
    assert gaps.after.tolist() == [[1, 1, 4, 4, 4, 4, 4]]
    assert gaps.distance.tolist() == [[1, 0, 1, 1, 0, 1, 2]]
    np.testing.assert_allclose(gaps.weight[0, 1:5], [0, 1 / 3, 2 / 3, 0], rtol=1e-6)
    assert gaps.seen.all()


def test_what_is_never_observed_points_to_frame_0_and_is_not_seen():
    gaps = find_gaps(np.zeros((1, 4), dtype=bool))
    assert gaps.before.tolist() == gaps.after.tolist() == [[0, 0, 0, 0]]
    assert gaps.distance.tolist() == [[4, 4, 4, 4]]
    assert not gaps.seen.any()


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_equal_a_plain_search(seed):
    observed = masks(seed)
    gaps = find_gaps(observed)
    for index in np.ndindex(observed.shape):
        frames = np.flatnonzero(observed[(index[0], slice(None), *index[2:])])
        assert gaps.seen[index] == bool(len(frames))
        if len(frames):
            earlier, later = frames[frames <= index[1]], frames[frames >= index[1]]
            assert gaps.before[index] == (earlier[-1] if len(earlier) else frames[0])
            assert gaps.after[index] == (later[0] if len(later) else frames[-1])
            assert gaps.distance[index] == np.abs(frames - index[1]).min()


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_numpys(seed):
    observed = masks(seed)
    values = np.random.default_rng(seed).normal(size=(*observed.shape, 3)).astype(np.float32)
    values[~observed] = NAN
    lines = interpolate(values, find_gaps(observed))
    assert lines.dtype == np.float32
    np.testing.assert_array_equal(lines[observed], values[observed])
    frames = np.arange(observed.shape[1])
    for window, person, joint, axis in np.ndindex(5, 2, 4, 3):
        seen = observed[window, :, person, joint]
        found = lines[window, :, person, joint, axis]
        if seen.any():
            known = values[window, seen, person, joint, axis]
            expected = np.interp(frames, frames[seen], known)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        else:
            assert np.isnan(found).all()


def cubic_by_hand(known, position):
    """Catmull-Rom through the points (frame, value), held before the first and after the last."""
    frames, values = zip(*known, strict=True)
    if position <= frames[0] or position >= frames[-1]:
        return values[0] if position <= frames[0] else values[-1]

    def slope(index):
        left, right = max(index - 1, 0), min(index + 1, len(frames) - 1)
        return (values[right] - values[left]) / (frames[right] - frames[left])

    start = max(index for index, frame in enumerate(frames) if frame <= position)
    if frames[start] == position:
        return values[start]
    span = frames[start + 1] - frames[start]
    t = (position - frames[start]) / span
    return (
        (2 * t**3 - 3 * t**2 + 1) * values[start]
        + (t**3 - 2 * t**2 + t) * span * slope(start)
        + (3 * t**2 - 2 * t**3) * values[start + 1]
        + (t**3 - t**2) * span * slope(start + 1)
    )


@pytest.mark.parametrize("seed", range(3))
def test_curves_are_those_by_hand(seed):
    observed = masks(seed)
    values = np.random.default_rng(seed).normal(size=(*observed.shape, 3)).astype(np.float32)
    values[~observed] = NAN
    curves = interpolate_smoothly(values, find_gaps(observed))
    assert curves.dtype == np.float32
    np.testing.assert_array_equal(curves[observed], values[observed])
    for window, person, joint in np.ndindex(5, 2, 4):
        frames = np.flatnonzero(observed[window, :, person, joint])
        column = values[window, :, person, joint, 1].astype(float)
        found = curves[window, :, person, joint, 1]
        if len(frames):
            known = [(frame, column[frame]) for frame in frames]
            expected = [cubic_by_hand(known, frame) for frame in range(observed.shape[1])]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        else:
            assert np.isnan(found).all()


def test_a_curve_goes_on_as_the_movement_was():
    """Even movement is a straight line; a ball's flight is met better than by the line."""
    frames = np.arange(12)
    values = np.stack([frames, frames * (11 - frames), 0 * frames], axis=1).astype(np.float32)
    observed = np.ones((1, 12, 1), dtype=bool)
    observed[0, 4:8] = False
    gaps = find_gaps(observed)
    line, curve = (
        rule(values[None, :, None], gaps) for rule in (interpolate, interpolate_smoothly)
    )
    np.testing.assert_allclose(curve[0, :, 0, 0], frames, atol=1e-5)
    wrong = [np.abs(found[0, :, 0, 1] - values[:, 1]).max() for found in (line, curve)]
    assert wrong[1] < 0.9 * wrong[0]


@pytest.mark.parametrize("rule", [interpolate, interpolate_smoothly])
def test_what_is_never_observed_takes_what_stands_in_frame_0(rule):
    values = np.arange(12, dtype=np.float32).reshape(1, 4, 1, 3)
    lines = rule(values, find_gaps(np.zeros((1, 4, 1), dtype=bool)))
    np.testing.assert_array_equal(lines[0, :, 0], np.tile(values[0, 0], (4, 1)))


def test_inputs_are_left_alone():
    observed, values = masks(0), np.ones((*masks(0).shape, 3), dtype=np.float32)
    before = observed.copy()
    interpolate(values, find_gaps(observed))
    np.testing.assert_array_equal(observed, before)
    assert (values == 1).all()
