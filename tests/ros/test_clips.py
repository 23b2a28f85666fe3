"""What the player shows: which sequences, side by side, under ids that are used once."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, open_store
from iospstl_ros.clips import (
    Clip,
    arrange,
    hide_more,
    select_sequences,
    skeleton_clip,
    store_clips,
)
from iospstl_ros.player import frame_stamps


def clip(name, n_frames, n_persons=2):
    xyz = np.zeros((n_frames, n_persons, 25, 3), dtype=np.float32)
    return Clip(name, name.upper(), xyz, np.ones((n_frames, n_persons), dtype=bool))


def test_ids_count_up_over_person_slots_and_sequences():
    takes = list(arrange([clip("a", 5), clip("b", 3), clip("c", 4, 1)], n_together=2))
    assert [take.first_ids for take in takes] == [(1, 3), (5,)]
    assert [take.n_frames for take in takes] == [5, 4]
    assert list(takes[0].persons(0)) == [1, 2, 3, 4]
    assert list(takes[0].persons(3)) == [1, 2]  # b has ended
    assert list(takes[1].persons(0)) == [5]


def test_takes_come_one_by_one_without_end():
    endless = (clip(str(number), 2) for number in itertools.count())
    takes = list(itertools.islice(arrange(endless, 2), 3))
    assert takes[2].first_ids == (9, 11)


@pytest.mark.parametrize(
    ("n_together", "places"), [(1, [0.0]), (2, [-0.5, 0.5]), (3, [-1.0, 0.0, 1.0])]
)
def test_sequences_stand_a_metre_apart(n_together, places):
    (take,) = arrange([clip("a", 2, 1) for _ in range(n_together)], n_together)
    persons = take.persons(0)
    assert [float(xyz[0, 0]) for xyz in persons.values()] == places
    assert all(not xyz[:, 1:].any() for xyz in persons.values())


def test_who_is_absent_has_no_row():
    gap = clip("a", 4)
    present = np.array([[1, 0], [0, 0], [1, 1], [0, 0]], dtype=bool)
    (take,) = arrange([replace(gap, present=present)], 1)
    assert [list(take.persons(frame)) for frame in range(4)] == [[1], [], [1, 2], []]
    (line,) = take.truth([100, 200, 300, 400])
    assert line == {
        "sequence": "a",
        "label": "A",
        "persons": [1, 2],
        "first_stamp_ns": 100,
        "last_stamp_ns": 300,  # the last frame with anybody
    }


def test_stamps_are_whole_nanoseconds_without_drift():
    start_ns = 1_795_000_000_123_456_789
    stamps = frame_stamps(start_ns, 3001, 30.0)
    assert stamps[:3] == [start_ns, start_ns + 33_333_333, start_ns + 66_666_667]
    assert stamps[-1] == start_ns + 100_000_000_000


def test_an_occlusion_hides_joints_and_nothing_else(store_folder):
    store = open_store(store_folder)
    (plain,) = store_clips(store, [4], None)
    (hidden,) = store_clips(store, [4], find_occlusion(store, "legs"))
    assert (plain.name, plain.label) == ("hand down 2", "hand down")
    missing = np.isnan(hidden.xyz[..., 0])
    assert missing[5:, 0, NTU_25.index("KneeLeft")].all()
    assert missing.sum() == (22 - 5) * 4
    np.testing.assert_array_equal(hidden.xyz[~missing], plain.xyz[~missing])


@pytest.mark.parametrize(
    ("subset", "sequences", "limit", "expected"),
    [
        ("all", None, None, [0, 1, 2, 3, 4, 5]),
        ("train", None, None, [0, 1, 2]),
        ("test", None, None, [3, 4, 5]),
        ("all", None, 3, [0, 2, 5]),
        ("test", None, 10, [3, 4, 5]),
        ("train", [5, 1], None, [5, 1]),
    ],
)
def test_sequences_are_selected(store_folder, subset, sequences, limit, expected):
    store = open_store(store_folder)
    assert select_sequences(store, "subjects", subset, sequences, limit) == expected
    assert select_sequences(store, None, subset, sequences, limit) == expected


def test_what_does_not_exist_is_named(store_folder):
    store = open_store(store_folder)
    with pytest.raises(InputError, match=r"expected 0 to 5, got \[6\]"):
        select_sequences(store, None, "all", [0, 6], None)
    with pytest.raises(InputError, match="split: tiny has subjects, got 'views'"):
        select_sequences(store, "views", "test", None, None)


def test_a_skeleton_file_becomes_a_clip(tmp_path, write_skeleton_file):
    path = tmp_path / "S001C002P003R002A013.skeleton"
    write_skeleton_file(path, np.full((3, 1, 25, 3), 2.0))
    found = skeleton_clip(path)
    assert (found.name, found.label) == ("S001C002P003R002A013", "A013")
    assert found.xyz.shape == (3, 2, 25, 3)
    assert found.present.tolist() == [[True, False]] * 3


def test_more_joints_and_cells_are_hidden_on_request():
    whole = clip("a", 40)
    (shown,) = hide_more([whole], NTU_25, ["Head", "FootLeft"], 0.25, seed=3)
    hidden = np.isnan(shown.xyz[..., 0])
    assert hidden[:, :, [NTU_25.index("Head"), NTU_25.index("FootLeft")]].all()
    assert hidden.sum() == 2 * 40 * 2 + round(0.25 * 23 * 40 * 2)
    np.testing.assert_array_equal(shown.xyz[~hidden], whole.xyz[~hidden])
    assert not np.isnan(whole.xyz).any()
    (again,) = hide_more([whole], NTU_25, ["Head", "FootLeft"], 0.25, seed=3)
    assert again.xyz.tobytes() == shown.xyz.tobytes()


def test_an_unknown_joint_to_hide_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'Head'"):
        list(hide_more([clip("a", 2)], NTU_25, ["head"], 0.0, seed=0))
