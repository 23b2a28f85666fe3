"""Writes raw NTU RGB+D files for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRACKED = 2


def write_skeleton_file(
    path: Path,
    xyz: NDArray[np.floating],
    present: NDArray[np.bool_] | None = None,
    body_ids: Sequence[int] | None = None,
    crlf: bool = False,
    tracking_state: NDArray[np.integer] | int = TRACKED,
    swap_order: bool = False,
) -> Path:
    """Write a .skeleton file as the dataset's owners do.

    Parameters
    ----------
    path : Path
        File to write.
    xyz : ndarray of shape (n_frames, n_bodies, 25, 3)
        Metres; NaN is written as 0 0 0, which means not observed.
    present : ndarray of shape (n_frames, n_bodies), bool, optional
        Bodies that a frame lists; all by default.
    body_ids : sequence of int, optional
        One per body.
    crlf : bool, default=False
        End lines with CR LF.
    tracking_state : int or ndarray of shape (n_frames, n_bodies, 25), default=2
        0 not tracked, 1 inferred, 2 tracked.
    swap_order : bool, default=False
        List the bodies of every other frame in reverse order.
    """
    n_frames, n_bodies, n_joints, _ = xyz.shape
    present = np.ones((n_frames, n_bodies), dtype=bool) if present is None else present
    ids = [72057594037930000 + m for m in range(n_bodies)] if body_ids is None else body_ids
    state = np.broadcast_to(tracking_state, (n_frames, n_bodies, n_joints))
    values = np.nan_to_num(xyz)
    lines = [str(n_frames)]
    for frame in range(n_frames):
        listed = [m for m in range(n_bodies) if present[frame, m]]
        lines.append(str(len(listed)))
        for m in listed[::-1] if swap_order and frame % 2 else listed:
            lines += [f"{ids[m]} 0 1 1 1 1 0 -0.1218 0.0421 2", str(n_joints)]
            for (x, y, z), joint_state in zip(values[frame, m], state[frame, m], strict=True):
                image = "283.03 224.29 1027.24 581.27 -0.257 0.123 0.953 -0.092"
                lines.append(f"{x:.7g} {y:.7g} {z:.7g} {image} {joint_state}")
    newline = "\r\n" if crlf else "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline).encode("ascii"))
    return path
