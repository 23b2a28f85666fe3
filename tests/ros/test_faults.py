"""Whatever comes in, the node lives, counts it, and goes on; benchmarks/faults.py runs longer."""

import time

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2

from tests.ros import fuzz
from tests.ros.processes import wait_for_text
from tests.ros.rig import Rig, counts
from tests.ros.tiny import raised_hand

REFUSED = ("malformed message", "undecodable message", "stamp not newer than the last one")


@pytest.fixture
def rig(bundle):
    return Rig(bundle, infer_rate_hz=1000.0)


def assert_alive(rig, n_sent, n_stored):
    """Every message is either stored or counted as dropped, and a person is still recognised."""
    report = rig.engine.statistics.report()
    assert report.received == n_sent
    dropped = {k: v for k, v in report.dropped.items() if not k.startswith("persons beyond")}
    assert sum(dropped.values()) == n_sent - n_stored
    assert report.errors_by_kind == {}
    assert all(reason in REFUSED or "raised" in reason for reason in dropped), dropped
    rig.loop.forget()
    rig.topics["action_label"].sent.clear()
    rig.play()
    rig.loop.work()
    assert rig.topics["action_label"].sent[-1].data == "hand up"


@pytest.mark.parametrize("kind", [*fuzz.TYPED, *fuzz.LOOSE])
def test_damaged_messages_cost_only_themselves(rig, kind):
    rng = np.random.default_rng(3)
    n_stored = 0
    for index in range(300):
        n_stored += rig.loop.store(fuzz.damaged(kind, rng, stamp_ns=(1 + index) * 30_000_000))
        rig.loop.work()
    assert n_stored < 300
    assert_alive(rig, 300, n_stored)


def test_damaged_bytes_cost_only_themselves(rig):
    rng = np.random.default_rng(4)
    n_stored = 0
    for index in range(1500):
        data = fuzz.damaged_bytes(rng, stamp_ns=(1 + index) * 30_000_000)
        n_stored += rig.loop.receive(data, PointCloud2)
        rig.loop.work()
    assert rig.engine.statistics.dropped["undecodable message"] > 500
    assert_alive(rig, 1500, n_stored)


def test_nothing_that_hypothesis_finds_escapes(rig):
    hypothesis = pytest.importorskip("hypothesis")
    sent = []

    @hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @hypothesis.given(fuzz.any_cloud())
    def send(cloud):
        sent.append(rig.loop.store(cloud))
        rig.loop.work()

    send()
    assert_alive(rig, len(sent), sum(sent))


def test_ids_that_change_with_every_frame_fill_no_memory_and_may_be_followed_by_position(bundle):
    for track_by, n_labels in (("id", 0), ("position", 1)):
        rig = Rig(bundle, track_by=track_by)
        for index in range(300):
            assert rig.send(index, {index: raised_hand(1, 0.4, index)[0]})
            rig.loop.work()
        assert min(counts(rig.topics)["action_label"], 1) == n_labels
        buffer = rig.engine._windows._buffer
        assert len(buffer._seen) < 120
        assert len(rig.engine._smoother._people) <= 1
        assert rig.engine.statistics.report().errors == 0


def test_fifty_people_at_once_give_labels_of_the_nearest(bundle):
    rig = Rig(bundle)
    crowd = {
        person: raised_hand(1, 0.4)[0] + np.float32([person % 10 - 5, 0, 1 + person // 10])
        for person in range(50)
    }
    for index in range(20):
        assert rig.send(index, crowd)
    rig.loop.work()
    report = rig.engine.statistics.report()
    assert (report.results, report.persons) == (6, 6)
    assert report.dropped == {"persons beyond max_persons": 20 * 44}


def test_ten_seconds_of_silence_start_everybody_afresh(rig):
    rig.play(20)
    rig.loop.work()
    rig.topics["action_label"].sent.clear()
    rig.play(7, start=320)  # too few for a label if nothing from before counts
    rig.loop.work()
    assert rig.topics["action_label"].sent == []
    assert rig.engine.statistics.report().silences == 1
    rig.play(1, start=327)
    rig.loop.work()
    assert len(rig.topics["action_label"].sent) == 1


def test_a_stamp_from_nowhere_costs_what_came_before_it(rig):
    rig.play(20)
    assert rig.send(0, {1: raised_hand(1, 0.4)[0]}, stamped(2**31 - 1))
    assert rig.send(21, {1: raised_hand(1, 0.4)[0]})
    assert rig.engine.statistics.report().clock_jumps == 1
    rig.play(20, start=22)
    rig.loop.work()
    assert rig.topics["action_label"].sent[-1].data == "hand up"


def stamped(seconds):
    header = fuzz.Header(frame_id="kinect")
    header.stamp.sec = seconds
    return header


@pytest.mark.dds
def test_a_node_lives_through_damaged_messages_and_bytes(processes, partner, bundle):
    process = processes.start(
        *("recognizer_node", "--bundle", bundle, "--input-topic", "/camera/people"),
        *("--ros-args", "-p", "infer_rate_hz:=50.0"),
    )
    wait_for_text(process, "listens to")
    partner.wait_until_connected()
    rng = np.random.default_rng(5)
    for index in range(600):
        stamp_ns = (1 + index) * 30_000_000
        kind = fuzz.pick(rng, (*fuzz.TYPED, "bytes"))
        if kind == "bytes":
            partner.clouds.publish(fuzz.damaged_bytes(rng, stamp_ns))
        else:
            partner.clouds.publish(fuzz.damaged(kind, rng, stamp_ns))
        time.sleep(0.002)
    values = partner.wait_for_status(lambda values: values["input rate (Hz)"] == "0.0")
    assert int(values["frames received"]) > 300  # best effort, on a machine that may be busy
    assert int(values["dropped: undecodable message"]) > 20
    assert int(values["dropped: malformed message"]) > 100
    assert values["errors"] == "0"
    assert process.poll() is None
    partner.play(1, raised_hand(20, 0.4), 1_795_000_000 * 10**9)
    assert partner.spin_until(lambda: "hand up" in partner.labels())
    log = process.log.read_text()
    assert "Traceback" not in log
    assert log.count("message dropped") < 20  # throttled
