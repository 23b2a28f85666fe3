"""Raw NTU RGB+D ``.skeleton`` files: the persons in them, without ghosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iospstl_core.body_identity import join_lost, undo_swaps
from iospstl_core.kinect_bodies import NOT_TRACKED, TRACKED, Body, read_bodies
from iospstl_core.skeleton import NTU_25, mark_unobserved

N_PERSONS = 2

# A body beside others is a ghost (a chair, a reflection) where it is short-lived or mostly wider
# than high. The thresholds are those of CTR-GCN and pyskl.
GHOST_MAX_FRAMES = 11
UPRIGHT_MAX_WIDTH_PER_HEIGHT = 0.8
GHOST_MIN_WIDE_FRAC = 0.69754


SHORT_LIVED = "short-lived ghost bodies"
WIDE = "ghost bodies wider than high"
THIRD = "bodies beyond two persons"
SWAPS = "exchanged body ids"
JOINED = "lost body ids that a new one continues"


@dataclass(frozen=True)
class Persons:
    """The persons of one file.

    Attributes
    ----------
    xyz : ndarray of shape (n_frames, 2, 25, 3), float32
        Metres, camera frame; NaN where not observed or absent.
    present : ndarray of shape (n_frames, 2), bool
        False everywhere for a file without a body.
    tracking : ndarray of shape (n_frames, 2, 25), int8
        The Kinect's state of each joint: 0 not tracked, 1 inferred, 2 tracked; 0 where absent.
    cleaned : mapping of str to int
        What was cleaned, in words -> how often; without zeros.
    """

    xyz: NDArray[np.float32]
    present: NDArray[np.bool_]
    tracking: NDArray[np.int8]
    cleaned: Mapping[str, int]


def read_skeleton_file(path: Path, *, inferred_is_missing: bool = False) -> Persons:
    """Read one file and keep its two most salient persons, the most salient first.

    A joint was not observed where its tracking state is 0 or it lies at exactly (0, 0, 0). Bodies
    are followed by their id, and by their pose where ids change hands or a lost body gets a new
    one (see `iospstl_core.body_identity`). Ghosts are left out; bodies that never share a frame
    share a place (as in pyskl).

    Parameters
    ----------
    path : Path
        The file.
    inferred_is_missing : bool, default=False
        Also treat tracking state 1 as not observed. Which bodies are kept does not depend on it.

    Returns
    -------
    persons : Persons

    Raises
    ------
    InputError
        If the file is cut or malformed; it names the line.
    """
    file = read_bodies(path)
    cleaned: Counter[str] = Counter()
    bodies, cleaned[SWAPS] = undo_swaps([_hide_untracked(body) for body in file.bodies])
    bodies, cleaned[JOINED] = join_lost(bodies)
    persons = _place(_by_salience(bodies, cleaned) if bodies else [], file.n_frames, cleaned)
    if inferred_is_missing:
        persons.xyz[persons.tracking < TRACKED] = np.nan
    return persons


def _hide_untracked(body: Body) -> Body:
    xyz = mark_unobserved(body.xyz, zero_is_missing=True)
    xyz[body.state == NOT_TRACKED] = np.nan
    return Body(body.present, xyz, body.state)


def _by_salience(bodies: Sequence[Body], cleaned: Counter[str]) -> list[Body]:
    """Return the bodies without ghosts, the one that moves most first; never an empty list."""
    lasting = [body for body in bodies if body.present.sum() > GHOST_MAX_FRAMES] or bodies
    candidates = [(body, _upright_frames(body)) for body in lasting]
    real = [
        (body, upright)
        for body, upright in candidates
        if 1 - upright.sum() / body.present.sum() < GHOST_MIN_WIDE_FRAC
    ]
    real = real or candidates
    cleaned[SHORT_LIVED] += len(bodies) - len(lasting)
    cleaned[WIDE] += len(lasting) - len(real)
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


def _place(bodies: Sequence[Body], n_frames: int, cleaned: Counter[str]) -> Persons:
    """Put each body where no earlier one shares a frame with it; the rest is left out."""
    shape = (n_frames, N_PERSONS, NTU_25.n_joints)
    xyz = np.full((*shape, 3), np.nan, dtype=np.float32)
    tracking = np.full(shape, NOT_TRACKED, dtype=np.int8)
    present = np.zeros(shape[:2], dtype=np.bool_)
    for body in bodies:
        free = np.flatnonzero(~(present & body.present[:, None]).any(axis=0))
        if not free.size:
            cleaned[THIRD] += 1
            continue
        xyz[body.present, free[0]] = body.xyz[body.present]
        tracking[body.present, free[0]] = body.state[body.present]
        present[body.present, free[0]] = True
    return Persons(xyz, present, tracking, {what: n for what, n in cleaned.items() if n})
