"""Temporal dropouts: frames are lost, as where a sensor, a network or a tracker stumbles.

The same rate costs a recogniser very different accuracy in different forms (SHARDeg, 2025: evenly
spread frames, random ones, one block); Parts-Mamba (2025) loses frames periodically.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_train.occlusion.kind import (
    Kind,
    Masked,
    SkeletonSequence,
    check_choice,
    check_fraction,
)

FORMS = ("random", "even")


@dataclass(frozen=True)
class DropoutSettings:
    """Of the kind ``dropout``. A block that is lost as a whole is the kind ``time``."""

    fraction: float = 0.3
    """Share of the frames that are lost, exact in every sequence."""
    form: str = "random"
    """random: anywhere; even: evenly spread over the sequence, with a random beginning."""
    burst_frames: int = 1
    """random: frames that are lost together."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_fraction("fraction", self.fraction)
        check_choice("form", self.form, FORMS)
        if self.burst_frames < 1:
            raise ValueError(f"burst_frames: expected at least 1, got {self.burst_frames}")


def draw_frames(
    n_frames: int, settings: DropoutSettings, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return which frames are lost, in order: their share rounded to the nearest number.

    Bursts never overlap, but they may touch; where the number is no multiple of
    ``burst_frames``, one of them is shorter.
    """
    n_lost = round(settings.fraction * n_frames)
    if n_lost == 0:
        return np.zeros(0, dtype=np.int64)
    if settings.form == "even":
        step = n_frames / n_lost
        spread = np.arange(n_lost) * step + rng.uniform(0, step)
        return np.asarray(np.minimum(spread, n_frames - 1), dtype=np.int64)
    n_whole, rest = divmod(n_lost, settings.burst_frames)
    lengths = [settings.burst_frames] * n_whole + [rest] * (rest > 0)
    rng.shuffle(lengths)
    # Bursts and the frames between them in random order: every arrangement is equally likely.
    n_pieces = n_frames - n_lost + len(lengths)
    at = np.sort(rng.choice(n_pieces, size=len(lengths), replace=False))
    is_lost = np.repeat(np.isin(np.arange(n_pieces), at), _lengths(n_pieces, at, lengths))
    return np.flatnonzero(is_lost)


def _lengths(n_pieces: int, at: NDArray[np.int64], lengths: list[int]) -> NDArray[np.int64]:
    """Frames (n_pieces,) of each piece: those of a burst, or a single one between them."""
    frames = np.ones(n_pieces, dtype=np.int64)
    frames[at] = lengths
    return frames


def _hide(
    sequence: SkeletonSequence, settings: DropoutSettings, _: None, rng: np.random.Generator
) -> Masked:
    hidden = np.zeros(sequence.xyz.shape[:-1], dtype=np.bool_)
    hidden[draw_frames(len(hidden), settings, rng)] = True
    return Masked(hidden, {})


DROPOUT = Kind(
    text="whole frames, scattered or evenly spread",
    settings=DropoutSettings,
    hide=_hide,
    severity="fraction",
    severity_text="share of the frames",
)
