"""Generated files with ghosts, changing and new ids, no body and six: who is left, counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25
from iospstl_core.skeleton_file import (
    JOINED,
    SHORT_LIVED,
    SWAPS,
    THIRD,
    WIDE,
    Persons,
    read_skeleton_file,
)

WriteSkeletonFile = Callable[..., Path]
N_FRAMES = 40


@pytest.fixture
def read(tmp_path: Path, write_skeleton_file: WriteSkeletonFile) -> Callable[..., Persons]:
    def read(xyz: NDArray[np.float64], *more: object, **options: bool) -> Persons:
        path = write_skeleton_file(tmp_path / "S001C001P001R001A050.skeleton", xyz, *more)
        return read_skeleton_file(path, **options)

    return read


def make_people(
    n_people: int, n_frames: int = N_FRAMES, apart_m: float = 1.0
) -> NDArray[np.float64]:
    """Return people side by side who sway, the first one most; (n_frames, n_people, 25, 3)."""
    time = np.arange(n_frames)[:, None]
    xyz = np.tile(np.array(NTU_25.rest_m) + np.array([0, 0, 3]), (n_frames, n_people, 1, 1))
    for person in range(n_people):
        sway_m = 0.3 / (1 + person) * np.sin(0.2 * time + person)
        xyz[:, person, :, 0] += apart_m * person + sway_m
    return xyz.round(5)


def exchange(xyz: NDArray[np.float64], frames: slice, order: list[int]) -> NDArray[np.float64]:
    exchanged = xyz.copy()
    exchanged[frames] = xyz[frames][:, order]
    return exchanged


def test_two_people_need_no_cleaning(read):
    xyz = make_people(2)
    persons = read(xyz)
    np.testing.assert_allclose(persons.xyz, xyz, atol=1e-6)
    assert persons.cleaned == {}


@pytest.mark.parametrize("frames", [slice(20, None), slice(11, 30), slice(1, 2)])
def test_ids_that_change_hands_are_given_back(read, frames):
    xyz = make_people(2)
    persons = read(exchange(xyz, frames, [1, 0]))
    np.testing.assert_allclose(persons.xyz, xyz, atol=1e-6)
    assert persons.cleaned == {SWAPS: 1 if frames.stop is None else 2}


def test_three_ids_that_go_round_are_given_back(read):
    xyz = make_people(3)
    persons = read(exchange(xyz, slice(20, None), [1, 2, 0]))
    np.testing.assert_allclose(persons.xyz, xyz[:, :2], atol=1e-6)
    assert persons.cleaned == {SWAPS: 1, THIRD: 1}


def test_tracking_states_follow_their_person(read):
    xyz = exchange(make_people(2), slice(20, None), [1, 0])
    state = np.full((N_FRAMES, 2, 25), 2)
    state[20:, 1, 4] = 1  # by then the second id is the first person
    for option in (False, True):
        persons = read(xyz, None, None, False, state, inferred_is_missing=option)
        assert np.argwhere((persons.tracking == 1).any(axis=0)).tolist() == [[0, 4]]
        assert np.isnan(persons.xyz[20:, 0, 4]).all() == option
        assert not np.isnan(persons.xyz[:, 1]).any()


def test_an_id_that_takes_the_place_of_a_lost_body_becomes_it(read):
    """The first body vanishes, and in the same frame the second id jumps to its place."""
    xyz, present = make_people(2), np.ones((N_FRAMES, 2), dtype=bool)
    moved = xyz.copy()
    moved[20:, 1] = xyz[20:, 0]
    present[20:, 0] = False
    persons = read(moved, present)
    np.testing.assert_allclose(persons.xyz[:, 0], xyz[:, 0], atol=1e-6)
    assert persons.present.tolist() == [[True, frame < 20] for frame in range(N_FRAMES)]
    assert persons.cleaned == {SWAPS: 1}


def test_a_jump_to_near_a_lost_body_stays_a_jump(read):
    xyz, present = make_people(2), np.ones((N_FRAMES, 2), dtype=bool)
    xyz[20:, 1] = xyz[20:, 0] + np.array([0, 0, 0.3])
    present[20:, 0] = False
    assert read(xyz, present).cleaned == {}


def test_a_jump_to_nobodys_place_stays_a_jump(read):
    xyz = make_people(2)
    xyz[20:, 1, :, 2] += 1.0
    persons = read(xyz)
    np.testing.assert_allclose(np.sort(persons.xyz, axis=1), np.sort(xyz, axis=1), atol=1e-6)
    assert persons.cleaned == {}


def test_people_who_pass_through_each_other_keep_their_ids(read):
    xyz = make_people(2)
    way_m = np.linspace(-1.5, 1.5, N_FRAMES)[:, None]
    xyz[:, 0, :, 0] = xyz[0, 0, :, 0] + way_m
    xyz[:, 1, :, 0] = xyz[0, 0, :, 0] - 0.9 * way_m
    persons = read(xyz)
    np.testing.assert_allclose(persons.xyz, xyz, atol=1e-6)
    assert persons.cleaned == {}


def test_two_people_lost_and_found_again_keep_their_places(read):
    """Both get new ids, and the one who moves most is another afterwards."""
    people = make_people(2)
    people[25:, 1, :, 1] += 0.4 * np.sin(np.arange(N_FRAMES - 25))[:, None]
    people[25, 1] = people[24, 1]
    xyz = np.concatenate([people, people], axis=1)
    present = np.ones((N_FRAMES, 4), dtype=bool)
    present[20:, :2] = False
    present[:25, 2:] = False
    persons = read(xyz, present)
    steps = np.abs(np.diff(persons.xyz[[19, 25]], axis=0))[0]
    assert steps.max() < 0.5
    np.testing.assert_allclose(
        np.sort(persons.xyz[:20], axis=1), np.sort(people[:20], axis=1), atol=1e-6
    )
    assert persons.present.sum(axis=0).tolist() == [35, 35]
    assert persons.cleaned == {JOINED: 2}


def test_a_new_id_far_away_or_much_later_is_another_body(read):
    xyz = np.repeat(make_people(1, 80), 2, axis=1)
    present = np.ones((80, 2), dtype=bool)
    present[20:, 0] = False
    present[:50, 1] = False
    assert read(xyz, present).cleaned == {}
    present[49, 1] = True
    assert read(xyz, present).cleaned == {JOINED: 1}
    xyz[:, 1, :, 0] += 1
    assert read(xyz, present).cleaned == {}


def test_six_bodies_leave_the_two_who_move_most(read):
    xyz, present = make_people(6), np.ones((N_FRAMES, 6), dtype=bool)
    xyz[:, 0] = xyz[:, 0][..., [1, 0, 2]]  # a chair: wider than high
    present[9:, 3] = False
    persons = read(xyz, present)
    np.testing.assert_allclose(persons.xyz, xyz[:, 1:3], atol=1e-6)
    assert persons.cleaned == {WIDE: 1, SHORT_LIVED: 1, THIRD: 2}


@pytest.mark.parametrize("n_frames", [0, 7])
def test_a_file_without_a_body_has_nobody(read, n_frames):
    persons = read(np.zeros((n_frames, 0, 25, 3)))
    assert persons.present.shape == (n_frames, 2)
    assert not persons.present.any()
    assert persons.cleaned == {}
