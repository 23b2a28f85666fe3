"""How far completed windows are from the truth: positions, bones, accelerations, expectations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.fill import Filled
from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.data.windows import WindowSet

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Measures = dict[str, float | None]

MM = 1000.0
COVERAGE_FACTORS = (1.0, 2.0)
_ARM = ("Shoulder", "Elbow", "Wrist", "Hand", "HandTip", "Thumb")
_LEG = ("Hip", "Knee", "Ankle", "Foot")
_TRUNK = ("SpineBase", "SpineMid", "SpineShoulder", "Neck", "Head")
PARTS: Mapping[str, tuple[str, ...]] = {
    "trunk": _TRUNK,
    **{f"arm_{side.lower()}": tuple(j + side for j in _ARM) for side in ("Left", "Right")},
    **{f"leg_{side.lower()}": tuple(j + side for j in _LEG) for side in ("Left", "Right")},
}
"""Joints of each part of the body: head and trunk, arms, legs."""
ERRORS = ("error", "gap", "never", "trailing", *PARTS, "bone", "acceleration")
CALIBRATION = ("expected_ratio", "expected_correlation", "covered_1x", "covered_2x")


@dataclass(frozen=True)
class Cells:
    """Completed windows beside the truth.

    Attributes
    ----------
    found : ndarray of shape (n, n_frames, n_persons, n_joints, 3), float32
        Completed positions in metres. A joint that stayed empty is at the origin of the body
        frame, which is where a network would see it.
    truth : ndarray of the same shape, float32
        NaN where not known.
    hidden : ndarray of shape (n, n_frames, n_persons, n_joints), bool
        Truth is known and the joint was not seen; joints that the source never has are not.
    distance_m : ndarray of the same shape, float32
        Between both; 0 where not hidden.
    """

    found: FloatArray
    truth: FloatArray
    hidden: BoolArray
    distance_m: FloatArray


def compare(windows: WindowSet, filled: Filled) -> Cells:
    """Return completed windows beside the truth.

    Parameters
    ----------
    windows : WindowSet
        Occluded, the windows to measure only.
    filled : Filled
        The same windows, completed.
    """
    hidden = windows.hidden
    found = np.nan_to_num(filled.xyz)
    distance_m = np.zeros(hidden.shape, dtype=np.float32)
    distance_m[hidden] = np.linalg.norm(found[hidden] - windows.truth[hidden], axis=-1)
    return Cells(found, windows.truth, hidden, distance_m)


def measure_errors(
    windows: WindowSet, filled: Filled, layout: SkeletonLayout = NTU_25
) -> Measures:
    """Return all errors of completed windows; None where there is nothing to measure.

    Parameters
    ----------
    windows : WindowSet
        Occluded, the windows to measure only.
    filled : Filled
        The same windows, completed.
    layout : SkeletonLayout
        Joints and bones.

    Returns
    -------
    dict
        In millimetres, means over hidden joints: "error" over all; "gap" where the joint is
        observed at another time of the window, "never" where it is not; "trailing" after its last
        observed frame, which is all that a live system sees; one for each of `PARTS`. "bone" is
        the mean absolute difference in length over bones with a hidden end and two known ones.
        "acceleration" is the mean norm of the difference between the second differences in time,
        mm per frame squared, where the middle one of three frames is hidden. Where the imputer
        tells what error it expects, also `CALIBRATION`.
    """
    cells = compare(windows, filled)
    observed = ~np.isnan(windows.xyz[..., 0])
    seen_once = observed.any(axis=1, keepdims=True)
    seen_later = np.flip(np.logical_or.accumulate(np.flip(observed, axis=1), axis=1), axis=1)
    groups = {
        "error": cells.hidden,
        "gap": cells.hidden & seen_once,
        "never": cells.hidden & ~seen_once,
        "trailing": cells.hidden & seen_once & ~seen_later,
    }
    for part, joints in PARTS.items():
        is_part = np.isin(layout.joints, joints)
        groups[part] = cells.hidden & is_part
    measures = {name: _mean_mm(cells.distance_m[group]) for name, group in groups.items()}
    measures["bone"] = _bone_error_mm(cells, layout)
    measures["acceleration"] = _acceleration_error_mm(cells)
    if filled.error_m is not None:
        measures |= calibrate(filled.error_m[cells.hidden], cells.distance_m[cells.hidden])
    return measures


def _mean_mm(values_m: FloatArray) -> float | None:
    """Mean in mm; None of nothing."""
    return float(values_m.mean(dtype=np.float64) * MM) if len(values_m) else None


def _bone_error_mm(cells: Cells, layout: SkeletonLayout) -> float | None:
    """Mean absolute difference in length over bones with a hidden end and two known ones."""
    children, parents = np.array(layout.bones).T
    known = ~np.isnan(cells.truth[..., 0])
    counted = (cells.hidden[..., children] | cells.hidden[..., parents]) & (
        known[..., children] & known[..., parents]
    )
    lengths = [
        np.linalg.norm(xyz[..., children, :] - xyz[..., parents, :], axis=-1)[counted]
        for xyz in (cells.found, cells.truth)
    ]
    return _mean_mm(np.abs(lengths[0] - lengths[1]))


def _acceleration_error_mm(cells: Cells) -> float | None:
    """Mean norm of the difference of second differences where the middle frame is hidden."""
    known = ~np.isnan(cells.truth[..., 0])
    counted = cells.hidden[:, 1:-1] & known[:, :-2] & known[:, 2:]
    offset = cells.found - cells.truth
    change = offset[:, :-2] - 2 * offset[:, 1:-1] + offset[:, 2:]
    return _mean_mm(np.linalg.norm(change[counted], axis=-1))


def calibrate(expected_m: FloatArray, true_m: FloatArray) -> Measures:
    """Return how well expected errors (n,) tell the true ones (n,).

    Returns
    -------
    dict
        "expected_ratio": mean expected by mean true error; "expected_correlation": Pearson's;
        "covered_1x" and "covered_2x": share of cells whose true error is at most once or twice
        the expected one. Cells of which nothing is known (NaN) are left out; None where nothing
        can be said.
    """
    known = ~np.isnan(expected_m)
    expected, true = expected_m[known].astype(np.float64), true_m[known].astype(np.float64)
    if not len(true) or not true.sum():
        return dict.fromkeys(CALIBRATION)
    varies = len(true) > 1 and expected.std() > 0 and true.std() > 0
    shares = [float((true <= factor * expected).mean()) for factor in COVERAGE_FACTORS]
    correlation = float(np.corrcoef(expected, true)[0, 1]) if varies else None
    ratio = float(expected.mean() / true.mean())
    return dict(zip(CALIBRATION, (ratio, correlation, *shares), strict=True))


def hidden_share(windows: WindowSet) -> NDArray[np.float64]:
    """Share of each window's known joints that is hidden, (n,); 0 where none is known."""
    known = (~np.isnan(windows.truth[..., 0])).sum(axis=(1, 2, 3))
    return np.asarray(windows.hidden.sum(axis=(1, 2, 3)) / np.maximum(known, 1))


def take(windows: WindowSet, rows: NDArray[np.bool_] | NDArray[np.int64]) -> WindowSet:
    """Return some windows of a set, by a mask (n,) or indices."""
    chosen = np.arange(len(windows.names))[rows]
    arrays = {
        name: getattr(windows, name)[chosen]
        for name in ("xyz", "truth", "present", "label", "is_train", "is_test")
    }
    names = tuple(windows.names[index] for index in chosen)
    return WindowSet(**{**vars(windows), **arrays, "names": names})
