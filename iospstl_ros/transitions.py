"""Lifecycle transitions that say why they failed; rclpy's own hide the cause."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from iospstl_core.errors import InputError

_UNDO = {"on_configure": "release", "on_activate": "stop"}
"""On the way up a failure undoes what the transition had done, by this method of the node."""


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
            found = getattr(LifecycleNode, name)(node, state)
            if found == TransitionCallbackReturn.SUCCESS:
                return found
            node.fault = "a publisher refused the transition"
        except Exception as error:
            node.fault = _cause(error)
            node.get_logger().debug(traceback.format_exc())
        node.get_logger().error(f"{name.removeprefix('on_')} failed: {node.fault}")
        if name not in _UNDO:
            return TransitionCallbackReturn.ERROR
        try:
            getattr(node, _UNDO[name])()
        except Exception as error:
            node.get_logger().error(f"{_UNDO[name]} failed as well: {_cause(error)}")
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


def _cause(error: Exception) -> str:
    """Return what a user needs to know of an error."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
