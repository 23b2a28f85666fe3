"""Realistic occlusion: furniture between camera and body, found by casting rays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.ray.ray_pyembree import RayMeshIntersector

from iospstl_core.errors import InputError
from iospstl_train.occlusion.furniture import FURNITURE_KINDS, make_furniture
from iospstl_train.occlusion.placement import (
    PlacedObject,
    RealisticSettings,
    Sight,
    estimate_floor,
    have_contact,
    look,
    move_to_object,
    place_object,
)

__all__ = ["PlacedObject", "RealisticSettings", "find_hidden", "hide_behind_furniture"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

MIN_DEPTH_M = 0.3
"""A body whose middle is nearer is not in the camera frame: depth cameras start at about 0.4 m."""
N_PLACES = 10
"""Places tried for an object before it is left out."""


def hide_behind_furniture(
    xyz: NDArray[np.floating],
    present: BoolArray,
    rng: np.random.Generator,
    meshes: Mapping[str, trimesh.Trimesh] | None,
    settings: RealisticSettings,
    foot_joints: Sequence[int] = (),
) -> tuple[BoolArray, list[PlacedObject]]:
    """Place objects between camera and body and find the joints behind them.

    A joint is hidden if the segment from the camera's centre to it meets a triangle. The objects
    stand still for the whole sequence, upright on a floor at the height of the feet; the camera's
    y axis is taken as up, so before a pitched camera nearer objects stand a little off the real
    floor. Objects are drawn again, up to ``settings.n_tries`` times, until the share of hidden
    joints is in ``settings.hidden_frac`` and no joint is inside an object's bounding box; else
    the draw that misses least is returned, but never one that hides every joint. Objects do not
    overlap: where there is no room for another one, there are fewer than drawn.

    Parameters
    ----------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float
        Metres in the camera frame, not centred; NaN where a joint was not observed.
    present : ndarray of shape (n_frames, n_persons), bool
        True where the person is there.
    rng : numpy.random.Generator
        Draws objects, sizes and places.
    meshes : mapping of str to trimesh.Trimesh, or None
        Objects to draw from, as `load_meshes` returns them; None is generated furniture.
    settings : RealisticSettings
        Ranges of the draws.
    foot_joints : sequence of int, default=()
        Joints to find the floor with; empty is all joints.

    Returns
    -------
    hidden : ndarray of shape (n_frames, n_persons, n_joints), bool
        True only for joints that were observed.
    objects : list of PlacedObject
        Empty if no joint was observed or if every draw hid every joint.

    Raises
    ------
    ValueError
        If the shape of `present` is wrong or `meshes` is empty.
    InputError
        If the bodies are not in front of the camera, as in sequences moved to their centre.
    """
    if present.shape != xyz.shape[:2]:
        raise ValueError(f"present: expected shape {xyz.shape[:2]}, got {present.shape}")
    if meshes is not None and not meshes:
        raise ValueError("meshes: expected at least one, or None for generated furniture")
    observed = present[..., None] & np.isfinite(xyz).all(axis=-1)
    joints = xyz[observed].astype(np.float64)  # (n_observed, 3)
    hidden = np.zeros(observed.shape, dtype=np.bool_)
    objects: list[PlacedObject] = []
    if len(joints) == 0:
        return hidden, objects
    _check_in_front(joints)
    floor_m = estimate_floor(xyz, observed, foot_joints, settings)
    least_miss = np.inf
    for _ in range(settings.n_tries):
        sight = look(xyz, observed, rng)
        drawn = _draw_objects(meshes, sight, floor_m, rng, settings)
        behind = np.any([find_hidden(joints, mesh, placed) for mesh, placed in drawn], axis=0)
        miss = _miss(joints, behind, drawn, settings)
        if miss < least_miss:
            least_miss, objects = miss, [placed for _, placed in drawn]
            hidden[observed] = behind
        if miss == 0.0:
            break
    return hidden, objects


def find_hidden(joints: FloatArray, mesh: trimesh.Trimesh, placed: PlacedObject) -> BoolArray:
    """Tell which joints the camera can not see for one object.

    Parameters
    ----------
    joints : ndarray of shape (n, 3), float
        Metres in the camera frame; the camera is at the origin.
    mesh : trimesh.Trimesh
        The object in its own coordinates; its search tree is built once and kept.
    placed : PlacedObject
        Where it stands; size and kind are not used.

    Returns
    -------
    hidden : ndarray of shape (n,), bool
        True where the first triangle on the ray through the joint is nearer than the joint.
    """
    # The rays are moved, not the mesh: so the search tree of a mesh serves every placement.
    camera = move_to_object(np.zeros((1, 3)), placed)
    ends = move_to_object(joints, placed)
    intersector: RayMeshIntersector = mesh.ray
    hits, ray_idx, _ = intersector.intersects_location(
        np.broadcast_to(camera, ends.shape), ends - camera, multiple_hits=False
    )
    hit_m = np.full(len(joints), np.inf)
    hit_m[ray_idx] = np.linalg.norm(hits - camera, axis=-1)
    hidden: BoolArray = hit_m < np.linalg.norm(joints, axis=-1)
    return hidden


def _check_in_front(joints: FloatArray) -> None:
    """Raise InputError if joints (n, 3) can not be in the camera frame."""
    middle_m = float(np.median(joints[:, 2]))
    if middle_m < MIN_DEPTH_M:
        raise InputError(
            f"xyz: expected joints in the camera frame, in front of the camera (median z of at "
            f"least {MIN_DEPTH_M} m), got a median z of {middle_m:.2f} m; occlude the recording "
            "before it is centred"
        )


def _draw_objects(
    meshes: Mapping[str, trimesh.Trimesh] | None,
    sight: Sight,
    floor_m: float,
    rng: np.random.Generator,
    settings: RealisticSettings,
) -> list[tuple[trimesh.Trimesh, PlacedObject]]:
    """Draw objects that do not overlap; one that finds no free place is left out."""
    names = FURNITURE_KINDS if meshes is None else sorted(meshes)
    n_objects = rng.integers(settings.n_objects[0], settings.n_objects[1] + 1)
    drawn: list[tuple[trimesh.Trimesh, PlacedObject]] = []
    for kind in rng.choice(names, size=n_objects).tolist():
        mesh = make_furniture(kind, rng) if meshes is None else meshes[kind]
        width, height, depth = mesh.extents.tolist()
        for _ in range(N_PLACES):
            placed = place_object(kind, (width, height, depth), sight, floor_m, rng, settings)
            if not any(have_contact(placed, other) for _, other in drawn):
                drawn.append((mesh, placed))
                break
    return drawn


def _miss(
    joints: FloatArray,
    behind: BoolArray,
    drawn: Sequence[tuple[trimesh.Trimesh, PlacedObject]],
    settings: RealisticSettings,
) -> float:
    """Return how far a draw is from what is wanted: 0 is right, infinity must not be used."""
    if behind.all():
        return float("inf")
    low, high = settings.hidden_frac
    frac = float(behind.mean())
    inside = np.any([_find_inside(joints, mesh, placed) for mesh, placed in drawn], axis=0)
    return max(low - frac, frac - high, 0.0) + float(inside.mean())


def _find_inside(joints: FloatArray, mesh: trimesh.Trimesh, placed: PlacedObject) -> BoolArray:
    """Tell which joints (n, 3) are in an object's bounding box."""
    low, high = mesh.bounds
    moved = move_to_object(joints, placed)
    inside: BoolArray = ((moved >= low) & (moved <= high)).all(axis=-1)
    return inside
