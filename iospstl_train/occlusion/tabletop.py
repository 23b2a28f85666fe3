"""Tabletop: the lower body below a line in the image, as behind a table (RA-GCN, block).

RA-GCN (Song et al., TCSVT 2020) hides the joints whose row in the color image lies within
50 (level + 2) pixels of the sequence's lowest joint, levels 1 to 6. The rows are computed here
from the coordinates, because stores hold none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence
from iospstl_train.occlusion.placement import check_in_front

STEP_PX = 50
"""Rows from one level to the next (RA-GCN)."""
FIRST_STEPS = 2
"""Level n hides n + 2 steps (RA-GCN)."""
LEVELS = (1, 6)
"""Lowest and highest level (RA-GCN)."""
MIN_DEPTH_M = 0.1
"""A joint that is nearer or behind the camera has no row; noise."""


@dataclass(frozen=True)
class TabletopSettings:
    """Of the kind ``tabletop``."""

    level: int = 3
    """1 to 6; 3 hides 250 rows of 1,080 above the lowest joint."""
    focal_px: float = 1081.37
    """Of the camera whose rows are counted: the color camera of the Kinect v2, 1,920 x 1,080 (its
    usual factory value); that is what NTU RGB+D's rows are of."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not LEVELS[0] <= self.level <= LEVELS[1]:
            raise ValueError(f"level: expected {LEVELS[0]} to {LEVELS[1]}, got {self.level}")
        if not self.focal_px > 0:
            raise ValueError(f"focal_px: expected more than 0, got {self.focal_px:g}")


def _hide(
    sequence: SkeletonSequence, settings: TabletopSettings, _: None, __: np.random.Generator
) -> Masked:
    observed = sequence.observed
    hidden = np.zeros(observed.shape, dtype=np.bool_)
    if not observed.any():
        return Masked(hidden, {})
    check_in_front(sequence.xyz[observed])
    depth_m = sequence.xyz[..., 2]
    has_row = observed & (np.where(observed, depth_m, 0.0) > MIN_DEPTH_M)
    rows_px = np.zeros(observed.shape)  # below the middle of the image
    rows_px[has_row] = -settings.focal_px * sequence.xyz[has_row][:, 1] / depth_m[has_row]
    lowest_px = float(rows_px[has_row].max())
    line_px = lowest_px - STEP_PX * (settings.level + FIRST_STEPS)
    hidden[has_row] = rows_px[has_row] >= line_px
    return Masked(hidden, {"line_px": round(line_px, 1)})


TABLETOP = Kind(
    text="what is below the edge of a table (RA-GCN, block)",
    settings=TabletopSettings,
    hide=_hide,
    severity="level",
    severity_text="level 1 to 6",
    needs_camera=True,
)
