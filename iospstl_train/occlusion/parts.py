"""Body parts: whole limbs are missing in all frames, as in RA-GCN (Song et al., TCSVT 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_core.skeleton import SkeletonLayout
from iospstl_core.store import Store
from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence, Source, find_joints

PARTS: dict[str, tuple[str, ...]] = {
    "left-arm": (
        *("ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft", "HandTipLeft", "ThumbLeft"),
    ),
    "right-arm": (
        *("ShoulderRight", "ElbowRight", "WristRight", "HandRight", "HandTipRight", "ThumbRight"),
    ),
    "two-hands": ("HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"),
    "two-legs": (
        *("HipLeft", "KneeLeft", "AnkleLeft", "FootLeft"),
        *("HipRight", "KneeRight", "AnkleRight", "FootRight"),
    ),
    "trunk": ("SpineBase", "SpineMid", "Neck", "Head", "SpineShoulder"),
}
"""RA-GCN's parts: joints 5-8, 22, 23; 9-12, 24, 25; 22-25; 13-20; 1-4, 21 of NTU RGB+D."""


@dataclass(frozen=True)
class PartSettings:
    """Of the kind ``parts``. Hidden in all frames of all persons (RA-GCN)."""

    parts: tuple[str, ...] = tuple(PARTS)
    """Parts to draw from, each sequence for itself. A single one is RA-GCN's protocol, which
    tests one part after the other."""
    n_parts: int = 1
    """Parts hidden together in a sequence; RA-GCN has 1."""

    def __post_init__(self) -> None:
        """Check names and number."""
        unknown = [name for name in self.parts if name not in PARTS]
        if unknown or not self.parts or len(set(self.parts)) < len(self.parts):
            raise ValueError(
                f"parts: expected some of {', '.join(PARTS)}, each once, got {list(self.parts)}"
            )
        if not 1 <= self.n_parts < len(PARTS):
            raise ValueError(
                f"n_parts: expected 1 to {len(PARTS) - 1}, one part less than there are, got "
                f"{self.n_parts}"
            )


def find_parts(layout: SkeletonLayout, settings: PartSettings) -> dict[str, list[int]]:
    """Return the joints of each part that a layout has joints of.

    Parameters
    ----------
    layout : SkeletonLayout
    settings : PartSettings

    Returns
    -------
    parts : dict of str to list of int

    Raises
    ------
    InputError
        If fewer parts than are to be hidden together have joints in the layout.
    """
    found = {name: find_joints(layout, PARTS[name]) for name in settings.parts}
    parts = {name: joints for name, joints in found.items() if joints}
    if len(parts) < settings.n_parts:
        raise InputError(
            f"parts: expected {settings.n_parts} parts with joints of the layout {layout.name}, "
            f"got {', '.join(parts) or 'none'} of {', '.join(settings.parts)}; add parts with "
            "--set 'parts.parts=[...]'"
        )
    return parts


def _open(
    _: Path | None, __: dict[str, Any] | None, store: Store, settings: PartSettings
) -> Source:
    """Find the joints once, and say which parts the layout lacks."""
    parts = find_parts(store.layout, settings)
    lacking = [name for name in settings.parts if name not in parts]
    notes = (
        (f"never drawn: {', '.join(lacking)}: {store.layout.name} has none of their joints",)
        if lacking
        else ()
    )
    return Source(parts, {"parts": list(parts)}, notes)


def _hide(
    sequence: SkeletonSequence,
    settings: PartSettings,
    parts: dict[str, list[int]],
    rng: np.random.Generator,
) -> Masked:
    drawn = rng.choice(sorted(parts), size=settings.n_parts, replace=False).tolist()
    hidden = np.zeros(sequence.xyz.shape[:-1], dtype=np.bool_)
    for name in drawn:
        hidden[:, :, parts[name]] = True
    return Masked(hidden, {"parts": drawn})


BODY_PARTS = Kind(
    text="limbs or the trunk in all frames (RA-GCN)",
    settings=PartSettings,
    hide=_hide,
    severity="n_parts",
    severity_text="parts hidden together",
    open_source=_open,
)
