"""Pictures of a run: completed skeletons as a strip or a moving image, and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from iospstl_core.files import new_file
from iospstl_core.skeleton import NTU_25, SkeletonLayout

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

SEEN_COLOR, IMPUTED_COLOR, TRUTH_COLOR = "#1f5a99", "#f07c12", "#a9afb6"
PANEL_COLOR, TEXT_COLOR = "#f5f6f8", "#30363d"
ROW_NAMES = ("seen by\nthe camera", "completed", "truth")
DPI, GIF_COLORS = 110, 48
STRIP_PANEL_IN, GIF_PANEL_IN, GAP_IN = 1.9, 3.0, 0.06
SLIMMEST_PANEL, WIDEST_PANEL = 0.62, 1.9  # width by height
MARGIN_M, TEXT_FRAC = 0.12, 0.07  # around everything; height kept free below the feet
MAX_ANNOTATED_CLASSES, MAX_NAME_LENGTH = 20, 32


@dataclass(frozen=True)
class Scene:
    """What is drawn, on the picture plane: metres to the right and up, NaN where not known."""

    rows: tuple[FloatArray, ...]  # seen, completed, truth: (n_frames, n_persons, n_joints, 2)
    seen: NDArray[np.bool_]  # (n_frames, n_persons, n_joints)
    error_mm: NDArray[np.float64]  # (n_frames,); NaN where no completed joint can be compared
    links: list[tuple[int, int]]  # bones; joints that the window never has are bridged
    joint_size: NDArray[np.int64]  # (n_joints,), points squared
    limits: NDArray[np.float64]  # (2, 2), lower and upper end of both axes


def draw_imputation_strip(
    path: Path,
    occluded: FloatArray,
    filled: FloatArray,
    truth: FloatArray,
    layout: SkeletonLayout = NTU_25,
    title: str = "",
    n_shown: int = 6,
) -> None:
    """Draw some frames of a window as the camera saw them, completed, and as they were.

    As in a camera's image, the right hand of a person who faces us is on the left; two persons
    are turned until they stand side by side.

    Parameters
    ----------
    path : Path
        PNG to write.
    occluded, filled, truth : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres in the body frame; NaN where not known. The mean distance between `filled` and
        `truth` over the joints that were not seen stands below each frame.
    layout : SkeletonLayout
        Joints and bones; a joint that neither `filled` nor `truth` ever has is bridged.
    title : str
        One line of at most about 60 characters.
    n_shown : int
        Frames to show, evenly spread; all of them if there are fewer.
    """
    scene = arrange(occluded, filled, truth, layout)
    frames = np.linspace(0, len(filled) - 1, min(n_shown, len(filled))).round().astype(int)
    figure, axes = _make_panels(scene, (3, len(frames)), STRIP_PANEL_IN, title)
    for row, name in enumerate(ROW_NAMES):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        for axis, frame in zip(axes[row], frames, strict=True):
            draw_panel(axis, scene, row, int(frame))
            if row == 0:
                axis.set_title(f"frame {frame + 1} of {len(filled)}", fontsize=9, pad=4)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)


def draw_imputation_gif(
    path: Path,
    occluded: FloatArray,
    filled: FloatArray,
    truth: FloatArray,
    layout: SkeletonLayout = NTU_25,
    title: str = "",
    fps: float = 15.0,
) -> None:
    """Draw a window as a moving image; the rows of `draw_imputation_strip` side by side.

    Parameters
    ----------
    path : Path
        Animated GIF to write, endless.
    occluded, filled, truth, layout, title
        As for `draw_imputation_strip`.
    fps : float
        Frames per second; the format rounds the time of a frame to 10 ms.
    """
    scene = arrange(occluded, filled, truth, layout)
    figure, axes = _make_panels(scene, (1, 3), GIF_PANEL_IN, title)
    for axis, name in zip(axes[0], ROW_NAMES, strict=True):
        axis.set_title(name.replace("\n", " "), fontsize=11, pad=5)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    images = []
    for frame in range(len(filled)):
        canvas.restore_region(background)
        _write_below(axes[0, 0], -0.08, f"frame {frame + 1} of {len(filled)}", TEXT_COLOR)
        for row, axis in enumerate(axes[0]):
            draw_panel(axis, scene, row, frame)
            for artist in [*axis.collections, *axis.texts]:
                figure.draw_artist(artist)
                artist.remove()
        images.append(Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB"))
    palette = images[len(images) // 2].quantize(GIF_COLORS, kmeans=1)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    time_ms = 10 * round(100 / fps)
    with new_file(path) as partial:
        flat[0].save(partial, save_all=True, append_images=flat[1:], duration=time_ms, loop=0)


def draw_confusion(
    path: Path, labels: IntArray, predicted: IntArray, class_names: Sequence[str]
) -> None:
    """Draw a confusion matrix: shares of each true class, and counts if the classes are few.

    Parameters
    ----------
    path : Path
        PNG to write.
    labels, predicted : ndarray of shape (n,), int
        True and predicted class indices; a ValueError if one has no name.
    class_names : sequence of str
        Long names are cut.
    """
    counts = _count_pairs(labels, predicted, len(class_names))
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals, 1)[:, None]
    side_in = 3.0 + max(0.22 * len(counts), 3.6)
    figure = Figure(figsize=(side_in + 0.6, side_in), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.6, label="share of the true class")
    is_small = len(counts) <= MAX_ANNOTATED_CLASSES
    style: dict[str, Any] = {"fontsize": 9 if is_small else 7, "parse_math": False}
    names = [_shorten(name) for name in class_names]
    axis.set_xticks(range(len(names)), names, rotation=90, **style)
    rows = [f"{name} ({total})" for name, total in zip(names, totals, strict=True)]
    axis.set_yticks(range(len(names)), rows, **style)
    axis.set(xlabel="predicted", ylabel="true class (test sequences)")
    accuracy = np.trace(counts) / max(len(labels), 1)
    axis.set_title(f"{accuracy:.1%} of {len(labels)} test sequences recognized", fontsize=12)
    for row, column in zip(*np.nonzero(counts if is_small else 0 * counts), strict=True):
        color = "white" if share[row, column] > 0.5 else TEXT_COLOR
        count = str(counts[row, column])
        axis.text(column, row, count, ha="center", va="center", color=color, fontsize=8)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)


def _count_pairs(labels: IntArray, predicted: IntArray, n_classes: int) -> IntArray:
    """Sequences of each (true, predicted) pair, shape (n_classes, n_classes)."""
    known = np.concatenate([labels, predicted])
    if len(labels) != len(predicted) or ((known < 0) | (known >= n_classes)).any():
        raise ValueError(
            f"labels, predicted: expected as many of one as of the other, from 0 to "
            f"{n_classes - 1}, got {len(labels)} and {len(predicted)}, {np.unique(known)}"
        )
    pairs = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return pairs.reshape(n_classes, n_classes)


def _shorten(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= MAX_NAME_LENGTH else line[: MAX_NAME_LENGTH - 1].rstrip() + "…"


def arrange(
    occluded: FloatArray, filled: FloatArray, truth: FloatArray, layout: SkeletonLayout
) -> Scene:
    """Check the windows, project and compare them."""
    windows = (occluded, filled, truth)
    if (
        len({w.shape for w in windows}) > 1
        or filled.shape[2:] != (layout.n_joints, 3)
        or not filled.size
    ):
        raise ValueError(
            f"occluded, filled, truth: expected (n_frames, n_persons, {layout.n_joints}, 3) "
            f"each, got {occluded.shape}, {filled.shape}, {truth.shape}"
        )
    unseen, unfilled, untold = (np.isnan(window[..., 0]) for window in windows)
    compared = unseen & ~unfilled & ~untold
    offset_m = np.linalg.norm(np.where(compared[..., None], filled - truth, 0), axis=-1)
    n_compared = compared.sum(axis=(1, 2))
    error_mm = 1000 * offset_m.sum(axis=(1, 2)) / np.where(n_compared, n_compared, np.nan)
    right = _picture_right(np.where(untold[..., None], filled, truth))
    rows = tuple(np.stack([w @ right, w[..., 1]], axis=-1) for w in windows)
    return Scene(
        rows=rows,
        seen=~unseen,
        error_mm=error_mm,
        links=_bridge_bones(layout, np.asarray(~(unfilled & untold).all(axis=(0, 1)))),
        joint_size=np.where(np.array(layout.joints) == "Head", 60, 9),
        limits=_find_limits(np.concatenate(rows).reshape(-1, 2)),
    )


def _picture_right(xyz: FloatArray) -> FloatArray:
    """Direction (3,) in the body frame to the right of the picture: for two, along both."""
    right = np.array([-1, 0, 0], dtype=np.float32)  # x grows to the sensor's left
    people = [person[~np.isnan(person[..., 0])] for person in np.moveaxis(xyz, 1, 0)]
    centers = [joints.mean(axis=0) for joints in people if len(joints)]
    if len(centers) != 2:
        return right
    between = (centers[1] - centers[0]) * np.array([1, 0, 1])
    length = float(np.linalg.norm(between)) * (np.sign(between @ right) or 1)
    return (between / length).astype(np.float32) if abs(length) > MARGIN_M else right


def _bridge_bones(layout: SkeletonLayout, has_joint: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Bones between joints that the window has: to the nearest such ancestor."""
    links = []
    for child, parent in layout.bones:
        ancestor = parent
        while not has_joint[ancestor] and layout.parents[ancestor] != ancestor:
            ancestor = layout.parents[ancestor]
        if has_joint[child] and has_joint[ancestor]:
            links.append((child, ancestor))
    return links


def _find_limits(points: FloatArray) -> NDArray[np.float64]:
    """Limits (2, 2) that hold all points, with a margin and a panel of bearable aspect."""
    known = np.append(points[~np.isnan(points[:, 0])], [[0.0, 0.0]], axis=0)  # and the origin
    low, high = known.min(axis=0) - MARGIN_M, known.max(axis=0) + MARGIN_M
    low[1] -= TEXT_FRAC * (high[1] - low[1])
    width, height = high - low
    wanted = np.array([max(width, SLIMMEST_PANEL * height), max(height, width / WIDEST_PANEL)])
    return np.stack([low + high - wanted, low + high + wanted]) / 2


def _make_panels(
    scene: Scene, shape: tuple[int, int], height_in: float, title: str
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure with title and legend, and its empty panels (n_rows, n_columns)."""
    left_in, right_in, top_in, bottom_in = 1.1 if shape[0] > 1 else 0.1, 0.1, 0.6, 0.4
    panel_in = height_in * float(np.divide(*(scene.limits[1] - scene.limits[0])))
    width_in = left_in + right_in + shape[1] * (panel_in + GAP_IN) - GAP_IN
    full_in = top_in + bottom_in + shape[0] * (height_in + GAP_IN) - GAP_IN
    figure = Figure(figsize=(width_in, full_in), facecolor="white")
    axes = figure.subplots(*shape, squeeze=False, subplot_kw={"facecolor": PANEL_COLOR})
    box = (left_in / width_in, bottom_in / full_in, 1 - right_in / width_in, 1 - top_in / full_in)
    figure.subplots_adjust(*box, wspace=GAP_IN / panel_in, hspace=GAP_IN / height_in)
    for axis in axes.flat:
        axis.set(xlim=scene.limits[:, 0], ylim=scene.limits[:, 1], xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.suptitle(title, y=1 - 0.1 / full_in, va="top", fontsize=13, parse_math=False)
    colors = {"seen": SEEN_COLOR, "imputed": IMPUTED_COLOR, "truth": TRUTH_COLOR}
    handles = [Line2D([], [], c=c, label=name, lw=2.5, marker="o") for name, c in colors.items()]
    figure.legend(handles=handles, loc="lower right", ncols=3, frameon=False, borderaxespad=0.2)
    return figure, axes


def draw_panel(axis: Axes, scene: Scene, row: int, frame: int) -> None:
    """Draw all persons of one frame; the completed ones stand before a shadow of the truth."""
    if row > 0:
        _draw_bodies(axis, scene, 2, frame, (TRUTH_COLOR, TRUTH_COLOR))
    if row < 2:
        _draw_bodies(axis, scene, row, frame, (SEEN_COLOR, IMPUTED_COLOR))
    if row == 1 and not np.isnan(scene.error_mm[frame]):
        _write_below(axis, 0.02, f"off by {scene.error_mm[frame]:.0f} mm", IMPUTED_COLOR)


def _write_below(axis: Axes, height: float, text: str, color: str) -> None:
    axis.text(0.5, height, text, color=color, fontsize=9, ha="center", transform=axis.transAxes)


def _draw_bodies(axis: Axes, scene: Scene, row: int, frame: int, colors: tuple[str, str]) -> None:
    """Draw bones and joints; the second color where a joint or an end of a bone was not seen."""
    for points, seen in zip(scene.rows[row][frame], scene.seen[frame], strict=True):
        known = ~np.isnan(points[:, 0])
        pairs = [list(pair) for pair in scene.links if known[list(pair)].all()]
        shades = [colors[0] if seen[pair].all() else colors[1] for pair in pairs]
        bones = LineCollection([points[p] for p in pairs], colors=shades, lw=2.2, capstyle="round")
        axis.add_collection(bones, autolim=False)
        x, y = points[known].T
        shades = np.where(seen[known], *colors).tolist()
        axis.scatter(x, y, scene.joint_size[known], shades, linewidths=0, zorder=2)
