"""Time block: everything is missing for a while, as in RA-GCN (Song et al., TCSVT 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iospstl_train.occlusion.kind import (
    Kind,
    Masked,
    SkeletonSequence,
    check_choice,
    check_fraction,
)

PLACES = ("middle", "anywhere")


@dataclass(frozen=True)
class TimeSettings:
    """Of the kind ``time``."""

    fraction: float = 0.3
    """Share of `span_frames` that is hidden. RA-GCN hides 10, 20, 30, 40 or 50 frames of 100."""
    span_frames: int = 100
    """The first frames of a sequence, in which the block lies (RA-GCN: 100)."""
    place: str = "middle"
    """middle: around the middle of these frames, frame 50 (RA-GCN); anywhere: at random within
    them."""
    shrink: bool = True
    """In a shorter sequence the block is the share of its own frames; False is the publication's
    number of frames around frame 50, which a short sequence may not reach."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_fraction("fraction", self.fraction)
        check_choice("place", self.place, PLACES)
        if self.span_frames < 2:
            raise ValueError(f"span_frames: expected at least 2, got {self.span_frames}")


def _hide(
    sequence: SkeletonSequence, settings: TimeSettings, _: None, rng: np.random.Generator
) -> Masked:
    n_frames = len(sequence.xyz)
    span = min(settings.span_frames, n_frames) if settings.shrink else settings.span_frames
    n_hidden = round(settings.fraction * span)
    first = span // 2 - n_hidden // 2
    if settings.place == "anywhere":
        first = int(rng.integers(span - n_hidden + 1))
    hidden = np.zeros(sequence.xyz.shape[:-1], dtype=np.bool_)
    hidden[first : first + n_hidden] = True
    return Masked(hidden, {"first_frame": first, "n_frames": int(hidden[:, 0, 0].sum())})


TIME_BLOCK = Kind(
    text="everything during one part of the time (RA-GCN)",
    settings=TimeSettings,
    hide=_hide,
    severity="fraction",
    severity_text="share of the first 100 frames, or of all where there are fewer",
)
