"""Skeleton layouts as data: joints, parents and centre; everything else is derived."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

MAX_COORDINATE_M = 1000.0
"""Farther than any sensor sees; what lies beyond is damaged, or not in metres."""


@dataclass(frozen=True)
class SkeletonLayout:
    """A named list of joints and how they hang together.

    Attributes
    ----------
    name : str
        Name used in files, messages and on the command line.
    joints : tuple of str
        Joint names in array order. ``...Left`` and ``...Right`` make a pair.
    parents : tuple of int
        Index of each joint's parent; the root is its own parent.
    center : int
        Joint that normalisation puts at the origin.
    equivalents : mapping of str to str
        Name of a joint here -> name of the joint that stands for it in other layouts.
    rest_m : tuple of (x, y, z)
        Standing pose of an adult facing the camera, metres, relative to the centre, in the axes
        of the camera (x to the sensor's left, y up, z away from the sensor). May be empty.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    center: int
    equivalents: Mapping[str, str] = field(default_factory=dict)
    rest_m: tuple[tuple[float, float, float], ...] = ()

    @property
    def n_joints(self) -> int:
        """Number of joints."""
        return len(self.joints)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """All (child, parent) pairs, without the root."""
        return tuple((j, p) for j, p in enumerate(self.parents) if j != p)

    @cached_property
    def degrees(self) -> IntArray:
        """Number of bones that meet at each joint, shape (n_joints,)."""
        return np.bincount(np.asarray(self.bones).ravel(), minlength=self.n_joints).astype(
            np.int64
        )

    @cached_property
    def flip_order(self) -> IntArray:
        """Joint indices with left and right exchanged, shape (n_joints,)."""
        swapped = [_other_side(name) for name in self.joints]
        return np.array([self.index(name) for name in swapped], dtype=np.int64)

    def index(self, joint: str) -> int:
        """Return the index of a joint by name; raise InputError naming the nearest one."""
        try:
            return self.joints.index(joint)
        except ValueError:
            nearest = difflib.get_close_matches(joint, self.joints, n=1)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise InputError(f"layout {self.name}: no joint '{joint}'{hint}") from None


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    if name.endswith("Right"):
        return name.removesuffix("Right") + "Left"
    return name


_BODY_20 = (
    "SpineBase SpineMid Neck Head ShoulderLeft ElbowLeft WristLeft HandLeft ShoulderRight "
    "ElbowRight WristRight HandRight HipLeft KneeLeft AnkleLeft FootLeft HipRight KneeRight "
    "AnkleRight FootRight"
)

NTU_25 = SkeletonLayout(
    name="ntu-25",
    joints=tuple(
        f"{_BODY_20} SpineShoulder HandTipLeft ThumbLeft HandTipRight ThumbRight".split()
    ),
    parents=(
        *(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10),
        *(0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11),
    ),
    center=20,
    rest_m=(
        *((0.0, -0.51, 0.0), (0.0, -0.21, 0.0), (0.0, 0.07, 0.0), (0.0, 0.22, -0.01)),
        *((-0.18, -0.04, 0.0), (-0.21, -0.31, 0.02), (-0.22, -0.55, 0.0), (-0.22, -0.63, -0.01)),
        *((0.18, -0.04, 0.0), (0.21, -0.31, 0.02), (0.22, -0.55, 0.0), (0.22, -0.63, -0.01)),
        *((-0.08, -0.52, 0.0), (-0.09, -0.93, 0.0), (-0.09, -1.32, 0.02), (-0.1, -1.38, -0.1)),
        *((0.08, -0.52, 0.0), (0.09, -0.93, 0.0), (0.09, -1.32, 0.02), (0.1, -1.38, -0.1)),
        *((0.0, 0.0, 0.0), (-0.22, -0.71, -0.01), (-0.19, -0.66, -0.03)),
        *((0.22, -0.71, -0.01), (0.19, -0.66, -0.03)),
    ),
)
"""Kinect v2 and NTU RGB+D; the layout of the models. Bones as in ST-GCN."""

KINECT_V1_20 = SkeletonLayout(
    name="kinect-v1-20",
    joints=tuple(
        _BODY_20.replace("SpineBase", "HipCenter")
        .replace("SpineMid", "Spine")
        .replace("Neck", "ShoulderCenter")
        .split()
    ),
    parents=(0, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
    center=2,
    equivalents={
        "HipCenter": "SpineBase",
        "Spine": "SpineMid",
        "ShoulderCenter": "SpineShoulder",
    },
)
"""Kinect v1. ShoulderCenter stands nearest to SpineShoulder; no neck, hand tips or thumbs."""

LAYOUTS: dict[str, SkeletonLayout] = {layout.name: layout for layout in (NTU_25, KINECT_V1_20)}


def get_layout(name: str) -> SkeletonLayout:
    """Return a built-in layout by name; raise InputError listing the known ones."""
    if name not in LAYOUTS:
        raise InputError(f"layout: expected one of {', '.join(LAYOUTS)}, got '{name}'")
    return LAYOUTS[name]


def layout_from_mapping(data: Mapping[str, Any], source: str) -> SkeletonLayout:
    """Build a layout from a parsed joint list.

    Parameters
    ----------
    data : mapping
        ``name``, ``joints`` (list of names), ``parents`` (mapping joint -> parent, the root left
        out), and optionally ``center`` (joint name) and ``equivalents`` (own name -> common name).
    source : str
        File name for error messages.

    Raises
    ------
    InputError
        If a key is missing, a name unknown or used twice.
    """
    missing = [key for key in ("name", "joints", "parents") if key not in data]
    if missing:
        raise InputError(f"{source}: expected the keys name, joints, parents; missing {missing}")
    joints = tuple(str(joint) for joint in data["joints"])
    repeated = {joint for joint in joints if joints.count(joint) > 1}
    if repeated:
        raise InputError(f"{source}: joints: expected unique names, got {sorted(repeated)} twice")
    bare = SkeletonLayout(str(data["name"]), joints, tuple(range(len(joints))), 0)
    parents = list(bare.parents)
    for child, parent in dict(data["parents"]).items():
        parents[bare.index(child)] = bare.index(parent)
    _check_tree(bare, parents, source)
    for own in data.get("equivalents", {}):
        bare.index(own)
    return SkeletonLayout(
        name=bare.name,
        joints=joints,
        parents=tuple(parents),
        center=bare.index(data.get("center", joints[0])),
        equivalents=dict(data.get("equivalents", {})),
    )


def _check_tree(layout: SkeletonLayout, parents: list[int], source: str) -> None:
    """Refuse bones that run in a circle: from every joint the way leads to a root."""
    for joint, name in enumerate(layout.joints):
        ancestor = joint
        for _ in parents:
            ancestor = parents[ancestor]
        if parents[ancestor] != ancestor:
            raise InputError(f"{source}: parents: the bones from '{name}' on run in a circle")


def layout_to_mapping(layout: SkeletonLayout) -> dict[str, Any]:
    """Return what `layout_from_mapping` reads, ready for JSON or YAML."""
    return {
        "name": layout.name,
        "joints": list(layout.joints),
        "parents": {layout.joints[c]: layout.joints[p] for c, p in layout.bones},
        "center": layout.joints[layout.center],
        "equivalents": dict(layout.equivalents),
    }


def joint_sources(source: SkeletonLayout, target: SkeletonLayout) -> IntArray:
    """Return the index in `source` of every joint of `target`, by name; -1: structural miss."""
    common = {source.equivalents.get(name, name): j for j, name in enumerate(source.joints)}
    return np.array(
        [common.get(target.equivalents.get(name, name), -1) for name in target.joints],
        dtype=np.int64,
    )


def map_joints(
    xyz: FloatArray, source: SkeletonLayout, target: SkeletonLayout
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Reorder joints into another layout.

    Parameters
    ----------
    xyz : ndarray of shape (..., source.n_joints, 3), float32
        Positions; NaN where a joint was not observed.

    Returns
    -------
    mapped : ndarray of shape (..., target.n_joints, 3), float32
        NaN where the source has no such joint.
    structural : ndarray of shape (target.n_joints,), bool
        True where the source never has the joint.
    """
    index = joint_sources(source, target)
    mapped = xyz[..., index, :].astype(np.float32, copy=True)
    mapped[..., index < 0, :] = np.nan
    return mapped, index < 0


def joint_indices(layout: SkeletonLayout, names: Iterable[str]) -> list[int]:
    """Return the indices of several joints by name."""
    return [layout.index(name) for name in names]


def mark_unobserved(xyz: FloatArray, *, zero_is_missing: bool) -> FloatArray:
    """Return a copy in which a joint that misses any coordinate is NaN in all three.

    Parameters
    ----------
    xyz : ndarray of shape (..., 3), float32
        Positions; NaN where a coordinate was not observed.
    zero_is_missing : bool
        Also treat a joint at exactly (0, 0, 0) as not observed.

    Returns
    -------
    marked : ndarray, same shape and dtype
    """
    missing = np.any(np.isnan(xyz), axis=-1)
    if zero_is_missing:
        missing |= np.all(xyz == 0, axis=-1)
    return np.where(missing[..., None], np.float32(np.nan), xyz)
