"""Windows as a robot meets them: what each kind shows, and that the robot's code embeds it."""

import dataclasses

import numpy as np
import pytest

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import InputError
from iospstl_core.normalize import Window, normalize
from iospstl_core.pipeline import Recognizer
from iospstl_train.data.live import Clip
from iospstl_train.data.window_kinds import ACTIONS, N_DRAWN, Kind, choose_partner, make_window
from iospstl_train.examples import (
    ExampleSet,
    choose_sequences,
    from_arrays,
    join_examples,
    make_examples,
)
from tests.train.labels import write_draft

CUT = (Kind.WHOLE, Kind.START, Kind.MIDDLE, Kind.STILL, Kind.JOINED, Kind.SHUFFLED)
"""Kinds that are cut from recordings alone, without a stream of them."""

CPU = ("CPUExecutionProvider",)


def counted(n, first=0):
    """A sequence of one joint whose x tells the frame."""
    xyz = np.zeros((n, 1, 1, 3), dtype=np.float32)
    xyz[:, 0, 0, 0] = first + np.arange(n)
    return Clip(xyz, np.ones((n, 1), dtype=bool))


def frames_of(kind, n=20, seed=0):
    xyz, present = make_window(kind, counted(n), counted(9, 100), np.random.default_rng(seed))
    assert len(xyz) == len(present)
    return xyz[:, 0, 0, 0]


def test_the_whole_is_the_whole():
    np.testing.assert_array_equal(frames_of(Kind.WHOLE), np.arange(20))


def test_parts_are_long_enough_and_one_piece():
    starts, lengths = set(), set()
    for seed in range(60):
        frames = frames_of(Kind.START, seed=seed)
        np.testing.assert_array_equal(frames, np.arange(len(frames)))
        part = frames_of(Kind.MIDDLE, seed=seed)
        np.testing.assert_array_equal(part, part[0] + np.arange(len(part)))
        starts.add(part[0])
        lengths |= {len(frames), len(part)}
    assert min(lengths) == 8
    assert max(lengths) >= 19
    assert len(starts) > 5


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", CUT)
def test_shortest_sequences_have_every_kind(kind, n):
    assert len(frames_of(kind, n)) >= min(n, 2)


def test_standing_still_is_one_frame_of_it():
    frames = frames_of(Kind.STILL)
    assert len(frames) == 20
    assert np.abs(frames - frames.mean().round()).max() < 0.02
    assert len(np.unique(frames)) == 20  # a sensor never says the same twice


def test_standing_still_where_somebody_is_seen():
    xyz, present = counted(20)
    xyz[:19] = np.nan
    for seed in range(10):
        window, _ = make_window(Kind.STILL, Clip(xyz, present), Clip(xyz, present), rng_of(seed))
        assert not np.isnan(window).any()


def rng_of(seed):
    return np.random.default_rng(seed)


def test_shuffled_has_the_same_frames_in_blocks():
    frames = frames_of(Kind.SHUFFLED, 24)
    np.testing.assert_array_equal(np.sort(frames), np.arange(24))
    assert (np.diff(frames) == 1).sum() >= 18
    assert (np.diff(frames) != 1).any()


def test_joined_goes_on_where_the_first_ends():
    frames = frames_of(Kind.JOINED)
    np.testing.assert_array_equal(frames[:10], np.arange(10, 20))
    np.testing.assert_array_equal(frames[10:], 19 + np.arange(5))


def test_a_partner_is_of_another_class_and_the_same_person():
    label, group = np.array([0, 0, 1, 1, 2]), np.array([5, 6, 5, 6, 6])
    for seed in range(20):
        assert choose_partner(0, label, group, rng_of(seed)) == 2
        assert choose_partner(1, label, group, rng_of(seed)) in (3, 4)
    assert choose_partner(0, label, np.arange(5), rng_of(0)) in (2, 3, 4)
    assert choose_partner(0, np.zeros(3, np.int64), np.zeros(3, np.int64), rng_of(0)) is None


@pytest.fixture(scope="module")
def recognizer(store, windows, tmp_path_factory):
    folder = write_draft(tmp_path_factory.mktemp("drafts") / "draft", store, windows)
    return Recognizer(open_bundle(folder), CPU)


@pytest.fixture(scope="module")
def examples(recognizer, store, occlusion, windows):
    return make_examples(recognizer, choose_sequences(store, windows.is_train, occlusion))


def test_every_sequence_has_every_kind(examples, windows):
    n_train = windows.is_train.sum()
    n_actions = sum(N_DRAWN.get(kind, 1) for kind in ACTIONS)
    for kind in CUT:
        assert (examples.kind == kind).sum() == n_train
    assert examples.is_action.sum() == pytest.approx(n_actions * n_train, rel=0.05)
    has_partner = np.isin(examples.kind, [Kind.JOINED, Kind.LIVE, Kind.PAUSE])
    assert (examples.partner != examples.label)[has_partner].all()
    assert (examples.partner == examples.label)[~has_partner].all()


def test_whole_sequences_are_embedded_as_the_robot_embeds_them(
    examples, recognizer, windows, store, occlusion
):
    whole = examples[examples.kind == Kind.WHOLE]
    rows = np.flatnonzero(windows.is_train)
    np.testing.assert_array_equal(whole.label, windows.label[rows])
    np.testing.assert_array_equal(whole.sequence, np.arange(len(rows)))
    for index in (0, 7, 27):
        row = rows[index]
        window = Window(windows.xyz[row], windows.present[row], None)
        (result,) = recognizer.recognize([window])
        np.testing.assert_allclose(whole.embedding[index], result.embedding, atol=1e-4)
    assert len(np.unique(whole.embedding.round(4), axis=0)) == len(rows)


def test_examples_are_the_same_again_and_others_with_another_seed(
    examples, recognizer, store, occlusion, windows
):
    sequences = choose_sequences(store, windows.is_train, occlusion, limit=5)
    once, again = (make_examples(recognizer, sequences, seed=3) for _ in range(2))
    other = make_examples(recognizer, sequences, seed=4)
    for item in dataclasses.fields(ExampleSet):
        np.testing.assert_array_equal(getattr(once, item.name), getattr(again, item.name))
    for kind in (Kind.START, Kind.MIDDLE, Kind.STILL, Kind.SHUFFLED):
        one, two = (each.embedding[each.kind == kind] for each in (once, other))
        assert np.abs(one - two).max() > 1e-4
    one, two = (each.embedding[each.kind == Kind.WHOLE] for each in (once, other))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_only_some_are_made_into_what_is_no_class(recognizer, store, windows):
    sequences = choose_sequences(store, windows.is_train)
    found = make_examples(recognizer, sequences, max_made=3)
    assert len(np.unique(found.sequence[~found.is_action])) == 3
    assert (found.kind == Kind.STILL).sum() == 3
    assert (found.kind == Kind.MIDDLE).sum() == windows.is_train.sum()


def test_windows_that_show_too_little_are_left_out(recognizer, store, occlusion):
    hidden = np.array(occlusion.hidden)
    hidden[store.frames(0)] = True
    chosen = np.arange(len(store)) < 3
    sequences = choose_sequences(store, chosen, dataclasses.replace(occlusion, hidden=hidden))
    found = make_examples(recognizer, sequences)
    assert Kind.WHOLE not in found.kind[found.sequence == 0]
    assert {1, 2} <= set(found.sequence)
    everything = dataclasses.replace(occlusion, hidden=np.ones_like(hidden))
    with pytest.raises(InputError, match="expected sequences in which people are seen, got none"):
        make_examples(recognizer, choose_sequences(store, chosen, everything))


def test_fewer_persons_are_joined_by_absent_ones(recognizer, store, windows):
    alone = dataclasses.replace(
        store, n_persons=1, xyz=store.xyz[:, :1], present=store.present[:, :1]
    )
    chosen = np.arange(len(store)) < 2
    found = make_examples(recognizer, choose_sequences(alone, chosen))
    xyz, present = store.sequence(0)
    xyz[:, 1], present[:, 1] = np.nan, False
    (result,) = recognizer.recognize([normalize(xyz, present, windows.xyz.shape[1])])
    np.testing.assert_allclose(found.embedding[0], result.embedding, atol=1e-4)


def test_more_persons_than_the_bundle_takes_are_refused(recognizer, store):
    crowd = dataclasses.replace(store, n_persons=3)
    chosen = np.ones(len(store), dtype=bool)
    with pytest.raises(InputError, match="expected at most 2 persons in a recording"):
        make_examples(recognizer, choose_sequences(crowd, chosen))


def test_people_are_groups_where_each_class_has_several(store):
    chosen = np.ones(len(store), dtype=bool)
    subject = store.fields["subject"]
    np.testing.assert_array_equal(choose_sequences(store, chosen).group, subject)
    for other in (np.full(len(store), -1), store.label):
        changed = dataclasses.replace(store, fields={**store.fields, "subject": other})
        group = choose_sequences(changed, chosen).group
        np.testing.assert_array_equal(group, np.arange(len(store)))


def test_a_limit_is_spread_over_all(store):
    found = choose_sequences(store, np.ones(len(store), dtype=bool), limit=7)
    assert len(found.rows) == 7
    assert found.rows[0] == 0
    assert found.rows[-1] == len(store) - 1


def test_examples_come_back_from_arrays(examples, monkeypatch):
    back = from_arrays(examples.to_arrays())
    np.testing.assert_allclose(back.embedding, examples.embedding, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(back.kind, examples.kind)
    monkeypatch.setattr("iospstl_train.examples.MAX_KEPT", 4)
    assert len(np.unique(examples.to_arrays()["sequence"])) == 4
    both = join_examples([back, back])
    assert len(both.label) == 2 * len(back.label)
