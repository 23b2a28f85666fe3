"""Every transition of the managed node, also the failing ones, and what each leaves behind."""

import threading
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from iospstl_ros import recognizer_node
from iospstl_ros.recognizer_node import RecognizerNode
from tests.ros.tiny import make_bundle

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
OUTPUTS = {"/action_label", "/recognizer/imputed", "/recognizer/markers", "/diagnostics"}

pytestmark = pytest.mark.dds


@pytest.fixture
def make_node(ros):
    nodes = []

    def make(**overrides):
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(RecognizerNode(parameter_overrides=values))
        return nodes[-1]

    yield make
    for node in nodes:
        node.release()
        node.destroy_node()


def state_of(node):
    return node._state_machine.current_state[1]


def topics_of(node):
    """What a node publishes and subscribes to, of ours."""
    published = {publisher.topic_name for publisher in node.publishers} & OUTPUTS
    return published, {item.topic_name for item in node.subscriptions} & {"/skeletons"}


def n_workers():
    return sum(thread.name == "recognizer" for thread in threading.enumerate())


def assert_released(node):
    assert topics_of(node) == (set(), set())
    assert node._engine is None
    assert n_workers() == 0
    assert list(node.timers) == []


def test_each_state_has_what_it_needs_and_leaves_nothing(make_node, bundle):
    node = make_node(bundle=str(bundle))
    assert_released(node)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert (state_of(node), topics_of(node)) == ("inactive", (OUTPUTS, set()))
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert (state_of(node), topics_of(node)) == ("active", (OUTPUTS, {"/skeletons"}))
            assert n_workers() == 1
            assert node.trigger_deactivate() == SUCCESS
            assert (state_of(node), topics_of(node)) == ("inactive", (OUTPUTS, set()))
            assert n_workers() == 0
        assert node.trigger_cleanup() == SUCCESS
        assert state_of(node) == "unconfigured"
        assert_released(node)


@pytest.mark.parametrize("steps", [[], ["configure"], ["configure", "activate"]])
def test_shutdown_releases_everything_from_any_state(make_node, bundle, steps):
    node = make_node(bundle=str(bundle))
    for step in steps:
        assert getattr(node, f"trigger_{step}")() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert state_of(node) == "finalized"
    assert_released(node)


def damage_byte(folder):
    path = folder / "bank" / "donors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_version(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 99'))


def remove_model(folder):
    (folder / "classifier.onnx").unlink()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (damage_byte, r"donors\.npy: its content differs"),
        (change_version, "expected bundle format version 2, got 99"),
        (remove_model, r"classifier\.onnx: listed in the bundle's manifest, but missing"),
    ],
)
def test_a_damaged_bundle_is_refused_until_it_is_repaired(make_node, tmp_path, damage, cause):
    folder = make_bundle(tmp_path / "bundle")
    damage(folder)
    node = make_node(bundle=str(folder))
    assert node.trigger_configure() == FAILURE
    assert state_of(node) == "unconfigured"
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(node.fault)
    assert_released(node)
    make_bundle(folder)
    assert node.trigger_configure() == SUCCESS


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        ({"bundle": ""}, "bundle: expected the folder of a bundle, got none"),
        ({"bundle": "no/such/folder"}, "no/such/folder: expected a bundle, got no manifest.json"),
        ({"layout": "coco"}, "layout: expected one of ntu-25, kinect-v1-20, got 'coco'"),
        ({"adapter": "zed"}, "adapter: expected one of pointcloud, got 'zed'"),
        ({"providers": ["NoProvider"]}, "providers: expected names out of"),
        ({"require_gpu": True, "providers": ["CPUExecutionProvider"]}, "require_gpu: expected"),
    ],
)
def test_what_cannot_be_configured_says_why(make_node, bundle, overrides, cause):
    node = make_node(**{"bundle": str(bundle), **overrides})
    assert node.trigger_configure() == FAILURE
    assert state_of(node) == "unconfigured"
    assert cause in node.fault
    assert_released(node)


def fail(*arguments, **kwargs):
    raise RuntimeError("no memory")


def test_an_unexpected_exception_fails_the_transition_with_its_cause(
    make_node, bundle, monkeypatch
):
    node = make_node(bundle=str(bundle))
    with monkeypatch.context() as patch:
        patch.setattr(recognizer_node, "diagnostic_message", fail)
        patch.setattr(recognizer_node.RecognizerNode, "_start_diagnostics", fail)
        assert node.trigger_configure() == FAILURE
    assert (state_of(node), node.fault) == ("unconfigured", "RuntimeError: no memory")
    assert_released(node)
    assert node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(node, "create_subscription", fail)
        assert node.trigger_activate() == FAILURE
    assert state_of(node) == "inactive"
    assert n_workers() == 0
    assert node.trigger_activate() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(node, "_delete_markers", fail)
        assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert state_of(node) == "unconfigured"
    assert_released(node)


def test_an_impossible_transition_is_refused_and_the_node_lives(make_node, bundle):
    node, asker = make_node(bundle=str(bundle)), Node("asker")
    client = asker.create_client(ChangeState, "/recognizer/change_state")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(asker)

    def ask(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        future = client.call_async(request)
        executor.spin_until_future_complete(future, timeout_sec=10.0)
        return future.result().success

    assert client.wait_for_service(timeout_sec=10.0)
    assert not ask(Transition.TRANSITION_ACTIVATE)
    assert not ask(Transition.TRANSITION_CLEANUP)
    assert not ask(200)
    assert ask(Transition.TRANSITION_CONFIGURE)
    assert not ask(Transition.TRANSITION_CONFIGURE)
    assert ask(Transition.TRANSITION_ACTIVATE)
    assert state_of(node) == "active"
    executor.shutdown()
    asker.destroy_node()


def test_the_bundle_of_another_folder_is_found_by_a_relative_path(
    make_node, tmp_path, monkeypatch
):
    make_bundle(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert make_node(bundle=str(Path("here"))).trigger_configure() == SUCCESS
