"""Where the body goes, and its shape along the way, from the joints that happen to be seen.

A joint is taken as path + shape + what is left, and only the last part needs to be learned. The
path follows the differences between neighbouring frames, over the joints that both frames show: a
mean over whatever is visible would jump each time that a joint comes or goes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_STEADINESS = 1.0
"""Weight of "the body stands still", counted in joints that both of two frames show."""
_PULL = 0.02
"""Weight of a frame's own joints against one step of the path: enough to end its drift."""
_PRIOR_FRAMES = 0.5
"""Frames for which the mean shape of the training set counts."""
_N_ROUNDS = 2
_REGULARITY = 1e-4


def follow_body(
    xyz: FloatArray, observed: BoolArray, rest_m: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Split windows into the path of the body and its mean shape along it.

    Parameters
    ----------
    xyz : ndarray of shape (n, n_frames, n_joints, 3), float32
        One person a window, metres; 0 where not observed.
    observed : ndarray of shape (n, n_frames, n_joints), bool
    rest_m : ndarray of shape (n_joints, 3), float32
        Mean shape of the training set, which stands in for joints that are never seen.

    Returns
    -------
    path : ndarray of shape (n, n_frames, 3), float32
        Least squares over the steps of joints seen in both of two neighbouring frames.
    shape : ndarray of shape (n, n_joints, 3), float32
        Mean of each joint relative to the path.
    """
    weight = observed.astype(np.float64)
    both = weight[:, 1:] * weight[:, :-1]
    steps = np.einsum("ntv,ntvx->ntx", both, xyz[:, 1:] - xyz[:, :-1])
    inverse = np.linalg.inv(_normal_matrix(both.sum(axis=2), weight.sum(axis=2)))
    shape = np.broadcast_to(rest_m.astype(np.float64), (len(xyz), *rest_m.shape))
    in_sight = weight.sum(axis=1)[..., None]
    path = np.zeros((*xyz.shape[:2], 3))
    for _ in range(_N_ROUNDS):
        right = _PULL * np.einsum("ntv,ntvx->ntx", weight, xyz - shape[:, None])
        right[:, 1:] += steps
        right[:, :-1] -= steps
        path = inverse @ right
        total = np.einsum("ntv,ntvx->nvx", weight, xyz - path[:, :, None])
        shape = (total + _PRIOR_FRAMES * rest_m) / (in_sight + _PRIOR_FRAMES)
    return path.astype(np.float32), shape.astype(np.float32)


def _normal_matrix(
    n_common: NDArray[np.float64], n_seen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matrix (n, n_frames, n_frames) of the least squares problem: a chain with anchors."""
    n, n_frames = n_seen.shape
    link = n_common + _STEADINESS
    frame = np.arange(n_frames)
    matrix = np.zeros((n, n_frames, n_frames))
    matrix[:, frame, frame] = _PULL * n_seen + _REGULARITY
    matrix[:, frame[1:], frame[1:]] += link
    matrix[:, frame[:-1], frame[:-1]] += link
    matrix[:, frame[1:], frame[:-1]] = -link
    matrix[:, frame[:-1], frame[1:]] = -link
    return matrix
