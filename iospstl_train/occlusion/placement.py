"""Where an object stands: on the floor, between the camera and the bodies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

MIN_DEPTH_M = 0.3
"""A body whose middle is nearer is not in the camera frame: depth cameras start at about 0.4 m."""


@dataclass(frozen=True)
class RealisticSettings:
    """How objects are drawn and placed. A pair is (lowest, highest), drawn uniformly.

    Trans4SOAR (Peng et al., TMM 2023) puts furniture before the camera "with varied rotation and
    displacement"; its ranges and numbers of objects were not published, so these are our own.
    """

    n_objects: tuple[int, int] = (1, 2)
    """Objects in a sequence; fewer where there is no room for them."""
    depth_frac: tuple[float, float] = (0.35, 0.85)
    """Where an object's middle stands between the camera (0) and the nearest joint (1)."""
    overlap: float = 1.0
    """Sideways displacement: 0 is before the body, at 1 the object may only touch its outline."""
    yaw_deg: tuple[float, float] = (-180.0, 180.0)
    """Rotation about the vertical, from the camera's z axis towards x."""
    gap_m: float = 0.2
    """Free space kept between camera and object, and between object and nearest joint."""
    default_floor_m: float = -0.9
    """Floor below the camera where no foot is seen; lower if another joint is."""
    foot_height_m: float = 0.05
    """How far the lowest joint is above the floor."""
    floor_percentile: float = 10.0
    """Of the lowest joint over the frames: low, but not the lowest, which may be noise."""
    hidden_frac: tuple[float, float] = (0.05, 0.70)
    """Wanted share of hidden joints among the observed ones of a sequence."""
    n_tries: int = 30
    """Draws before the nearest miss of `hidden_frac` is taken."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        pairs: dict[str, tuple[float, float]] = {
            "n_objects": (1, 10),
            "depth_frac": (0.0, 1.0),
            "hidden_frac": (0.0, 1.0),
        }
        pairs["yaw_deg"] = (-180.0, 180.0)
        for name, (lowest, highest) in pairs.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name}: expected {lowest} <= low <= high <= {highest}, got ({low}, {high})"
                )
        if self.n_tries < 1:
            raise ValueError(f"n_tries: expected at least 1, got {self.n_tries}")
        if self.overlap < 0 or self.gap_m < 0:
            raise ValueError(
                f"overlap, gap_m: expected at least 0, got {self.overlap}, {self.gap_m}"
            )
        if not 0 <= self.floor_percentile <= 100:
            raise ValueError(f"floor_percentile: expected 0 to 100, got {self.floor_percentile}")


@dataclass(frozen=True)
class PlacedObject:
    """One object in a sequence, upright on the floor.

    Attributes
    ----------
    kind : str
        Kind of generated furniture, or name of the mesh.
    size_m : tuple of (x, y, z)
        Sides of its bounding box before turning.
    position_m : tuple of (x, y, z)
        Middle of its underside in the camera frame.
    yaw_rad : float
        Turn about the camera's y axis, from z towards x.
    """

    kind: str
    size_m: tuple[float, float, float]
    position_m: tuple[float, float, float]
    yaw_rad: float


@dataclass(frozen=True)
class Sight:
    """Where the camera sees the bodies, along one direction in the floor plane."""

    ahead: FloatArray  # (3,) horizontal unit vector from the camera to a body
    aside: FloatArray  # (3,) horizontal unit vector across it
    near_m: float  # nearest joint along `ahead`, noise apart
    slopes: tuple[float, float]  # outline of the bodies: metres aside per metre ahead


def check_in_front(joints: NDArray[np.floating]) -> None:
    """Raise InputError if joints (n, 3) cannot be in the camera frame, in front of the camera."""
    middle_m = float(np.median(joints[:, 2]))
    if middle_m < MIN_DEPTH_M:
        raise InputError(
            f"xyz: expected joints in the camera frame, in front of the camera (median z of at "
            f"least {MIN_DEPTH_M} m), got a median z of {middle_m:.2f} m; occlude the recording "
            "before it is centred"
        )


def estimate_floor(
    xyz: NDArray[np.floating],
    observed: BoolArray,
    foot_joints: Sequence[int],
    settings: RealisticSettings,
) -> float:
    """Return the floor's y in metres: a low percentile of the lowest foot of each frame.

    Parameters
    ----------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float
        Metres in the camera frame.
    observed : ndarray of shape (n_frames, n_persons, n_joints), bool
        At least one is True.
    foot_joints : sequence of int
        Joints to look at; empty is all.
    settings : RealisticSettings
        Its floor settings are used.
    """
    heights = np.where(observed, xyz[..., 1], np.inf)
    feet = heights[..., list(foot_joints)] if foot_joints else heights
    lowest = feet.min(axis=(1, 2))
    lowest = lowest[np.isfinite(lowest)]
    if len(lowest) == 0:
        return float(min(settings.default_floor_m, heights.min()))
    return float(np.percentile(lowest, settings.floor_percentile)) - settings.foot_height_m


def look(
    xyz: NDArray[np.floating],
    observed: BoolArray,
    joints_of: Sequence[FloatArray],
    rng: np.random.Generator,
) -> Sight:
    """Look from the camera at one person in one frame, drawn from those observed.

    Parameters
    ----------
    xyz, observed
        As of `estimate_floor`.
    joints_of : sequence of ndarray of shape (n, 3), float
        Observed joints of each person in all frames.
    rng : numpy.random.Generator
    """
    seen = np.argwhere(observed.any(axis=-1))  # (n, 2): frame, person
    frame, person = seen[rng.integers(len(seen))]
    body = np.median(xyz[frame, person][observed[frame, person]].astype(np.float64), axis=0)
    ahead = np.array([body[0], 0.0, body[2]]) / max(float(np.hypot(body[0], body[2])), 1e-6)
    aside = np.array([ahead[2], 0.0, -ahead[0]])
    depths_m = [joints @ ahead for joints in joints_of]
    slopes = joints_of[person] @ aside / np.maximum(depths_m[person], 0.1)
    low, high = _percentiles(slopes, 5, 95)  # without the noise at the edges
    (near_m,) = _percentiles(np.concatenate(depths_m), 1)
    return Sight(ahead, aside, near_m, (low, high))


def _percentiles(values: FloatArray, *percentiles: float) -> list[float]:
    """Return percentiles of values (n,) as NumPy does, which takes longer for so few."""
    ordered = np.sort(values)
    found = []
    for percentile in percentiles:
        place = percentile / 100 * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        part = place - below
        found.append(float(ordered[below] * (1 - part) + ordered[above] * part))
    return found


def place_object(
    kind: str,
    size_m: tuple[float, float, float],
    sight: Sight,
    floor_m: float,
    rng: np.random.Generator,
    settings: RealisticSettings,
) -> PlacedObject:
    """Draw turn and place of one object before the body, at most touching its outline."""
    width, _, depth = size_m
    low_deg, high_deg = settings.yaw_deg
    yaw = rng.uniform(math.radians(low_deg), math.radians(high_deg))
    turn = yaw - math.atan2(sight.ahead[0], sight.ahead[2])  # against the line of sight
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    half_depth, half_width = (width * sin + depth * cos) / 2, (width * cos + depth * sin) / 2
    nearest = settings.gap_m + half_depth
    farthest = max(nearest, sight.near_m - nearest)
    ahead_m = rng.uniform(*settings.depth_frac) * sight.near_m
    ahead_m = min(max(ahead_m, nearest), farthest)
    low, high = sight.slopes
    reach = settings.overlap * ((high - low) / 2 + half_width / ahead_m)
    slope = (low + high) / 2 + rng.uniform(-reach, reach)
    position = ahead_m * (sight.ahead + slope * sight.aside)
    place = (float(position[0]), floor_m, float(position[2]))
    return PlacedObject(kind, size_m, place, yaw)


def move_to_object(points: FloatArray, placed: PlacedObject) -> FloatArray:
    """Move points (n, 3) from the camera frame into that of an object."""
    return turn_to_object(points - np.array(placed.position_m), placed)


def turn_to_object(directions: FloatArray, placed: PlacedObject) -> FloatArray:
    """Turn directions (n, 3) from the camera frame into that of an object."""
    cos, sin = math.cos(placed.yaw_rad), math.sin(placed.yaw_rad)
    x, z = directions[:, 0], directions[:, 2]
    turned = np.empty_like(directions)
    turned[:, 0] = cos * x - sin * z
    turned[:, 1] = directions[:, 1]
    turned[:, 2] = sin * x + cos * z
    return turned


def have_contact(first: PlacedObject, second: PlacedObject) -> bool:
    """Tell whether the rectangles that two objects cover on the floor overlap."""
    (x, _, z), (other_x, _, other_z) = first.position_m, second.position_m
    reach = sum(math.hypot(item.size_m[0], item.size_m[2]) / 2 for item in (first, second))
    if math.hypot(x - other_x, z - other_z) > reach:
        return False
    corners = [_floor_corners(placed) for placed in (first, second)]
    for placed in (first, second):  # apart if a side of either rectangle separates them
        one, other = (points @ _turn(placed) for points in corners)
        if ((one.max(0) < other.min(0)) | (other.max(0) < one.min(0))).any():
            return False
    return True


def _floor_corners(placed: PlacedObject) -> FloatArray:
    """Return the corners (4, 2) of an object's bounding box, x and z in the camera frame."""
    half_sides = np.array(placed.size_m)[[0, 2]] / 2
    signs = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    middle = np.array(placed.position_m)[[0, 2]]
    corners: FloatArray = middle + signs * half_sides @ _turn(placed).T
    return corners


def _turn(placed: PlacedObject) -> FloatArray:
    """Return the rotation (2, 2) in the floor plane (x, z): camera from object."""
    cos, sin = math.cos(placed.yaw_rad), math.sin(placed.yaw_rad)
    return np.array([[cos, sin], [-sin, cos]])
