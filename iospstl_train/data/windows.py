"""From a store to normalised windows of fixed length: what networks and imputers work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.normalize import N_FRAMES, normalize, resample, to_body_frame
from iospstl_core.skeleton import NTU_25, map_joints
from iospstl_core.store import Occlusion, Store, hide

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class WindowSet:
    """All sequences of a store, normalised as the robot normalises them.

    Attributes
    ----------
    xyz : ndarray of shape (n, n_frames, n_persons, 25, 3), float32
        Body frame of what was seen; NaN where not observed, hidden or absent.
    truth : ndarray of the same shape, float32
        The same transformation of the coordinates without the occlusion.
    present : ndarray of shape (n, n_frames, n_persons), bool
    label : ndarray of shape (n,), int64
    is_train, is_test : ndarray of shape (n,), bool
    names : tuple of str
    class_names : tuple of str
    """

    xyz: FloatArray
    truth: FloatArray
    present: BoolArray
    label: NDArray[np.int64]
    is_train: BoolArray
    is_test: BoolArray
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def hidden(self) -> BoolArray:
        """Cells (n, n_frames, n_persons, 25) whose truth is known and that were not seen."""
        return np.asarray(np.isnan(self.xyz[..., 0]) & ~np.isnan(self.truth[..., 0]))

    @property
    def structural(self) -> BoolArray:
        """Joints (25,) that the source never has."""
        return np.asarray(np.isnan(self.truth[..., 0]).all(axis=(0, 1, 2)))

    @property
    def unseen(self) -> BoolArray:
        """Cells (n, n_frames, n_persons, 25) not seen of persons that are there.

        Without structural misses; unlike `hidden`, with what the sensor itself lost.
        """
        missing = np.isnan(self.xyz[..., 0]) & self.present[..., None]
        return np.asarray(missing & ~self.structural)

    def hidden_frac(self) -> FloatArray:
        """Share of each joint's cells that are not seen while the person is there, (n, 25).

        NaN for structural misses: the masks of the method must not spend themselves on them.
        """
        total = np.maximum(self.present.sum(axis=(1, 2)), 1)[:, None]
        share = np.asarray(self.unseen.sum(axis=(1, 2)) / total, dtype=np.float32)
        share[:, self.structural] = np.nan
        return share


def load_windows(
    store: Store,
    occlusion: Occlusion | None = None,
    split: str | None = None,
    n_frames: int = N_FRAMES,
) -> WindowSet:
    """Normalise every sequence of a store.

    Parameters
    ----------
    store : Store
    occlusion : Occlusion, optional
        Cells to hide before anything is computed.
    split : str, optional
        Name of a split; the store's first if left out.
    n_frames : int
        Length of a window.
    """
    is_train, is_test = store.split(split)
    shape = (len(store), n_frames, store.n_persons, NTU_25.n_joints, 3)
    xyz = np.full(shape, np.nan, dtype=np.float32)
    truth = np.full(shape, np.nan, dtype=np.float32)
    present = np.zeros(shape[:3], dtype=bool)
    for index in range(len(store)):
        raw, there = store.sequence(index)
        seen = raw if occlusion is None else hide(raw, occlusion.hidden[store.frames(index)])
        raw, _ = map_joints(raw, store.layout, NTU_25)
        seen, _ = map_joints(seen, store.layout, NTU_25)
        window = normalize(seen, there, n_frames)
        xyz[index], present[index] = window.xyz, window.present
        truth[index], _ = resample(to_body_frame(raw, window.frame), there, n_frames)
    return WindowSet(
        xyz, truth, present, store.label, is_train, is_test, store.names, store.class_names
    )
