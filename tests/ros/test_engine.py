"""Messages in, results out, on a tiny real bundle: the live path is the offline path."""

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import BundleError, InputError
from iospstl_core.normalize import normalize, to_camera_frame
from iospstl_core.pipeline import Recognizer
from iospstl_core.skeleton import KINECT_V1_20, NTU_25, joint_indices, joint_sources
from iospstl_ros.engine import Engine
from iospstl_ros.live_windows import Added
from iospstl_ros.parameters import RecognizerParameters
from iospstl_ros.pointcloud import write_skeletons
from tests.ros.tiny import CLASSES, FPS, make_bundle, raised_hand

START_S = 1_795_000_000
LEGS = joint_indices(NTU_25, ["KneeLeft", "AnkleLeft", "FootLeft", "FootRight"])


def cloud(index, persons, layout=NTU_25):
    stamp_ns = START_S * 1_000_000_000 + round(index * 1e9 / FPS)
    stamp = Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
    return write_skeletons(Header(stamp=stamp, frame_id="camera"), persons, layout)


def fail(error):
    raise error


def feed(engine, sequences, n_frames=30, layout=NTU_25):
    """Play sequences (n_frames, n_joints, 3) by person id; return the last frame's results."""
    for index in range(n_frames):
        persons = {person: xyz[index] for person, xyz in sequences.items()}
        assert engine.receive(cloud(index, persons, layout)) is Added.STORED
    return engine.process(fail)


@pytest.fixture
def parameters(bundle):
    return RecognizerParameters(bundle=str(bundle))


def turned(xyz, yaw_rad):
    """Points turned about the camera's vertical."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return xyz @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)


def test_labels_and_completed_skeletons_come_out(parameters):
    hidden = turned(raised_hand(30, 0.4), 0.3)
    hidden[10:, LEGS] = np.nan
    (frame,) = feed(Engine(parameters), {3: hidden})
    (person,) = frame.persons
    assert (person.track_id, person.label) == (3, "hand up")
    assert person.score > 0.9
    assert frame.arrival.frame_id == "camera"
    np.testing.assert_array_equal(np.flatnonzero(~person.observed), sorted(LEGS))
    np.testing.assert_array_equal(person.xyz[person.observed], hidden[-1][person.observed])
    truth = turned(raised_hand(30, 0.4), 0.3)[-1]
    assert np.abs(person.xyz[LEGS] - truth[LEGS]).max() < 0.05


@pytest.mark.parametrize("height_m", [0.4, -0.6, 0.05])
def test_live_equals_offline_bit_for_bit(parameters, bundle, height_m):
    xyz = raised_hand(30, height_m)
    xyz[7:, LEGS] = np.nan
    (frame,) = feed(Engine(parameters), {1: xyz})
    window = normalize(xyz[:, None], np.ones((30, 1), dtype=bool))
    offline = Recognizer(open_bundle(bundle)).recognize([window])[0]
    assert frame.persons[0].label == offline.label
    assert frame.persons[0].score == offline.score


@pytest.fixture(scope="module")
def restoring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "restoring"
    return make_bundle(folder, n_persons=2, imputer="restore")


def test_restored_joints_carry_the_confidence_of_the_network(restoring):
    """And live equals offline, bit for bit, for both people of a window."""
    near, far = raised_hand(30, 0.4), raised_hand(30, -0.6) + np.float32([1.0, 0.0, 1.0])
    near[25:, LEGS], far[10:, LEGS[:2]] = np.nan, np.nan
    far[:, LEGS[2]] = np.nan
    (frame,) = feed(Engine(RecognizerParameters(bundle=str(restoring))), {1: near, 2: far})
    window = normalize(np.stack([near, far], axis=1), np.ones((30, 2), dtype=bool))
    offline = Recognizer(open_bundle(restoring)).recognize([window])[0]
    persons = sorted(frame.persons, key=lambda person: person.track_id)
    for column, (person, sequence) in enumerate(zip(persons, (near, far), strict=True)):
        np.testing.assert_array_equal(person.observed, ~np.isnan(sequence[-1, :, 0]))
        assert np.isfinite(person.xyz).all()
        assert (person.confidence[person.observed] == 1).all()
        hidden = ~person.observed
        error_m = offline.filled.error_m[-1, column][hidden]
        np.testing.assert_allclose(person.confidence[hidden], 0.1 / (0.1 + error_m), rtol=1e-6)
        completed = to_camera_frame(offline.filled.xyz[-1, column], window.frame)
        np.testing.assert_array_equal(person.xyz[hidden], completed[hidden])
    short, long = (person.confidence[LEGS[0]] for person in persons)
    assert short > long > persons[1].confidence[LEGS[2]] > 0


def test_other_imputers_know_nothing_of_their_error(parameters):
    hidden = raised_hand(30, 0.4)
    hidden[10:, LEGS] = np.nan
    (frame,) = feed(Engine(parameters), {1: hidden})
    (person,) = frame.persons
    np.testing.assert_array_equal(person.confidence, person.observed.astype(np.float32))


def test_everybody_has_a_result_and_the_nearest_is_the_most_salient(parameters):
    near, far = raised_hand(30, -0.6), raised_hand(30, 0.4) + np.float32([0.0, 0.0, 1.0])
    (frame,) = feed(Engine(parameters), {1: far, 2: near})
    assert {person.track_id: person.label for person in frame.persons} == {
        1: "hand up",
        2: "hand down",
    }
    assert frame.most_salient.track_id == 2
    (frame,) = feed(Engine(parameters), {8: near, 5: near})
    assert frame.most_salient.track_id == 5


def test_two_people_of_one_window_are_computed_once(pair_bundle):
    engine = Engine(RecognizerParameters(bundle=str(pair_bundle)))
    aside = np.float32([1.0, 0.0, 0.0])
    (frame,) = feed(engine, {1: raised_hand(30, 0.4), 2: raised_hand(30, 0.4) + aside})
    assert [person.track_id for person in frame.persons] == [1, 2]
    assert frame.persons[0].score == frame.persons[1].score
    assert engine.statistics.report().inferences == 1


def test_a_low_score_is_unknown(parameters):
    engine = Engine(replace(parameters, score_threshold=0.999, unknown_label="nothing"))
    (frame,) = feed(engine, {1: raised_hand(30, 0.05)})
    assert frame.persons[0].label == "nothing"
    assert 0 < frame.persons[0].score < 0.999


@pytest.mark.parametrize(("n_frames", "n_results"), [(7, 0), (8, 1)])
def test_too_few_frames_give_no_result(parameters, n_frames, n_results):
    engine = Engine(parameters)
    assert len(feed(engine, {1: raised_hand(30, 0.4)}, n_frames)) == n_results


def test_too_little_seen_gives_no_result(parameters):
    xyz = raised_hand(30, 0.4)
    xyz[:, NTU_25.index("SpineMid") + 1 :] = np.nan  # 2 of 25 joints are left
    assert feed(Engine(replace(parameters, min_observed_ratio=0.09)), {1: xyz}) == []
    assert len(feed(Engine(replace(parameters, min_observed_ratio=0.07)), {1: xyz})) == 1
    xyz[:] = np.nan
    engine = Engine(replace(parameters, min_observed_ratio=0.0))
    assert len(feed(engine, {1: xyz})) == 1


def test_joints_that_the_layout_lacks_are_no_occlusion(parameters):
    source = joint_sources(NTU_25, KINECT_V1_20)
    xyz = raised_hand(30, 0.4)[:, source]
    engine = Engine(replace(parameters, layout="kinect-v1-20", min_observed_ratio=1.0))
    (frame,) = feed(engine, {1: xyz}, layout=KINECT_V1_20)
    assert frame.persons[0].label == "hand up"
    assert not np.isnan(frame.persons[0].xyz).any()


def test_only_the_nearest_people_are_followed(parameters):
    engine = Engine(replace(parameters, max_persons=2))
    people = {
        person: raised_hand(30, 0.4) + np.float32([0, 0, person / 10]) for person in range(5)
    }
    (frame,) = feed(engine, people)
    assert [person.track_id for person in frame.persons] == [0, 1]
    assert engine.statistics.report().dropped == {"persons beyond max_persons": 90}


def test_malformed_and_late_messages_are_counted(parameters):
    engine = Engine(parameters)
    bad = cloud(0, {1: raised_hand(1, 0.4)[0]})
    bad.data = b""
    with pytest.raises(InputError, match="data: expected"):
        engine.receive(bad)
    feed(engine, {1: raised_hand(30, 0.4)})
    assert engine.receive(cloud(3, {1: raised_hand(1, 0.4)[0]})) is Added.NOT_NEWER
    report = engine.statistics.report()
    assert report.received == 32
    assert report.dropped == {"malformed message": 1, "stamp not newer than the last one": 1}


def test_a_window_that_fails_is_counted_and_the_others_go_on(parameters, monkeypatch):
    engine = Engine(parameters)
    recognize = Recognizer.recognize

    def fail_for_raised_hands(self, windows):
        result = recognize(self, windows)
        if result[0].label == "hand up":
            raise RuntimeError("no memory")
        return result

    monkeypatch.setattr(Recognizer, "recognize", fail_for_raised_hands)
    errors = []
    for index in range(10):
        persons = {1: raised_hand(1, 0.4)[0], 2: raised_hand(1, -0.6)[0]}
        engine.receive(cloud(index, persons))
    (frame,) = engine.process(errors.append)
    assert [person.track_id for person in frame.persons] == [2]
    assert [str(error) for error in errors] == ["no memory"]
    assert engine.statistics.report().errors == 1


def test_the_window_may_be_shorter_than_the_bundle_s(parameters):
    engine = Engine(replace(parameters, window_s=0.5))
    assert engine.window_s == 0.5
    assert Engine(parameters).window_s == 2.0


def test_what_cannot_be_used_is_refused(parameters, tmp_path):
    with pytest.raises(InputError, match="bundle: expected the folder"):
        Engine(replace(parameters, bundle=""))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Engine(replace(parameters, bundle=str(tmp_path)))
    other = make_bundle(tmp_path / "other", layout="kinect-v1-20")
    with pytest.raises(BundleError, match="expected models for ntu-25, got kinect-v1-20"):
        Engine(replace(parameters, bundle=str(other)))
    with pytest.raises(InputError, match="providers: expected"):
        Engine(replace(parameters, providers=("NoSuchProvider",)))


def test_the_classes_of_the_bundle_are_known(parameters):
    assert Engine(parameters).settings.classes == CLASSES
