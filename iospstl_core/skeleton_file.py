"""Raw NTU RGB+D ``.skeleton`` files: the persons in them, without ghosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iospstl_core.kinect_bodies import NOT_TRACKED, TRACKED, Body, read_bodies
from iospstl_core.skeleton import NTU_25, mark_unobserved

N_PERSONS = 2

# A body beside others is a ghost (a chair, a reflection) where it is short-lived or mostly wider
# than high. The thresholds are those of CTR-GCN and pyskl.
GHOST_MAX_FRAMES = 11
UPRIGHT_MAX_WIDTH_PER_HEIGHT = 0.8
GHOST_MIN_WIDE_FRAC = 0.69754


def read_skeleton_file(
    path: Path, *, inferred_is_missing: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read one file and keep its two most salient persons, the most salient first.

    A joint was not observed where its tracking state is 0 or it lies at exactly (0, 0, 0). A
    person is present in the frames that list one of their body ids: the Kinect gives a new id
    after it lost somebody, so bodies that never share a frame share a place (as in pyskl).

    Parameters
    ----------
    path : Path
        The file.
    inferred_is_missing : bool, default=False
        Also treat tracking state 1 as not observed.

    Returns
    -------
    xyz : ndarray of shape (n_frames, 2, 25, 3), float32
        Metres, camera frame; NaN where not observed or absent.
    present : ndarray of shape (n_frames, 2), bool
        False everywhere for a file without a body.

    Raises
    ------
    InputError
        If the file is cut or malformed; it names the line.
    """
    file = read_bodies(path)
    lowest = TRACKED if inferred_is_missing else NOT_TRACKED + 1
    bodies = [_hide(body, lowest) for body in file.bodies]
    return _place(_by_salience(bodies) if bodies else [], file.n_frames)


def _hide(body: Body, lowest_state: int) -> Body:
    xyz = mark_unobserved(body.xyz, zero_is_missing=True)
    xyz[body.state < lowest_state] = np.nan
    return Body(body.present, xyz, body.state)


def _by_salience(bodies: Sequence[Body]) -> list[Body]:
    """Return the bodies without ghosts, the one that moves most first; never an empty list."""
    lasting = [body for body in bodies if body.present.sum() > GHOST_MAX_FRAMES] or bodies
    candidates = [(body, _upright_frames(body)) for body in lasting]
    real = [
        (body, upright)
        for body, upright in candidates
        if 1 - upright.sum() / body.present.sum() < GHOST_MIN_WIDE_FRAC
    ]
    real = real or candidates
    real.sort(key=lambda pair: _motion(pair[0].xyz[pair[1]]), reverse=True)
    return [body for body, _ in real]


def _upright_frames(body: Body) -> NDArray[np.bool_]:
    """Say for each frame whether the body is there and higher than wide, shape (n_frames,)."""
    highest = np.where(np.isnan(body.xyz), -np.inf, body.xyz).max(axis=1)
    lowest = np.where(np.isnan(body.xyz), np.inf, body.xyz).min(axis=1)
    extent = highest - lowest
    upright: NDArray[np.bool_] = extent[:, 0] <= UPRIGHT_MAX_WIDTH_PER_HEIGHT * extent[:, 1]
    return upright & body.present


def _motion(xyz: NDArray[np.float32]) -> float:
    """Return the variance of each joint's observed positions over time, m², summed."""
    observed = ~np.isnan(xyz)
    count = np.maximum(observed.sum(axis=0), 1)
    mean = np.where(observed, xyz, 0).sum(axis=0, dtype=np.float64) / count
    deviation = np.where(observed, xyz - mean, 0)
    return float(((deviation**2).sum(axis=0) / count).sum())


def _place(bodies: Sequence[Body], n_frames: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put each body where no earlier one shares a frame with it; the rest is left out."""
    xyz = np.full((n_frames, N_PERSONS, NTU_25.n_joints, 3), np.nan, dtype=np.float32)
    present = np.zeros((n_frames, N_PERSONS), dtype=np.bool_)
    for body in bodies:
        free = np.flatnonzero(~(present & body.present[:, None]).any(axis=0))
        if free.size:
            xyz[body.present, free[0]] = body.xyz[body.present]
            present[body.present, free[0]] = True
    return xyz, present
