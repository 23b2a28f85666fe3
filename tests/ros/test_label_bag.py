"""Labels for a recording: what is added, what stays, and that live says the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import read_skeletons, write_skeletons
from iospstl_ros.bag_messages import message_classes
from iospstl_ros.bags import new_bag, open_bag, standard_types
from iospstl_ros.label_bag import Job, label_bag
from iospstl_ros.labeler import StampPace
from iospstl_ros.settings import RecognizerParameters
from tests.ros.partner import Partner
from tests.ros.processes import wait_for_text
from tests.ros.recordings import (
    CLOUD,
    LATE_NS,
    START_NS,
    read_labels,
    read_objects,
    read_topics,
    stamp_of,
    write_recording,
)
from tests.ros.tiny import FPS, raised_hand


@pytest.fixture
def parameters(bundle):
    return RecognizerParameters(bundle=str(bundle), smoothing=0.0)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_everything_stays_and_results_are_at_the_times_of_their_frames(
    tmp_path, recording, parameters, storage
):
    job = Job(recording, tmp_path / "out", storage=storage)
    summary = label_bag(job, parameters)
    before, after = read_topics(recording), read_topics(tmp_path / "out")
    assert {topic: after[topic] for topic in before} == before
    assert set(after) - set(before) == {
        *("/action_label", "/recognizer/labels"),
        *("/recognizer/imputed", "/recognizer/actions"),
    }
    with open_bag(tmp_path / "out") as bag:
        assert bag.storage == storage
    imputed = read_objects(tmp_path / "out", "/recognizer/imputed")
    frames = {stamp_ns for stamp_ns, _ in before["/camera/people"]}
    for bag_ns, message in imputed:
        assert bag_ns in frames
        assert bag_ns == stamp_of(message) + LATE_NS
        assert message.header.frame_id == "kamera"
    completed = read_skeletons(imputed[10][1], NTU_25).persons[1]
    assert np.isfinite(completed).all()
    for (bag_ns, message), (other_ns, actions) in zip(
        imputed, read_objects(tmp_path / "out", "/recognizer/actions"), strict=True
    ):
        assert (bag_ns, stamp_of(message)) == (other_ns, stamp_of(actions))
        people = read_skeletons(message, NTU_25).persons
        assert [item.id for item in actions.detections] == [str(person) for person in people]
        names = {item.id: item.results[0].hypothesis.class_id for item in actions.detections}
        assert names.items() <= {("1", "hand up"), ("2", "hand down")}
    assert (summary.messages, summary.malformed) == (72, 0)
    assert summary.labels == len(read_labels(tmp_path / "out"))


def test_labels_say_who_does_what(tmp_path, recording, parameters):
    label_bag(Job(recording, tmp_path / "out"), parameters)
    labels = read_labels(tmp_path / "out")
    assert {(row["id"], row["name"], row["label"]) for row in labels} == {
        (1, "1", "hand up"),
        (2, "2", "hand down"),
    }
    for row in labels:
        assert row["top"][0] == [row["label"], row["score"]]
        assert row["score"] > 0.9
        assert 0 < row["observed_ratio"] <= 1
    newest = {row["id"]: row["stamp_ns"] for row in labels}
    assert newest == {  # everybody's last frame, also of who leaves between two inferences
        1: START_NS + round(49 * 1e9 / FPS),
        2: START_NS + round(71 * 1e9 / FPS),
    }
    said = [message.data for _, message in read_objects(tmp_path / "out", "/action_label")]
    assert set(said) == {"hand up", "hand down"}


def test_who_was_hardly_seen_has_no_label(tmp_path, recording, parameters):
    parameters = replace(parameters, min_observed_ratio=1.0)
    label_bag(Job(recording, tmp_path / "out"), parameters)
    rows = read_labels(tmp_path / "out")
    hidden = [row for row in rows if row["label"] is None]
    assert {row["id"] for row in hidden} == {1}
    assert min(row["stamp_ns"] for row in hidden) >= START_NS + round(10 * 1e9 / FPS)


def test_events_are_written_on_request(tmp_path, recording, parameters):
    parameters = replace(parameters, publish_events=True, publish_actions=False)
    label_bag(Job(recording, tmp_path / "out"), parameters)
    topics = read_topics(tmp_path / "out")
    assert "/recognizer/actions" not in topics
    events = read_labels(tmp_path / "out", "/recognizer/events")
    assert [(item["event"], item["person"], item["label"]) for item in events] == [
        ("started", "1", "hand up"),
        ("started", "2", "hand down"),
        ("ended", "1", "hand up"),
        ("ended", "2", "hand down"),
    ]


def test_the_same_bag_gives_the_same_bag(tmp_path, recording, parameters):
    for name in ("one", "two"):
        label_bag(Job(recording, tmp_path / name), parameters)
    assert read_topics(tmp_path / "one") == read_topics(tmp_path / "two")


@pytest.mark.parametrize(("rate_hz", "frames_between"), [(10.0, 3), (30.0, 1), (7.5, 4), (100, 1)])
def test_the_stamps_say_when_an_inference_is_due(rate_hz, frames_between):
    pace = StampPace(rate_hz)
    due = [index for index in range(120) if pace.is_due(START_NS + round(index * 1e9 / 30))]
    assert due == list(range(0, 120, frames_between))


def test_frames_that_come_a_little_late_do_not_slow_the_pace_down():
    pace, rng = StampPace(10.0), np.random.default_rng(2)
    stamps = [round(index * 1e9 / 30 + rng.uniform(0, 8e6)) for index in range(3000)]
    assert sum(pace.is_due(stamp_ns) for stamp_ns in stamps) == pytest.approx(1000, abs=3)


def test_after_silence_and_after_a_jump_back_the_first_frame_is_due():
    pace = StampPace(10.0)
    assert [pace.is_due(stamp) for stamp in (0, 10**7, 10**10, 10**10 + 10**7)] == [
        *(True, False),
        *(True, False),
    ]
    pace.restart()
    assert pace.is_due(5)


def test_messages_that_are_wrong_cost_only_themselves(tmp_path, parameters):
    def add_wrong(bag, types, messages):
        connection = bag._writer.connections[0]
        for index in (15, 33, 51):
            stamp_ns = START_NS + round((index + 0.5) * 1e9 / FPS) + LATE_NS
            bag.write(connection, stamp_ns, b"\x00\x01\x00\x00 nonsense")
        stamp = messages.Time(sec=START_NS // 10**9, nanosec=0)
        header = messages.Header(stamp=stamp)
        people = {1: np.full((25, 3), 5000, np.float32)}
        cloud = write_skeletons(header, people, NTU_25, None, messages)
        bag.write(connection, START_NS + 10**9, types.serialize_cdr(cloud, CLOUD))

    write_recording(tmp_path / "good")
    write_recording(tmp_path / "bad", extra=add_wrong)
    label_bag(Job(tmp_path / "good", tmp_path / "out"), parameters)
    summary = label_bag(Job(tmp_path / "bad", tmp_path / "other"), parameters)
    assert (summary.messages, summary.malformed) == (76, 4)
    assert read_labels(tmp_path / "other") == read_labels(tmp_path / "out")
    text = "\n".join(summary.lines(tmp_path / "other"))
    assert "from 76 messages (4 malformed)" in text
    assert "3 x /camera/people: damaged message" in text
    assert "are these millimetres?" in text


def test_a_clock_that_jumps_back_starts_afresh(tmp_path, parameters):
    """A robot that is started again, or the simulation."""
    types = standard_types()
    messages = message_classes(types)
    with new_bag(tmp_path / "in", "mcap") as bag:
        write = bag.add_topic("/people", CLOUD, types)
        for index in range(60):
            stamp_ns = (100 if index < 30 else 1) * 10**9 + round((index % 30) * 1e9 / FPS)
            stamp = messages.Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            people = {1: raised_hand(1, 0.4 if index < 30 else -0.6)[0]}
            header = messages.Header(stamp=stamp)
            write(START_NS + index, write_skeletons(header, people, NTU_25, None, messages))
    label_bag(Job(tmp_path / "in", tmp_path / "out"), parameters)
    found = [
        (bag_ns - START_NS, json.loads(message.data)["label"])
        for bag_ns, message in read_objects(tmp_path / "out", "/recognizer/labels")
    ]
    assert {label for number, label in found if number < 30} == {"hand up"}
    assert {label for number, label in found if number >= 30} == {"hand down"}
    after = [number for number, _ in found if number >= 30]
    assert min(after) < 42  # at the pace of before, it would wait for the old time
    assert max(after) == 59


def test_an_interrupted_command_leaves_nothing(tmp_path, recording, parameters):
    def stop_in_the_middle(messages, total):
        for index, item in enumerate(messages):
            if index == total // 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        label_bag(Job(recording, tmp_path / "out"), parameters, stop_in_the_middle)
    assert list(tmp_path.iterdir()) == []


def test_a_bag_with_labels_gets_new_ones_below_a_name(tmp_path, recording, parameters):
    label_bag(Job(recording, tmp_path / "one"), parameters)
    with pytest.raises(InputError, match=r"has /action_label, /recognizer/act.* --namespace"):
        label_bag(Job(tmp_path / "one", tmp_path / "two"), parameters)
    summary = label_bag(
        Job(tmp_path / "one", tmp_path / "two", topic="camera/people", namespace="/again"),
        parameters,
    )
    assert summary.labels
    assert read_labels(tmp_path / "two", "/again/recognizer/labels") == read_labels(
        tmp_path / "one"
    )


@pytest.mark.dds
def test_live_says_the_same(tmp_path, processes, ros, recording, bundle):
    """The bag played to the node over DDS: the same joints, labels and scores at every stamp."""
    parameters = RecognizerParameters(bundle=str(bundle), smoothing=0.0, infer_rate_hz=30.0)
    label_bag(Job(recording, tmp_path / "out"), parameters)
    partner = Partner()
    options = ["-p", "smoothing:=0.0", "-p", "infer_rate_hz:=30.0"]
    node = processes.start(
        *("recognizer_node", "--bundle", bundle, "--input-topic", "/camera/people"),
        *("--ros-args", *options),
    )
    wait_for_text(node, "listens to /camera/people")
    assert partner.spin_until(lambda: partner.count_publishers("/recognizer/imputed") == 1)
    partner.spin_for(0.5)
    player = processes.start(
        "player", "--bag", recording, "--bag-topic", "/camera/people", "--wait"
    )
    assert partner.spin_until(lambda: player.poll() is not None, 30)
    partner.spin_for(0.5)
    assert player.returncode == 0, player.log.read_text()
    live = compare(partner, tmp_path / "out")
    partner.destroy_node()
    assert live >= 5  # of 86: a busy machine may leave many out


def joints_of(message):
    """The joints in a cloud by stamp and person."""
    persons = read_skeletons(message, NTU_25).persons
    return {(stamp_of(message), person): xyz for person, xyz in persons.items()}


def compare(partner, path):
    """Compare what was heard with what a bag says; return how many skeletons both have."""
    offline = {}
    for _, message in read_objects(path, "/recognizer/imputed"):
        offline |= joints_of(message)
    scores = {
        (row["stamp_ns"], row["id"]): f"{row['label']} {row['score']:.2f}"
        for row in read_labels(path)
    }
    n_common = 0
    for message in partner.heard[PointCloud2]:
        for key, xyz in joints_of(message).items():
            if key in offline:
                n_common += 1
                assert xyz.tobytes() == offline[key].tobytes()
    labels = {
        (stamp_of(marker), marker.id): marker.text
        for message in partner.heard[MarkerArray]
        for marker in message.markers
        if marker.ns == "label" and marker.action == Marker.ADD
    }
    assert {key: text for key, text in labels.items() if key in scores} == {
        key: text for key, text in scores.items() if key in labels
    }
    assert {message.data for message in partner.heard[String]} == {"hand up", "hand down"}
    return n_common
