"""All parameters of the recogniser: one table, read once, checked whenever one changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException

from iospstl_core.errors import InputError
from iospstl_core.session import DEFAULT_PROVIDERS
from iospstl_core.skeleton import NTU_25, get_layout

ADAPTERS = ("pointcloud",)

T = TypeVar("T")


def _setting(
    default: T,
    description: str,
    limits: tuple[float, float] | None = None,
    read_only: bool = False,
) -> T:
    """Return a dataclass field that carries its parameter descriptor."""
    metadata = {"description": description, "limits": limits, "read_only": read_only}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class RecognizerParameters:
    """Values of all parameters; each field's metadata describes it.

    Raises
    ------
    InputError
        If a value is none of the allowed ones; says which are.
    """

    bundle: str = _setting("", "Folder of the bundle to run (required)", read_only=True)
    providers: tuple[str, ...] = _setting(
        tuple(DEFAULT_PROVIDERS), "ONNX Runtime execution providers by preference", read_only=True
    )
    require_gpu: bool = _setting(
        False, "Fail to configure rather than fall back to the CPU", read_only=True
    )
    adapter: str = _setting(
        "pointcloud", f"Form of the input: {', '.join(ADAPTERS)}", read_only=True
    )
    layout: str = _setting(NTU_25.name, "Skeleton layout of the input's joints", read_only=True)
    window_s: float = _setting(
        0.0, "Seconds that a window covers; 0.0: those of the bundle", (0.0, 60.0), read_only=True
    )
    n_threads: int = _setting(1, "CPU threads of a network", (1, 64), read_only=True)
    infer_rate_hz: float = _setting(10.0, "Most inferences a second for a person", (0.1, 1000.0))
    min_frames: int = _setting(8, "Frames of a person before the first result", (1, 10000))
    min_confidence: float = _setting(
        0.3, "Joints of a lower confidence count as not observed", (0.0, 1.0)
    )
    min_observed_ratio: float = _setting(
        0.1, "Share of a window's joints that must be observed for a result", (0.0, 1.0)
    )
    track_timeout_s: float = _setting(
        1.0, "Absence after which a person starts afresh, seconds", (0.0, 60.0)
    )
    max_persons: int = _setting(
        6, "People followed in a frame, those nearest to the camera", (1, 1000)
    )
    score_threshold: float = _setting(
        0.0, "Score below which the label is unknown_label; 0.0: never", (0.0, 1.0)
    )
    unknown_label: str = _setting("unknown", "Label of a score below score_threshold")
    publish_imputed: bool = _setting(True, "Publish completed skeletons on ~/imputed")
    publish_markers: bool = _setting(True, "Publish markers for RViz on ~/markers")

    def __post_init__(self) -> None:
        if not self.providers or not all(self.providers):
            raise InputError("providers: expected at least one name and no empty one")
        if self.adapter not in ADAPTERS:
            raise InputError(
                f"adapter: expected one of {', '.join(ADAPTERS)}, got '{self.adapter}'"
            )
        get_layout(self.layout)
        if not self.unknown_label.strip():
            raise InputError("unknown_label: expected a word, got an empty text")


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
