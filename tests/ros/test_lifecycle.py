"""Every transition of the managed node, also the failing ones, and what each leaves behind."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from iospstl_core.bundle import FORMAT_VERSION
from iospstl_core.errors import InputError
from iospstl_ros import publishers, recognizer_node, services
from iospstl_ros.engine import Engine
from iospstl_ros.live_loop import LiveLoop
from iospstl_ros.recognizer_node import RecognizerNode
from iospstl_ros.transitions import LifecycleNode
from iospstl_ros.worker import PacedWorker
from tests.ros.tiny import make_bundle

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
OUTPUTS = {
    *("/action_label", "/diagnostics"),
    *("/recognizer/imputed", "/recognizer/markers", "/recognizer/events"),
}

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


def services_of(node):
    return {service.srv_name for service in node.services} & {
        "/recognizer/reset",
        "/recognizer/enable",
    }


def assert_released(node):
    assert topics_of(node) == (set(), set())
    assert node._loop is None
    assert n_workers() == 0
    assert list(node.timers) == []
    assert services_of(node) == set()


def assert_unused(folder):
    """Nothing of a bundle is mapped into memory any more."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(folder) not in maps.read_text()


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
    text = path.read_text()
    path.write_text(text.replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))


def remove_model(folder):
    (folder / "classifier.onnx").unlink()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (damage_byte, r"donors\.npy: its content differs"),
        (change_version, f"expected bundle format version {FORMAT_VERSION}, got 99"),
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
        ({"adapter": "kinect"}, "adapter: expected one of pointcloud"),
        ({"adapter": "zed"}, "No module named 'zed_msgs'; install it with: "),
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


def attach_adapter(node, attach):
    engine = node._loop.engine
    engine.adapter = replace(engine.adapter, attach=attach)


def test_an_adapter_of_several_topics_is_attached_while_the_node_is_active(make_node, bundle):
    node, calls = make_node(bundle=str(bundle)), []
    assert node.trigger_configure() == SUCCESS

    def attach(attached_to, store):
        assert attached_to is node
        calls.append(store)
        return lambda: calls.append("detached")

    attach_adapter(node, attach)
    assert node.trigger_activate() == SUCCESS
    (store,) = calls
    store("no message")
    assert sum(node._loop.engine.statistics.dropped.values()) == 1
    assert node.trigger_deactivate() == SUCCESS
    assert calls[1:] == ["detached"]


def test_an_adapter_that_cannot_attach_leaves_the_node_inactive(make_node, bundle):
    node = make_node(bundle=str(bundle))
    assert node.trigger_configure() == SUCCESS

    def attach(node, store):
        raise InputError("tf2_ros: expected it to be installed")

    attach_adapter(node, attach)
    assert node.trigger_activate() == FAILURE
    assert node.fault == "tf2_ros: expected it to be installed"
    assert (state_of(node), topics_of(node)) == ("inactive", (OUTPUTS, set()))
    assert n_workers() == 0


def test_what_is_not_installed_is_said_and_the_rest_works(make_node, bundle, monkeypatch, capfd):
    node = make_node(bundle=str(bundle))
    monkeypatch.setattr(services, "optional_messages", lambda package: None)
    monkeypatch.setattr(publishers, "optional_messages", lambda package: None)
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    assert services_of(node) == set()
    log = capfd.readouterr().err
    assert log.count("no vision_msgs here: ~/actions is not published") == 1
    assert log.count("no std_srvs here: there is no ~/reset and no ~/enable") == 1


def fail(*arguments, **kwargs):
    raise RuntimeError("no memory")


class Failing:
    """Makes the n-th call of some attributes raise, counted within its block."""

    def __init__(self, monkeypatch, places, at, is_lasting=False):
        self.n_calls, self._is_started = 0, False
        for owner, name in places:
            self._wrap(monkeypatch, owner, name, at, is_lasting)

    def __enter__(self):
        self._is_started = True

    def __exit__(self, *error):
        self._is_started = False

    def _wrap(self, monkeypatch, owner, name, at, is_lasting):
        original = getattr(owner, name)

        def call(*arguments, **kwargs):
            self.n_calls += self._is_started
            if self._is_started and (self.n_calls == at or (is_lasting and self.n_calls > at)):
                fail()
            return original(*arguments, **kwargs)

        monkeypatch.setattr(owner, name, call)


def makers_of(node):
    """All that configure calls and that may raise."""
    ours = (
        *("BundleWatch", "Engine", "message_class", "Publishers", "LiveLoop", "Identity"),
        *("create_services", "uses_sensor_msgs_py"),
    )
    theirs = (
        *("create_lifecycle_publisher", "create_publisher", "create_service", "create_timer"),
        *("get_clock", "get_logger", "get_parameter"),
    )
    return [
        *((recognizer_node, name) for name in ours),
        *((node, name) for name in theirs),
        (LifecycleNode, "on_configure"),
        (services, "optional_messages"),
    ]


def test_configure_may_fail_anywhere_and_leaves_nothing(make_node, bundle, monkeypatch, capfd):
    node = make_node(bundle=str(bundle))
    for at in range(1, 200):
        with monkeypatch.context() as patch:
            places = makers_of(node)
            with (failing := Failing(patch, places, at)):
                result = node.trigger_configure()
        if failing.n_calls < at:
            break
        assert (result, state_of(node)) == (FAILURE, "unconfigured"), at
        assert node.fault == "RuntimeError: no memory"
        assert_released(node)
        log = capfd.readouterr().err
        assert "configure failed: RuntimeError: no memory" in log, at
    assert at > 50  # so many calls were made to fail, one after another
    assert (result, state_of(node)) == (SUCCESS, "inactive")


def test_activate_may_fail_anywhere_and_stays_inactive(make_node, bundle, monkeypatch, capfd):
    node = make_node(bundle=str(bundle))
    assert node.trigger_configure() == SUCCESS
    for at in range(1, 50):
        with monkeypatch.context() as patch:
            places = [
                *((node, name) for name in ("create_subscription", "get_logger")),
                *((PacedWorker, name) for name in ("__init__", "start")),
                (LifecycleNode, "on_activate"),
            ]
            with (failing := Failing(patch, places, at)):
                result = node.trigger_activate()
        if failing.n_calls < at:
            break
        assert (result, state_of(node)) == (FAILURE, "inactive"), at
        assert (topics_of(node), n_workers()) == ((OUTPUTS, set()), 0)
        assert "activate failed: RuntimeError: no memory" in capfd.readouterr().err
    assert at == 6
    assert (result, state_of(node), n_workers()) == (SUCCESS, "active", 1)


def breakers_of(node):
    """All that the transitions on the way down call and that may raise."""
    return [
        *((node, name) for name in ("destroy_subscription", "destroy_timer", "destroy_publisher")),
        *((node, name) for name in ("destroy_lifecycle_publisher", "destroy_service")),
        (PacedWorker, "stop"),
        (LiveLoop, "forget"),
    ]


@pytest.mark.parametrize(
    ("way", "n_places"), [("deactivate", 4), ("cleanup", 10), ("shutdown", 13)]
)
def test_the_way_down_may_fail_anywhere_and_releases_the_rest(
    make_node, bundle, monkeypatch, capfd, way, n_places
):
    for at in range(1, 50):
        node = make_node(bundle=str(bundle))
        with monkeypatch.context() as patch:
            failing = Failing(patch, [*breakers_of(node), (LifecycleNode, f"on_{way}")], at)
            assert node.trigger_configure() == SUCCESS
            assert way == "cleanup" or node.trigger_activate() == SUCCESS
            worker = node._worker
            with failing:
                result = getattr(node, f"trigger_{way}")()
            if failing.n_calls < at:
                break
            assert (result, state_of(node)) == (ERROR, "unconfigured"), at
            assert f"{way} failed: RuntimeError: no memory" in capfd.readouterr().err
            assert (node._loop, node._worker) == (None, None)
            published, subscribed = topics_of(node)
            left = [*published, *subscribed, *services_of(node), *node.timers]
            assert len(left) + n_workers() <= 1  # what refused to be destroyed
        assert worker is None or worker.stop()
    assert (result, at) == (SUCCESS, n_places + 1)


def test_a_node_that_cannot_release_anything_ends_as_finalized(
    make_node, bundle, monkeypatch, capfd
):
    node = make_node(bundle=str(bundle))
    with monkeypatch.context() as patch:
        failing = Failing(patch, breakers_of(node), 1, is_lasting=True)
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS
        worker = node._worker
        with failing:
            assert node.trigger_deactivate() == ERROR
    assert worker.stop()
    assert state_of(node) == "finalized"
    log = capfd.readouterr().err
    assert "deactivate failed: RuntimeError" in log
    assert "error failed: RuntimeError" in log


def test_release_goes_on_where_a_part_of_it_raises(make_node, bundle, monkeypatch):
    node = make_node(bundle=str(bundle))
    with monkeypatch.context() as patch:
        failing = Failing(patch, [(node, "destroy_subscription")], 1)
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS
        with failing, pytest.raises(RuntimeError, match="no memory"):
            node.release()
    assert topics_of(node) == (set(), {"/skeletons"})
    assert (node._loop, n_workers(), list(node.timers)) == (None, 0, [])


def test_a_refusing_publisher_fails_the_transition(make_node, bundle, monkeypatch):
    node = make_node(bundle=str(bundle))
    with monkeypatch.context() as patch:
        patch.setattr(LifecycleNode, "on_configure", lambda node, state: FAILURE)
        assert node.trigger_configure() == FAILURE
    assert node.fault == "a publisher refused the transition"
    assert_released(node)


def test_new_content_of_the_same_bundle_is_loaded_by_cleanup_and_configure(make_node, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    node = make_node(bundle=str(folder))
    assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    old_files = {path.stat().st_ino for path in folder.rglob("*.npy")}
    folder.rename(tmp_path / "old")
    make_bundle(folder, classes=("one", "two", "three"))
    assert old_files.isdisjoint(path.stat().st_ino for path in folder.rglob("*.npy"))
    assert node._loop.engine.settings.classes[0] == "hand up"
    assert node.trigger_deactivate() == node.trigger_cleanup() == SUCCESS
    assert_unused(tmp_path)
    assert node.trigger_configure() == SUCCESS
    assert node._loop.engine.settings.classes == ("one", "two", "three")


def test_a_bundle_that_changes_while_it_is_loaded_is_refused(make_node, tmp_path, monkeypatch):
    folder = make_bundle(tmp_path / "bundle")
    node = make_node(bundle=str(folder))

    def swap(*arguments):
        engine = Engine(*arguments)
        folder.rename(tmp_path / "old")
        make_bundle(folder)
        return engine

    with monkeypatch.context() as patch:
        patch.setattr(recognizer_node, "Engine", swap)
        assert node.trigger_configure() == FAILURE
    assert "expected files that stay as they are while they are loaded" in node.fault
    assert_released(node)
    assert node.trigger_configure() == SUCCESS


def test_a_bundle_is_found_by_a_relative_path(make_node, tmp_path, monkeypatch):
    make_bundle(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert make_node(bundle=str(Path("here"))).trigger_configure() == SUCCESS
