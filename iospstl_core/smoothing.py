"""Labels that do not flicker: scores averaged over time, and a lead that a new label needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_LEAVE_UNKNOWN = 1.5
"""How far above the threshold a movement has to be known again before it gets a name."""


@dataclass(frozen=True)
class Decision:
    """What is said of a person.

    Attributes
    ----------
    index : int or None
        Class; None: unknown.
    probabilities : ndarray of shape (n_classes,), float32
        Averaged over time.
    known : float
        Averaged over time, see `iospstl_core.pipeline.Recognition`.
    """

    index: int | None
    probabilities: FloatArray
    known: float


@dataclass(frozen=True)
class _Memory:
    stamp_s: float
    decision: Decision


class LabelSmoother:
    """One memory for every person.

    A person's scores are averaged with weights that fall by half in 0.7 of `smoothing_s`; the
    first result counts as it is. A class takes over when its averaged score leads that of the
    present one by `hysteresis`. Without `smoothing_s` every result stands for itself.
    """

    def __init__(self) -> None:
        self._people: dict[int, _Memory] = {}

    def clear(self) -> None:
        """Forget everybody."""
        self._people.clear()

    def forget(self, stamp_s: float, track_timeout_s: float) -> None:
        """Forget who was away for too long, or who comes after a jump back of the clock."""
        self._people = {
            key: memory
            for key, memory in self._people.items()
            if 0 <= stamp_s - memory.stamp_s <= track_timeout_s
        }

    def decide(
        self,
        track_id: int,
        stamp_s: float,
        probabilities: FloatArray,
        known: float,
        *,
        threshold: float,
        smoothing_s: float,
        hysteresis: float,
    ) -> Decision:
        """Return what is said of a person after a new result.

        Parameters
        ----------
        track_id : int
        stamp_s : float
            End of the window.
        probabilities : ndarray of shape (n_classes,), float32
        known : float
            Share of known actions that look stranger than this one.
        threshold : float
            Below it the movement is unknown.
        smoothing_s : float
            Time constant; 0: none.
        hysteresis : float
            Lead that a new class needs.
        """
        memory = self._people.get(track_id)
        if memory is None or smoothing_s <= 0:
            index = int(probabilities.argmax()) if known >= threshold else None
            decision = Decision(index, probabilities, known)
        else:
            keep = float(np.exp(-max(stamp_s - memory.stamp_s, 0.0) / smoothing_s))
            before = memory.decision
            probabilities = keep * before.probabilities + np.float32(1 - keep) * probabilities
            known = keep * before.known + (1 - keep) * known
            index = _choose(before.index, probabilities, known, threshold, hysteresis)
            decision = Decision(index, probabilities, known)
        self._people[track_id] = _Memory(stamp_s, decision)
        return decision


def _choose(
    present: int | None,
    probabilities: FloatArray,
    known: float,
    threshold: float,
    hysteresis: float,
) -> int | None:
    """Return the class that follows on `present`, or None."""
    best = int(probabilities.argmax())
    if present is None:
        return best if known >= min(_LEAVE_UNKNOWN * threshold, 1.0) else None
    if known < threshold:
        return None
    return best if probabilities[best] - probabilities[present] >= hysteresis else present
