"""Message classes by name."""

import pytest
from sensor_msgs.msg import PointCloud2

from iospstl_core.errors import InputError
from iospstl_ros.adapters.message_types import message_class


def test_a_class_is_found_by_its_name():
    assert message_class("sensor_msgs/msg/PointCloud2", "-") is PointCloud2


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("zed_msgs/msg/ObjectsStamped", "No module named 'zed_msgs'; install it with: apt zed"),
        ("sensor_msgs/msg/Nothing", "has no attribute 'Nothing'"),
        ("sensor_msgs/PointCloud2", "expected package/msg/Name, got 'sensor_msgs/PointCloud2'"),
        ("os/msg/path;x", "expected package/msg/Name"),
        ("", "expected package/msg/Name, got ''"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(name, cause):
    with pytest.raises(InputError, match=r"message_type: expected") as caught:
        message_class(name, "apt zed")
    assert cause in str(caught.value)
