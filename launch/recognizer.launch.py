"""Start the recogniser as a managed node, and bring it up to active unless told otherwise.

ros2 launch iospstl_ros recognizer.launch.py bundle:=/path/to/bundle input_topic:=/skeletons
"""

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and of its topics"),
    "name": ("recognizer", "Name of the node"),
    "params_file": (
        PathJoinSubstitution([FindPackageShare("iospstl_ros"), "config", "recognizer.yaml"]),
        "YAML file with the parameters",
    ),
    "bundle": ("", "Folder of the bundle; empty: the one of the parameter file"),
    "adapter": ("", "Form of the input; empty: the one of the parameter file"),
    "input_topic": ("skeletons", "Topic of the skeletons"),
    "use_sim_time": ("false", "Take the time from /clock"),
    "autostart": ("true", "Configure and activate the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def generate_launch_description():
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    node = LifecycleNode(
        package="iospstl_ros",
        executable="iospstl-recognizer",
        name=value["name"],
        namespace=value["namespace"],
        output="screen",
        arguments=["--no-autostart", "--bundle", value["bundle"], "--adapter", value["adapter"]],
        ros_arguments=["--log-level", value["log_level"]],
        remappings=[("skeletons", value["input_topic"])],
        additional_env={"OPENBLAS_NUM_THREADS": "1"},  # its threads wait for each other, busily
        parameters=[
            value["params_file"],
            {"use_sim_time": ParameterValue(value["use_sim_time"], value_type=bool)},
        ],
    )
    activate_when_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",  # else it also fires after a manual deactivate
            goal_state="inactive",
            entities=[_request(node, Transition.TRANSITION_ACTIVATE)],
        ),
        condition=IfCondition(value["autostart"]),
    )
    configure = _request(
        node, Transition.TRANSITION_CONFIGURE, condition=IfCondition(value["autostart"])
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, activate_when_configured, node, configure])


def _request(node, transition, **kwargs):
    event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    return EmitEvent(event=event, **kwargs)
