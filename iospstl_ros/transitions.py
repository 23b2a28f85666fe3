"""Lifecycle transitions that say why they failed; rclpy's own hide the cause."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from iospstl_core.errors import InputError


def guarded(
    body: Callable[[Any, LifecycleState], None],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """Turn a method ``on_...`` that may raise into a transition of a `LifecycleNode`.

    The cause is logged and kept as ``node.fault``. On the way up a failure undoes the transition,
    by the node's ``release`` or ``stop``; on the way down it ends in ``on_error``.
    """
    name = body.__name__

    @functools.wraps(body)
    def transition(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            body(node, state)
            return getattr(LifecycleNode, name)(node, state)
        except InputError as error:
            node.fault = str(error)
        except Exception as error:
            node.fault = f"{type(error).__name__}: {error}"
            node.get_logger().debug(traceback.format_exc())
        node.get_logger().error(f"{name.removeprefix('on_')} failed: {node.fault}")
        if name == "on_configure":
            node.release()
        elif name == "on_activate":
            node.stop()
        else:
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.FAILURE

    return transition


def guard_change_state(node: Any) -> None:
    """Answer impossible transitions with success = false; in rclpy they end the process."""
    service = getattr(node, "_service_change_state", None)
    if service is None:  # another rclpy keeps it elsewhere
        return
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except Exception as error:
            node.get_logger().error(f"change_state: {error}")
            response.success = False
            return response

    service.callback = answer
