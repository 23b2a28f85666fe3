"""Results as a cloud of completed skeletons, in the axes of the input; no ROS needed."""

from __future__ import annotations

from typing import Any

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import write_skeletons
from iospstl_ros.frames import to_source
from iospstl_ros.results import FrameResult


def imputed_message(result: FrameResult, header: Any, messages: Any = None) -> Any:
    """Return the completed skeletons with their confidence: 1 where observed, less elsewhere.

    Parameters
    ----------
    result : FrameResult
    header : std_msgs/Header
        Goes into the cloud.
    messages : optional
        As of `iospstl_ros.adapters.pointcloud.write_skeletons`.
    """
    axes = result.arrival.axes
    return write_skeletons(
        header,
        {person.track_id: to_source(person.xyz, axes) for person in result.persons},
        NTU_25,
        {person.track_id: person.confidence for person in result.persons},
        messages,
    )
