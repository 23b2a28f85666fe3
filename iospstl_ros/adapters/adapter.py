"""What an adapter is: the border between a driver's messages and the recogniser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iospstl_ros.frames import SkeletonFrame


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter may be told.

    Attributes
    ----------
    adapter : str
        Name of the adapter.
    layout : str
        pointcloud: skeleton layout of the columns.
    joint_map : str
        YAML file, or name of a map of ours, that replaces the adapter's own; custom: required.
    message_type : str
        ``package/msg/Name`` where it differs from the adapter's own; custom: required.
    clock_ns : callable
        Time of reception in nanoseconds, for sources whose messages have no stamp.
    """

    adapter: str = "pointcloud"
    layout: str = "ntu-25"
    joint_map: str = ""
    message_type: str = ""
    clock_ns: Callable[[], int] = time.time_ns

    def type_and_install(self, own_type: str, own_install: str) -> tuple[str, str]:
        """Return the type of the messages, and the command that installs their package."""
        message_type = self.message_type or own_type
        package = message_type.partition("/")[0]
        if package == own_type.partition("/")[0]:
            return message_type, own_install
        return message_type, f"colcon build --packages-up-to {package}, in a workspace that has it"


@dataclass(frozen=True)
class Adapter:
    """One source of skeletons.

    Attributes
    ----------
    name : str
    message_type : str
        ``package/msg/Name`` of the topic ``skeletons``.
    install : str
        Command that installs the package of the messages.
    read : callable
        ``read(message, min_confidence)`` returns a `SkeletonFrame`, or None for a message that
        completes no frame; raises InputError if the message is malformed. Duck-typed: rclpy's
        messages and those of other libraries with the same fields will do.
    invents_joints : bool
        Whether the driver fills joints that it does not see, so that they must be checked.
    attach : callable, optional
        ``attach(node, store)`` for a source that is more than one topic: subscribes to the rest,
        hands what comes to ``store(message)`` as if it had come on the topic ``skeletons``, and
        returns what takes all that back. Raises InputError if a package is missing.
    """

    name: str
    message_type: str
    install: str
    read: Callable[[Any, float], SkeletonFrame | None]
    invents_joints: bool = False
    attach: Callable[[Any, Callable[[Any], object]], Callable[[], None]] | None = None
