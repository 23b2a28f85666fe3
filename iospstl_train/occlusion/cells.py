"""Random cells: single (frame, person, joint) cells are hidden, each as likely as any other.

Peng et al. (Trans4SOAR, TMM 2023) zero 10 % of the cells; RA-GCN (TCSVT 2020) zeroes each cell
with a probability. Here the share is exact in every sequence, and each sequence has its own mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iospstl_core.random_cells import hide_random_cells
from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence, check_fraction


@dataclass(frozen=True)
class CellSettings:
    """Of the kind ``random``."""

    fraction: float = 0.1
    """Share of the observed cells of a sequence (Trans4SOAR: 0.1; curves: 0.1 to 0.5)."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_fraction("fraction", self.fraction)


def _hide(
    sequence: SkeletonSequence, settings: CellSettings, _: None, rng: np.random.Generator
) -> Masked:
    return Masked(hide_random_cells(sequence.observed, settings.fraction, rng), {})


RANDOM_CELLS = Kind(
    text="single cells, anywhere",
    settings=CellSettings,
    hide=_hide,
    severity="fraction",
    severity_text="share of the cells",
)
