from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.imputation.fill import CellSource, Filled, start_fill
from iospstl_core.skeleton import NTU_25
from iospstl_train.data.windows import WindowSet
from iospstl_train.evaluation.imputer_curves import error_by_share
from iospstl_train.evaluation.imputer_metrics import (
    PARTS,
    calibrate,
    compare,
    hidden_share,
    measure_errors,
    take,
)

N_FRAMES = 4
KNEE, ANKLE, FOOT, HIP, HAND, HEAD, NECK = (
    NTU_25.index(name)
    for name in ("KneeLeft", "AnkleLeft", "FootLeft", "HipLeft", "HandRight", "Head", "Neck")
)


def make_windows(n=1, hidden=()):
    """Windows of one resting person without a neck; ``hidden`` lists (frame, joint)."""
    truth = np.tile(np.float32(NTU_25.rest_m), (n, N_FRAMES, 1, 1, 1))
    truth[..., NECK, :] = np.nan  # the source never has it
    xyz = truth.copy()
    for frame, joint in hidden:
        xyz[:, frame, 0, joint] = np.nan
    present = np.ones((n, N_FRAMES, 1), dtype=bool)
    is_test = np.ones(n, dtype=bool)
    names = tuple(f"w{index}" for index in range(n))
    return WindowSet(xyz, truth, present, np.zeros(n, int), ~is_test, is_test, names, ("stand",))


def complete(windows, offsets_mm=()):
    """The truth, moved by (frame, joint, (x, y, z) mm); a neck where there is none."""
    xyz = windows.truth.copy()
    xyz[..., NECK, :] = 9
    for frame, joint, offset_mm in offsets_mm:
        xyz[:, frame, 0, joint] += np.float32(offset_mm) / 1000
    return Filled(xyz, start_fill(windows.xyz, windows.present)[1])


EVERY_HAND = [(frame, HAND) for frame in range(N_FRAMES)]


@pytest.fixture
def measured():
    """A knee 30 mm off in a gap and 50 mm at the end, a hand that is never seen 10 mm off."""
    windows = make_windows(hidden=[(1, KNEE), (3, KNEE), *EVERY_HAND])
    moves = [(1, KNEE, (30, 0, 0)), (3, KNEE, (0, 0, -50))]
    moves += [(frame, HAND, (0, 10, 0)) for frame in range(N_FRAMES)]
    return measure_errors(windows, complete(windows, moves))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("error", (30 + 50 + 4 * 10) / 6),
        ("gap", (30 + 50) / 2),
        ("never", 10),
        ("trailing", 50),
        ("leg_left", (30 + 50) / 2),
        ("arm_right", 10),
    ],
)
def test_errors_by_hand(measured, name, expected):
    assert measured[name] == pytest.approx(expected, abs=1e-3)


def test_nothing_hidden_is_nothing_to_measure(measured):
    assert measured["trunk"] is None
    windows = make_windows()
    assert set(measure_errors(windows, complete(windows)).values()) == {None}


def test_every_joint_is_in_one_part():
    assert sorted(sum(PARTS.values(), ())) == sorted(NTU_25.joints)


def test_before_the_first_seen_frame_is_a_gap_but_not_trailing():
    windows = make_windows(hidden=[(0, KNEE)])
    measured = measure_errors(windows, complete(windows, [(0, KNEE, (0, 0, 20))]))
    assert measured["gap"] == pytest.approx(20, abs=1e-3)
    assert measured["trailing"] is None


def test_a_joint_that_stayed_empty_is_at_the_origin():
    windows = make_windows(hidden=[(2, HEAD)])
    filled = Filled(windows.xyz.copy(), start_fill(windows.xyz, windows.present)[1])
    expected = 1000 * np.linalg.norm(NTU_25.rest_m[HEAD])
    assert measure_errors(windows, filled)["error"] == pytest.approx(expected, rel=1e-5)


def put_leg_on_a_line(windows):
    """Hip, knee, ankle and foot straight below each other, 0.5, 0.4 and 0.1 m apart."""
    for array in (windows.xyz, windows.truth):
        hidden = np.isnan(array)
        for joint, height in ((HIP, 0), (KNEE, -0.5), (ANKLE, -0.9), (FOOT, -1.0)):
            array[..., joint, :] = (0, height, 0)
        array[hidden] = np.nan
    return windows


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ([ANKLE], (30 + 30) / 2),  # knee to ankle 30 mm longer, ankle to foot 30 mm shorter
        ([ANKLE, FOOT], (30 + 0) / 2),  # both moved alike
        ([FOOT], 30),
    ],
)
def test_bone_lengths_by_hand(hidden, expected):
    windows = put_leg_on_a_line(make_windows(hidden=[(1, joint) for joint in hidden]))
    moves = [(1, joint, (0, -30, 0)) for joint in hidden]
    measured = measure_errors(windows, complete(windows, moves))
    assert measured["bone"] == pytest.approx(expected, abs=1e-3)


def test_a_bone_counts_whichever_end_is_hidden():
    windows = put_leg_on_a_line(make_windows(hidden=[(1, ANKLE)]))
    measured = measure_errors(windows, complete(windows, [(1, ANKLE, (300, 0, 0))]))
    above, below = 500 - 400, 1000 * 0.1**0.5 - 100  # 3, 4, 5; and the root of 0.3**2 + 0.1**2
    assert measured["bone"] == pytest.approx((above + below) / 2, abs=1e-2)


def test_bones_to_joints_that_the_source_never_has_do_not_count():
    windows = make_windows(hidden=[(1, HEAD)])  # its only bone leads to the neck
    measured = measure_errors(windows, complete(windows, [(1, HEAD, (0, 40, 0))]))
    assert measured["error"] == pytest.approx(40, abs=1e-3)
    assert measured["bone"] is None


def test_acceleration_by_hand():
    windows = make_windows(hidden=[(1, KNEE), (3, KNEE)])  # frame 3 has no later neighbor
    moves = [(1, KNEE, (10, 0, 0))]
    assert measure_errors(windows, complete(windows, moves))["acceleration"] == pytest.approx(20)
    moves = [(frame, KNEE, (10, 0, 0)) for frame in range(N_FRAMES)]  # a constant offset has none
    measured = measure_errors(windows, complete(windows, moves))
    assert measured["acceleration"] == pytest.approx(0, abs=1e-3)


def test_acceleration_needs_the_truth_on_both_sides():
    windows = make_windows(hidden=[(1, KNEE)])
    windows.truth[:, 2, 0, KNEE] = np.nan
    assert measure_errors(windows, complete(windows))["acceleration"] is None


def test_calibration_by_hand():
    expected, true = np.float32([1, 2, 3, np.nan]), np.float32([1, 1, 6, 5])
    got = calibrate(expected, true)
    assert got["expected_ratio"] == pytest.approx(6 / 8)
    assert got["expected_correlation"] == pytest.approx(0.8660254)
    assert got["covered_1x"] == pytest.approx(2 / 3)
    assert got["covered_2x"] == 1


def test_calibration_of_nothing_is_unknown():
    assert set(calibrate(np.float32([np.nan]), np.float32([1])).values()) == {None}


def test_expected_errors_are_compared_where_they_are_given():
    windows = make_windows(hidden=[(1, KNEE), (2, HAND)])
    filled = complete(windows, [(1, KNEE, (10, 0, 0)), (2, HAND, (0, 30, 0))])
    assert "expected_ratio" not in measure_errors(windows, filled)
    error_m = np.where(filled.source == CellSource.UNFILLED, np.float32(0.02), np.float32(0))
    got = measure_errors(windows, replace(filled, error_m=error_m))
    assert got["expected_ratio"] == pytest.approx(1, rel=1e-4)
    assert got["covered_1x"] == 0.5
    assert got["expected_correlation"] is None  # it expects the same everywhere


def test_hidden_share_leaves_out_what_the_source_never_has():
    windows = make_windows(hidden=[(1, KNEE), *EVERY_HAND])
    assert hidden_share(windows) == pytest.approx([5 / (24 * N_FRAMES)])


def test_windows_are_grouped_by_their_own_share():
    windows = make_windows(n=3, hidden=[(1, KNEE)])
    windows.xyz[2, :3] = np.nan  # three of four frames
    filled = complete(windows, [(1, KNEE, (24, 0, 0))])
    few, many = error_by_share(windows, compare(windows, filled))
    assert (few["n_sequences"], many["n_sequences"]) == (2, 1)
    assert few["hidden_frac"] == pytest.approx(1 / (24 * N_FRAMES))
    assert (few["low"], many["low"]) == (0, 0.7)
    assert few["error_mm"] == pytest.approx(24, abs=1e-3)
    assert many["error_mm"] == pytest.approx(24 / (3 * 24), abs=1e-3)


def test_take_keeps_all_fields_together():
    windows = make_windows(n=3, hidden=[(1, KNEE)])
    windows.label[:] = (4, 5, 6)
    for rows in (np.array([False, True, True]), np.array([1, 2])):
        part = take(windows, rows)
        assert part.names == ("w1", "w2")
        assert part.label.tolist() == [5, 6]
        assert part.xyz.shape[0] == part.truth.shape[0] == len(part.is_test) == 2
        assert part.class_names == ("stand",)
