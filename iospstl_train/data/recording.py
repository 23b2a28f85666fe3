"""What every reader returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    subject, view, setup : int
        As the source numbers them; -1 where it does not say.
    """

    name: str
    xyz: NDArray[np.float32]
    present: NDArray[np.bool_]
    label: int
    subject: int = -1
    view: int = -1
    setup: int = -1


@dataclass(frozen=True)
class SkippedRecording:
    """A sequence that a reader left out, and why."""

    name: str
    reason: str
