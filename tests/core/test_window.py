"""The live path's memory: whose frames a window holds, and when they are forgotten."""

import numpy as np
import pytest

from iospstl_core.skeleton import NTU_25
from iospstl_core.window import FrameBuffer, _facing

STEP_S = 0.1


def person(value=0.0, place_m=(0.0, 0.0, 0.0)):
    """A skeleton that carries a number: the x of its first joint; the others stand at a place."""
    xyz = np.tile(np.asarray(place_m, dtype=np.float32), (25, 1))
    xyz[0, 0] = value
    return xyz


def at(x_m):
    return np.tile(np.float32([x_m, 0, 2]), (25, 1))


def fed(*frames, window_s=10.0, timeout_s=0.25):
    """A buffer fed with one frame each step: mappings, or lists of track ids."""
    buffer = FrameBuffer(window_s, timeout_s)
    for index, frame in enumerate(frames):
        persons = frame if isinstance(frame, dict) else {key: person(index) for key in frame}
        assert buffer.add(index * STEP_S, persons)
    return buffer


def values(raw, column=0):
    """The numbers that the skeletons of a window carry; None where the person is absent."""
    numbers = raw.xyz[:, column, 0, 0]
    assert np.isnan(raw.xyz[~raw.present[:, column], column]).all()
    there = zip(numbers, raw.present[:, column], strict=True)
    return [int(number) if present else None for number, present in there]


def test_an_empty_buffer_knows_nobody():
    assert FrameBuffer(1, 1).track_ids() == ()
    assert fed([]).track_ids() == ()


def test_a_window_starts_with_the_persons_first_frame():
    buffer = fed([1], [1], [1, 2], [1, 2], [1, 2])
    assert values(buffer.window(1, 1)) == [0, 1, 2, 3, 4]
    raw = buffer.window(2, 1)
    assert values(raw) == [2, 3, 4]
    np.testing.assert_allclose(raw.times_s, [0.2, 0.3, 0.4])
    assert raw.track_ids == (2,)
    assert raw.xyz.shape == (3, 1, 25, 3)
    assert raw.xyz.dtype == np.float32
    assert raw.times_s.dtype == np.float64


def test_companions_are_absent_where_they_were_not_there():
    buffer = fed([1], [1, 2], [1], [1, 2])
    raw = buffer.window(1, 3)
    assert raw.track_ids == (1, 2)
    assert values(raw, 0) == [0, 1, 2, 3]
    assert values(raw, 1) == [None, 1, None, 3]
    assert values(raw, 2) == [None] * 4  # nobody else
    assert values(buffer.window(2, 2), 0) == [1, 2, 3]
    assert values(buffer.window(2, 2), 1) == [1, None, 3]


def test_people_stand_in_the_order_of_their_appearance_and_then_of_their_ids():
    buffer = fed([7], [7, 3], [7, 3, 5, 4])
    assert buffer.track_ids() == (7, 3, 4, 5)
    for track_id in (7, 3, 5, 4):
        assert buffer.window(track_id, 4).track_ids == (7, 3, 4, 5)


def test_the_nearest_people_share_the_window():
    buffer = fed({1: at(0), 2: at(5), 3: at(-1), 4: at(2)})
    assert buffer.window(1, 1).track_ids == (1,)
    assert buffer.window(1, 2).track_ids == (1, 3)
    assert buffer.window(1, 3).track_ids == (1, 3, 4)
    assert buffer.window(2, 2).track_ids == (2, 4)


def test_who_is_near_on_average_is_near():
    buffer = fed(*[{1: at(0), 2: at(1), 3: at(9)}] * 3, {1: at(0), 2: at(9), 3: at(1)})
    assert buffer.window(1, 2).track_ids == (1, 2)
    buffer = fed({1: at(0), 2: at(1), 3: at(9)}, *[{1: at(0), 2: at(9), 3: at(1)}] * 3)
    assert buffer.window(1, 2).track_ids == (1, 3)


def test_pairs_are_of_two():
    """Who is nearest to somebody else's companion stays alone."""
    buffer = fed({1: at(0), 2: at(1), 3: at(2.5), 4: at(9)})
    assert buffer.groups(2) == {1: (1, 2), 2: (1, 2), 3: (3, 4), 4: (3, 4)}
    assert buffer.groups(1) == {1: (1,), 2: (2,), 3: (3,), 4: (4,)}
    buffer.max_pair_distance_m = 2.0
    assert buffer.groups(2) == {1: (1, 2), 2: (1, 2), 3: (3,), 4: (4,)}
    assert buffer.groups(3)[2] == (1, 2, 3)


def standing(x_m, facing):
    """A person at x who looks along the x axis, in the direction +1 or -1."""
    xyz = np.array(NTU_25.rest_m, dtype=np.float32)
    xyz[:, 2], xyz[:, 0] = facing * xyz[:, 0], 0
    return xyz + np.float32([x_m, 0, 2])


def test_a_pair_that_looks_at_each_other_counts_as_nearer():
    look_right, look_left = standing(0, +1), standing(1.2, -1)
    behind = standing(-1.0, -1)
    buffer = fed({1: look_right, 2: look_left, 3: behind})
    assert buffer.groups(2) == {1: (1, 2), 2: (1, 2), 3: (3,)}
    buffer = fed({1: standing(0, -1), 2: look_left, 3: standing(-1.0, +1)})
    assert buffer.groups(2)[1] == (1, 3)


def test_facing_is_forward():
    np.testing.assert_allclose(_facing(np.float32(NTU_25.rest_m)), [0, 0, -0.52], atol=1e-6)
    assert _facing(standing(0, +1))[0] > 0
    assert _facing(standing(0, -1))[0] < 0
    assert _facing(np.full((25, 3), np.nan, np.float32)) is None


def test_a_companion_who_just_left_stays_in_the_window():
    buffer = fed([1, 2], [1, 2], [1], timeout_s=0.25)
    assert values(buffer.window(1, 2), 1) == [0, 1, None]
    buffer = fed([1, 2], [1, 2], [1], [1], [1], timeout_s=0.25)
    assert buffer.window(1, 2).track_ids == (1,)


def test_people_with_the_same_window_share_it():
    buffer = fed([1, 2], [1, 2, 3], [1, 2, 3])
    windows = buffer.windows({1, 2, 3, 9}, 2)
    assert windows.keys() == {1, 2, 3}
    assert windows[1] is windows[2]
    assert windows[3].track_ids == (3,)


def test_people_equally_near_go_by_their_ids():
    buffer = fed({9: at(1), 5: at(-1), 1: at(0)})
    assert buffer.window(1, 2).track_ids == (1, 5)


def test_what_is_hidden_of_a_person_does_not_move_them_away():
    half = at(1)
    half[:20] = np.nan
    buffer = fed({1: at(0), 2: half, 3: at(2)})
    assert buffer.window(1, 2).track_ids == (1, 2)


def test_a_person_of_whom_nothing_is_seen_comes_last_and_is_present():
    unseen = np.full((25, 3), np.nan, dtype=np.float32)
    buffer = fed({1: at(0), 2: unseen, 3: at(50)})
    assert buffer.window(1, 2).track_ids == (1, 3)
    raw = buffer.window(2, 1)
    assert raw.present.all()
    assert np.isnan(raw.xyz).all()


def test_a_short_absence_is_bridged():
    buffer = fed([1], [1], [], [1], window_s=10, timeout_s=0.25)
    assert values(buffer.window(1, 1)) == [0, 1, None, 3]


def test_a_long_absence_starts_afresh_under_the_same_id():
    buffer = fed([1, 2], [1, 2], [2], [2], [1, 2], [1, 2], timeout_s=0.25)
    assert values(buffer.window(1, 1)) == [4, 5]
    assert buffer.track_ids() == (2, 1)
    raw = buffer.window(2, 2)  # the one who used the id before is a stranger
    assert raw.track_ids == (2, 1)
    assert values(raw, 0) == [0, 1, 2, 3, 4, 5]
    assert values(raw, 1) == [None, None, None, None, 4, 5]


def test_the_timeout_may_change_between_frames():
    buffer = fed([1], [], timeout_s=0.15)
    buffer.track_timeout_s = 0.25
    buffer.add(0.2, {1: person(2)})
    assert values(buffer.window(1, 1)) == [0, None, 2]


def test_frames_leave_after_the_window():
    buffer = fed(*[[1]] * 20, window_s=0.5)
    assert values(buffer.window(1, 1)) == [14, 15, 16, 17, 18, 19]  # six frames span 0.5 s


def test_a_window_does_not_start_with_an_absence_whose_beginning_has_left():
    buffer = fed([1, 2], [1, 2], [2], [2], [1, 2], [1, 2], window_s=0.35, timeout_s=1.0)
    assert values(buffer.window(1, 1)) == [4, 5]
    assert buffer.window(2, 2).track_ids == (1, 2)
    assert values(buffer.window(2, 2), 0) == [None, None, 4, 5]
    assert values(buffer.window(2, 2), 1) == [2, 3, 4, 5]


@pytest.mark.parametrize("stamp_s", [0.4, 0.3, 0.0, -0.6])
def test_a_frame_that_is_not_newer_is_dropped(stamp_s):
    buffer = fed(*[[1]] * 5, window_s=1.0)
    assert not buffer.add(stamp_s, {1: person(99), 2: person(99)})
    assert buffer.track_ids() == (1,)
    assert values(buffer.window(1, 1)) == [0, 1, 2, 3, 4]
    assert buffer.add(0.41, {1: person(5)})
    assert values(buffer.window(1, 1)) == [0, 1, 2, 3, 4, 5]


def test_a_clock_that_jumps_back_forgets_everything():
    buffer = fed(*[[1, 2]] * 5, window_s=1.0)
    assert buffer.add(-0.61, {2: person(0), 1: person(0)})
    assert buffer.track_ids() == (1, 2)
    assert values(buffer.window(1, 1)) == [0]
    assert buffer.add(-0.51, {1: person(1)})
    assert values(buffer.window(1, 1)) == [0, 1]


def test_a_clock_that_jumps_ahead_starts_afresh():
    buffer = fed(*[[1]] * 5, window_s=1.0)
    assert buffer.add(100.0, {1: person(7)})
    assert values(buffer.window(1, 1)) == [7]


def test_clear_forgets_everything():
    buffer = fed([1], [1])
    buffer.clear()
    assert buffer.track_ids() == ()
    assert buffer.add(0.0, {1: person(3)})
    assert values(buffer.window(1, 1)) == [3]


def test_windows_are_copies():
    buffer = fed([1], [1])
    buffer.window(1, 1).xyz[:] = 99
    assert values(buffer.window(1, 1)) == [0, 1]


def test_ten_thousand_people_leave_nothing_behind():
    buffer = FrameBuffer(window_s=0.5, track_timeout_s=0.2)
    skeleton = person()
    for index in range(10_000):
        buffer.add(index * STEP_S, {index: skeleton, -1: skeleton})
        assert buffer.track_ids() == (-1, index)
    held = [len(value) for value in vars(buffer).values() if hasattr(value, "__len__")]
    assert len(held) == 3
    assert max(held) < 20
    assert len(buffer.window(-1, 2).xyz) == 6


@pytest.mark.parametrize("window_s", [0.5, 1 / 3, 2.0])
def test_a_window_is_what_its_rules_say(window_s):
    """Against the rules applied to the whole history, for random comings and goings."""
    rng = np.random.default_rng(0)
    timeout_s = 0.25
    buffer, history, started, seen = FrameBuffer(window_s, timeout_s), [], {}, {}
    for index in range(300):
        stamp_s = index * STEP_S + rng.uniform(0, 0.05)
        ids = [int(key) for key in np.flatnonzero(rng.random(4) < [0.9, 0.5, 0.3, 0.1])]
        buffer.add(stamp_s, {key: person(index) for key in ids})
        history.append((stamp_s, index, ids))
        for key in ids:
            if key not in seen or stamp_s - seen[key] > timeout_s:
                started[key] = stamp_s
            seen[key] = stamp_s
        for key in ids:
            rows = [
                (number if key in there else None)
                for stamp, number, there in history
                if stamp >= max(started[key], stamp_s - window_s)
            ]
            while rows[0] is None:
                rows.pop(0)
            assert values(buffer.window(key, 1)) == rows
