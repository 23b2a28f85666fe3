"""The launch file: its arguments, and that it brings the node up and leaves it alone later."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch and launch_ros come with a system's ROS 2 only")

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch_ros.actions import LifecycleNode

pytestmark = pytest.mark.launch

ROOT = Path(__file__).parents[2]
ARGUMENTS = {
    *("namespace", "name", "params_file", "bundle", "adapter", "input_topic", "use_sim_time"),
    *("autostart", "log_level"),
}


@pytest.fixture
def entities():
    path = ROOT / "launch" / "recognizer.launch.py"
    spec = importlib.util.spec_from_file_location("recognizer_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description().entities


def of_type(entities, kind):
    return [entity for entity in entities if isinstance(entity, kind)]


def test_all_arguments_have_description_and_default(entities):
    arguments = of_type(entities, DeclareLaunchArgument)
    assert {argument.name for argument in arguments} == ARGUMENTS
    assert all(argument.description and argument.default_value for argument in arguments)


def test_it_starts_one_managed_node_and_only_autostart_moves_it(entities):
    (node,) = of_type(entities, LifecycleNode)
    assert node.node_package == "iospstl_ros"
    assert node.node_executable == "iospstl-recognizer"
    moves = of_type(entities, (EmitEvent, RegisterEventHandler))
    assert len(moves) == 2
    assert all(move.condition is not None for move in moves)


def test_it_activates_after_configure_but_not_after_a_manual_deactivate(entities):
    from launch_ros.events.lifecycle import StateTransition
    from lifecycle_msgs.msg import State, TransitionEvent

    (node,) = of_type(entities, LifecycleNode)
    (register,) = of_type(entities, RegisterEventHandler)

    def fires(start, goal):
        message = TransitionEvent(start_state=State(label=start), goal_state=State(label=goal))
        return register.event_handler.matches(StateTransition(action=node, msg=message))

    assert fires("configuring", "inactive")
    assert not fires("deactivating", "inactive")
