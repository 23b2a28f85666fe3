"""Services of the node beside those of its lifecycle, where ``std_srvs`` is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iospstl_ros.publishers import optional_messages


def create_services(
    node: Any, reset: Callable[[], str], enable: Callable[[bool], str]
) -> list[Any]:
    """Create ``~/reset`` (Trigger) and ``~/enable`` (SetBool).

    Parameters
    ----------
    node : rclpy.node.Node
    reset : callable
        Returns what it did; what it raises becomes the message of a call without success.
    enable : callable
        As `reset`, with what was asked for.

    Returns
    -------
    list of Service
        Empty where ``std_srvs`` is not installed.
    """
    types = optional_messages("std_srvs.srv")
    if types is None:
        return []

    def on_reset(request: Any, response: Any) -> Any:
        return _answer(node, response, reset)

    def on_enable(request: Any, response: Any) -> Any:
        return _answer(node, response, lambda: enable(bool(request.data)))

    return [
        node.create_service(types.Trigger, "~/reset", on_reset),
        node.create_service(types.SetBool, "~/enable", on_enable),
    ]


def _answer(node: Any, response: Any, act: Callable[[], str]) -> Any:
    try:
        response.message = act()
        response.success = True
    except Exception as error:
        response.message = f"{type(error).__name__}: {error}"
        response.success = False
        node.get_logger().error(response.message)
    return response
