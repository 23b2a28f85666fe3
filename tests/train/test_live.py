"""Clips as a robot would see them: what lies between them, and what its windows hold."""

import numpy as np
import pytest

from iospstl_core.normalize import normalize
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.data.live import NO_CLIP, Clip, cut_window, join_clips, live_windows, read_clip
from iospstl_train.data.recording import Recording
from iospstl_train.data.store import write_occlusion, write_store

FPS = 10.0
REST = np.float32(NTU_25.rest_m)


def clip(n_frames, place_m, n_persons=1):
    """People who stand somewhere and raise their arms a little from frame to frame."""
    xyz = np.tile(REST, (n_frames, n_persons, 1, 1)) + np.float32(place_m)
    xyz[:, :, 4:12, 1] += np.arange(n_frames, dtype=np.float32)[:, None, None] / 100
    return Clip(xyz, np.ones((n_frames, n_persons), dtype=bool))


def joined(*clips, seed=0):
    return join_clips(clips, FPS, np.random.default_rng(seed))


def test_clips_follow_each_other_with_pauses_between():
    stream = joined(clip(20, [0, 0, 2]), clip(30, [5, 0, 4]))
    order = [int(number) for number in stream.clip[np.flatnonzero(np.diff(stream.clip)) + 1]]
    assert order == [0, NO_CLIP, 1]
    assert stream.clip[0] == NO_CLIP
    assert [np.sum(stream.clip == number) for number in (0, 1)] == [20, 30]
    assert 0.5 * FPS <= np.argmax(stream.clip == 0) <= 1.5 * FPS
    np.testing.assert_allclose(stream.progress[stream.clip == 0], np.arange(1, 21) / 20)
    assert (stream.progress[stream.clip == NO_CLIP] == 0).all()


def test_nobody_jumps():
    stream = joined(clip(20, [0, 0, 2]), clip(30, [5, 0.3, 4]), clip(5, [-3, 0, 1]))
    steps = np.linalg.norm(np.diff(stream.xyz[:, 0], axis=0), axis=-1)
    assert steps.max() < 0.15
    height = stream.xyz[stream.clip == 1][0, 0, 0, 1] - stream.xyz[stream.clip == 0][0, 0, 0, 1]
    assert height == pytest.approx(0.3)  # moved along the floor only


def test_what_is_hidden_at_first_is_hidden_in_the_pause():
    hidden = clip(20, [0, 0, 2])
    hidden.xyz[:3, 0, 7] = np.nan
    stream = joined(clip(20, [0, 0, 2]), hidden)
    before = np.flatnonzero(stream.clip == 1)[0]
    assert np.isnan(stream.xyz[before - 5 : before, 0, 7]).all()
    assert not np.isnan(stream.xyz[before + 3 :, 0, 7]).any()
    assert not np.isnan(stream.xyz[:, 0, 8]).any()


def test_absent_people_stay_absent():
    alone, both = clip(10, [0, 0, 2], n_persons=2), clip(10, [0, 0, 2], n_persons=2)
    alone.present[:, 1] = False
    stream = joined(alone, both)
    assert np.isnan(stream.xyz[~stream.present]).all()
    assert not stream.present[stream.clip == 0, 1].any()
    assert stream.present[stream.clip == 1].all()


def test_a_window_ends_where_it_is_told_and_begins_with_the_person():
    stream = joined(clip(40, [0, 0, 2]))
    xyz, present = cut_window(stream, 30, 11)
    np.testing.assert_array_equal(xyz, stream.xyz[20:31])
    assert len(cut_window(stream, 4, 11)[0]) == 5
    stream.present[:25] = False
    assert len(cut_window(stream, 30, 11)[0]) == 6
    assert present.shape == (11, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    recordings = []
    for index in range(6):
        one = clip(20 + index, [0, 0, 2])
        recordings.append(Recording(f"clip {index}", one.xyz, one.present, index % 2, index))
    manifest = {
        "dataset": "tiny",
        "class_names": ["up", "down"],
        "n_persons": 1,
        "fps": FPS,
        "splits": {"subjects": "train: subject in 0,1,2; test: subject in 3,4,5"},
    }
    folder = tmp_path_factory.mktemp("stores") / "tiny"
    write_store(folder, manifest, NTU_25, recordings)
    masks = [np.zeros(recording.xyz.shape[:-1], dtype=bool) for recording in recordings]
    for mask in masks:
        mask[:, :, 15] = True
    write_occlusion(open_store(folder), "foot", iter(masks), {"kind": "by hand"})
    return open_store(folder)


def test_windows_are_of_the_sequences_asked_for(store):
    drawn = live_windows(store, None, np.array([0, 2, 5]), 1.0, 25, 12, seed=1)
    assert set(drawn.sequence.tolist()) == {0, 2, 5}
    is_action = drawn.label != NO_CLIP
    assert (is_action.sum(), (~is_action).sum()) == (25, 12)
    np.testing.assert_array_equal(drawn.label[is_action], drawn.sequence[is_action] % 2)
    assert drawn.xyz.shape == (37, 50, 1, 25, 3)
    assert drawn.present.all()
    again = live_windows(store, None, np.array([0, 2, 5]), 1.0, 25, 12, seed=1)
    np.testing.assert_array_equal(again.xyz, drawn.xyz)


def test_a_window_of_an_action_ends_in_its_second_half(store):
    """The arms rise steadily: the height in the last frame tells where the window ended."""
    drawn = live_windows(store, None, np.array([1]), 0.5, 100, 0, seed=0)
    one = read_clip(store, 1, None)
    rows = [slice(end - 5, end + 1) for end in range(10, 21)]
    expected = [normalize(one.xyz[part], one.present[part]) for part in rows]
    assert len(drawn.xyz) == len(rows)
    for window in drawn.xyz:
        assert min(np.abs(window - other.xyz).max() for other in expected) < 1e-5


def test_occlusion_is_applied(store):
    occlusion = find_occlusion(store, "foot")
    drawn = live_windows(store, occlusion, np.array([0, 1]), 1.0, 10, 5, seed=0)
    hidden = np.isnan(drawn.xyz[..., 0])
    assert hidden[..., 15].all()
    assert not np.delete(hidden, 15, axis=-1).any()
