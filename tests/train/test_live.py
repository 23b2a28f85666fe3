"""Clips as a robot would see them: what lies between them, and what its windows hold."""

import numpy as np
import pytest

from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.data.live import (
    NO_CLIP,
    Clip,
    action_window,
    cut_window,
    drop_nobody,
    join_clips,
    pause_window,
    read_clip,
)
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


def test_a_window_of_an_action_ends_in_its_second_half():
    """The arms rise steadily: their height in the last frame tells where the window ended."""
    before, rising = clip(20, [0, 0, 2]), clip(30, [1, 0, 2])
    ends, rng = set(), np.random.default_rng(0)
    for _ in range(200):
        xyz, present = action_window(before, rising, FPS, 12, rng)
        assert (len(xyz), len(present)) == (12, 12)
        ends.add(round(float(xyz[-1, 0, 4, 1] - xyz[-1, 0, 0, 1] - REST[4, 1] + REST[0, 1]) * 100))
    assert ends == set(range(15, 30))


def test_a_short_action_has_a_pause_before_it():
    xyz, _ = action_window(
        clip(20, [0, 0, 2]), clip(4, [1, 0, 2]), FPS, 12, np.random.default_rng(0)
    )
    assert len(xyz) == 12
    assert np.abs(np.diff(xyz[:4, 0, 0], axis=0)).max() < 0.05


def test_a_window_of_a_pause_ends_between_the_clips():
    before, after = clip(20, [0, 0, 2]), clip(30, [0, 0, 2])
    before.xyz[..., 0, 1] += 1  # the root tells the clips apart
    rng = np.random.default_rng(0)
    last = [pause_window(before, after, FPS, 8, rng)[0][-1, 0, 0, 1] for _ in range(200)]
    heights = np.array(last) - REST[0, 1]
    assert heights.max() < 0.5  # on the way, at least AFTER_S after the first clip
    assert np.ptp(heights) > 0.1
    assert np.isclose(heights, 0, atol=0.02).mean() > 0.4
    alone = pause_window(clip(2, [0, 0, 2]), clip(1, [0, 0, 2]), FPS, 8, rng)[0]
    assert len(alone) >= 2


def test_reading_hides_and_drops_frames_of_nobody(tmp_path):
    one = clip(6, [0, 0, 2])
    one.present[:2] = False
    one.xyz[:2] = np.nan
    manifest = {
        "dataset": "tiny",
        "class_names": ["up"],
        "n_persons": 1,
        "fps": FPS,
        "splits": {"subjects": "train: subject in 0; test: subject in 1"},
    }
    write_store(
        tmp_path / "tiny", manifest, NTU_25, [Recording("one", one.xyz, one.present, 0, 0)]
    )
    store = open_store(tmp_path / "tiny")
    mask = np.zeros((6, 1, 25), dtype=bool)
    mask[2:, :, 15] = True
    write_occlusion(store, "foot", iter([mask]), {"kind": "by hand"})
    whole = read_clip(store, 0, find_occlusion(store, "foot"))
    assert len(whole.xyz) == 6
    read = drop_nobody(whole)
    assert len(read.xyz) == 4
    hidden = np.isnan(read.xyz[..., 0])
    assert hidden[..., 15].all()
    assert not np.delete(hidden, 15, axis=-1).any()
