"""The recogniser's settings as parameters of a node: declared, read, checked on a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException

from iospstl_core.errors import InputError
from iospstl_ros.settings import RecognizerParameters

__all__ = ["RecognizerParameters", "declare_parameters", "make_set_callback", "read_parameters"]


def declare_parameters(node: Any) -> None:
    """Declare every field of `RecognizerParameters` on a node, with description and range.

    Raises
    ------
    InputError
        If a value that was given from outside has the wrong type or lies outside its range.
    """
    for item in fields(RecognizerParameters):
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        try:
            node.declare_parameter(item.name, default, _descriptor(default, item.metadata))
        except ParameterException as error:
            hint = "; write 5.0, not 5" if isinstance(default, float) else ""
            text = f"{item.name}: expected {_describe_type(default, item.metadata)}{hint}: {error}"
            raise InputError(text) from error


def read_parameters(node: Any) -> RecognizerParameters:
    """Return the present values of a node's parameters; raise InputError on a bad one."""
    return RecognizerParameters(
        **{
            item.name: _from_ros(node.get_parameter(item.name).value)
            for item in fields(RecognizerParameters)
        }
    )


def make_set_callback(
    node: Any, accept: Callable[[RecognizerParameters], None]
) -> Callable[[Sequence[Any]], SetParametersResult]:
    """Return a set-parameters callback that refuses bad values and hands good ones to `accept`."""
    names = {item.name for item in fields(RecognizerParameters)}

    def check(parameters: Sequence[Any]) -> SetParametersResult:
        changes = {item.name: _from_ros(item.value) for item in parameters if item.name in names}
        if not changes:
            return SetParametersResult(successful=True)
        try:
            accept(replace(read_parameters(node), **changes))
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    return check


def _from_ros(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _describe_type(default: Any, metadata: Any) -> str:
    kind = "a list of text" if isinstance(default, list) else type(default).__name__
    limits = metadata["limits"]
    return kind if limits is None else f"{kind} from {limits[0]:g} to {limits[1]:g}"


def _descriptor(default: Any, metadata: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=metadata["description"], read_only=metadata["read_only"]
    )
    limits = metadata["limits"]
    if limits is not None and isinstance(default, float):
        low, high = (float(value) for value in limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif limits is not None:
        low, high = limits
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor
