"""A picture of masks, to see at a glance what an occlusion hides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iospstl_core.files import new_file
from iospstl_core.store import Occlusion, Store
from iospstl_train.evaluation.pictures import DPI, TEXT_COLOR

N_EXAMPLES = 5
N_STEPS = 50
"""Columns of the panel of all sequences: parts of their time."""
_COLORS = np.array([[0.93, 0.93, 0.95], [0.35, 0.35, 0.35], [0.84, 0.37, 0.0]])
"""Seen, not observed by the sensor itself, hidden."""


def draw_masks(path: Path, store: Store, occlusion: Occlusion) -> None:
    """Draw how often each joint is hidden over the time of all sequences, and some examples.

    Parameters
    ----------
    path : Path
        PNG to write. Rows are joints; only the first person is shown.
    store : Store
    occlusion : Occlusion
    """
    figure = Figure(figsize=(13, 6.5), layout="constrained", facecolor="white")
    axes = figure.subplots(2, 3, sharey=True).ravel()
    image = axes[0].imshow(
        100 * _share_over_time(store, occlusion), vmin=0, vmax=100, cmap="magma"
    )
    figure.colorbar(image, ax=axes[0], label="hidden, % of the sequences")
    axes[0].set_title("all sequences, from begin to end", fontsize=9, color=TEXT_COLOR)
    for axis, index in zip(axes[1:], _examples(len(store)), strict=False):
        rows = store.frames(index)
        shown = np.isnan(store.xyz[rows, 0, :, 0]).astype(np.int64)
        shown[occlusion.hidden[rows, 0]] = 2
        axis.imshow(_COLORS[shown.T], interpolation="nearest")
        title = (
            f"{store.names[index]}: {occlusion.manifest['sequences'][index]['hidden_frac']:.0%}"
        )
        axis.set_title(title, fontsize=9, color=TEXT_COLOR, parse_math=False)
        axis.set_xlabel("frame")
    for axis in axes:
        axis.set_aspect("auto")
        axis.set_yticks(range(store.layout.n_joints), store.layout.joints, fontsize=6)
    title = f"{store.dataset}, {occlusion.name}: orange is hidden, dark was not observed"
    figure.suptitle(title, color=TEXT_COLOR, parse_math=False)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)


def _examples(n_sequences: int) -> list[int]:
    """Sequences spread over the store."""
    spread = np.linspace(0, n_sequences - 1, N_EXAMPLES + 2)[1:-1]
    return sorted({int(index) for index in spread})


def _share_over_time(store: Store, occlusion: Occlusion) -> NDArray[np.float64]:
    """Hidden share (n_joints, N_STEPS) of the first person of all sequences."""
    total = np.zeros((N_STEPS, store.layout.n_joints))
    for index in range(len(store)):
        rows = store.frames(index)
        frames = np.linspace(0, rows.stop - rows.start - 1, N_STEPS).round().astype(np.int64)
        total += occlusion.hidden[rows, 0][frames]
    return total.T / len(store)
