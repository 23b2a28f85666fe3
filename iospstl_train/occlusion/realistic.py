"""Realistic occlusion: furniture between camera and body, found by casting rays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.store import Store
from iospstl_train.occlusion.furniture import (
    FURNITURE_KINDS,
    Obstacle,
    load_meshes,
    make_furniture,
)
from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence, Source, find_joints
from iospstl_train.occlusion.placement import (
    PlacedObject,
    RealisticSettings,
    Sight,
    check_in_front,
    estimate_floor,
    have_contact,
    look,
    move_to_object,
    place_object,
    turn_to_object,
)

__all__ = ["PlacedObject", "RealisticSettings", "find_hidden", "hide_behind_furniture"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

FEET = ("AnkleLeft", "FootLeft", "AnkleRight", "FootRight")
SHARE_WIDTH = 0.1
"""At a severity, the hidden share of a sequence is wanted in a range so wide."""
N_PLACES = 10
"""Places tried for an object before it is left out."""
_NO_HIT = -1


def hide_behind_furniture(
    xyz: NDArray[np.floating],
    present: BoolArray,
    rng: np.random.Generator,
    meshes: Mapping[str, Obstacle] | None,
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
    meshes : mapping of str to Obstacle, or None
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
    finite = np.isfinite(xyz)
    observed = present[..., None] & finite[..., 0] & finite[..., 1] & finite[..., 2]
    joints = xyz[observed].astype(np.float64)  # (n_observed, 3)
    hidden = np.zeros(observed.shape, dtype=np.bool_)
    objects: list[PlacedObject] = []
    if len(joints) == 0:
        return hidden, objects
    check_in_front(joints)
    floor_m = estimate_floor(xyz, observed, foot_joints, settings)
    persons = range(xyz.shape[1])
    joints_of = [xyz[:, one][observed[:, one]].astype(np.float64) for one in persons]
    least_miss = np.inf
    for _ in range(settings.n_tries):
        sight = look(xyz, observed, joints_of, rng)
        drawn = _draw_objects(meshes, sight, floor_m, rng, settings)
        behind = np.any([find_hidden(joints, mesh, placed) for mesh, placed in drawn], axis=0)
        miss = _miss(joints, behind, drawn, settings)
        if miss < least_miss:
            least_miss, objects = miss, [placed for _, placed in drawn]
            hidden[observed] = behind
        if miss == 0.0:
            break
    return hidden, objects


def find_hidden(joints: FloatArray, mesh: Obstacle, placed: PlacedObject) -> BoolArray:
    """Tell which joints the camera can not see for one object.

    Parameters
    ----------
    joints : ndarray of shape (n, 3), float
        Metres in the camera frame; the camera is at the origin.
    mesh : Obstacle
        The object in its own coordinates.
    placed : PlacedObject
        Where it stands; size and kind are not used.

    Returns
    -------
    hidden : ndarray of shape (n,), bool
        True where a triangle lies between the camera and the joint.
    """
    # The rays are moved, not the mesh: so the search tree of a mesh serves every placement.
    camera = move_to_object(np.zeros((1, 3)), placed).astype(np.float32)
    rays = turn_to_object(joints, placed).astype(np.float32)
    origins = np.repeat(camera, len(rays), axis=0)
    whole = np.ones(len(rays), dtype=np.float32)  # a ray ends at its joint
    hits = mesh.scene.run(origins, rays, dists=whole, query="OCCLUDED")
    hidden: BoolArray = hits != _NO_HIT
    return hidden


def _draw_objects(
    meshes: Mapping[str, Obstacle] | None,
    sight: Sight,
    floor_m: float,
    rng: np.random.Generator,
    settings: RealisticSettings,
) -> list[tuple[Obstacle, PlacedObject]]:
    """Draw objects that do not overlap; one that finds no free place is left out."""
    names = FURNITURE_KINDS if meshes is None else sorted(meshes)
    n_objects = rng.integers(settings.n_objects[0], settings.n_objects[1] + 1)
    drawn: list[tuple[Obstacle, PlacedObject]] = []
    for kind in rng.choice(names, size=n_objects).tolist():
        mesh = make_furniture(kind, rng) if meshes is None else meshes[kind]
        for _ in range(N_PLACES):
            placed = place_object(kind, mesh.size_m, sight, floor_m, rng, settings)
            if not any(have_contact(placed, other) for _, other in drawn):
                drawn.append((mesh, placed))
                break
    return drawn


def _miss(
    joints: FloatArray,
    behind: BoolArray,
    drawn: Sequence[tuple[Obstacle, PlacedObject]],
    settings: RealisticSettings,
) -> float:
    """Return how far a draw is from what is wanted: 0 is right, infinity must not be used."""
    if behind.all():
        return float("inf")
    low, high = settings.hidden_frac
    frac = float(behind.mean())
    inside = np.any([_find_inside(joints, mesh, placed) for mesh, placed in drawn], axis=0)
    return max(low - frac, frac - high, 0.0) + float(inside.mean())


def _find_inside(joints: FloatArray, mesh: Obstacle, placed: PlacedObject) -> BoolArray:
    """Tell which joints (n, 3) are in an object's bounding box."""
    low, high = mesh.bounds
    x, y, z = move_to_object(joints, placed).T
    inside: BoolArray = (low[0] <= x) & (x <= high[0]) & (low[1] <= y) & (y <= high[1])
    inside &= (low[2] <= z) & (z <= high[2])
    return inside


def _hide(
    sequence: SkeletonSequence,
    settings: RealisticSettings,
    meshes: Mapping[str, Obstacle] | None,
    rng: np.random.Generator,
) -> Masked:
    feet = find_joints(sequence.layout, FEET)
    hidden, objects = hide_behind_furniture(
        sequence.xyz, sequence.present, rng, meshes, settings, feet
    )
    return Masked(hidden, {"objects": [asdict(placed) for placed in objects]})


def _open(
    folder: Path | None, earlier: Mapping[str, Any] | None, _: Store, __: RealisticSettings
) -> Source:
    """Read the user's meshes, if there are any."""
    if folder is None and earlier is not None and earlier.get("meshes"):
        raise InputError(
            "--meshes: expected the folder of the meshes that the occlusion was made with "
            f"({', '.join(earlier['meshes'])}), got none"
        )
    meshes = load_meshes(folder) if folder is not None else None
    return Source(meshes, {"meshes": sorted(meshes) if meshes else None})


def _at_severity(settings: RealisticSettings, share: float) -> RealisticSettings:
    """Ask for about this share of hidden joints in every sequence."""
    if not 0 < share < 1:
        raise ValueError(f"hidden_frac: expected a share between 0 and 1, got {share:g}")
    low, high = max(share - SHARE_WIDTH / 2, 0.0), min(share + SHARE_WIDTH / 2, 1.0)
    return replace(settings, hidden_frac=(round(low, 6), round(high, 6)))


REALISTIC = Kind(
    text="what is behind furniture, found by casting rays (Trans4SOAR)",
    settings=RealisticSettings,
    hide=_hide,
    severity="hidden_frac",
    severity_text="share of the joints; the nearest that was drawn",
    at_severity=_at_severity,
    open_source=_open,
    source_option="--meshes",
    needs_camera=True,
)
