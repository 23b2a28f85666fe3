"""What every dataset tells the `prepare` command about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import MAX_COORDINATE_M, SkeletonLayout
from iospstl_train.data.published import Published
from iospstl_train.data.recording import Recording, SkippedRecording


@dataclass(frozen=True)
class Source:
    """A dataset that can be read sequence by sequence, also by several processes.

    Attributes
    ----------
    dataset : str
        Name on the command line: ``nw-ucla``, ``ntu60``, ...
    layout : SkeletonLayout
        Joints of every recording.
    class_names : tuple of str
        In label order.
    n_persons : int
        Size of the person axis of every recording.
    fps : float
        Frames per second.
    splits : mapping of str to str
        Name -> split expression (see `iospstl_core.splits`); the first is the default.
    items : sequence
        One picklable item per sequence.
    read : callable
        Turns an item into its recording, or says why it is left out; picklable.
    published : callable, optional
        Returns what everybody who prepares the dataset should have, to compare with.
    camera_frame : bool, default=True
        False where the source moved or turned the bodies.
    notes : tuple of str
        What else to tell whoever prepares it.
    """

    dataset: str
    layout: SkeletonLayout
    class_names: tuple[str, ...]
    n_persons: int
    fps: float
    splits: Mapping[str, str]
    items: Sequence[Any]
    read: Callable[[Any], Recording | SkippedRecording]
    published: Callable[[], Published] | None = None
    camera_frame: bool = True
    notes: tuple[str, ...] = ()


def coordinate_fault(xyz: NDArray[Any]) -> str | None:
    """Say what is wrong with coordinates of shape (n_frames, ..., 3); None if nothing is."""
    beyond = (xyz > MAX_COORDINATE_M) | (xyz < -MAX_COORDINATE_M)  # NaN compares False
    if not beyond.any():
        return None
    first = np.argwhere(beyond)[0]
    return (
        f"expected metres within {MAX_COORDINATE_M:g} or NaN, got {xyz[tuple(first)]:g} "
        f"in frame {first[0]} ({beyond.sum()} such values); convert millimetres to metres"
    )
