"""Recogniser, player and comparison as processes of their own that meet over DDS."""

import json
import signal
import sys
import time

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import InputError
from iospstl_core.normalize import normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, hide, open_store
from iospstl_ros import command_line
from iospstl_ros.adapters.pointcloud import read_skeletons
from tests.ros.processes import wait_for_text
from tests.ros.test_adapter_pointcloud import PLAIN, damage_at_random, make_cloud
from tests.ros.tiny import FPS, raised_hand

pytestmark = pytest.mark.dds

AS_OFFLINE = ("--ros-args", "-p", "smoothing:=0.0", "-p", "score_threshold:=0.0")
"""Every window stands for itself, and gets the name of a class."""


def write_offline(path, bundle, store_folder, occlusion=None):
    """What the bundle says of every sequence of a store without any ROS."""
    store, recognizer = open_store(store_folder), Recognizer(open_bundle(bundle))
    labels = {}
    for index, name in enumerate(store.names):
        xyz, present = store.sequence(index)
        if occlusion is not None:
            hidden = find_occlusion(store, occlusion).hidden[store.frames(index)]
            xyz = hide(xyz, hidden)
        labels[name] = recognizer.recognize([normalize(xyz, present)])[0].label
    path.write_text(json.dumps(labels))
    return path


@pytest.mark.parametrize(
    "options",
    [
        ["--occlusion", "legs", "--gap", "0.1", "--rate", "60"],
        ["--persons", "2", "--gap", "0", "--rate", "60"],
    ],
)
def test_the_live_chain_says_what_the_offline_chain_says(
    processes, bundle, store_folder, tmp_path, options
):
    occlusion = "legs" if "legs" in options else None
    offline = write_offline(tmp_path / "offline.json", bundle, store_folder, occlusion)
    truth = tmp_path / "truth.jsonl"
    check = processes.start("live_check", "--truth", truth, "--offline", offline, "--timeout", 60)
    recognizer = processes.start("recognizer_node", "--bundle", bundle, *AS_OFFLINE)
    player = processes.start(
        "player", "--store", store_folder, "--truth", truth, "--wait", *options
    )
    assert check.wait(timeout=60) == 0, check.log.read_text()
    assert player.wait(timeout=10) == 0, player.log.read_text()
    lines = check.log.read_text().splitlines()  # rclpy may complain of its own shutdown after them
    assert [line for line in lines if line.startswith("live ")][-2:] == [
        "live equals offline in 6 of 6 windows",
        "live accuracy: 1.000 (offline: 1.000) over 6 windows",
    ]
    assert "hand up 1  truth: hand up  live: hand up 0.9" in "\n".join(lines)
    result = json.loads((tmp_path / "live.json").read_text())
    assert result["n_results"] == result["n_equal"] == 6
    assert result["n_action_labels"] >= 3
    assert processes.stop(recognizer)[0] == 0


@pytest.fixture
def recognizer(processes, bundle, partner):
    process = processes.start(
        *("recognizer_node", "--bundle", bundle, "--input-topic", "/camera/people"),
        *("--ros-args", "-p", "infer_rate_hz:=50.0"),
    )
    wait_for_text(process, "listens to /camera/people")
    partner.wait_until_connected()
    return process


def stamps(n_frames, start_s):
    return [start_s * 10**9 + round(index * 1e9 / FPS) for index in range(n_frames)]


def test_messages_that_are_wrong_cost_only_themselves(recognizer, partner):
    rng = np.random.default_rng(5)
    persons = {1: raised_hand(1, 0.4)[0], 2: raised_hand(1, -0.6)[0]}
    for _ in range(300):
        cloud = make_cloud(persons, PLAIN, 16)
        damage_at_random(cloud, rng)
        cloud.header.frame_id = "kinect"
        partner.clouds.publish(cloud)
        partner.spinner.spin_once(timeout_sec=0.001)
    far_future, now = 4_000_000_000 // 2, 1_795_000_000
    partner.send(far_future * 10**9, persons)  # a stamp from nowhere, then the right time again
    partner.spin_for(0.1)
    partner.heard[String].clear()
    for stamp_ns in stamps(20, now):
        partner.send(stamp_ns, {1: raised_hand(1, 0.4)[0]})
        partner.spin_for(0.01)
    assert partner.spin_until(lambda: "hand up" in partner.labels())
    values = partner.wait_for_status(lambda values: True)
    assert int(values["dropped: malformed message"]) > 50
    assert int(values["clock jumps"]) >= 1
    assert values["errors"] == "0"
    assert recognizer.poll() is None
    log = recognizer.log.read_text()
    assert "message dropped: pointcloud: skeleton cloud: " in log
    assert "Traceback" not in log
    assert log.count("message dropped") < 20  # throttled


def test_outputs_carry_the_input_s_header_and_markers_go_with_the_person(recognizer, partner):
    xyz = raised_hand(20, 0.4)
    xyz[5:, NTU_25.index("KneeLeft")] = np.nan
    sent = stamps(20, 1_795_000_000)
    for index, stamp_ns in enumerate(sent):
        partner.send(stamp_ns, {7: xyz[index]})
        partner.spin_for(0.02)
    last = sent[-1]

    def newest_imputed():
        message = next(reversed(partner.heard[PointCloud2]), None)
        return None if message is None else read_skeletons(message, NTU_25)

    assert partner.spin_until(lambda: newest_imputed() and newest_imputed().stamp_ns == last)
    frame = newest_imputed()
    assert frame.frame_id == "kinect"
    observed = ~np.isnan(xyz[-1, :, 0])
    np.testing.assert_array_equal(frame.persons[7][observed], xyz[-1][observed])
    assert np.isfinite(frame.persons[7]).all()
    partner.heard[MarkerArray].clear()
    partner.send(last + 10**8, {})
    assert partner.spin_until(lambda: len(partner.deleted()) == 4)
    values = partner.wait_for_status(lambda values: values["frames received"] == "21")
    assert values["dropped"] == "0"
    assert values["provider in use"] == "CPUExecutionProvider"
    assert float(values["callback to label (ms) p50"]) < 100


def test_every_sequence_has_a_result_for_its_last_frame_without_any_pause(recognizer, partner):
    frames = raised_hand(12, 0.4)
    sent = []
    for person in range(1, 9):
        for index, stamp_ns in enumerate(stamps(12, 1_795_000_000 + person)):
            partner.send(stamp_ns, {person: frames[index]})
        sent.append((stamp_ns, person))
        partner.spin_for(0.005)

    def heard():
        return {
            (marker.header.stamp.sec * 10**9 + marker.header.stamp.nanosec, marker.id)
            for message in partner.heard[MarkerArray]
            for marker in message.markers
            if marker.ns == "label" and marker.action == Marker.ADD
        }

    assert partner.spin_until(lambda: set(sent) <= heard()), sorted(heard())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_everything_cleanly(processes, bundle, store_folder, tmp_path, number):
    offline = tmp_path / "offline.json"
    offline.write_text("{}")
    started = [
        processes.start("recognizer_node", "--bundle", bundle),
        processes.start("recognizer_node", "--bundle", bundle, "--no-autostart"),
        processes.start("player", "--store", store_folder, "--loop", "--rate", 200),
        processes.start("live_check", "--truth", tmp_path / "none", "--offline", offline),
    ]
    wait_for_text(started[0], "listens to")
    time.sleep(0.7)
    for process in started:
        status, seconds = processes.stop(process, number)
        assert status == 0, process.log.read_text()
        assert seconds < 3.0
        assert "Traceback" not in process.log.read_text()


def test_a_signal_while_it_starts_ends_it_cleanly(processes, bundle):
    started = [processes.start("recognizer_node", "--bundle", bundle) for _ in range(4)]
    for delay_s, process in zip((0.2, 0.3, 0.3, 0.3), started, strict=True):
        time.sleep(delay_s)
        status, seconds = processes.stop(process, signal.SIGTERM)
        assert status in (0, -signal.SIGTERM), process.log.read_text()
        assert seconds < 3.0


FAULTS = (
    ("recognizer_node", [], "iospstl-recognizer: bundle: expected the folder of a bundle"),
    ("recognizer_node", ["--bundle", "nowhere"], "nowhere: expected a bundle, got no manifest"),
    (
        "recognizer_node",
        ["--ros-args", "-p", "track_timeout_s:=1"],
        "iospstl-recognizer: track_timeout_s: expected float from 0 to 60; write 5.0, not 5",
    ),
    ("recognizer_node", ["--ros-args", "-p", "bundle"], "Failed to parse ROS arguments"),
    ("recognizer_node", ["--bundel", "b"], "unrecognized arguments: --bundel"),
    ("recognizer_node", ["--adapter", "kinect"], "argument --adapter: invalid choice: 'kinect'"),
    ("recognizer_node", ["--bundle", "b", "--adapter", "zed"], "b: expected a bundle, got no"),
    ("player", ["--store", "nowhere"], "iospstl-player: nowhere"),
    ("player", ["--skeleton", "nowhere.skeleton"], "iospstl-player: nowhere.skeleton"),
    ("player", [], "--skeleton --bag is required"),
    ("player", ["--skeleton", "x", "--limit", "1"], "--limit: expected with --store only"),
    ("player", ["--skeleton", "x", "--hide-cells", "1"], "--hide-cells: expected less than 1"),
    ("live_check", ["--truth", "t", "--offline", "nowhere.json"], "nowhere.json: expected"),
)


def test_a_user_s_fault_is_one_sentence_and_status_2(processes):
    started = [processes.start(module, *arguments) for module, arguments, _ in FAULTS]
    for process, (_, _, sentence) in zip(started, FAULTS, strict=True):
        assert process.wait(timeout=60) == 2, process.log.read_text()
        text = process.log.read_text()
        assert sentence in text
        assert "Traceback" not in text


def test_a_player_without_listener_says_so(processes, store_folder):
    process = processes.start(
        "player", "--store", store_folder, "--wait", "--wait-timeout", 0.5, "--topic", "unheard"
    )
    assert process.wait(timeout=20) == 2
    assert "wait: expected a subscriber of /unheard within 0.5 s" in process.log.read_text()


def test_plain_arguments_and_a_parameter_file_work_together(processes, bundle, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text(f'/**:\n  ros__parameters:\n    bundle: "{bundle}"\n    window_s: 1.25\n')
    process = processes.start("recognizer_node", "--params-file", path, "--input-topic", "other")
    text = wait_for_text(process, "listens to /other")
    assert "windows of 1.25 s" in text
    assert processes.stop(process)[0] == 0


def test_help_is_complete_without_a_bundle(processes):
    for module, options in (
        ("recognizer_node", ("--bundle", "--input-topic", "--params-file", "--no-autostart")),
        ("player", ("--store", "--skeleton", "--occlusion", "--truth", "--wait", "--persons")),
    ):
        process = processes.start(module, "--help")
        assert process.wait(timeout=20) == 0
        for option in options:
            assert option in process.log.read_text()


def test_parameters_and_adapters_are_listed_without_a_bundle(processes):
    for option, words in (
        ("--list-params", ("score_threshold: float, default 0.05, 0 to 1", "read-only")),
        ("--list-adapters", ("pointcloud", "skeletons: zed_msgs/msg/ObjectsStamped")),
    ):
        process = processes.start("recognizer_node", option)
        assert process.wait(timeout=20) == 0
        for word in words:
            assert word in process.log.read_text()


def test_an_rclpy_without_events_executor_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy.experimental", None)
    with pytest.raises(InputError, match="events-executor: expected an rclpy with"):
        command_line._make_executor(True)
