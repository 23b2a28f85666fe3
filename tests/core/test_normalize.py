"""Centring, facing the camera and resampling: what is missing never moves what is seen."""

from fractions import Fraction

import numpy as np
import pytest

from iospstl_core.normalize import (
    N_FRAMES,
    estimate_body_frame,
    normalize,
    resample,
    to_body_frame,
    to_camera_frame,
)
from iospstl_core.skeleton import NTU_25, joint_indices
from tests.core.people import REST, everybody, hide_cells, turned, walking_people

CENTER = NTU_25.center
LEFT, RIGHT = joint_indices(NTU_25, ["ShoulderLeft", "ShoulderRight"])
SIDES = joint_indices(NTU_25, ["ShoulderLeft", "ShoulderRight", "HipLeft", "HipRight"])
LIMBS = joint_indices(NTU_25, ["WristLeft", "HandRight", "KneeLeft", "FootRight", "ThumbLeft"])
STEP_S = 33_333_333e-9


def angle_between(a, b):
    return abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def standing(n_frames=10, place_m=(0.3, 0.1, 2.5), angle_rad=0.0):
    """A person in the resting pose, (n_frames, 1, 25, 3)."""
    still = turned(REST, angle_rad, place_m)
    return np.tile(still, (n_frames, 1, 1, 1))


# Where the body stands and faces


@pytest.mark.parametrize("hidden_frac", [0.0, 0.4, 0.7])
@pytest.mark.parametrize("n_persons", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_moving_the_recording_about_the_vertical_changes_nothing(seed, n_persons, hidden_frac):
    rng = np.random.default_rng(seed)
    xyz = hide_cells(walking_people(rng, 40, n_persons), rng, hidden_frac)
    moved = turned(xyz, rng.uniform(-np.pi, np.pi), rng.normal(0, 1, 3))
    window, other = normalize(xyz, everybody(xyz)), normalize(moved, everybody(xyz))
    np.testing.assert_allclose(other.xyz, window.xyz, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(other.xyz), np.isnan(window.xyz))


@pytest.mark.parametrize("joint", ["SpineMid", "Neck", "Head"])
def test_the_lent_centre_does_not_depend_on_where_the_camera_stands(joint):
    rng = np.random.default_rng(3)
    xyz = walking_people(rng)
    hidden = set(range(25)) - {*SIDES, *LIMBS, NTU_25.index(joint)}
    xyz[:, :, sorted(hidden)] = np.nan
    moved = turned(xyz, 2.0, (0.5, 0.1, -0.4))
    window, other = normalize(xyz, everybody(xyz)), normalize(moved, everybody(xyz))
    np.testing.assert_allclose(other.xyz, window.xyz, rtol=0, atol=1e-5)


@pytest.mark.parametrize("angle_rad", [-3.0, -1.0, 0.0, 0.5, 2.0, 3.1])
def test_a_turned_person_faces_the_camera_afterwards(angle_rad):
    xyz = standing(angle_rad=angle_rad)
    window = normalize(xyz, everybody(xyz))
    assert angle_between(window.frame.yaw_rad, -angle_rad) < 1e-5
    assert not window.frame.is_guess
    np.testing.assert_allclose(window.xyz[0, 0], REST, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_shoulders_and_hips_lie_along_the_image_afterwards(seed):
    rng = np.random.default_rng(seed)
    xyz = turned(walking_people(rng), rng.uniform(-np.pi, np.pi))
    after = to_body_frame(xyz, estimate_body_frame(xyz))
    shoulders, hips = (after[:, 0, SIDES[k]] - after[:, 0, SIDES[k + 1]] for k in (0, 2))
    across = (shoulders + hips).sum(axis=0) * np.sign(REST[LEFT, 0] - REST[RIGHT, 0])
    assert across[0] > 0
    assert abs(across[2]) < 1e-5 * across[0]


def test_the_centre_joint_is_the_origin_of_one_person():
    xyz = walking_people(np.random.default_rng(0), 41)
    after = to_body_frame(xyz, estimate_body_frame(xyz))
    np.testing.assert_allclose(np.median(after[:, 0, CENTER], axis=0), 0, atol=1e-6)


def test_the_origin_of_two_persons_is_half_way():
    xyz = np.concatenate([standing(place_m=(-1, 0, 2)), standing(place_m=(2, 1, 3))], axis=1)
    np.testing.assert_allclose(estimate_body_frame(xyz).origin_m, [0.5, 0.5, 2.5], atol=1e-6)


def test_an_unseen_second_person_does_not_move_the_origin():
    alone = standing()
    xyz = np.concatenate([alone, np.full_like(alone, np.nan)], axis=1)
    one, two = estimate_body_frame(alone), estimate_body_frame(xyz)
    np.testing.assert_array_equal(one.origin_m, two.origin_m)
    assert one.yaw_rad == two.yaw_rad


def test_the_first_person_gives_the_heading():
    first, second = standing(angle_rad=0.7), standing(place_m=(1, 0, 2), angle_rad=0.7 + np.pi)
    frame = estimate_body_frame(np.concatenate([first, second], axis=1))
    assert angle_between(frame.yaw_rad, -0.7) < 1e-5


def test_the_next_person_gives_the_heading_where_the_first_shows_no_pair():
    first, second = standing(angle_rad=0.7), standing(place_m=(1, 0, 2), angle_rad=-2.0)
    first[:, :, [SIDES[0], SIDES[3]]] = np.nan
    frame = estimate_body_frame(np.concatenate([first, second], axis=1))
    assert angle_between(frame.yaw_rad, 2.0) < 1e-5
    assert not frame.is_guess


def test_one_pair_in_one_frame_is_enough_for_the_heading():
    xyz = standing(angle_rad=1.0)
    xyz[:, :, SIDES[:2]] = np.nan
    xyz[1:, :, SIDES[2:]] = np.nan
    frame = estimate_body_frame(xyz)
    assert angle_between(frame.yaw_rad, -1.0) < 1e-5
    assert not frame.is_guess


def test_without_a_pair_the_heading_is_a_guess():
    xyz = standing(angle_rad=1.0)
    xyz[:, :, [SIDES[0], SIDES[3]]] = np.nan  # one of each pair is left
    frame = estimate_body_frame(xyz)
    assert frame.is_guess
    assert frame.yaw_rad == 0
    np.testing.assert_allclose(frame.origin_m, [0.3, 0.1, 2.5], atol=1e-6)


@pytest.mark.parametrize("angle_rad", [0.0, 1.5, -2.5])
@pytest.mark.parametrize(
    "seen",
    [["SpineMid"], ["Neck"], ["SpineBase"], ["Head"], [], ["ElbowLeft", "WristLeft", "HandLeft"]],
    ids=lambda seen: "+".join(seen) or "none",
)
def test_an_unseen_centre_is_put_where_the_resting_pose_has_it(seen, angle_rad):
    xyz = standing(angle_rad=angle_rad)
    hidden = sorted(set(range(25)) - {*SIDES, *joint_indices(NTU_25, seen)})
    xyz[:, :, hidden] = np.nan
    frame = estimate_body_frame(xyz)
    np.testing.assert_allclose(frame.origin_m, [0.3, 0.1, 2.5], atol=1e-5)


def test_the_seen_centre_is_preferred_to_the_rest_of_the_axis():
    xyz = standing()
    xyz[1:, :, CENTER] = np.nan
    xyz[:, :, joint_indices(NTU_25, ["SpineMid", "Neck", "Head"])] += 0.3
    np.testing.assert_allclose(estimate_body_frame(xyz).origin_m, [0.3, 0.1, 2.5], atol=1e-6)


@pytest.mark.parametrize("joint", ["HandLeft", "FootRight"])
def test_a_single_limb_still_gives_an_origin(joint):
    xyz = standing()
    xyz[:, :, np.arange(25) != NTU_25.index(joint)] = np.nan
    frame = estimate_body_frame(xyz)
    assert frame.is_guess
    np.testing.assert_allclose(frame.origin_m, [0.3, 0.1, 2.5], atol=1e-6)


# What is missing never moves what is seen


@pytest.mark.parametrize("seed", range(3))
def test_hidden_limbs_move_nothing_by_a_bit(seed):
    rng = np.random.default_rng(seed)
    xyz = turned(walking_people(rng, 50), 0.8)
    hidden = xyz.copy()
    hidden[:, :, LIMBS] = hide_cells(xyz[:, :, LIMBS], rng, 0.6)
    window, other = normalize(xyz, everybody(xyz)), normalize(hidden, everybody(xyz))
    assert window.frame.yaw_rad == other.frame.yaw_rad
    np.testing.assert_array_equal(window.frame.origin_m, other.frame.origin_m)
    seen = ~np.isnan(hidden)
    np.testing.assert_array_equal(other.xyz[seen], window.xyz[seen])
    assert np.isnan(other.xyz[~seen]).all()


@pytest.mark.parametrize("seed", range(3))
def test_random_occlusion_of_a_standing_person_hardly_moves_the_body_frame(seed):
    rng = np.random.default_rng(seed)
    xyz = standing(50, angle_rad=0.4) + rng.normal(0, 0.01, (50, 1, 25, 3)).astype(np.float32)
    hidden = hide_cells(xyz, rng, 0.5)
    hidden[20:40] = np.nan
    whole, part = estimate_body_frame(xyz), estimate_body_frame(hidden)
    np.testing.assert_allclose(part.origin_m, whole.origin_m, atol=0.01)
    assert angle_between(part.yaw_rad, whole.yaw_rad) < 0.02


@pytest.mark.parametrize("hidden_frac", [0.0, 0.5])
def test_only_a_rigid_transformation_is_applied(hidden_frac):
    rng = np.random.default_rng(1)
    xyz = turned(hide_cells(walking_people(rng, N_FRAMES, 2), rng, hidden_frac), 1.1)
    window = normalize(xyz, everybody(xyz))  # as many frames as a window: nothing is blended

    def distances(points):
        flat = points.reshape(-1, 3)[:400].astype(np.float64)
        return np.linalg.norm(flat[:, None] - flat, axis=-1)

    def turn_sense(points):
        u, v = (points[:, :, side] - points[:, :, LIMBS[2]] for side in LIMBS[:2])
        return u[..., 2] * v[..., 0] - u[..., 0] * v[..., 2]

    assert np.isfinite(turn_sense(xyz)).any()
    np.testing.assert_array_equal(np.isnan(window.xyz), np.isnan(xyz))
    np.testing.assert_allclose(distances(window.xyz), distances(xyz), atol=1e-5)
    up, up_before = np.diff(window.xyz[..., 1], axis=0), np.diff(xyz[..., 1], axis=0)
    np.testing.assert_allclose(up, up_before, atol=1e-5)
    np.testing.assert_allclose(turn_sense(window.xyz), turn_sense(xyz), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_there_and_back_again(seed):
    rng = np.random.default_rng(seed)
    xyz = turned(hide_cells(walking_people(rng, 20, 2), rng, 0.3), rng.uniform(-3, 3))
    frame = estimate_body_frame(xyz)
    back = to_camera_frame(to_body_frame(xyz, frame), frame)
    np.testing.assert_allclose(back, xyz, atol=1e-5)
    assert back.dtype == np.float32


# Resampling


def plain_resample(xyz, n_frames):
    """One value at a time, with exact positions; a sample half-way goes to the earlier frame."""
    n_source = len(xyz)
    rows, sources = [], []
    for sample in range(n_frames):
        position = Fraction(sample * (n_source - 1), n_frames - 1)
        before = position.numerator // position.denominator
        share = position - before
        after = min(before + 1, n_source - 1)
        nearest = after if share > Fraction(1, 2) else before
        both = ~np.isnan(xyz[before]) & ~np.isnan(xyz[after])
        blend = (1 - float(share)) * xyz[before] + float(share) * xyz[after]
        rows.append(np.where(both, blend, xyz[nearest]))
        sources.append(nearest)
    return np.array(rows), np.array(sources)


@pytest.mark.parametrize("n_source", [2, 3, 17, 49, 50, 51, 99, 120])
@pytest.mark.parametrize("n_frames", [2, 50, 64])
def test_a_sample_is_seen_where_its_nearest_frame_is_and_mixes_seen_frames_only(
    n_source, n_frames
):
    rng = np.random.default_rng(n_source)
    xyz = hide_cells(walking_people(rng, n_source, 2), rng, 0.5)
    there = rng.random((n_source, 2)) < 0.7
    sampled, present = resample(xyz, there, n_frames)
    expected, nearest = plain_resample(xyz.astype(np.float64), n_frames)
    np.testing.assert_array_equal(np.isnan(sampled), np.isnan(xyz[nearest]))
    np.testing.assert_allclose(sampled, expected, atol=1e-5)
    np.testing.assert_array_equal(present, there[nearest])
    assert sampled.dtype == np.float32


def test_a_hidden_frame_leaves_its_neighbours_as_they_were():
    xyz = walking_people(np.random.default_rng(2), N_FRAMES)
    xyz[10:20] = np.nan
    sampled, _ = resample(xyz, everybody(xyz))
    np.testing.assert_array_equal(sampled, xyz)


def test_uneven_times_by_hand():
    values = np.array([0.0, 10.0, 40.0], dtype=np.float32)
    xyz = np.tile(values[:, None, None, None], (1, 1, 1, 3))
    there = np.array([[True], [False], [True]])
    sampled, present = resample(xyz, there, 4, np.array([5.0, 6.0, 8.0]))
    assert sampled[:, 0, 0, 0].tolist() == [0.0, 10.0, 25.0, 40.0]
    assert present[:, 0].tolist() == [True, False, False, True]  # half-way: the earlier frame
    xyz[1] = np.nan
    sampled, _ = resample(xyz, there, 4, np.array([5.0, 6.0, 8.0]))
    np.testing.assert_array_equal(sampled[:, 0, 0, 0], [0.0, np.nan, np.nan, 40.0])
    sampled, _ = resample(xyz, there, 6, np.array([5.0, 6.0, 8.0]))
    np.testing.assert_array_equal(sampled[:, 0, 0, 0], [0.0, np.nan, np.nan, np.nan, 40.0, 40.0])


@pytest.mark.parametrize("start_s", [0.0, 12345.678, 1.795e9])
@pytest.mark.parametrize("seed", range(3))
def test_jittered_stamps_give_the_motion_at_even_times(seed, start_s):
    rng = np.random.default_rng(seed)
    times_s = start_s + np.cumsum(rng.uniform(0.01, 0.06, 60))
    speed = rng.normal(size=(25, 3))
    xyz = (REST + (times_s - times_s[0])[:, None, None] * speed)[:, None].astype(np.float32)
    even = np.linspace(0, times_s[-1] - times_s[0], N_FRAMES)
    sampled, _ = resample(xyz, everybody(xyz), N_FRAMES, times_s)
    np.testing.assert_allclose(sampled[:, 0], REST + even[:, None, None] * speed, atol=1e-5)
    without, _ = resample(xyz, everybody(xyz), N_FRAMES)
    assert np.abs(without - sampled).max() > 0.01


@pytest.mark.parametrize("start_s", [0.0, 12345.678])
def test_even_stamps_give_the_same_bytes_as_no_stamps(start_s):
    rng = np.random.default_rng(4)
    for n_source in range(1, 151):
        xyz = hide_cells(walking_people(rng, n_source), rng, 0.3)
        times_s = start_s + np.arange(n_source) * STEP_S
        window = normalize(xyz, everybody(xyz))
        other = normalize(xyz, everybody(xyz), times_s=times_s)
        assert other.xyz.tobytes() == window.xyz.tobytes(), n_source
        assert other.present.tobytes() == window.present.tobytes()


def test_stamps_of_today_see_the_same_cells_as_no_stamps():
    rng = np.random.default_rng(5)
    for n_source in range(1, 151):
        xyz = hide_cells(walking_people(rng, n_source), rng, 0.3)
        times_s = 1.795e9 + np.arange(n_source) * STEP_S  # resolved to 0.24 us
        window = normalize(xyz, everybody(xyz))
        other = normalize(xyz, everybody(xyz), times_s=times_s)
        np.testing.assert_array_equal(np.isnan(other.xyz), np.isnan(window.xyz))
        np.testing.assert_allclose(other.xyz, window.xyz, atol=1e-5)


# Short, empty and partly absent recordings


@pytest.mark.parametrize("times_s", [None, np.array([3.25])])
def test_one_frame_fills_the_window(times_s):
    xyz = walking_people(np.random.default_rng(0), 1, 2)
    xyz[0, 0, LIMBS] = np.nan
    window = normalize(xyz, np.array([[True, False]]), times_s=times_s)
    assert window.xyz.shape == (N_FRAMES, 2, 25, 3)
    np.testing.assert_array_equal(window.xyz, np.broadcast_to(window.xyz[0], window.xyz.shape))
    np.testing.assert_array_equal(np.isnan(window.xyz[0]), np.isnan(xyz[0]))
    assert window.present.tolist() == [[True, False]] * N_FRAMES


def test_a_person_who_is_there_but_never_seen_leaves_nan():
    xyz = np.full((30, 2, 25, 3), np.nan, dtype=np.float32)
    window = normalize(xyz, everybody(xyz))
    assert np.isnan(window.xyz).all()
    assert window.present.all()
    assert window.frame.is_guess
    assert window.frame.origin_m.tolist() == [0, 0, 0]


def test_an_unseen_person_leaves_the_other_one_where_they_were():
    rng = np.random.default_rng(6)
    alone = walking_people(rng, 30)
    xyz = np.concatenate([np.full_like(alone, np.nan), alone], axis=1)
    window, other = normalize(alone, everybody(alone)), normalize(xyz, everybody(xyz))
    np.testing.assert_array_equal(other.xyz[:, 1], window.xyz[:, 0])
    assert np.isnan(other.xyz[:, 0]).all()


def test_a_person_who_comes_late_is_absent_before():
    xyz = walking_people(np.random.default_rng(7), 25, 2)
    there = everybody(xyz)
    there[:10, 1], xyz[:10, 1] = False, np.nan
    window = normalize(xyz, there, n_frames=49)  # every source frame, and one between two
    assert window.present[:, 0].all()
    assert window.present[:, 1].tolist() == [False] * 20 + [True] * 29
    np.testing.assert_array_equal(np.isnan(window.xyz[:, 1, 0, 0]), ~window.present[:, 1])


@pytest.mark.parametrize("n_frames", [1, 2, 50])
def test_the_first_and_the_last_frame_are_samples(n_frames):
    xyz = walking_people(np.random.default_rng(8), 33)
    sampled, _ = resample(xyz, everybody(xyz), n_frames)
    assert len(sampled) == n_frames
    np.testing.assert_array_equal(sampled[0], xyz[0])
    if n_frames > 1:
        np.testing.assert_array_equal(sampled[-1], xyz[-1])


def test_the_input_is_left_alone():
    rng = np.random.default_rng(9)
    xyz = hide_cells(walking_people(rng, 20, 2), rng, 0.3)
    there, before = everybody(xyz), xyz.copy()
    normalize(xyz, there, times_s=np.arange(20.0))
    np.testing.assert_array_equal(xyz, before)
    assert there.all()
