"""What every adapter returns: the people of one moment, in the joints and axes of the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

AXES: dict[str, FloatArray] = {
    "kinect": np.diag([1, 1, 1]).astype(np.float32),
    "optical": np.diag([-1, -1, 1]).astype(np.float32),
    "ros": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=np.float32),
    "openni": np.diag([-1, 1, 1]).astype(np.float32),
}
"""Matrix (3, 3) from the axes of a source to those of the models, `models_from_source`.

kinect: x to the sensor's left, y up, z away from it (the models' own); optical: x right, y down,
z away (REP 103, suffix ``_optical``; Azure Kinect); ros: x away, y left, z up (REP 103; ZED);
openni: x right, y up, z away, which is left-handed (Nuitrack).
"""


def no_structural_misses() -> BoolArray:
    """Return the mask of a source that has all joints, (25,)."""
    return np.zeros(NTU_25.n_joints, dtype=bool)


@dataclass(frozen=True)
class SkeletonFrame:
    """Everybody at one moment.

    Attributes
    ----------
    stamp_ns : int
        Time of the header, nanoseconds.
    frame_id : str
        Coordinate frame of the header.
    persons : dict of int to ndarray of shape (25, 3), float32
        Joints of `NTU_25` by person id, metres, axes of the models; all three coordinates NaN
        where not observed.
    structural : ndarray of shape (25,), bool
        Joints that the source never has; NaN in everybody.
    axes : str
        Axes of the source, a key of `AXES`: results are turned back to them.
    names : mapping of int to str
        The source's own name of a person, where it is not the number.
    has_ids : bool
        Whether the ids are the source's; else they only count the people of this frame.
    """

    stamp_ns: int
    frame_id: str
    persons: dict[int, FloatArray]
    structural: BoolArray = field(default_factory=no_structural_misses)
    axes: str = "kinect"
    names: Mapping[int, str] = field(default_factory=dict)
    has_ids: bool = True

    @property
    def stamp_s(self) -> float:
        """Time of the header, seconds."""
        return self.stamp_ns * 1e-9


def stamp_ns_of(header: Any) -> int:
    """Return the stamp of a ``std_msgs/Header`` in nanoseconds; raise InputError if it is none."""
    seconds, nanoseconds = int(header.stamp.sec), int(header.stamp.nanosec)
    if not 0 <= nanoseconds < 1_000_000_000:
        raise InputError(f"header.stamp.nanosec: expected less than 1e9, got {nanoseconds}")
    return seconds * 1_000_000_000 + nanoseconds


def to_models(xyz: FloatArray, axes: str) -> FloatArray:
    """Turn points (..., 3) from the axes of a source to those of the models."""
    return xyz @ AXES[axes].T


def to_source(xyz: FloatArray, axes: str) -> FloatArray:
    """Turn points (..., 3) from the axes of the models to those of a source."""
    return xyz @ AXES[axes]
