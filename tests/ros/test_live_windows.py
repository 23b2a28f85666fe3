"""The memory between callback and worker: every frame counts, nobody's last frame is lost."""

import numpy as np
import pytest

from iospstl_ros.frames import SkeletonFrame
from iospstl_ros.live_windows import Added, LiveWindows, distance_m, nearest_persons

START_NS = 1_795_000_000_123_456_789
STEP_NS = 33_333_333


def skeleton(z=2.0):
    return np.full((25, 3), z, dtype=np.float32)


def add(windows, index, ids):
    persons = {person: skeleton(2.0 + person) for person in ids}
    frame = SkeletonFrame(START_NS + index * STEP_NS, "camera", persons, axes="ros")
    return windows.add(frame, received_s=float(index))


def test_every_frame_is_in_the_window_and_a_person_is_due_once():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    for index in range(10):
        assert add(windows, index, [4]) is Added.STORED
    (due,) = windows.take_due()
    assert due.persons == (4,)
    assert len(due.raw.xyz) == 10
    assert due.arrival.stamp_ns == START_NS + 9 * STEP_NS
    assert due.arrival.received_s == 9.0
    assert windows.take_due() == []


def test_stamps_keep_their_nanoseconds():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    for index in range(3):
        add(windows, index, [4])
    (due,) = windows.take_due()
    np.testing.assert_allclose(np.diff(due.raw.times_s), 0.033333333, rtol=0, atol=1e-12)


def test_who_leaves_before_the_worker_comes_keeps_the_window_to_the_last_frame():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    for index in range(5):
        add(windows, index, [1, 2])
    add(windows, 5, [2])
    add(windows, 6, [])
    add(windows, 7, [3])
    due = {item.persons: item for item in windows.take_due()}
    assert set(due) == {(1,), (2,), (3,)}
    assert due[1,].arrival.stamp_ns == START_NS + 4 * STEP_NS
    assert len(due[1,].raw.xyz) == 5
    assert due[2,].arrival.stamp_ns == START_NS + 5 * STEP_NS
    assert due[3,].arrival.stamp_ns == START_NS + 7 * STEP_NS


def test_who_left_after_the_worker_came_is_not_due_again():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    add(windows, 0, [1])
    windows.take_due()
    add(windows, 1, [])
    assert windows.take_due() == []


def test_people_with_the_same_window_share_it():
    windows = LiveWindows(2.0, 1.0, n_persons=2)
    for index in range(5):
        add(windows, index, [1, 2])
    (due,) = windows.take_due()
    assert due.persons == (1, 2)
    assert due.raw.track_ids == (1, 2)


def test_people_who_came_at_different_times_have_windows_of_their_own():
    windows = LiveWindows(2.0, 1.0, n_persons=2)
    add(windows, 0, [1])
    add(windows, 1, [1, 2])
    due = {item.persons: item for item in windows.take_due()}
    assert {persons: len(item.raw.xyz) for persons, item in due.items()} == {(1,): 2, (2,): 1}


def test_a_late_frame_is_refused_and_changes_nothing():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    for index in range(5):
        add(windows, index, [1])
    assert add(windows, 4, [1]) is Added.NOT_NEWER
    assert add(windows, 2, [9]) is Added.NOT_NEWER
    (due,) = windows.take_due()
    assert due.persons == (1,)
    assert len(due.raw.xyz) == 5


def test_a_clock_that_jumps_back_forgets_everything_before():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    for index in range(1000, 1010):
        add(windows, index, [1])
    add(windows, 1010, [2])
    assert add(windows, 0, [1]) is Added.CLOCK_JUMP
    (due,) = windows.take_due()
    assert due.persons == (1,)
    assert len(due.raw.xyz) == 1
    assert windows.newest.stamp_ns == START_NS


def test_the_track_timeout_may_change():
    windows = LiveWindows(10.0, 5.0, n_persons=1)
    add(windows, 0, [1])
    windows.set_limits(track_timeout_s=1.0, max_pair_distance_m=2.0, max_gap_s=10.0)
    add(windows, 60, [1])
    assert len(windows.take_due()[0].raw.xyz) == 1


def test_silence_makes_everybody_start_afresh():
    windows = LiveWindows(10.0, 5.0, n_persons=1)
    windows.set_limits(track_timeout_s=5.0, max_pair_distance_m=2.0, max_gap_s=1.0)
    add(windows, 0, [1])
    assert add(windows, 29, [1]) is Added.STORED
    assert add(windows, 60, [1]) is Added.SILENCE
    (due,) = windows.take_due()
    assert len(due.raw.xyz) == 1


def test_strangers_who_stand_apart_share_no_window():
    windows = LiveWindows(10.0, 5.0, n_persons=2)
    windows.set_limits(track_timeout_s=5.0, max_pair_distance_m=1.0, max_gap_s=1.0)
    for index in range(3):
        add(windows, index, [1, 2, 5])  # two are 1.7 m apart, the third is farther away
    assert {due.persons for due in windows.take_due()} == {(1,), (2,), (5,)}


def test_clear_forgets_everything():
    windows = LiveWindows(2.0, 1.0, n_persons=1)
    add(windows, 5, [1])
    add(windows, 6, [2])
    windows.clear()
    assert windows.take_due() == []
    assert windows.newest is None
    assert add(windows, 0, [1]) is Added.STORED
    assert windows.newest.axes == "ros"


@pytest.mark.parametrize(("limit", "kept"), [(1, [3]), (2, [3, 1]), (3, [7, 3, 1])])
def test_the_nearest_people_are_kept_in_their_order(limit, kept):
    persons = {7: skeleton(4.0), 3: skeleton(1.0), 1: skeleton(2.0), 9: skeleton(np.nan)}
    assert sorted(nearest_persons(persons, limit)) == sorted(kept)
    assert nearest_persons(persons, 4) is persons


def test_distance_is_that_of_the_known_joints():
    xyz = np.full((25, 3), np.nan, dtype=np.float32)
    assert distance_m(xyz) == np.inf
    xyz[3] = 0, 0, 2
    assert distance_m(xyz) == 2.0
