"""All settings of the recogniser: one table, with defaults, limits and descriptions; no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from iospstl_core.errors import InputError
from iospstl_core.rejection import DEFAULT_THRESHOLD, MIN_OBSERVED
from iospstl_core.session import DEFAULT_PROVIDERS
from iospstl_core.skeleton import NTU_25, get_layout
from iospstl_ros.adapters import MAKERS
from iospstl_ros.adapters.adapter import AdapterSettings

CHECKS = ("auto", "on", "off")
TRACK_BY = ("id", "position")

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
        "pointcloud", f"Form of the input: {', '.join(MAKERS)}", read_only=True
    )
    message_type: str = _setting(
        "", "package/msg/Name of the input; empty: the adapter's own", read_only=True
    )
    joint_map: str = _setting(
        "", "YAML file, or name, of a joint map; empty: the adapter's own", read_only=True
    )
    layout: str = _setting(
        NTU_25.name, "Skeleton layout of the input's joints (pointcloud)", read_only=True
    )
    window_s: float = _setting(
        0.0, "Seconds that a window covers; 0.0: those of the bundle", (0.0, 60.0), read_only=True
    )
    n_threads: int = _setting(1, "CPU threads of a network", (1, 64), read_only=True)
    track_by: str = _setting(
        "id",
        "How people are followed: id, as the source names them (by position where it does not), "
        "or position",
        read_only=True,
    )
    check_joints: str = _setting(
        "auto",
        "Check bones and jumps for joints that the driver invented: on, off, or auto: where it "
        "is known to invent some",
        read_only=True,
    )
    infer_rate_hz: float = _setting(10.0, "Most inferences a second for a person", (0.1, 1000.0))
    min_frames: int = _setting(8, "Frames of a person before the first result", (1, 10000))
    min_confidence: float = _setting(
        0.3, "Joints of a lower confidence count as not observed", (0.0, 1.0)
    )
    min_observed_ratio: float = _setting(
        MIN_OBSERVED, "Share of a window's joints that must be observed for a label", (0.0, 1.0)
    )
    max_gap_s: float = _setting(
        2.0, "Silence of the input after which everybody starts afresh, seconds", (0.0, 60.0)
    )
    track_timeout_s: float = _setting(
        1.0, "Absence after which a person starts afresh, seconds", (0.0, 60.0)
    )
    max_persons: int = _setting(
        6, "People followed in a frame, those nearest to the camera", (1, 1000)
    )
    max_pair_distance_m: float = _setting(
        2.0, "Distance within which two people may act together, metres", (0.0, 100.0)
    )
    score_threshold: float = _setting(
        DEFAULT_THRESHOLD,
        "Share of the known actions that may be called unknown_label; 0.0: every window gets the "
        "name of a class",
        (0.0, 1.0),
    )
    unknown_label: str = _setting("unknown", "Label of movement that is none of the classes")
    smoothing: float = _setting(
        0.3, "Seconds over which a person's scores are averaged; 0.0: no smoothing", (0.0, 60.0)
    )
    hysteresis: float = _setting(
        0.1, "Lead in score that a new label needs over the present one", (0.0, 1.0)
    )
    top_k: int = _setting(3, "Classes published for every person on ~/actions", (1, 1000))
    publish_actions: bool = _setting(True, "Publish everybody's classes and boxes on ~/actions")
    publish_events: bool = _setting(False, "Publish the start and end of actions on ~/events")
    publish_imputed: bool = _setting(True, "Publish completed skeletons on ~/imputed")
    publish_markers: bool = _setting(True, "Publish markers for RViz on ~/markers")

    def __post_init__(self) -> None:
        if not self.providers or not all(self.providers):
            raise InputError("providers: expected at least one name and no empty one")
        for name, known in (
            ("adapter", tuple(MAKERS)),
            ("check_joints", CHECKS),
            ("track_by", TRACK_BY),
        ):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name}: expected one of {', '.join(known)}, got '{value}'")
        get_layout(self.layout)
        if not self.unknown_label.strip():
            raise InputError("unknown_label: expected a word, got an empty text")

    @property
    def adapter_settings(self) -> AdapterSettings:
        """What the adapter is told."""
        return AdapterSettings(self.adapter, self.layout, self.joint_map, self.message_type)
