"""The node while skeletons come in: names, clocks, silence, events, and bundles that change."""

import os
import shutil
import signal
import time
from itertools import groupby

import pytest
from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from tests.ros.partner import Partner
from tests.ros.processes import wait_for_text
from tests.ros.tiny import make_bundle, raised_hand

NOW_NS = 1_795_000_000 * 10**9
FAST = ("--input-topic", "/camera/people", "--ros-args", "-p", "infer_rate_hz:=50.0")

pytestmark = pytest.mark.dds


def start(processes, partner, bundle, *arguments):
    process = processes.start("recognizer_node", "--bundle", bundle, *FAST, *arguments)
    wait_for_text(process, "listens to")
    partner.wait_until_connected()
    return process


def wait_for_label(partner, label):
    assert partner.spin_until(lambda: label in partner.labels()), partner.labels()


def test_names_and_topics_follow_namespace_and_remappings(processes, bundle, ros):
    partner = Partner("/robot1/eyes", "/camera/people", "/said")
    try:
        process = processes.start(
            *("recognizer_node", "--bundle", bundle, "--ros-args", "-p", "infer_rate_hz:=50.0"),
            *("-r", "__ns:=/robot1", "-r", "__node:=eyes"),
            *("-r", "skeletons:=/camera/people", "-r", "action_label:=/said"),
            *("-p", "publish_events:=true"),
        )
        wait_for_text(process, "listens to /camera/people")
        partner.wait_until_connected()
        assert partner.state() == "active"
        partner.play(1, raised_hand(20, 0.4), NOW_NS)
        wait_for_label(partner, "hand up")
        assert partner.spin_until(lambda: partner.events)
        partner.wait_for_status(lambda values: True)
        assert partner.status().name == "/robot1/eyes: action recognition"
    finally:
        partner.close()


def test_without_remapping_everything_lies_in_the_namespace(processes, bundle, ros):
    partner = Partner("/robot1/recognizer", "/robot1/skeletons", "/robot1/action_label")
    try:
        process = processes.start(
            "recognizer_node", "--bundle", bundle, "--ros-args", "-r", "__ns:=/robot1"
        )
        wait_for_text(process, "listens to /robot1/skeletons")
        partner.wait_until_connected()
        partner.play(1, raised_hand(20, 0.4), NOW_NS)
        wait_for_label(partner, "hand up")
    finally:
        partner.close()


def test_events_tell_starts_and_ends_and_silence_ends_everything(processes, partner, bundle):
    start(processes, partner, bundle, "-p", "publish_events:=true", "-p", "smoothing:=0.0")
    next_ns = partner.play(1, raised_hand(30, 0.4), NOW_NS)
    next_ns = partner.play(1, raised_hand(90, -0.6), next_ns)
    wait_for_label(partner, "hand down")
    assert partner.wait_for_status(lambda values: values["persons"] == "1", timeout_s=3.0)
    last = {"event": "ended", "label": "hand down"}
    started = time.monotonic()
    assert partner.spin_until(lambda: last.items() <= partner.events[-1].items(), timeout_s=5.0)
    assert time.monotonic() - started < 3.0
    told = [(item["event"], item["label"]) for item in partner.events]
    assert [event for event, _ in told] == ["started", "ended"] * (len(told) // 2)
    labels = [label for _, label in told]
    assert labels[::2] == labels[1::2]
    # the hand that moves down passes that of a person who stands; a busy machine may fall silent
    once = [label for label, _ in groupby(labels)]
    assert once == ["hand up", "stand", "hand down"]
    stamps = [item["stamp"] for item in partner.events]
    assert (stamps[1], stamps[3]) == (stamps[2], stamps[4])
    assert partner.events[-1]["stamp"] == pytest.approx((next_ns - 1e9 / 30) * 1e-9, abs=1e-3)
    assert partner.spin_until(lambda: len(partner.deleted()) == 4)
    assert partner.wait_for_status(lambda values: values["persons"] == "0")
    partner.wait_for_status(lambda values: values["input rate (Hz)"] == "0.0")
    assert partner.status().message.startswith("no skeletons come in")


def test_events_are_silent_unless_asked_for(processes, partner, bundle):
    start(processes, partner, bundle)
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    assert partner.events == []
    assert partner.set_parameter(Parameter("publish_events", value=True))[0]
    next_ns = partner.play(1, raised_hand(5, 0.4), next_ns)
    assert partner.spin_until(lambda: partner.events)
    assert partner.set_parameter(Parameter("publish_events", value=False))[0]
    partner.play(1, raised_hand(5, 0.4), next_ns)
    assert partner.spin_until(lambda: len(partner.events) == 2)
    assert [item["event"] for item in partner.events] == ["started", "ended"]


def test_simulated_time_that_jumps_back_clears_everything(processes, partner, bundle):
    clock = partner.create_publisher(Clock, "/clock", 10)

    def set_clock(stamp_ns):
        for _ in range(5):  # best effort
            clock.publish(Clock(clock=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)))
            partner.spin_for(0.1)

    process = start(processes, partner, bundle, "-p", "use_sim_time:=true")
    assert partner.spin_until(lambda: clock.get_subscription_count() == 1)
    set_clock(NOW_NS)
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    before = partner.wait_for_status(lambda values: True)
    set_clock(NOW_NS - 10**9)  # less than a window: the stamps alone would be "not newer"
    assert partner.spin_until(lambda: len(partner.deleted()) == 4)
    partner.heard[String].clear()
    partner.play(1, raised_hand(20, -0.6), next_ns - 10**9)
    wait_for_label(partner, "hand down")
    assert "hand up" not in partner.labels()
    after = partner.wait_for_status(lambda values: True)
    assert int(after["clock jumps"]) == int(before["clock jumps"]) + 1
    assert after["dropped"] == "0"
    assert "the node's clock jumped: all windows start afresh" in process.log.read_text()


def test_the_age_of_a_label_is_measured_on_the_node_s_clock(processes, partner, bundle):
    clock = partner.create_publisher(Clock, "/clock", 10)
    start(processes, partner, bundle, "-p", "use_sim_time:=true")
    assert partner.spin_until(lambda: clock.get_subscription_count() == 1)
    for _ in range(5):
        clock.publish(Clock(clock=Time(sec=NOW_NS // 10**9 + 100)))
        partner.spin_for(0.1)
    partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    values = partner.wait_for_status(lambda values: "none" not in str(values["labels"]))
    assert 98e3 < float(values["header stamp to label (ms) p50"]) < 101e3


def test_a_bundle_that_is_renamed_over_goes_on_and_warns(processes, partner, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    process = start(processes, partner, folder)
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    folder.rename(tmp_path / "old")
    make_bundle(folder, classes=("one", "two", "three"))
    shutil.rmtree(tmp_path / "old")
    partner.heard[String].clear()
    next_ns = partner.play(1, raised_hand(10, 0.4), next_ns)
    wait_for_label(partner, "hand up")
    partner.wait_for_status(lambda values: values["bundle on disk"].startswith("replaced"))
    assert "cleanup and configure load what is there now" in partner.status().message
    assert partner.change_state("deactivate")
    assert partner.change_state("cleanup")
    assert partner.change_state("configure")
    assert partner.change_state("activate")
    partner.wait_until_connected()
    partner.play(1, raised_hand(10, 0.4), next_ns)
    wait_for_label(partner, "one")
    assert process.poll() is None


def test_a_bundle_that_is_overwritten_in_use_is_not_used_any_more(processes, partner, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    process = start(processes, partner, folder)
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    for path in (folder / "bank").glob("*.npy"):
        os.truncate(path, 0)  # who reads what was mapped of it dies
    partner.spin_for(0.1)
    partner.heard[String].clear()
    partner.play(1, raised_hand(20, 0.4), next_ns)
    partner.wait_for_status(lambda values: values["bundle on disk"].startswith("overwritten"))
    assert partner.labels() == []
    assert partner.status().level == b"\x02"
    assert process.poll() is None
    shutil.rmtree(folder)
    make_bundle(folder)
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        assert partner.change_state(transition)
    partner.wait_until_connected()
    partner.play(1, raised_hand(20, 0.4), next_ns + 10**10)
    wait_for_label(partner, "hand up")


def test_a_player_that_is_killed_and_started_again_is_followed(
    processes, partner, bundle, store_folder
):
    start(processes, partner, bundle)
    for _ in range(2):
        partner.heard[String].clear()
        player = processes.start(
            "player", "--store", store_folder, "--loop", "--topic", "/camera/people"
        )
        assert partner.spin_until(lambda: len(set(partner.labels()) - {"unknown"}) > 1)
        player.send_signal(signal.SIGKILL)
        player.wait()
    assert partner.wait_for_status(lambda values: values["persons"] == "0")["errors"] == "0"


def test_the_events_executor_serves_everything(processes, partner, bundle):
    pytest.importorskip("rclpy.experimental")
    std_srvs = pytest.importorskip("std_srvs.srv")
    process = processes.start(
        "recognizer_node", "--bundle", bundle, "--events-executor", *FAST[:3], *FAST[3:]
    )
    wait_for_text(process, "listens to")
    partner.wait_until_connected()
    next_ns = partner.play(1, raised_hand(20, 0.4), NOW_NS)
    wait_for_label(partner, "hand up")
    assert partner.call(std_srvs.Trigger, "reset").success
    assert partner.call(std_srvs.SetBool, "enable", data=False).success
    assert partner.spin_until(lambda: partner.clouds.get_subscription_count() == 0)
    assert partner.call(std_srvs.SetBool, "enable", data=True).success
    assert partner.set_parameter(Parameter("min_frames", value=5))[0]
    assert partner.change_state("deactivate")
    assert partner.change_state("activate")
    partner.wait_until_connected()
    partner.heard[String].clear()
    partner.play(1, raised_hand(20, -0.6), next_ns)
    wait_for_label(partner, "hand down")
    assert partner.wait_for_status(lambda values: values["state"] == "active")
    status, seconds = processes.stop(process)
    assert status == 0, process.log.read_text()
    assert seconds < 3.0
