"""A picture of imputers side by side: what was seen, what each made of it, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from iospstl_core.files import new_file
from iospstl_core.skeleton import NTU_25, joint_indices
from iospstl_train.data.windows import WindowSet
from iospstl_train.evaluation.imputer_metrics import hidden_share
from iospstl_train.evaluation.pictures import (
    DPI,
    IMPUTED_COLOR,
    PANEL_COLOR,
    SEEN_COLOR,
    TRUTH_COLOR,
    Scene,
    arrange,
    draw_panel,
)

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

PANEL_IN, LEFT_IN, TOP_IN, BOTTOM_IN = 2.1, 1.7, 0.7, 0.4
MAX_LINE_LENGTH = 20
RANDOM_SHARE = 0.4
LEFT_ARM = ("ElbowLeft", "WristLeft", "HandLeft", "HandTipLeft", "ThumbLeft")
LEGS = tuple(f"{joint}{side}" for side in ("Left", "Right") for joint in ("Knee", "Ankle", "Foot"))
SEEN, COMPLETED, TRUTH = range(3)  # rows of a scene


def choose_examples(windows: WindowSet, n_examples: int = 5) -> IntArray:
    """Return test windows (n_examples,) spread evenly over the range of hidden shares."""
    rows = np.flatnonzero(windows.is_test & windows.hidden.any(axis=(1, 2, 3)))
    ordered = rows[np.argsort(hidden_share(windows)[rows], kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(n_examples, len(ordered)) + 2)[1:-1]
    return np.asarray(ordered[places.round().astype(int)], dtype=np.int64)


def vary_occlusion(windows: WindowSet) -> tuple[WindowSet, list[str]]:
    """Return windows that are occluded in different ways, and what hides part of each.

    The first one stays as it is. The others show everything but, in turn: single cells at random,
    the left arm, the legs, everything for a third of the time.
    """
    n_frames, _, n_joints = windows.truth.shape[1:4]
    joints = np.arange(n_joints)
    arm = np.isin(joints, joint_indices(NTU_25, LEFT_ARM))
    legs = np.isin(joints, joint_indices(NTU_25, LEGS))
    frame = np.arange(n_frames)[:, None, None]
    rng = np.random.default_rng(0)
    masks = {
        "random cells": rng.random(windows.truth.shape[1:4]) < RANDOM_SHARE,
        "left arm": arm,
        "legs": legs,
        "a third of the time": (frame >= n_frames // 3) & (frame < 2 * n_frames // 3),
    }
    kinds = ["as recorded", *masks]
    xyz = windows.xyz.copy()
    for row, mask in zip(range(1, len(xyz)), masks.values(), strict=False):
        hidden = np.broadcast_to(mask, xyz.shape[1:4])
        xyz[row] = np.where(hidden[..., None], np.nan, windows.truth[row])
    return replace(windows, xyz=xyz), kinds[: len(xyz)]


def draw_examples(
    path: Path,
    windows: WindowSet,
    completed: Mapping[str, FloatArray],
    kinds: Sequence[str] | None = None,
) -> None:
    """Draw a grid: a row for each window, a column for what was seen, each imputer, the truth.

    Each window is shown from the front at the frame with most hidden joints. Observed joints and
    bones have one color, completed ones another; behind them stands the truth in grey. Below is
    the mean distance of the completed joints of that frame from the truth.

    Parameters
    ----------
    path : Path
        PNG to write.
    windows : WindowSet
        The windows to show, occluded; at least one.
    completed : mapping of str to ndarray
        Completed windows of the same shape as ``windows.xyz``, by the name of the imputer.
    kinds : sequence of str, optional
        What hides part of each window.
    """
    names = ["occluded", *completed, "truth"]
    shape = (len(windows.xyz), len(names))
    width_in, height_in = LEFT_IN + PANEL_IN * shape[1], TOP_IN + BOTTOM_IN + PANEL_IN * shape[0]
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    axes = figure.subplots(*shape, squeeze=False, subplot_kw={"facecolor": PANEL_COLOR})
    box = (LEFT_IN / width_in, BOTTOM_IN / height_in, 0.99, 1 - TOP_IN / height_in)
    figure.subplots_adjust(*box, wspace=0.04, hspace=0.04)
    for row, label in enumerate(_describe_rows(windows, kinds)):
        _draw_row(axes[row], windows, row, [xyz[row] for xyz in completed.values()])
        style: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 9}
        axes[row, 0].set_ylabel(label, parse_math=False, **style)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=11, parse_math=False)
    colors = {"seen": SEEN_COLOR, "completed": IMPUTED_COLOR, "truth": TRUTH_COLOR}
    handles = [Line2D([], [], c=c, label=name, lw=2.5, marker="o") for name, c in colors.items()]
    figure.legend(handles=handles, loc="lower right", ncols=3, frameon=False, borderaxespad=0.2)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)


def choose_frame(windows: WindowSet, row: int) -> int:
    """Return the frame of a window with most hidden joints, the middle one of several."""
    n_hidden = windows.hidden[row].sum(axis=(1, 2))
    frames = np.flatnonzero(n_hidden == n_hidden.max())
    return int(frames[len(frames) // 2])


def _describe_rows(windows: WindowSet, kinds: Sequence[str] | None) -> list[str]:
    """Class, kind of occlusion, hidden share and frame of each window."""
    descriptions = []
    for row, share in enumerate(hidden_share(windows)):
        lines = [
            fill(windows.class_names[windows.label[row]], MAX_LINE_LENGTH),
            *([kinds[row]] if kinds else []),
            f"{share:.0%} hidden",
            f"frame {choose_frame(windows, row) + 1} of {windows.xyz.shape[1]}",
        ]
        descriptions.append("\n".join(lines))
    return descriptions


def _draw_row(
    axes: Sequence[Axes], windows: WindowSet, row: int, completed: Sequence[FloatArray]
) -> None:
    """Draw one window (n_frames, n_persons, n_joints, 3) into its panels."""
    seen, truth = windows.xyz[row], windows.truth[row]
    scenes = [arrange(seen, xyz, truth, NTU_25) for xyz in (truth, *completed)]
    limits = _square_limits(scenes)
    kinds = [SEEN, *[COMPLETED] * len(completed), TRUTH]
    for axis, scene, kind in zip(axes, [*scenes, scenes[0]], kinds, strict=True):
        axis.set(xlim=limits[:, 0], ylim=limits[:, 1], xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        draw_panel(axis, scene, kind, choose_frame(windows, row))


def _square_limits(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Limits (2, 2) of a square that holds everything in some scenes."""
    low = np.min([scene.limits[0] for scene in scenes], axis=0)
    high = np.max([scene.limits[1] for scene in scenes], axis=0)
    half = (high - low).max() / 2
    middle = (low + high) / 2
    return np.asarray(np.stack([middle - half, middle + half]))
