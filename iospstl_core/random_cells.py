"""Random occlusion: single (frame, person, joint) cells are hidden."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]


def hide_random_cells(observed: BoolArray, fraction: float, rng: np.random.Generator) -> BoolArray:
    """Choose a fixed share of the observed cells of one sequence.

    The number of hidden cells is exact (``fraction`` times the observed cells, rounded to the
    nearest integer, halves to the even one); which ones is drawn without replacement, every
    observed cell being equally likely. Other protocols hide each cell independently, so that
    their share varies from sequence to sequence.

    Parameters
    ----------
    observed : ndarray of shape (n_frames, n_persons, n_joints), bool
        True where a joint was observed. Joints of absent persons are not.
    fraction : float
        Share of the observed cells to hide, at least 0 and less than 1.
    rng : numpy.random.Generator
        Draws the cells.

    Returns
    -------
    hidden : ndarray of shape (n_frames, n_persons, n_joints), bool
        True only where `observed` is.

    Raises
    ------
    ValueError
        If the fraction is not in [0, 1).
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"fraction: expected at least 0 and less than 1, got {fraction}")
    cells = np.flatnonzero(observed)
    n_hidden = round(fraction * len(cells))
    hidden = np.zeros(observed.size, dtype=np.bool_)
    hidden[rng.choice(cells, size=n_hidden, replace=False)] = True
    return hidden.reshape(observed.shape)
