"""Curves of the hidden-joint error over the share of hidden joints: their data and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iospstl_core.files import new_file
from iospstl_core.store import Occlusion, Store
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.imputer_metrics import MM, Cells, hidden_share, take
from iospstl_train.evaluation.pictures import DPI, PANEL_COLOR, TEXT_COLOR

FloatArray = NDArray[np.float32]

SHARE_EDGES = tuple(np.linspace(0, 1, 11).round(1).tolist())
RATES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Severities of the curves of a random occlusion if nothing else is said."""
MIN_SEQUENCES = 5
"""Groups of fewer windows make no point of a curve."""
NOT_DRAWN = ("random",)
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, which people with any kind of color vision tell apart."""
MARKERS = "osD^vPX*<>ph"


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve.

    Attributes
    ----------
    hidden_frac : float
        Share of known joints that are hidden.
    errors_mm : sequence of float
        Hidden-joint error for each seed.
    """

    hidden_frac: float
    errors_mm: Sequence[float]


def error_by_share(windows: WindowSet, cells: Cells) -> list[dict[str, float]]:
    """Group windows by their own hidden share and return share and error (mm) of each group.

    Parameters
    ----------
    windows : WindowSet
        The windows that were compared; groups are `SHARE_EDGES` apart.
    cells : Cells
        As of `iospstl_train.evaluation.imputer_metrics.compare`.
    """
    share = hidden_share(windows)
    n_hidden = cells.hidden.sum(axis=(1, 2, 3))
    total_m = cells.distance_m.sum(axis=(1, 2, 3), dtype=np.float64)
    group = np.digitize(share, SHARE_EDGES[1:-1])
    groups = []
    for index in np.unique(group[n_hidden > 0]):
        rows = (group == index) & (n_hidden > 0)
        error_mm = float(total_m[rows].sum() / n_hidden[rows].sum() * MM)
        groups.append(
            {
                "low": SHARE_EDGES[index],
                "hidden_frac": float(share[rows].mean()),
                "n_sequences": int(rows.sum()),
                "error_mm": error_mm,
            }
        )
    return groups


def hide_test_windows(store: Store, split: str | None, occlusion: Occlusion) -> WindowSet:
    """Return the test windows under another occlusion, normalised like any other.

    Parameters
    ----------
    store : Store
    split : str, optional
        Name of a split; the store's first if left out.
    occlusion : Occlusion
        Of the store.
    """
    is_train, is_test = store.split(split)
    rows = np.append(np.flatnonzero(is_test), is_train.argmax())  # a split needs both sides
    part = _take_sequences(store, rows)
    hidden = np.concatenate([occlusion.hidden[store.frames(int(row))] for row in rows])
    windows = load_windows(part, replace(occlusion, hidden=hidden), split)
    return take(windows, windows.is_test)


def _take_sequences(store: Store, rows: NDArray[np.int64]) -> Store:
    """Return a store in memory of some sequences."""
    frames = [store.frames(int(row)) for row in rows]
    lengths = [part.stop - part.start for part in frames]
    return replace(
        store,
        xyz=np.concatenate([store.xyz[part] for part in frames]),
        present=np.concatenate([store.present[part] for part in frames]),
        offset=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        fields={name: values[rows] for name, values in store.fields.items()},
        names=tuple(store.names[int(row)] for row in rows),
    )


def draw_curves(path: Path, curves: Mapping[str, Sequence[CurvePoint]], title: str) -> None:
    """Draw the error of each row over the share of hidden joints.

    Parameters
    ----------
    path : Path
        PNG to write.
    curves : mapping of str to sequence of CurvePoint
        By row; those `NOT_DRAWN` are left out, they would flatten all others. A band shows the
        sample standard deviation over seeds.
    title : str
        One line.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained", facecolor="white")
    axis = figure.add_subplot(facecolor=PANEL_COLOR)
    drawn = [name for name, points in curves.items() if name not in NOT_DRAWN and points]
    for index, name in enumerate(drawn):
        share = np.array([100 * point.hidden_frac for point in curves[name]])
        mean = np.array([np.mean(point.errors_mm) for point in curves[name]])
        color, dash = COLORS[index % len(COLORS)], ("-", "--", ":")[index // len(COLORS) % 3]
        marker = MARKERS[index % len(MARKERS)]
        axis.plot(share, mean, dash, c=color, marker=marker, ms=5, lw=1.8, label=name)
        if all(len(point.errors_mm) > 1 for point in curves[name]):
            spread = np.array([np.std(point.errors_mm, ddof=1) for point in curves[name]])
            axis.fill_between(share, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("hidden joints, %")
    axis.set_ylabel("hidden-joint error, mm")
    axis.grid(color="white", lw=1)
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=12, color=TEXT_COLOR, parse_math=False)
    figure.legend(loc="outside right upper", frameon=False)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)
