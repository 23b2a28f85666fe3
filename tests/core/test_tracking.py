"""Ids by position: who stood nearest a moment ago is the same person."""

import numpy as np
import pytest

from iospstl_core.skeleton import NTU_25
from iospstl_core.tracking import PositionTracker

STEP_S = 1 / 30
REST = np.array(NTU_25.rest_m, dtype=np.float32)


def at(x_m, z_m=2.0, hidden=()):
    xyz = REST + np.float32([x_m, 0, z_m])
    xyz[list(hidden)] = np.nan
    return xyz


def test_people_keep_their_ids_whatever_their_order():
    tracker = PositionTracker(1.0)
    assert tracker.assign(0.0, [at(0), at(2)]) == [1, 2]
    assert tracker.assign(STEP_S, [at(2.05), at(0.05)]) == [2, 1]
    assert tracker.assign(2 * STEP_S, [at(0.1)]) == [1]
    assert tracker.assign(3 * STEP_S, [at(2.1), at(0.1), at(5)]) == [2, 1, 3]


def test_two_who_cross_are_told_apart_by_the_nearer_one():
    tracker = PositionTracker(1.0)
    for index in range(41):  # they pass half a metre from each other, 2 m/s each
        x = -1.35 + 2 * STEP_S * index
        assert tracker.assign(index * STEP_S, [at(x, 2.0), at(-x, 2.5)]) == [1, 2]


def test_what_is_hidden_does_not_move_a_person():
    tracker = PositionTracker(1.0)
    assert tracker.assign(0.0, [at(0), at(0.6)]) == [1, 2]
    upper = at(0.6, hidden=range(12, 20))
    assert tracker.assign(STEP_S, [upper, at(0, hidden=range(4, 12))]) == [2, 1]
    legs_only = at(0.6, hidden=[*range(12), *range(20, 25)])
    assert tracker.assign(2 * STEP_S, [legs_only]) == [2]


def test_who_was_away_too_long_or_too_far_is_somebody_else():
    tracker = PositionTracker(0.5)
    assert tracker.assign(0.0, [at(0)]) == [1]
    assert tracker.assign(0.4, [at(0.1)]) == [1]
    assert tracker.assign(1.0, [at(0.1)]) == [2]
    assert tracker.assign(1.0 + STEP_S, [at(3)]) == [3]


def test_a_person_of_whom_nothing_is_seen_gets_a_new_id_each_time():
    tracker = PositionTracker(1.0)
    nothing = np.full((25, 3), np.nan, dtype=np.float32)
    assert tracker.assign(0.0, [nothing, at(0)]) == [1, 2]
    assert tracker.assign(STEP_S, [nothing, at(0)]) == [3, 2]


@pytest.mark.parametrize("stamp_s", [-5.0, 100.0])
def test_after_a_jump_of_the_clock_everybody_is_new(stamp_s):
    tracker = PositionTracker(1.0)
    tracker.assign(0.0, [at(0)])
    assert tracker.assign(stamp_s, [at(0)]) == [2]


def test_clear_forgets_and_ids_are_not_used_again():
    tracker = PositionTracker(1.0)
    tracker.assign(0.0, [at(0)])
    tracker.clear()
    assert tracker.assign(STEP_S, [at(0)]) == [2]


def test_the_books_stay_small():
    tracker = PositionTracker(0.2)
    for index in range(2000):
        tracker.assign(index * STEP_S, [at(10 * (index % 2)), at(30)])
    assert len(tracker._known) <= 3
