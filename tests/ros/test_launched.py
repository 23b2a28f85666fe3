"""The launch file at work: `launch_testing` starts it, and ends it."""

import os
import tempfile
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="launch_testing comes with a system's ROS 2 only")

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription
from tests.ros.partner import Partner
from tests.ros.tiny import make_bundle, raised_hand

pytestmark = pytest.mark.launch

try:
    SHARE = Path(get_package_share_directory("iospstl_ros"))
except PackageNotFoundError:
    pytest.skip("iospstl_ros is not installed where ROS 2 finds it", allow_module_level=True)


@pytest.mark.launch_test
def generate_test_description():
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    bundle = make_bundle(Path(tempfile.mkdtemp()) / "bundle")
    arguments = {
        "bundle": str(bundle),
        "input_topic": "/camera/people",
        "namespace": "robot1",
        "name": "eyes",
    }
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "recognizer.launch.py"))
    recognizer = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([recognizer, launch_testing.actions.ReadyToTest()])


class WhileItRuns(unittest.TestCase):
    """The node is brought up, recognises, and is left alone by the launch file later."""

    def test_it_is_active_and_recognizes_and_stays_deactivated(self):
        rclpy.init()
        partner = Partner("/robot1/eyes", "/camera/people", "/robot1/action_label")
        try:
            assert partner.spin_until(lambda: partner.state() == "active", 20.0)
            partner.wait_until_connected()
            partner.play(1, raised_hand(20, 0.4), 1_795_000_000 * 10**9)
            assert partner.spin_until(lambda: "hand up" in partner.labels())
            assert partner.change_state("deactivate")
            partner.spin_for(1.0)
            assert partner.state() == "inactive"
        finally:
            partner.close()
            rclpy.try_shutdown()


@launch_testing.post_shutdown_test()
class AfterItRan(unittest.TestCase):
    """Whatever ends the launch file ends the node cleanly."""

    def test_it_ends_without_error(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
