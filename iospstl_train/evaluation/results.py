"""What a run leaves besides its report: pictures, and labels to compare the robot with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iospstl_core.files import write_json
from iospstl_core.imputation.fill import Filled
from iospstl_train.data.windows import WindowSet
from iospstl_train.evaluation.pictures import (
    draw_confusion,
    draw_imputation_gif,
    draw_imputation_strip,
)

IntArray = NDArray[np.int64]

PICTURES = ("imputation.png", "imputation.gif", "confusion.png")


def write_offline_labels(path: Path, windows: WindowSet, predicted: IntArray) -> None:
    """Write the label of every test sequence by its name; the live check compares with it.

    `predicted` (n_test,) has the classes that the bundle's classifier names.
    """
    names = [name for name, is_test in zip(windows.names, windows.is_test, strict=True) if is_test]
    labels = [windows.class_names[index] for index in predicted]
    write_json(path, dict(zip(names, labels, strict=True)))


def draw_results(folder: Path, occluded: WindowSet, filled: Filled, predicted: IntArray) -> None:
    """Draw the test sequence whose hidden share is nearest to a third, and the confusion."""
    rows = np.flatnonzero(occluded.is_test)
    share = np.nanmean(occluded.hidden_frac()[rows], axis=1)
    row = int(rows[np.argmin(np.abs(share - 1 / 3))])
    title = f"{occluded.class_names[occluded.label[row]]} ({occluded.names[row]})"
    panels = occluded.xyz[row], filled.xyz[row], occluded.truth[row]
    draw_imputation_strip(folder / "imputation.png", *panels, title=title)
    draw_imputation_gif(folder / "imputation.gif", *panels, title=title)
    labels = occluded.label[rows]
    draw_confusion(folder / "confusion.png", labels, predicted, occluded.class_names)
