"""Invented joints are found, honest ones left alone, and mirror images told from bodies."""

import numpy as np
import pytest

from iospstl_core.plausibility import CheckLimits, JointChecks, mirror_sign
from iospstl_core.skeleton import NTU_25
from tests.core.people import REST, turned

FPS = 30.0
ALL = [name for name in NTU_25.joints if not name.startswith(("HandTip", "Thumb"))]


def walker(n_frames, rng, size=1.0, noise_m=0.01):
    """A person who crosses the room at 1.2 m/s, swings arms and legs, and is seen with noise."""
    time_s = np.arange(n_frames) / FPS
    xyz = np.tile(size * REST, (n_frames, 1, 1))
    for side, sign in (("Left", 1), ("Right", -1)):
        swing = sign * 0.6 * np.sin(2 * np.pi * time_s)
        for root, joints, phase in (
            (f"Shoulder{side}", ("Elbow", "Wrist", "Hand", "HandTip", "Thumb"), swing),
            (f"Hip{side}", ("Knee", "Ankle", "Foot"), -swing),
        ):
            pivot = xyz[:, NTU_25.index(root), None]
            chosen = [NTU_25.index(joint + side) for joint in joints]
            y, z = np.moveaxis((xyz[:, chosen] - pivot)[..., 1:], -1, 0)
            cos, sin = np.cos(phase)[:, None], np.sin(phase)[:, None]
            xyz[:, chosen, 1] = pivot[..., 1] + cos * y - sin * z
            xyz[:, chosen, 2] = pivot[..., 2] + sin * y + cos * z
    xyz += rng.normal(0, noise_m, xyz.shape) + np.array([0, 0.2, 3.0])
    xyz[..., 0] += 1.2 * time_s[:, None]
    return xyz.astype(np.float32)


def check_all(xyz, checks=None, person=1, fps=FPS):
    checks = checks or JointChecks()
    return np.array([checks.check(person, k / fps, frame) for k, frame in enumerate(xyz)])


def names(flagged):
    return {NTU_25.joints[joint] for joint in np.flatnonzero(flagged)}


@pytest.mark.parametrize("size", [0.6, 1.0, 1.15])
@pytest.mark.parametrize("seed", range(3))
def test_honest_people_of_any_size_are_left_alone(size, seed):
    xyz = walker(200, np.random.default_rng(seed), size)
    checks = JointChecks()
    assert not check_all(xyz, checks).any()
    assert (checks.n_checked, checks.n_jumps, checks.n_bones) == (200 * 25, 0, 0)


@pytest.mark.parametrize("joint", ALL)
def test_a_joint_that_jumps_across_the_room_is_found_alone(joint):
    xyz = walker(60, np.random.default_rng(1))
    xyz[40, NTU_25.index(joint)] += np.float32([1.5, 0.5, -1.0])
    checks = JointChecks()
    flagged = check_all(xyz, checks)
    assert names(flagged[40]) == {joint}
    assert flagged.sum() == 1
    assert (checks.n_jumps, checks.n_bones) == (1, 0)


@pytest.mark.parametrize("joint", ["WristLeft", "ElbowRight", "KneeLeft", "AnkleRight", "Head"])
def test_a_joint_that_slides_away_is_found_by_its_bones(joint):
    xyz = walker(120, np.random.default_rng(2))
    away = np.linspace(0, 0.9, 60)[:, None] * [0.3, -0.2, 0.93]
    xyz[60:, NTU_25.index(joint)] += away.astype(np.float32)
    checks = JointChecks()
    flagged = check_all(xyz, checks)
    assert flagged[:60].sum() == 0
    assert flagged[105:, NTU_25.index(joint)].all()
    others = np.delete(flagged[60:], NTU_25.index(joint), axis=1)
    assert others.mean() < 0.015  # a short bone is stretched before the long one is
    assert checks.n_jumps == 0


def test_a_bone_that_vanishes_is_found():
    xyz = walker(60, np.random.default_rng(2))
    knee, ankle = NTU_25.index("KneeLeft"), NTU_25.index("AnkleLeft")
    xyz[50, ankle] = xyz[50, knee]
    xyz[50, NTU_25.index("FootLeft")] = np.nan
    assert names(check_all(xyz)[50]) == {"AnkleLeft"}


def test_it_is_the_outer_joint_unless_the_inner_one_moved():
    start = walker(40, np.random.default_rng(3), noise_m=0.0)
    tip, hand = NTU_25.index("HandTipLeft"), NTU_25.index("HandLeft")
    alone = [j for j in range(25) if j not in (hand, tip) and "Left" in NTU_25.joints[j]]
    start[:, alone] = np.nan  # else the wrist votes too
    for moved, expected in ((tip, {"HandTipLeft"}), (hand, {"HandLeft"})):
        xyz = start.copy()
        xyz[30, moved] += np.float32([0, 0.0, 0.35])
        assert names(check_all(xyz)[30]) == expected
    slow = start.copy()
    slow[:, tip, 2] += np.linspace(0, 0.4, 40, dtype=np.float32)
    assert names(check_all(slow)[-1]) == {"HandTipLeft"}


def test_a_body_may_move_at_once():
    xyz = walker(60, np.random.default_rng(4))
    xyz[30:] += np.float32(
        [2.0, 0, 0]
    )  # a tracker that exchanges two people, or a camera that turns
    assert not check_all(xyz).any()


def test_a_jump_that_stays_is_believed_in_the_end():
    xyz = walker(60, np.random.default_rng(4))
    hand = [
        NTU_25.index(joint + "Left") for joint in ("Elbow", "Wrist", "Hand", "HandTip", "Thumb")
    ]
    xyz[30:, hand] += np.float32([0, 0.0, -0.9])
    xyz[30:, NTU_25.index("ElbowLeft")] = np.nan
    flagged = check_all(xyz)
    assert flagged[30, hand[1:]].all()
    assert not flagged[40:].any()


def test_lengths_become_the_persons_own():
    child = walker(100, np.random.default_rng(5), size=0.55)
    shank = [NTU_25.index("KneeLeft"), NTU_25.index("AnkleLeft")]
    checks = JointChecks()
    check_all(child[:60], checks)
    longer = child[60].copy()
    longer[shank[1]] += 0.9 * (longer[shank[1]] - longer[shank[0]])
    longer[NTU_25.index("FootLeft")] = np.nan
    assert not JointChecks().check(1, 0.0, longer).any()  # an adult's shank
    assert names(checks.check(1, 2.0, longer)) == {"AnkleLeft"}


def test_what_is_not_observed_is_not_flagged():
    rng = np.random.default_rng(6)
    xyz = walker(100, rng)
    hidden = rng.random(xyz.shape[:2]) < 0.5
    xyz[hidden] = np.nan
    checks = JointChecks()
    flagged = check_all(xyz, checks)
    assert not flagged.any()
    assert checks.n_checked == (~hidden).sum()
    assert not JointChecks().check(1, 0.0, np.full((25, 3), np.nan, np.float32)).any()


def test_nothing_is_changed_and_nothing_is_random():
    xyz = walker(50, np.random.default_rng(7))
    xyz[20:25, 3] += 1.0
    before = xyz.copy()
    first, second = check_all(xyz), check_all(xyz)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(xyz, before)
    assert first.any()


def test_people_are_apart_and_start_afresh():
    xyz = walker(60, np.random.default_rng(8))
    away = xyz[59] + np.float32([0, 0, 0])
    away[NTU_25.index("WristLeft")] += np.float32([0.5, 0.5, 0.5])
    away[[NTU_25.index("HandLeft"), NTU_25.index("ElbowLeft")]] = np.nan
    for person, stamp_s, cleared, expected in (
        (1, 2.0, False, True),
        (2, 2.0, False, False),
        (1, 1.0, False, False),  # the clock went back
        (1, 9.0, False, False),  # away for too long
        (1, 2.0, True, False),
    ):
        checks = JointChecks(CheckLimits(max_speed_m_s=8.0))
        check_all(xyz, checks)
        if cleared:
            checks.clear()
        assert checks.check(person, stamp_s, away).any() == expected


def test_memory_is_bounded():
    xyz = walker(1, np.random.default_rng(9))[0]
    checks = JointChecks()
    for person in range(1000):
        checks.check(person, 0.0, xyz)
    assert len(checks._bodies) == 64
    assert 999 in checks._bodies


@pytest.mark.parametrize("angle_rad", [0.0, 1.0, 2.5, -2.0])
def test_a_mirror_image_is_told_from_a_body(angle_rad):
    body = turned(REST, angle_rad, (0.3, 0.2, 3.0))
    assert mirror_sign(body) == -1
    assert mirror_sign(body * np.float32([-1, 1, 1])) == 1
    assert mirror_sign(body * np.float32([-1, -1, 1])) == -1  # lying on a table is no mirror
    swapped = body[NTU_25.flip_order]
    assert mirror_sign(swapped) == 1


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (("FootLeft",), -1),
        (("AnkleRight",), -1),
        (("FootLeft", "AnkleRight"), None),
        (("Head",), None),
        (("SpineBase",), None),
        (("ShoulderLeft",), None),
        (("KneeLeft", "SpineMid", "Neck", "WristRight"), -1),
    ],
)
def test_what_the_mirror_check_needs(hidden, expected):
    body = REST.astype(np.float32)
    body[[NTU_25.index(joint) for joint in hidden]] = np.nan
    assert mirror_sign(body) == expected


def test_feet_that_point_down_tell_nothing():
    body = REST.astype(np.float32)
    for side in ("Left", "Right"):
        foot, ankle = NTU_25.index("Foot" + side), NTU_25.index("Ankle" + side)
        body[foot] = body[ankle] + np.float32([0, -0.12, -0.01])
    assert mirror_sign(body) is None
