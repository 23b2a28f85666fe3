import multiprocessing
from functools import cache

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_train.data.recording import Recording
from iospstl_train.data.synthetic import (
    SYNTHETIC_CLASSES,
    SyntheticSettings,
    make_recording,
    recording_count,
)
from iospstl_train.data.synthetic_actions import ACTIONS, interpolate_keys

CLEAN = SyntheticSettings(n_subjects=2, noise_m=0.0)
NOISY = SyntheticSettings(n_subjects=2)
PAIR_CLASSES = {name for name, action in ACTIONS.items() if action.partner is not None}
UP = np.array([0.0, 1.0, 0.0])


@cache
def make_all(settings: SyntheticSettings) -> tuple[Recording, ...]:
    return tuple(make_recording(i, settings) for i in range(recording_count(settings)))


def joint(recording: Recording, name: str, person: int = 0) -> np.ndarray:
    return recording.xyz[:, person, NTU_25.index(name)].astype(np.float64)


def class_name(recording: Recording) -> str:
    return SYNTHETIC_CLASSES[recording.label]


def fit_rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the best rotation (Kabsch, no mirroring) and the largest distance that is left."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    return rotation, float(np.linalg.norm(a @ rotation - b, axis=1).max())


def test_classes_and_count():
    assert len(SYNTHETIC_CLASSES) >= 12
    assert len(set(SYNTHETIC_CLASSES)) == len(SYNTHETIC_CLASSES)
    assert all(name == name.lower() for name in SYNTHETIC_CLASSES)
    assert len(PAIR_CLASSES) >= 2
    settings = SyntheticSettings(n_subjects=5, n_repeats=2, n_views=2)
    assert recording_count(settings) == 5 * 2 * 2 * len(SYNTHETIC_CLASSES)


def test_every_combination_appears_once():
    settings = SyntheticSettings(n_subjects=2, n_repeats=2, n_views=2)
    recordings = make_all(settings)
    assert len({r.name for r in recordings}) == len(recordings)
    assert {(r.subject, r.label, r.view) for r in recordings} == {
        (s, a, v) for s in (1, 2) for a in range(len(SYNTHETIC_CLASSES)) for v in (1, 2)
    }
    for r in recordings:
        assert r.name.startswith(f"S{r.setup:03d}C{r.view:03d}P{r.subject:03d}R")
        assert r.name.endswith(f"A{r.label + 1:03d}")


def test_same_settings_give_same_bytes():
    again = SyntheticSettings(n_subjects=2)
    for index in (0, 40, 83):
        first, second = make_recording(index, NOISY), make_recording(index, again)
        assert first.xyz.tobytes() == second.xyz.tobytes()
        assert first.name == second.name


def test_other_seed_gives_other_bodies_and_motion():
    other = make_recording(0, SyntheticSettings(n_subjects=2, seed=1, noise_m=0.0))
    first = make_recording(0, CLEAN)
    thighs = [np.linalg.norm(joint(r, "KneeLeft") - joint(r, "HipLeft")) for r in (first, other)]
    assert thighs[0] != pytest.approx(thighs[1], rel=1e-3)
    assert first.xyz.shape != other.xyz.shape or not np.allclose(first.xyz, other.xyz, atol=0.01)


def test_a_recording_does_not_depend_on_how_many_there_are():
    larger = SyntheticSettings(n_subjects=7)
    assert make_recording(5, NOISY).xyz.tobytes() == make_recording(5, larger).xyz.tobytes()


def test_another_process_makes_the_same_bytes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        recording = pool.apply(make_recording, (3, NOISY))
    assert recording.xyz.tobytes() == make_recording(3, NOISY).xyz.tobytes()


def test_shapes_types_and_absent_persons():
    for recording in make_all(NOISY):
        n_frames = len(recording.xyz)
        assert recording.xyz.shape == (n_frames, 2, 25, 3)
        assert recording.xyz.dtype == np.float32
        assert recording.present.shape == (n_frames, 2)
        assert recording.present.dtype == np.bool_
        assert recording.present[:, 0].all()
        assert np.all(recording.present[:, 1] == (class_name(recording) in PAIR_CLASSES))
        assert np.isfinite(recording.xyz[recording.present]).all()
        assert np.isnan(recording.xyz[~recording.present]).all()


@pytest.mark.parametrize("fps", [30.0, 15.0])
def test_durations(fps):
    settings = SyntheticSettings(n_subjects=2, n_views=1, fps=fps)
    seconds = [len(r.xyz) / fps for r in make_all(settings)]
    assert min(seconds) >= 1.25
    assert max(seconds) <= 2.75
    assert max(seconds) - min(seconds) > 0.7


def test_frames_lie_in_front_of_the_camera():
    for recording in make_all(NOISY):
        z = recording.xyz[recording.present][..., 2]
        assert z.min() > 1.0
        assert z.max() < 6.0


def test_bones_keep_their_length():
    for recording in make_all(CLEAN):
        for person in range(1 + recording.present[0, 1]):
            xyz = recording.xyz[:, person].astype(np.float64)
            lengths = np.array(
                [np.linalg.norm(xyz[:, a] - xyz[:, b], axis=1) for a, b in NTU_25.bones]
            )
            assert np.ptp(lengths, axis=1).max() < 1e-5
            assert lengths.min() > 0.02
            assert lengths.max() < 0.6


def test_both_sides_are_equally_long():
    recording = make_recording(0, CLEAN)
    for child, parent in (("Elbow", "Shoulder"), ("Knee", "Hip"), ("Foot", "Ankle")):
        left, right = (
            np.linalg.norm(joint(recording, child + side)[0] - joint(recording, parent + side)[0])
            for side in ("Left", "Right")
        )
        assert left == pytest.approx(right, abs=1e-5)


def test_views_show_one_motion_45_degrees_apart():
    for first in range(0, recording_count(CLEAN), 3):
        views = make_all(CLEAN)[first : first + 3]
        points = [r.xyz[r.present].reshape(-1, 3).astype(np.float64) for r in views]
        for other in points[1:]:
            rotation, error_m = fit_rigid(points[0], other)
            assert error_m < 1e-5
            angle = np.degrees(np.arccos((np.trace(rotation) - 1.0) / 2.0))
            assert angle == pytest.approx(45.0, abs=0.5)


def test_views_do_not_share_their_noise():
    errors = [make_recording(i, NOISY).xyz - make_recording(i, CLEAN).xyz for i in (0, 1)]
    first, second = (error[:, 0].ravel() for error in errors)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
    assert 0.004 < first.std() < 0.012


def test_left_is_left_as_in_kinect_recordings():
    for recording in make_all(CLEAN):
        for person in range(1 + recording.present[0, 1]):
            to_left = joint(recording, "HipLeft", person) - joint(recording, "HipRight", person)
            toes = sum(
                joint(recording, f"Foot{side}", person) - joint(recording, f"Ankle{side}", person)
                for side in ("Left", "Right")
            )
            assert np.all(np.sum(np.cross(to_left, UP) * toes, axis=1) > 0)
    facing = make_recording(0, CLEAN)
    assert np.all(joint(facing, "ShoulderRight")[:, 0] > joint(facing, "ShoulderLeft")[:, 0])
    assert np.all(joint(facing, "FootLeft")[:, 2] < joint(facing, "AnkleLeft")[:, 2])


def test_pairs_face_each_other():
    pairs = [r for r in make_all(CLEAN) if class_name(r) in PAIR_CLASSES]
    assert pairs
    for recording in pairs:
        apart = joint(recording, "SpineBase", 1) - joint(recording, "SpineBase", 0)
        assert np.linalg.norm(apart, axis=1).min() > 0.3
        for person, direction in ((0, apart), (1, -apart)):
            to_left = joint(recording, "HipLeft", person) - joint(recording, "HipRight", person)
            forward = np.cross(to_left, UP)
            cosine = np.sum(forward * direction, axis=1) / (
                np.linalg.norm(forward, axis=1) * np.linalg.norm(direction, axis=1)
            )
            assert cosine.min() > np.cos(np.radians(35.0))


@pytest.mark.parametrize("name", ["handshake", "high five"])
def test_hands_meet(name):
    label = SYNTHETIC_CLASSES.index(name)
    for recording in (r for r in make_all(CLEAN) if r.label == label):
        nearest = min(
            np.linalg.norm(
                joint(recording, f"Hand{side}", 0) - joint(recording, f"Hand{side}", 1), axis=1
            ).min()
            for side in ("Left", "Right")
        )
        assert nearest < 0.18


@pytest.mark.parametrize("name", ["wave", "bow", "drink", "sit down", "stand up", "clap"])
def test_feet_stay_on_the_floor(name):
    label = SYNTHETIC_CLASSES.index(name)
    for recording in (r for r in make_all(CLEAN) if r.label == label):
        for side in ("Left", "Right"):
            foot = joint(recording, f"Ankle{side}")
            assert np.ptp(foot, axis=0).max() < 0.01


@pytest.mark.parametrize(("name", "seated", "sign"), [("sit down", -1, -1), ("stand up", 0, 1)])
def test_knees_bend_on_the_seat(name, seated, sign):
    recording = make_all(CLEAN)[3 * SYNTHETIC_CLASSES.index(name)]
    pelvis = joint(recording, "SpineBase")[:, 1]
    assert sign * (pelvis[-1] - pelvis[0]) > 0.2
    thigh = joint(recording, "KneeLeft")[seated] - joint(recording, "HipLeft")[seated]
    shank = joint(recording, "AnkleLeft")[seated] - joint(recording, "KneeLeft")[seated]
    bend = np.arccos(-thigh @ shank / np.linalg.norm(thigh) / np.linalg.norm(shank))
    assert 65.0 < np.degrees(bend) < 125.0
    toes = joint(recording, "FootLeft")[seated] - joint(recording, "AnkleLeft")[seated]
    assert (thigh - shank) @ (toes * (1.0, 0.0, 1.0)) > 0.0


def test_a_jump_leaves_the_floor():
    recording = make_all(CLEAN)[3 * SYNTHETIC_CLASSES.index("jump")]
    lowest = np.minimum(joint(recording, "FootLeft"), joint(recording, "FootRight"))[:, 1]
    assert lowest.max() - lowest[0] > 0.1
    pelvis = joint(recording, "SpineBase")[:, 1]
    assert pelvis.max() - pelvis[0] > 0.1


def test_both_hands_are_used():
    settings = SyntheticSettings(n_subjects=12, n_views=1, noise_m=0.0)
    label = SYNTHETIC_CLASSES.index("wave")
    n_classes = len(SYNTHETIC_CLASSES)
    sides = set()
    for subject in range(settings.n_subjects):
        recording = make_recording(subject * n_classes + label, settings)
        heights = [joint(recording, f"Hand{side}")[:, 1].max() for side in ("Left", "Right")]
        sides.add(int(np.argmax(heights)))
    assert sides == {0, 1}


def test_interpolation_passes_through_the_keys_without_overshoot():
    keys = ((0.0, (0.0,)), (0.25, (1.0,)), (0.5, (1.0,)), (1.0, (-2.0,)))
    at_keys = interpolate_keys(keys, np.array([0.0, 0.25, 0.5, 1.0]))
    np.testing.assert_allclose(at_keys[:, 0], [0.0, 1.0, 1.0, -2.0], atol=1e-12)
    between = interpolate_keys(keys, np.linspace(-0.5, 1.5, 201))
    assert between.max() <= 1.0 + 1e-12
    assert between.min() >= -2.0 - 1e-12
    monotone = ((0.0, (0.0,)), (0.5, (0.2,)), (1.0, (1.0,)))
    assert np.all(np.diff(interpolate_keys(monotone, np.linspace(0, 1, 101))[:, 0]) > 0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"n_subjects": 0}, "n_subjects"),
        ({"n_repeats": 0}, "n_repeats"),
        ({"n_views": 4}, "n_views from 1 to 3"),
        ({"fps": 0.0}, "fps"),
        ({"seed": -1}, "seed"),
        ({"noise_m": -0.001}, "noise_m"),
    ],
)
def test_wrong_settings_are_refused(fault, message):
    with pytest.raises(InputError, match=message):
        SyntheticSettings(**fault)


@pytest.mark.parametrize("index", [-1, 84])
def test_wrong_index_is_refused(index):
    with pytest.raises(ValueError, match=f"expected 0 to 83, got {index}"):
        make_recording(index, CLEAN)
