"""Recorded sequences as the player shows them: who is where in which frame, under which id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iospstl_core.errors import InputError
from iospstl_core.random_cells import hide_random_cells
from iospstl_core.skeleton import SkeletonLayout, joint_indices
from iospstl_core.skeleton_file import read_skeleton_file
from iospstl_core.store import Occlusion, Store, hide
from iospstl_ros.frames import BoolArray, FloatArray

SIDE_STEP_M = 1.0
"""Distance between sequences that play at the same time."""


@dataclass(frozen=True)
class Clip:
    """One sequence.

    Attributes
    ----------
    name, label : str
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres, camera frame; NaN where not observed.
    present : ndarray of shape (n_frames, n_persons), bool
    """

    name: str
    label: str
    xyz: FloatArray
    present: BoolArray


@dataclass(frozen=True)
class Take:
    """Clips that start together; the person slots of each have consecutive ids.

    Attributes
    ----------
    clips : tuple of Clip
    first_ids : tuple of int
        Id of each clip's first person slot.
    """

    clips: tuple[Clip, ...]
    first_ids: tuple[int, ...]

    @property
    def n_frames(self) -> int:
        """Frames of the longest clip."""
        return max(len(clip.xyz) for clip in self.clips)

    def persons(self, frame: int) -> dict[int, FloatArray]:
        """Return the joints (n_joints, 3) of everybody in a frame by id, clips side by side."""
        found = {}
        for index, (clip, first_id) in enumerate(zip(self.clips, self.first_ids, strict=True)):
            if frame >= len(clip.xyz):
                continue
            aside = (index - (len(self.clips) - 1) / 2) * SIDE_STEP_M
            for slot in np.flatnonzero(clip.present[frame]).tolist():
                found[first_id + slot] = clip.xyz[frame, slot] + np.array(
                    [aside, 0, 0], dtype=np.float32
                )
        return found

    def truth(self, stamps_ns: Sequence[int]) -> list[dict[str, object]]:
        """Return, for each clip, what a listener compares its results with.

        Parameters
        ----------
        stamps_ns : sequence of int
            Stamp of each frame.
        """
        lines: list[dict[str, object]] = []
        for clip, first_id in zip(self.clips, self.first_ids, strict=True):
            frames = np.flatnonzero(clip.present.any(axis=1)).tolist() or [0]
            slots = np.flatnonzero(clip.present.any(axis=0)).tolist()
            lines.append(
                {
                    "sequence": clip.name,
                    "label": clip.label,
                    "persons": [first_id + slot for slot in slots],
                    "first_stamp_ns": stamps_ns[frames[0]],
                    "last_stamp_ns": stamps_ns[frames[-1]],
                }
            )
        return lines


def arrange(clips: Iterable[Clip], n_together: int, first_id: int = 1) -> Iterator[Take]:
    """Group clips that play together; ids count up from `first_id` and are never used again."""
    waiting: list[Clip] = []
    ids: list[int] = []
    for clip in clips:
        waiting.append(clip)
        ids.append(first_id)
        first_id += clip.xyz.shape[1]
        if len(waiting) == n_together:
            yield Take(tuple(waiting), tuple(ids))
            waiting, ids = [], []
    if waiting:
        yield Take(tuple(waiting), tuple(ids))


def store_clips(
    store: Store, indices: Sequence[int], occlusion: Occlusion | None
) -> Iterator[Clip]:
    """Read sequences of a store one after another, with an occlusion's joints hidden."""
    for index in indices:
        xyz, present = store.sequence(index)
        if occlusion is not None:
            xyz = hide(xyz, occlusion.hidden[store.frames(index)])
        label = store.class_names[int(store.label[index])]
        yield Clip(store.names[index], label, xyz, present)


def skeleton_clip(path: Path) -> Clip:
    """Read one ``.skeleton`` file; the label is the class code in its name."""
    persons = read_skeleton_file(path)
    code = re.search(r"A\d{3}", path.stem)
    return Clip(path.stem, code.group() if code else "unlabelled", persons.xyz, persons.present)


def hide_more(
    clips: Iterable[Clip],
    layout: SkeletonLayout,
    joints: Sequence[str],
    fraction: float,
    seed: int,
) -> Iterator[Clip]:
    """Hide named joints of every clip, and a share of the cells that are then left.

    Parameters
    ----------
    clips : iterable of Clip
    layout : SkeletonLayout
        Of the clips; InputError names the nearest joint for an unknown one.
    joints : sequence of str
        Joints hidden in all frames.
    fraction : float
        Share of the observed (frame, person, joint) cells, 0 to 1.
    seed : int
        Of the choice of cells; the same for every round of the clips.
    """
    hidden_joints = joint_indices(layout, joints)
    rng = np.random.default_rng(seed)
    for clip in clips:
        xyz = clip.xyz.copy()
        xyz[:, :, hidden_joints] = np.nan
        hidden = hide_random_cells(~np.isnan(xyz[..., 0]), fraction, rng)
        yield replace(clip, xyz=hide(xyz, hidden))


def select_sequences(
    store: Store,
    split: str | None,
    subset: str,
    sequences: Sequence[int] | None,
    limit: int | None,
) -> list[int]:
    """Return which sequences of a store to play, in order.

    Parameters
    ----------
    split : str or None
        Name of a split; None: the store's first one.
    subset : {"train", "test", "all"}
    sequences : sequence of int or None
        Exactly these, whatever the subset.
    limit : int or None
        At most that many, spread evenly over the subset.

    Raises
    ------
    InputError
        If a sequence does not exist or nothing is left.
    """
    if sequences is not None:
        unknown = [index for index in sequences if not 0 <= index < len(store)]
        if unknown:
            raise InputError(f"sequences: expected 0 to {len(store) - 1}, got {unknown}")
        return list(sequences)
    chosen = np.arange(len(store))
    if subset != "all":
        chosen = np.flatnonzero(store.split(split)[0 if subset == "train" else 1])
    if limit is not None and limit < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, limit).round().astype(int)]
    if not len(chosen):
        raise InputError(f"{store.folder}: expected sequences to play, the subset has none")
    return [int(index) for index in chosen]
