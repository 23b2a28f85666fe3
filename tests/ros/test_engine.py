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
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.engine import Engine
from iospstl_ros.live_windows import Added
from iospstl_ros.parameters import RecognizerParameters
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


def stranger(monkeypatch, known):
    """Let every window be as well known as a function says."""
    recognize = Recognizer.recognize

    def changed(self, windows):
        return [replace(item, known=known(item)) for item in recognize(self, windows)]

    monkeypatch.setattr(Recognizer, "recognize", changed)


def test_movement_that_is_no_class_is_unknown(parameters, monkeypatch):
    stranger(monkeypatch, lambda item: 0.03 if item.label == "hand up" else 0.5)
    engine = Engine(replace(parameters, score_threshold=0.05, unknown_label="nothing"))
    (frame,) = feed(engine, {1: raised_hand(30, 0.4), 2: raised_hand(30, -0.6)})
    one, two = frame.persons
    assert (one.label, one.is_known, one.known) == ("nothing", False, 0.03)
    assert (two.label, two.is_known, two.known) == ("hand down", True, 0.5)
    assert one.top[0][0] == "hand up"
    assert one.score == one.top[0][1] > 0.9
    report = engine.statistics.report()
    assert (report.results, report.unknown) == (2, 1)
    (frame,) = feed(Engine(replace(parameters, score_threshold=0.0)), {1: raised_hand(30, 0.4)})
    assert frame.persons[0].label == "hand up"


def test_the_best_classes_come_with_their_scores(parameters):
    (frame,) = feed(Engine(replace(parameters, top_k=2)), {1: raised_hand(30, 0.05)})
    (person,) = frame.persons
    names, values = zip(*person.top, strict=True)
    assert names == ("stand", "hand up")
    assert values[0] == person.score > values[1] > 0


def test_labels_are_smoothed_over_time(parameters):
    """A hand that goes up for one frame only: the scores follow, the label stays."""
    down, up = raised_hand(60, -0.6), raised_hand(60, 0.4)
    labels = {}
    for smoothing in (0.0, 10.0):
        engine = Engine(replace(parameters, smoothing=smoothing, window_s=0.3))
        labels[smoothing] = []
        for index in range(60):
            engine.receive(cloud(index, {1: (up if 30 <= index < 40 else down)[index]}))
            for frame in engine.process(fail):
                labels[smoothing].append(frame.persons[0].label)
    assert "hand up" in labels[0.0]
    assert set(labels[10.0]) == {"hand down"}


def test_who_comes_again_starts_afresh(parameters):
    engine = Engine(replace(parameters, smoothing=60.0))
    feed(engine, {1: raised_hand(30, -0.6)})
    for index in range(100, 120):  # 2.3 s later
        engine.receive(cloud(index, {1: raised_hand(1, 0.4)[0]}))
    (frame,) = engine.process(fail)
    assert frame.persons[0].label == "hand up"
    assert engine.statistics.report().silences == 1
    engine.clear()
    assert engine.newest is None
    (frame,) = feed(engine, {1: raised_hand(30, -0.6)})
    assert frame.persons[0].label == "hand down"


def test_people_may_be_followed_by_their_position(parameters):
    """A driver whose ids change with every frame."""
    engine = Engine(replace(parameters, track_by="position"))
    near, far = raised_hand(30, 0.4), raised_hand(30, -0.6) + np.float32([1.5, 0, 1])
    for index in range(30):
        engine.receive(cloud(index, {100 + index: far[index], 200 + index: near[index]}))
    (frame,) = engine.process(fail)
    assert [person.label for person in frame.persons] == ["hand down", "hand up"]
    assert {person.track_id for person in frame.persons} == {1, 2}
    engine = Engine(parameters)  # by id there is never a window
    for index in range(30):
        engine.receive(cloud(index, {100 + index: far[index]}))
    assert engine.process(fail) == []


def test_joints_that_cannot_be_are_taken_out(parameters):
    xyz = raised_hand(30, 0.4)
    hand = NTU_25.index("HandLeft")
    xyz[29, hand] += np.float32([0, 0, 1.5])
    (frame,) = feed(Engine(replace(parameters, check_joints="off")), {1: xyz})
    assert frame.persons[0].observed[hand]
    engine = Engine(replace(parameters, check_joints="on"))
    (frame,) = feed(engine, {1: xyz})
    assert not frame.persons[0].observed[hand]
    assert engine.statistics.report().invented >= 1


def test_exchanged_sides_are_seen(parameters):
    right, mirrored = Engine(parameters), Engine(parameters)
    xyz = raised_hand(30, 0.4)
    feed(right, {1: xyz})
    feed(mirrored, {1: xyz[:, NTU_25.flip_order]})
    assert right.statistics.report().mirrored == 0
    report = mirrored.statistics.report()
    assert report.mirrored == report.mirror_checks == 30


def test_everybody_who_is_due_is_one_batch(parameters, monkeypatch):
    sizes = []
    recognize = Recognizer.recognize

    def count(self, windows):
        sizes.append(len(windows))
        return recognize(self, windows)

    monkeypatch.setattr(Recognizer, "recognize", count)
    engine = Engine(parameters)
    sizes.clear()
    people = {person: raised_hand(30, 0.4) + np.float32([0, 0, person]) for person in range(6)}
    (frame,) = feed(engine, people)
    assert sizes == [6]
    assert len(frame.persons) == 6
    report = engine.statistics.report()
    assert report.inferences == 6
    assert {"read", "cut windows", "normalize", "recognize"} <= report.stage_ms.keys()


@pytest.mark.parametrize(("n_frames", "n_results"), [(7, 0), (8, 1)])
def test_too_few_frames_give_no_result(parameters, n_frames, n_results):
    engine = Engine(parameters)
    assert len(feed(engine, {1: raised_hand(30, 0.4)}, n_frames)) == n_results


def test_too_little_seen_is_not_unknown(parameters):
    xyz = raised_hand(30, 0.4)
    xyz[:, NTU_25.index("SpineMid") + 1 :] = np.nan  # 2 of 25 joints are left
    engine = Engine(replace(parameters, min_observed_ratio=0.09))
    (frame,) = feed(engine, {1: xyz, 2: raised_hand(30, 0.4)})
    assert ([person.track_id for person in frame.persons], frame.hidden) == ([2], (1,))
    report = engine.statistics.report()
    assert (report.results, report.unknown, report.hidden) == (1, 0, 1)
    (frame,) = feed(Engine(replace(parameters, min_observed_ratio=0.07)), {1: xyz})
    assert frame.persons[0].observed_ratio == pytest.approx(2 / 25)
    assert frame.hidden == ()
    xyz[:] = np.nan
    engine = Engine(replace(parameters, min_observed_ratio=0.0))
    assert len(feed(engine, {1: xyz})) == 1
    (frame,) = feed(Engine(parameters), {1: xyz})
    assert (frame.hidden, frame.most_salient) == ((1,), None)


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
