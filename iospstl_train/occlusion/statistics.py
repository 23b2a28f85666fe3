"""How much of a sequence is hidden, as numbers for a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
_DIGITS = 4


def hidden_statistics(
    hidden: BoolArray, observed: BoolArray, joints: Sequence[str]
) -> dict[str, Any]:
    """Count hidden cells by joint and by frame.

    Rates are hidden cells over observed cells, before hiding; `None` where nothing was observed.
    For a whole dataset, join the sequences along their frames first.

    Parameters
    ----------
    hidden : ndarray of shape (n_frames, n_persons, n_joints), bool
        True where an observed joint was hidden.
    observed : ndarray, same shape, bool
        True where a joint was observed before hiding.
    joints : sequence of str
        Joint names in array order.

    Returns
    -------
    dict
        Ready for JSON: ``n_observed``, ``n_hidden``, ``rate``, ``joint_rate`` (by joint name)
        and ``frame_rate`` (list, all persons together).

    Raises
    ------
    ValueError
        If the shapes differ, the number of joints is wrong, or an unobserved joint is hidden.
    """
    if hidden.shape != observed.shape or hidden.shape[-1] != len(joints):
        raise ValueError(
            f"hidden: expected the shape of observed {observed.shape} with {len(joints)} joints, "
            f"got {hidden.shape}"
        )
    if (hidden & ~observed).any():
        raise ValueError(
            f"hidden: expected observed joints only, got {(hidden & ~observed).sum()} others"
        )
    by_joint = _rates(hidden, observed, axis=(0, 1))
    return {
        "n_observed": int(observed.sum()),
        "n_hidden": int(hidden.sum()),
        "rate": _rates(hidden[None], observed[None], axis=(1, 2, 3))[0],
        "joint_rate": dict(zip(joints, by_joint, strict=True)),
        "frame_rate": _rates(hidden, observed, axis=(1, 2)),
    }


def _rates(hidden: BoolArray, observed: BoolArray, axis: tuple[int, ...]) -> list[float | None]:
    """Return hidden over observed, summed over `axis`, one value for each remaining index."""
    n_hidden, n_observed = hidden.sum(axis=axis), observed.sum(axis=axis)
    return [
        round(int(part) / int(whole), _DIGITS) if whole else None
        for part, whole in zip(n_hidden, n_observed, strict=True)
    ]
