import json
import shutil
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, NTU_25, SkeletonLayout, layout_to_mapping
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.data.prepare import prepare
from iospstl_train.data.recording import Recording
from iospstl_train.data.source import Source
from iospstl_train.occlusion.kind import SkeletonSequence
from iospstl_train.occlusion.measured_gaps import (
    MeasuredGaps,
    gaps_from_mapping,
    gaps_to_mapping,
    measure_gaps,
)
from iospstl_train.occlusion.occlude import make_series, occlude
from iospstl_train.occlusion.report import gap_lengths
from iospstl_train.occlusion.sensor import SENSOR, SensorSettings
from tests.train.skeleton_files import write_skeleton_file

ARM = ("ElbowLeft", "WristLeft", "HandLeft")
SETTINGS = SensorSettings()


def make_gaps(n_frames, seed=0):
    """An arm that is lost as a whole for 1 to 3 s, a foot that flickers alone; (n_frames, 25)."""
    rng = np.random.default_rng(seed)
    missing = np.zeros((n_frames, 25), dtype=bool)
    for first in range(int(rng.integers(150)), n_frames, 250):
        arm = [NTU_25.index(name) for name in ARM]
        missing[first : first + int(rng.integers(30, 90)), arm] = True
    missing[:, NTU_25.index("FootRight")] = rng.random(n_frames) < 0.3
    return missing


def record(missing):
    """Coordinates (n_frames, 1, 25, 3) of somebody with these gaps, and presence."""
    standing = np.array(NTU_25.rest_m) + np.array([0, 0, 3])
    xyz = np.tile(standing, (len(missing), 1, 1, 1))
    xyz[missing[:, None]] = np.nan
    return xyz.astype(np.float32), np.ones((len(missing), 1), dtype=bool)


def measured(*lengths, fps=30.0):
    sequences = [record(make_gaps(length, seed)) for seed, length in enumerate(lengths)]
    xyz, present = zip(*sequences, strict=True)
    return measure_gaps(xyz, present, NTU_25, fps, "test")[0]


def draw_many(gaps, n_frames, n, fps=30.0):
    return [gaps.draw(n_frames, fps, np.random.default_rng(seed)) for seed in range(n)]


# Statistics.


@pytest.mark.parametrize("lengths", [(6000,), (300, 500, 80, 1000, 120) * 4])
def test_drawn_gaps_have_the_measured_rates_alone_and_together(lengths):
    gaps = measured(*lengths)
    drawn = np.concatenate(draw_many(gaps, 200, 400))
    assert drawn.mean(axis=0) == pytest.approx(gaps.missing.mean(axis=0), abs=0.03)
    elbow, hand, foot = (gaps.joints.index(name) for name in (ARM[0], ARM[2], "FootRight"))
    np.testing.assert_array_equal(drawn[:, elbow], drawn[:, hand])
    together = (gaps.missing[:, elbow] & gaps.missing[:, foot]).mean()
    assert (drawn[:, elbow] & drawn[:, foot]).mean() == pytest.approx(together, abs=0.02)


@pytest.mark.parametrize("fps", [30.0, 15.0, 60.0])
def test_drawn_gaps_last_as_long_as_the_measured_ones(fps):
    gaps = measured(20_000)
    drawn = draw_many(gaps, int(2000 * fps / 30), 30, fps)
    elbow = gaps.joints.index(ARM[0])
    expected_s = gap_lengths(gaps.missing[:, elbow]) / 30
    got_s = np.concatenate([gap_lengths(item[:, elbow]) for item in drawn]) / fps
    for quantile in (25, 50, 75):
        wanted = np.percentile(expected_s, quantile)
        assert np.percentile(got_s, quantile) == pytest.approx(wanted, abs=0.2)


def test_every_frame_of_a_drawn_sequence_is_alike():
    gaps = measured(*(60,) * 30)
    drawn = np.array(draw_many(gaps, 100, 1500))
    foot = gaps.joints.index("FootRight")
    by_frame = drawn[..., foot].mean(axis=0)
    assert by_frame[:20].mean() == pytest.approx(by_frame[-20:].mean(), abs=0.03)


def test_a_draw_follows_the_recording_and_then_another_track():
    first = np.arange(4)[:, None] == np.arange(7)
    second = np.arange(4, 7)[:, None] == np.arange(7)
    gaps = MeasuredGaps(tuple("abcdefg"), 30.0, (first, second))
    followers = {}
    for seed in range(300):
        drawn = gaps.draw(3, 30.0, np.random.default_rng(seed)).argmax(axis=1).tolist()
        followers.setdefault(drawn[0], set()).add(drawn[1])
    assert followers == {0: {1}, 1: {2}, 2: {3}, 3: {0, 4}, 4: {5}, 5: {6}, 6: {0, 4}}


def test_twice_the_severity_has_more_gaps_and_half_of_it_fewer(store):
    gaps = measured(6000)
    content = SENSOR.open_source(write_gaps(store, gaps), None, store, SETTINGS).content
    sequence = SkeletonSequence(*record(np.zeros((300, 25), dtype=bool)), NTU_25, 30.0)
    rates = []
    for times in (0.5, 1.0, 2.0):
        settings = SENSOR.with_severity(SETTINGS, times)
        masks = [
            SENSOR.hide(sequence, settings, content, np.random.default_rng(seed)).hidden
            for seed in range(300)
        ]
        rates.append(np.mean([mask[:, 0, NTU_25.index("FootRight")].mean() for mask in masks]))
    assert rates == pytest.approx([0.15, 0.3, 1 - 0.7**2], abs=0.03)


# What is kept of a recording.


def test_measured_gaps_survive_their_file():
    gaps = measured(200, 90)
    text = json.dumps(gaps_to_mapping(gaps))
    assert len(text) < 8000
    back = gaps_from_mapping(json.loads(text), "file")
    assert (back.joints, back.fps) == (gaps.joints, gaps.fps)
    for one, other in zip(back.tracks, gaps.tracks, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"tracks": []},
        {"tracks": ["0:5 9999:3"]},
        {"tracks": ["0:-5"]},
        {"patterns": ["Tail"]},
        {"fps": 0},
        {"joints": None},
    ],
)
def test_damaged_gaps_are_refused(damage):
    with pytest.raises(InputError, match="file: expected measured gaps"):
        gaps_from_mapping({**gaps_to_mapping(measured(100)), **damage}, "file")


def test_absence_cuts_a_track_and_joints_that_were_never_seen_are_no_gaps():
    missing = make_gaps(100)
    missing[:, NTU_25.index("ThumbLeft")] = True
    xyz, present = record(missing)
    present[40:50] = False
    gaps, notes = measure_gaps([xyz], [present], NTU_25, 30.0, "test")
    assert [len(track) for track in gaps.tracks] == [40, 50]
    assert "ThumbLeft" not in gaps.joints
    assert notes == ["never tracked, left as they are: ThumbLeft"]


def test_what_was_measured_is_told():
    first, second = measured(6000).lines()
    assert first.startswith("measured on 6000 frames in 1 tracks at 30 fps: ")
    assert "FootRight 29.7%" in first
    assert "ElbowLeft and WristLeft (100%)" in second
    rough = measured(300).lines()[-1]
    assert rough.startswith("these are rough: expected at least 1000 frames and 100 gaps, got 300")
    assert "rough" not in measured(6000).lines()[-1]


# Sources.


def write_gaps(store, gaps):
    """A manifest as an earlier occlusion of this kind leaves it, in NTU's layout."""
    path = store.folder.parent / "gaps.json"
    content = {"gaps": gaps_to_mapping(gaps), "gaps_layout": layout_to_mapping(NTU_25)}
    path.write_text(json.dumps(content))
    return path


def columns_of(path, store, settings=SETTINGS):
    return SENSOR.open_source(path, None, store, settings).content


def test_tracking_states_are_read(store, tmp_path):
    missing = make_gaps(120)
    missing[5, 3] = True
    state = np.where(missing, 1, 2)[:, None]
    state[5, 0, 3] = 0
    xyz, _ = record(np.zeros_like(missing))
    write_skeleton_file(tmp_path / "some" / "one.skeleton", xyz, tracking_state=state)
    _, present = record(missing)
    stored = Recording("a", xyz, present, 0, tracking=state.astype(np.int8))
    splits = {"all": "train: label in 0; test: label not in 0"}
    source = Source("mine", NTU_25, ("wave",), 1, 30.0, splits, (stored,), copy)
    prepare(source, tmp_path / "stored", {}, 1)
    for path in (tmp_path / "some", tmp_path / "some" / "one.skeleton", tmp_path / "stored"):
        np.testing.assert_array_equal(columns_of(path, store).measured.missing, missing)
    untracked = replace(SETTINGS, inferred_is_missing=False)
    only_lost = columns_of(tmp_path / "some", store, untracked).measured.missing
    assert only_lost.sum() == 1


def test_confidences_are_read(store, tmp_path):
    missing = make_gaps(120)
    xyz, _ = record(np.zeros_like(missing))
    confidence = np.where(missing, 0.3, 0.9)
    arrays = {"xyz": xyz[:, 0], "offset": np.array([0, 120]), "label": np.array([0])}
    np.savez(tmp_path / "mine.npz", **arrays, confidence=confidence)
    found = columns_of(tmp_path / "mine.npz", store).measured
    np.testing.assert_array_equal(found.missing, missing)
    with pytest.raises(InputError, match=r"mine\.npz: expected joints that the sensor lost"):
        columns_of(tmp_path / "mine.npz", store, replace(SETTINGS, min_confidence=0.2))
    np.savez(tmp_path / "bare.npz", **arrays)
    with pytest.raises(InputError, match="got none in 120 frames of 1 tracks; it needs tracking"):
        columns_of(tmp_path / "bare.npz", store)


def test_joints_that_were_not_measured_are_never_hidden(store, tmp_path):
    kinect = SkeletonLayout("small", ("Head", "HandLeft"), (0, 0), 0)
    gaps = MeasuredGaps(("Head",), 30.0, (np.array([[True], [False]] * 600),))
    path = write_gaps(store, gaps)
    opened = SENSOR.open_source(path, None, replace(store, layout=kinect), SETTINGS)
    assert opened.content.columns.tolist() == [0, -1]
    assert opened.notes[-1] == "never hidden, not measured: HandLeft"
    with pytest.raises(InputError, match="expected joints of the layout none, got Head; a YAML"):
        nothing = SkeletonLayout("none", ("Tail",), (0,), 0)
        SENSOR.open_source(path, None, replace(store, layout=nothing), SETTINGS)


def test_joints_are_found_by_name_in_other_layouts(store):
    path = write_gaps(store, measured(2000))
    opened = SENSOR.open_source(path, None, replace(store, layout=KINECT_V1_20), SETTINGS)
    names = [opened.content.measured.joints[column] for column in opened.content.columns]
    assert names[KINECT_V1_20.index("HandLeft")] == "HandLeft"
    assert names[KINECT_V1_20.index("ShoulderCenter")] == "SpineShoulder"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "--recording: the kind 'sensor' needs it: expected a recording with tracking"),
        ("nowhere", "expected a recording .*; got nothing there"),
        ("notes.txt", "expected a recording .*; got another file"),
        ("empty", "got a folder without any"),
        ("other.json", r"other\.json: expected a recording .* got a file without measured gaps"),
    ],
)
def test_no_recording(store, tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "other.json").write_text('{"kind": "random"}')
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        columns_of(None if name is None else tmp_path / name, store)


def test_a_store_without_gaps_is_refused(store):
    with pytest.raises(InputError, match=r"expected joints that the sensor lost at times, got no"):
        columns_of(store.folder, store)


# In a store.


def test_masks_of_a_store_have_the_measured_rates(store, tmp_path):
    folder = shutil.copytree(store.folder, tmp_path / "own")
    own = open_store(folder)
    path = write_gaps(own, measured(6000))
    made = occlude(own, "sensor", "sensor", 3, SETTINGS, path, n_workers=1)
    assert made.manifest["hidden_frac_by_joint"]["FootRight"] == pytest.approx(0.3, abs=0.02)
    assert made.manifest["notes"][0].startswith("measured on 6000 frames")
    again = occlude(own, "again", "sensor", 3, SETTINGS, folder / "occlusion/sensor/manifest.json")
    np.testing.assert_array_equal(again.hidden, made.hidden)
    (twice,) = make_series(own, made, (2.0,), n_workers=1)
    assert twice.manifest["hidden_frac"] > 1.5 * made.manifest["hidden_frac"]
    assert find_occlusion(own, "sensor-2").manifest["settings"]["times"] == 2.0
