"""The command ``label-bag``: its options, faults and signals, and that it needs no ROS."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iospstl_ros import label_bag as command
from iospstl_ros.bags import new_bag, standard_types
from tests.ros.recordings import BLOCK_ROS, CLOUD, START_NS, read_labels, write_recording
from tests.ros.tiny import FPS

ROOT = Path(__file__).parents[2]


def run(capsys, *arguments):
    status = command.main([str(item) for item in arguments])
    return status, capsys.readouterr()


def test_options_of_the_command_line(tmp_path, recording, bundle, capsys):
    path = tmp_path / "parameters.yaml"
    path.write_text(
        f'/**:\n  ros__parameters:\n    bundle: "{bundle}"\n    use_sim_time: true\n'
        "recognizer:\n  ros__parameters:\n    infer_rate_hz: 3.0\n    top_k: 1\n"
    )
    status, said = run(capsys, recording, tmp_path / "out", "--params-file", path)
    assert status == 0
    assert "out: " in said.out
    assert "times as fast as recorded" in said.out
    rows = read_labels(tmp_path / "out")
    assert all(len(row["top"]) == 1 for row in rows)
    options = ["--params-file", path, "--rate", "15", "--set", "top_k=2", "--set", "min_frames=20"]
    status, said = run(capsys, recording, tmp_path / "more", *options)
    assert status == 0
    more = read_labels(tmp_path / "more")
    assert len(more) > 2 * len(rows)
    assert all(len(row["top"]) == 2 for row in more)
    assert min(row["stamp_ns"] for row in more) >= START_NS + round(19 * 1e9 / FPS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--topic", "nothing"],
            "expected a topic nothing, got /camera/people (sensor_msgs/",
        ),
        (
            ["--topic", "/notes"],
            "/notes holds std_msgs/msg/String, adapter pointcloud reads",
        ),
        (["--bundle", "nowhere"], "nowhere: expected a bundle, got no manifest"),
        (["--set", "bundle="], "bundle: expected the folder of a bundle, got none"),
        (
            ["--set", "smoothign=0"],
            "smoothign: the recogniser has no such parameter; did you mean 'smoothing'?",
        ),
        (["--set", "smoothing"], "--set: expected name=value, got 'smoothing'"),
        (["--set", "smoothing=61"], "smoothing: expected 0 to 60, got 61.0"),
        (["--set", "top_k=2.5"], "top_k: expected int, got 2.5"),
        (["--set", "require_gpu=1"], "require_gpu: expected bool, got 1"),
        (["--set", "providers=CPU"], "providers: expected a list of text, got 'CPU'"),
        (["--rate", "0"], "infer_rate_hz: expected 0.1 to 1000, got 0.0"),
        (["--params-file", "nowhere.yaml"], "nowhere.yaml: expected a YAML file of parameters"),
        (["--layout", "ntu"], "ntu"),
        (
            ["--layout", "kinect-v1-20"],
            "none of 72 messages can be read: pointcloud: skeleton cloud: width: expected 20",
        ),
    ],
)
def test_a_user_s_fault_is_one_sentence_and_status_2(
    tmp_path, recording, bundle, capsys, options, sentence
):
    status, said = run(capsys, recording, tmp_path / "out", "--bundle", bundle, *options)
    assert status == 2
    assert said.err.startswith("iospstl-train label-bag: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_faults_of_the_bags(tmp_path, recording, bundle, capsys):
    (tmp_path / "there").mkdir()
    twice, empty, none = (tmp_path / name for name in ("twice", "empty", "none"))
    write_recording(twice, extra=lambda bag, types, messages: bag.add_topic("/more", CLOUD, types))
    write_recording(empty, n_frames=0)
    (broken,) = write_recording(tmp_path / "broken").glob("*.mcap")
    broken.write_bytes(broken.read_bytes()[:5000])
    types = standard_types()
    with new_bag(none, "mcap") as bag:
        bag.add_topic("/notes", "std_msgs/msg/String", types)
    for source, target, sentence in (
        (recording, "there", "there: exists already"),
        (tmp_path / "nowhere", "out", "nowhere: expected a bag, found nothing there"),
        (broken, "out", "broken.mcap: not a complete bag of ROS 2"),
        (twice, "out", "more than one topic with sensor_msgs/msg/PointCloud2: /camera/people, "),
        (empty, "out", "/camera/people holds no message"),
        (
            none,
            "out",
            "expected a topic with sensor_msgs/msg/PointCloud2 (adapter pointcloud), got "
            "/notes (std_msgs/msg/String)",
        ),
    ):
        status, said = run(capsys, source, tmp_path / target, "--bundle", bundle)
        assert (status, sentence in said.err) == (2, True), said.err
        assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "expected a YAML file of parameters, got: while parsing"),
        ("other: {ros__parameters: {}}", "expected a section '/**' or 'recognizer', got other"),
        ("recognizer: {top_k: 1}", "recognizer: expected a section ros__parameters"),
        ("", "expected a section '/**' or 'recognizer'"),
    ],
)
def test_faults_of_the_parameter_file(tmp_path, recording, bundle, capsys, text, sentence):
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    status, said = run(
        capsys, recording, tmp_path / "out", "--bundle", bundle, "--params-file", path
    )
    assert (status, sentence in said.err) == (2, True), said.err


def test_no_ros_is_needed(tmp_path, recording, bundle):
    arguments = [str(recording), str(tmp_path / "out"), "--bundle", str(bundle)]
    code = f"{BLOCK_ROS}\nfrom iospstl_ros.label_bag import main\nsys.exit(main({arguments!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read_labels(tmp_path / "out")
    code = f"{BLOCK_ROS}\nimport rclpy"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "no rclpy here" in done.stderr


# what a shell runs in the background ignores the signal, and hands that down
HEAR_SIGINT = ("env", "--default-signal=INT")


def start(*arguments):
    return subprocess.Popen(
        [
            *HEAR_SIGINT,
            sys.executable,
            "-m",
            "iospstl_train.cli",
            "label-bag",
            *map(str, arguments),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_iospstl_train_runs_it(tmp_path, recording, bundle):
    asked = (
        start("--help"),
        start("in", tmp_path / "out"),
        start(recording, tmp_path / "out", "--bundle", bundle),
    )
    (text, _), (_, fault), (done, _) = [process.communicate(timeout=60) for process in asked]
    assert [process.returncode for process in asked] == [0, 2, 0]
    assert text.startswith("usage: iospstl-train label-bag")
    assert all(option in text for option in ("--bundle", "--topic", "--params-file", "--storage"))
    assert fault == "iospstl-train label-bag: in: expected a bag, found nothing there\n"
    assert "72 messages (0 malformed)" in done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path, bundle, number):
    source = write_recording(tmp_path / "long", n_frames=4000)
    process = start(source, tmp_path / "new" / "out", "--bundle", bundle, "--rate", 1000)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("new/.out.partial-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.glob("new/.out.partial-*")), process.poll()
    process.send_signal(number)
    _, fault = process.communicate(timeout=20)
    # Python ends itself by SIGINT if that came while a string was executed; a shell says 130 too
    assert process.returncode in (130, -signal.SIGINT)
    assert fault == "iospstl-train label-bag: interrupted; nothing was written\n"
    assert list((tmp_path / "new").iterdir()) == []
