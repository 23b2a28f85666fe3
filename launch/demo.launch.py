"""Play a recording, recognise the actions in it, and show both in RViz.

ros2 launch iospstl_ros demo.launch.py bundle:=runs/demo/bundle \
    play:="--store runs/demo/data/synthetic --occlusion realistic --loop"
"""

import shlex

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("iospstl_ros")
ARGUMENTS = {
    "bundle": ("", "Folder of the bundle"),
    "play": ("", "What iospstl-player plays: --store DIR, --skeleton FILE or --bag DIR, and more"),
    "adapter": ("", "Form of the input; empty: the one of the parameter file"),
    "input_topic": ("skeletons", "Topic of the skeletons"),
    "params_file": (
        PathJoinSubstitution([SHARE, "config", "recognizer.yaml"]),
        "YAML file with the parameters of the recogniser",
    ),
    "rviz": ("true", "Start RViz"),
    "rviz_config": (
        PathJoinSubstitution([SHARE, "rviz", "recognizer.rviz"]),
        "What RViz shows",
    ),
}
_PASSED_ON = ("bundle", "adapter", "input_topic", "params_file")


def generate_launch_description():
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    recognizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([SHARE, "launch", "recognizer.launch.py"])
        ),
        launch_arguments=[(name, value[name]) for name in _PASSED_ON],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", value["rviz_config"]],
        condition=IfCondition(value["rviz"]),
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, recognizer, OpaqueFunction(function=_play), rviz])


def _play(context):
    """Return the player, which waits for the recogniser, with the words of ``play``."""
    words = shlex.split(LaunchConfiguration("play").perform(context))
    return [
        Node(
            package="iospstl_ros",
            executable="iospstl-player",
            output="screen",
            arguments=["--wait", "--topic", LaunchConfiguration("input_topic"), *words],
        )
    ]
