"""One table of parameters: names, defaults, ranges, and what is refused with which words."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from iospstl_core.errors import InputError
from iospstl_ros.adapters import MAKERS
from iospstl_ros.parameter_list import list_adapters, list_parameters
from iospstl_ros.parameters import declare_parameters, make_set_callback, read_parameters
from iospstl_ros.settings import RecognizerParameters

ROOT = Path(__file__).parents[2]
READ_ONLY = {
    *("bundle", "providers", "require_gpu", "adapter", "layout", "window_s", "n_threads"),
    *("message_type", "joint_map", "track_by", "check_joints"),
}


@pytest.fixture
def make_node(ros):
    nodes = []

    def make(**overrides):
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Node("any", parameter_overrides=values))
        declare_parameters(nodes[-1])
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_every_field_is_declared_with_description_and_range(make_node):
    node = make_node()
    assert read_parameters(node) == RecognizerParameters()
    for item in fields(RecognizerParameters):
        descriptor = node.describe_parameter(item.name)
        assert descriptor.description
        assert descriptor.read_only == (item.name in READ_ONLY)
        if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
            assert descriptor.floating_point_range or descriptor.integer_range, item.name


def test_the_file_in_config_names_every_parameter_with_its_default():
    text = (ROOT / "config" / "recognizer.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    found = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    expected = {item.name: item.default for item in fields(RecognizerParameters)}
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


def test_values_from_outside_are_read(make_node):
    node = make_node(bundle="b", providers=["CPUExecutionProvider"], min_frames=3, window_s=1.5)
    parameters = read_parameters(node)
    assert parameters.bundle == "b"
    assert parameters.providers == ("CPUExecutionProvider",)
    assert (parameters.min_frames, parameters.window_s) == (3, 1.5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"infer_rate_hz": 10}, "infer_rate_hz: expected float from 0.1 to 1000; write 5.0, not"),
        ({"min_frames": 8.0}, "min_frames: expected int from 1 to 10000"),
        ({"score_threshold": 1.5}, "score_threshold: expected float from 0 to 1"),
        ({"max_persons": 0}, "max_persons: expected int from 1 to 1000"),
        ({"bundle": 5}, "bundle: expected str"),
        ({"providers": "CPUExecutionProvider"}, "providers: expected a list of text"),
        ({"require_gpu": "yes"}, "require_gpu: expected bool"),
    ],
)
def test_a_wrong_type_or_range_is_refused_at_the_start(make_node, overrides, message):
    with pytest.raises(InputError, match=message):
        make_node(**overrides)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adapter": "kinect"}, "adapter: expected one of pointcloud"),
        ({"check_joints": "yes"}, "check_joints: expected one of auto, on, off, got 'yes'"),
        ({"track_by": "face"}, "track_by: expected one of id, position, got 'face'"),
        ({"layout": "coco"}, "layout: expected one of ntu-25, kinect-v1-20, got 'coco'"),
        ({"providers": ()}, "providers: expected at least one name"),
        ({"providers": ("CPUExecutionProvider", "")}, "no empty one"),
        ({"unknown_label": " "}, "unknown_label: expected a word"),
    ],
)
def test_a_value_that_is_none_of_the_allowed_is_named(values, message):
    with pytest.raises(InputError, match=message):
        RecognizerParameters(**values)


def test_dynamic_ones_change_while_the_node_runs_and_bad_ones_do_not(make_node):
    node, accepted = make_node(), []
    node.add_on_set_parameters_callback(make_set_callback(node, accepted.append))

    def set_one(name, value):
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert set_one("score_threshold", 0.4).successful
    assert accepted[-1].score_threshold == 0.4
    assert set_one("publish_markers", False).successful
    assert (accepted[-1].score_threshold, accepted[-1].publish_markers) == (0.4, False)
    assert set_one("use_sim_time", False).successful
    assert len(accepted) == 2
    for name, value, reason in (
        ("score_threshold", 2.0, "range"),
        ("unknown_label", "", "expected a word"),
        ("infer_rate_hz", 5, "type"),
        ("bundle", "other", "read-only"),
    ):
        result = set_one(name, value)
        assert not result.successful
        assert reason in result.reason
    assert len(accepted) == 2
    assert read_parameters(node).score_threshold == 0.4


def test_several_values_change_together_or_not_at_all(make_node):
    node, accepted = make_node(), []
    node.add_on_set_parameters_callback(make_set_callback(node, accepted.append))
    both = [Parameter("top_k", value=5), Parameter("smoothing", value=1.5)]
    assert node.set_parameters_atomically(both).successful
    assert (accepted[-1].top_k, accepted[-1].smoothing) == (5, 1.5)
    bad = [Parameter("top_k", value=7), Parameter("unknown_label", value="")]
    assert not node.set_parameters_atomically(bad).successful
    assert read_parameters(node).top_k == accepted[-1].top_k == 5


def test_the_list_names_everything_that_is_declared(make_node):
    text, node = list_parameters(), make_node()
    paragraphs = {part.partition(":")[0]: part for part in text.split("\n\n")[1:]}
    assert set(paragraphs) == {item.name for item in fields(RecognizerParameters)}
    for name, paragraph in paragraphs.items():
        descriptor = node.describe_parameter(name)
        words = " ".join(paragraph.split())
        assert descriptor.description in words
        assert ("read-only" in paragraph.splitlines()[0]) == descriptor.read_only
    assert 'providers: list of text, default ["CUDAExecutionProvider", ' in text
    assert "top_k: int, default 3, 1 to 1000\n    Classes published" in text
    assert "publish_events: bool, default false\n" in text
    assert max(map(len, text.splitlines())) < 100


def test_every_adapter_is_listed_with_its_messages():
    lines = list_adapters().splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(MAKERS)
    assert "    skeletons: sensor_msgs/msg/PointCloud2" in lines
