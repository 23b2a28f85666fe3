"""What every reader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import mark_unobserved


@dataclass(frozen=True)
class Recording:
    """One labelled skeleton sequence in the layout of its source.

    Attributes
    ----------
    name : str
        Unique within its dataset.
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres, camera frame (x to the sensor's left, y up, z away from the sensor);
        NaN where a joint was not observed or the person is absent.
    present : ndarray of shape (n_frames, n_persons), bool
        True where the person is there at all.
    label : int
        Class index, from 0.
    subject, view, setup, part : int
        As the source numbers them; -1 where it does not say. The part is 1 to train, 2 to test.
    tracking : ndarray of shape (n_frames, n_persons, n_joints), int8, optional
        What a Kinect said about each joint: 0 not tracked, 1 inferred, 2 tracked; 0 where absent.
    cleaned : mapping of str to int
        What the reader cleaned, in words -> how often.
    """

    name: str
    xyz: NDArray[np.float32]
    present: NDArray[np.bool_]
    label: int
    subject: int = -1
    view: int = -1
    setup: int = -1
    part: int = -1
    tracking: NDArray[np.int8] | None = None
    cleaned: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SkippedRecording:
    """A sequence that a reader left out, and why."""

    name: str
    reason: str


def record_one_person(
    name: str, xyz: NDArray[np.float32], label: int, subject: int, view: int = -1
) -> Recording | SkippedRecording:
    """Return the recording of somebody who is there in all frames.

    Parameters
    ----------
    name : str
    xyz : ndarray of shape (n_frames, n_joints, 3), float32
        A joint at exactly (0, 0, 0) was not observed.
    label, subject, view : int

    Returns
    -------
    recording : Recording or SkippedRecording
        Skipped without frames.
    """
    if len(xyz) == 0:
        return SkippedRecording(name, "it has no frames")
    seen = mark_unobserved(xyz, zero_is_missing=True)[:, None]
    present = np.ones((len(xyz), 1), dtype=np.bool_)
    return Recording(name, seen, present, label, subject=subject, view=view)
