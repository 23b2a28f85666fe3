"""Made-up recordings: people in the resting pose of a layout, still or walking."""

import numpy as np

from iospstl_core.skeleton import NTU_25

REST = np.asarray(NTU_25.rest_m, dtype=np.float64)
DISTANCE_M = 2.5


def walking_people(rng, n_frames=40, n_persons=1):
    """Return people who wander about and wriggle, (n_frames, n_persons, 25, 3), camera frame."""
    path = np.cumsum(rng.normal(0, 0.05, (n_frames, n_persons, 1, 3)), axis=0)
    wriggle = rng.normal(0, 0.05, (n_frames, n_persons, 25, 3))
    return (REST + path + wriggle + [0.3, 0.2, DISTANCE_M]).astype(np.float32)


def turned(xyz, angle_rad, shift_m=(0.0, 0.0, 0.0)):
    """Return points (..., 3) turned about the vertical through the camera, then shifted."""
    x, y, z = np.moveaxis(np.asarray(xyz, dtype=np.float64), -1, 0)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    moved = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1) + shift_m
    return moved.astype(np.float32)


def hide_cells(xyz, rng, hidden_frac):
    """Return a copy in which whole joints of single frames are NaN."""
    hidden = rng.random(xyz.shape[:-1]) < hidden_frac
    return np.where(hidden[..., None], np.float32(np.nan), xyz)


def everybody(xyz):
    """Return that all persons of a recording (..., n_joints, 3) are there in all frames."""
    return np.ones(xyz.shape[:-2], dtype=bool)
