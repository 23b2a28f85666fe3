"""The launch files and the view of RViz, read with stand-ins: `launch` is no Python package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULES = (
    *("launch", "launch.actions", "launch.conditions", "launch.events", "launch.substitutions"),
    *("launch.launch_description", "launch.launch_description_sources", "launch_ros"),
    *("launch_ros.actions", "launch_ros.event_handlers", "launch_ros.events.lifecycle"),
    *("launch_ros.events", "launch_ros.parameter_descriptions", "launch_ros.substitutions"),
)
ARGUMENTS = {
    *("namespace", "name", "params_file", "bundle", "adapter", "input_topic", "use_sim_time"),
    *("autostart", "log_level"),
}


class Entity:
    """What a launch file makes: its class, and what it was made of."""

    def __init__(self, kind, arguments, options):
        self.kind, self.arguments, self.options = kind, arguments, options

    def __getitem__(self, name):
        return self.options[name]

    def __repr__(self):
        return f"{self.kind}{self.arguments}{self.options}"

    def perform(self, context):
        return context[self.arguments[0]]


class StandIn(ModuleType):
    """A module that has every class."""

    def __getattr__(self, kind):
        if kind.startswith("__"):
            raise AttributeError(kind)
        return lambda *arguments, **options: Entity(kind, arguments, options)


@pytest.fixture
def read(monkeypatch):
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, StandIn(name))

    def read_file(name):
        path = ROOT / "launch" / name
        spec = importlib.util.spec_from_file_location(name.replace(".", "_"), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (entities,) = module.generate_launch_description().arguments
        return module, entities

    return read_file


def of_kind(entities, *kinds):
    return [entity for entity in entities if entity.kind in kinds]


def names_of(entities):
    return {item.arguments[0] for item in of_kind(entities, "DeclareLaunchArgument")}


def test_the_recognizer_takes_all_arguments_and_uses_them(read):
    _, entities = read("recognizer.launch.py")
    assert names_of(entities) == ARGUMENTS
    for argument in of_kind(entities, "DeclareLaunchArgument"):
        assert argument["description"]
    (node,) = of_kind(entities, "LifecycleNode")
    used = repr(node) + repr(of_kind(entities, "EmitEvent", "RegisterEventHandler"))
    for name in ARGUMENTS:
        assert f"LaunchConfiguration('{name}',)" in used
    assert (node["package"], node["executable"]) == ("iospstl_ros", "iospstl-recognizer")
    (remapping,) = node["remappings"]
    assert remapping[0] == "skeletons"


def test_an_argument_that_is_left_out_leaves_the_parameter_file_alone(read):
    _, entities = read("recognizer.launch.py")
    (node,) = of_kind(entities, "LifecycleNode")
    assert set(node["parameters"][1]) == {"use_sim_time"}
    assert node["arguments"][::2] == ["--no-autostart", node["arguments"][2], node["arguments"][4]]
    assert [word for word in node["arguments"] if isinstance(word, str)] == [
        *("--no-autostart", "--bundle", "--adapter")
    ]
    defaults = {item.arguments[0]: item["default_value"] for item in entities[: len(ARGUMENTS)]}
    assert (defaults["bundle"], defaults["adapter"]) == ("", "")


def test_it_is_configured_and_then_activated_but_not_after_a_manual_deactivate(read):
    _, entities = read("recognizer.launch.py")
    (register,) = of_kind(entities, "RegisterEventHandler")
    (configure,) = of_kind(entities, "EmitEvent")
    (handler,) = register.arguments
    assert handler.kind == "OnStateTransition"
    assert (handler["start_state"], handler["goal_state"]) == ("configuring", "inactive")
    (activate,) = handler["entities"]
    numbers = [item["event"]["transition_id"] for item in (configure, activate)]
    assert numbers == [1, 3]
    for move in (register, configure):
        assert "LaunchConfiguration('autostart',)" in repr(move["condition"])


def test_the_demo_starts_player_recognizer_and_rviz(read):
    module, entities = read("demo.launch.py")
    assert names_of(entities) == {*module.ARGUMENTS}
    (recognizer,) = of_kind(entities, "IncludeLaunchDescription")
    assert "recognizer.launch.py" in repr(recognizer.arguments)
    passed_on = {name for name, _ in recognizer["launch_arguments"]}
    assert passed_on == {"bundle", "adapter", "input_topic", "params_file"} <= ARGUMENTS
    (rviz,) = of_kind(entities, "Node")
    assert (rviz["package"], rviz["executable"]) == ("rviz2", "rviz2")
    assert "LaunchConfiguration('rviz',)" in repr(rviz["condition"])
    (play,) = of_kind(entities, "OpaqueFunction")
    (player,) = play["function"]({"play": "--store 'a folder' --loop", "input_topic": "s"})
    assert (player["package"], player["executable"]) == ("iospstl_ros", "iospstl-player")
    assert player["arguments"][-3:] == ["--store", "a folder", "--loop"]
    assert player["arguments"][:2] == ["--wait", "--topic"]


def test_the_player_and_the_recognizer_understand_what_the_launch_files_give_them(read):
    from iospstl_ros.command_line import _recognizer_parser
    from iospstl_ros.player import _parser

    _, entities = read("recognizer.launch.py")
    (node,) = of_kind(entities, "LifecycleNode")
    words = [word if isinstance(word, str) else "" for word in node["arguments"]]
    options = _recognizer_parser().parse_args(words)
    assert (options.autostart, options.bundle, options.adapter) == (False, "", "")
    module, _ = read("demo.launch.py")
    (player,) = module._play({"play": "--store s --loop"})
    words = [word if isinstance(word, str) else "topic" for word in player["arguments"]]
    options = _parser().parse_args(words)
    assert (options.wait, options.topic, options.store) == (True, "topic", Path("s"))


def test_rviz_shows_what_the_node_publishes_in_the_player_s_frame():
    view = yaml.safe_load((ROOT / "rviz" / "recognizer.rviz").read_text())["Visualization Manager"]
    assert view["Global Options"]["Fixed Frame"] == "camera"
    displays = [SimpleNamespace(**{"Topic": {}, **item}) for item in view["Displays"]]
    topics = {item.Topic.get("Value"): item.Class for item in displays}
    assert topics["/recognizer/markers"] == "rviz_default_plugins/MarkerArray"
    for topic in ("/recognizer/imputed", "/skeletons"):
        assert topics[topic] == "rviz_default_plugins/PointCloud2"
    (tf,) = (item for item in displays if item.Name == "TF")
    assert tf.Enabled is False
    namespaces = next(item.Namespaces for item in displays if item.Name == "Actions")
    from iospstl_ros.outputs import MARKER_NAMESPACES

    assert set(namespaces) == set(MARKER_NAMESPACES)
