"""The border to a network: N C T V M in one function, the joint, motion and bone streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25, SkeletonLayout

FloatArray = NDArray[np.float32]

STREAMS = ("joint", "motion", "bone")


def to_network(
    xyz: FloatArray, stream: str = "joint", layout: SkeletonLayout = NTU_25
) -> FloatArray:
    """Return windows as a network takes them.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Body frame, metres; NaN where not observed or absent.
    stream : {"joint", "motion", "bone"}
        Positions; differences to the next frame (0 in the last); child minus parent (root 0).
    layout : SkeletonLayout
        Bones of the bone stream.

    Returns
    -------
    ndarray of shape (n_windows, 3, n_frames, n_joints, n_persons), float32
        Contiguous; 0 wherever the stream is not defined.
    """
    if stream == "motion":
        values = np.zeros_like(xyz)
        values[:, :-1] = xyz[:, 1:] - xyz[:, :-1]
    elif stream == "bone":
        values = xyz - xyz[..., list(layout.parents), :]
    elif stream == "joint":
        values = xyz
    else:
        raise ValueError(f"stream: expected one of {', '.join(STREAMS)}, got '{stream}'")
    values = np.nan_to_num(values, nan=0.0)
    return np.ascontiguousarray(values.transpose(0, 4, 1, 3, 2), dtype=np.float32)
