"""Mask-aware normalisation: centre, face the camera, resample to a fixed number of frames.

What is missing never moves what is seen: the origin and the heading come from observed joints
only, and a resampled value is observed only where the nearest source frame was. The published
recipe instead drops frames, leaves others uncentred and blends zeros into visible neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_indices

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

N_FRAMES = 50
"""Frames of a window (paper, section IV)."""

_AXIS_JOINTS = ("SpineShoulder", "SpineMid", "Neck", "SpineBase", "Head")
_SIDE_PAIRS = (("ShoulderLeft", "ShoulderRight"), ("HipLeft", "HipRight"))
_NEAREST_TOLERANCE = 1e-4
"""In frames: a sample half-way between two frames belongs to the earlier one."""


@dataclass(frozen=True)
class BodyFrame:
    """Where the body stands and where it faces, for a whole window.

    Attributes
    ----------
    origin_m : ndarray of shape (3,), float32
        Centre joint in the camera frame, averaged over frames and persons.
    yaw_rad : float
        Heading about the vertical: 0 when the shoulders are parallel to the image.
    is_guess : bool
        True where no left/right pair was seen, so that the heading is an assumption.
    """

    origin_m: FloatArray
    yaw_rad: float
    is_guess: bool


@dataclass(frozen=True)
class Window:
    """A normalised sequence of fixed length.

    Attributes
    ----------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres in the body frame; NaN where not observed.
    present : ndarray of shape (n_frames, n_persons), bool
        True where the person is there at all.
    frame : BodyFrame
        The transformation that was applied.
    """

    xyz: FloatArray
    present: BoolArray
    frame: BodyFrame


def estimate_body_frame(xyz: FloatArray, layout: SkeletonLayout = NTU_25) -> BodyFrame:
    """Find origin and heading of a sequence from what is seen of it.

    Parameters
    ----------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres, camera frame, NaN where not observed.
    layout : SkeletonLayout
        Must have the joints of `NTU_25` and its resting pose.

    Notes
    -----
    The heading is that of the summed left-to-right vectors of shoulders and hips of the first
    person in whom a pair was seen; with none seen it stays 0.
    The origin is the mean over persons of each person's median centre joint, along the axes of
    that heading; a person whose centre was never seen lends the first joint of the body's axis
    that was, moved by the resting pose.
    """
    across = np.zeros(3)
    for person in range(xyz.shape[1]):
        across = _side_to_side(xyz[:, person], layout)
        if np.any(across):
            break
    is_guess = not np.any(across)
    yaw = 0.0 if is_guess else float(np.arctan2(across[2], across[0]))
    rotation = _rotation(yaw)  # medians and the resting pose have axes: those of the body
    persons = range(xyz.shape[1])
    centers = [_person_center(xyz[:, person], rotation, layout) for person in persons]
    seen = [center for center in centers if center is not None]
    origin = np.mean(seen, axis=0) @ rotation if seen else np.zeros(3)
    return BodyFrame(origin.astype(np.float32), yaw, is_guess)


def _person_center(
    xyz: FloatArray, rotation: FloatArray, layout: SkeletonLayout
) -> NDArray[np.float64] | None:
    """Median centre (3,), in turned axes, of one person (n_frames, n_joints, 3).

    None where nothing was seen.
    """
    is_seen = ~np.isnan(xyz[..., 0])
    if not is_seen.any():
        return None
    rest = np.asarray(layout.rest_m, dtype=np.float64)
    for joint in joint_indices(layout, _AXIS_JOINTS):
        if is_seen[:, joint].any():
            turned = xyz[is_seen[:, joint], joint] @ rotation.T
            return np.asarray(np.median(turned.astype(np.float64), axis=0) - rest[joint])
    offsets = _turn(xyz, rotation.T) - rest
    return np.asarray(np.median(offsets[is_seen], axis=0), dtype=np.float64)


def _side_to_side(xyz: FloatArray, layout: SkeletonLayout) -> NDArray[np.float64]:
    """Sum the vectors between the sides of one person, directed as in the resting pose, (3,)."""
    total = np.zeros(3)
    for left, right in _SIDE_PAIRS:
        left_idx, right_idx = layout.index(left), layout.index(right)
        sign = np.sign(layout.rest_m[left_idx][0] - layout.rest_m[right_idx][0])
        total += sign * np.nansum(xyz[:, left_idx] - xyz[:, right_idx], axis=0, dtype=np.float64)
    return total


def to_body_frame(xyz: FloatArray, frame: BodyFrame) -> FloatArray:
    """Return points (..., 3) of the camera frame in the body frame."""
    return _turn(xyz - frame.origin_m, _rotation(frame.yaw_rad).T).astype(np.float32)


def to_camera_frame(xyz: FloatArray, frame: BodyFrame) -> FloatArray:
    """Return points (..., 3) of the body frame in the camera frame."""
    return (_turn(xyz, _rotation(frame.yaw_rad)) + frame.origin_m).astype(np.float32)


def _turn(xyz: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return points (..., 3) times a matrix (3, 3), in one product: faster than frame by frame."""
    return np.asarray((xyz.reshape(-1, 3) @ matrix).reshape(xyz.shape))


def _rotation(yaw_rad: float) -> FloatArray:
    """Body from camera, shape (3, 3): turn about the vertical that brings the heading to 0."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)


def resample(
    xyz: FloatArray,
    present: BoolArray,
    n_frames: int = N_FRAMES,
    times_s: NDArray[np.float64] | None = None,
) -> tuple[FloatArray, BoolArray]:
    """Sample a sequence at `n_frames` equally spaced times from its first to its last frame.

    Parameters
    ----------
    xyz : ndarray of shape (n_source, n_persons, n_joints, 3), float32
        NaN where not observed.
    present : ndarray of shape (n_source, n_persons), bool
    n_frames : int
        Frames to return.
    times_s : ndarray of shape (n_source,), float64, optional
        Increasing times of the source frames; equally spaced if left out.

    Returns
    -------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Linear between two observed frames; the nearest frame where the other one is not observed;
        NaN where the nearest frame is not observed.
    present : ndarray of shape (n_frames, n_persons), bool
        Presence in the nearest frame.
    """
    before, weight = _sample_positions(len(xyz), n_frames, times_s)
    after = np.minimum(before + 1, len(xyz) - 1)
    nearest = np.where(weight > 0.5 + _NEAREST_TOLERANCE, after, before)
    blend = weight[:, None, None, None].astype(np.float32)
    mixed = xyz[before] + blend * (xyz[after] - xyz[before])
    return np.where(np.isnan(mixed), xyz[nearest], mixed), present[nearest]


def _sample_positions(
    n_source: int, n_frames: int, times_s: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the frame before each sample (n_frames,), and the weight of the frame after it."""
    if times_s is None:
        position = np.linspace(0, n_source - 1, n_frames)
    else:
        wanted = np.linspace(times_s[0], times_s[-1], n_frames)
        position = np.interp(wanted, times_s, np.arange(n_source))
    position = np.round(position, 6)  # stamps and frame counts give the same samples
    before = np.floor(position).astype(np.int64)
    return before, position - before


def normalize(
    xyz: FloatArray,
    present: BoolArray,
    n_frames: int = N_FRAMES,
    times_s: NDArray[np.float64] | None = None,
) -> Window:
    """Centre, turn and resample a sequence of the `NTU_25` layout.

    Parameters
    ----------
    xyz : ndarray of shape (n_source, n_persons, 25, 3), float32
        Metres, camera frame, NaN where not observed.
    present : ndarray of shape (n_source, n_persons), bool
    n_frames : int
        Frames of the window.
    times_s : ndarray of shape (n_source,), optional
        Times of the frames; equally spaced if left out.

    Returns
    -------
    Window
        Distances are kept: only a rigid transformation and a resampling are applied.
    """
    frame = estimate_body_frame(xyz)
    sampled, sampled_present = resample(to_body_frame(xyz, frame), present, n_frames, times_s)
    return Window(sampled, sampled_present, frame)
