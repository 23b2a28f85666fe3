"""Synthetic actions as tables of key poses, and the curves through them.

A table maps a channel of `synthetic_body.Motion` to keys (phase, value); the phase runs from 0 to
1. ``hand`` and ``foot`` belong to the acting side, ``other_hand`` and ``other_foot`` to the other
one. Channels that a table leaves out stay at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from iospstl_train.data.synthetic_body import Array

Vector = tuple[float, ...]
Keys = tuple[tuple[float, Vector], ...]
Table = Mapping[str, Keys]


@dataclass(frozen=True)
class Swing:
    """A repeated movement on top of the keys.

    Attributes
    ----------
    channels : tuple of str
    amplitude : tuple of float
        Peak per component of the channels.
    rate_hz : float
        Typical repetitions per second between the phases start and end.
    """

    channels: tuple[str, ...]
    amplitude: Vector
    rate_hz: float
    start: float
    end: float


@dataclass(frozen=True)
class Action:
    """One class.

    Attributes
    ----------
    table : mapping
        Key poses of the actor.
    swing : Swing, optional
    spread : (outward, up, forward)
        Standard deviation of where the hands go, in arm lengths.
    partner : mapping, optional
        Key poses of a second person; None where the actor is alone.
    gap : float
        Distance between the two at the start, in arm lengths.
    meet : tuple of keys
        Weight (0 to 1) that pulls the two acting hands together.
    """

    table: Table
    swing: Swing | None = None
    spread: tuple[float, float, float] = (0.06, 0.08, 0.06)
    partner: Table | None = None
    gap: float = 0.0
    meet: Keys = ((0.0, (0.0,)), (1.0, (0.0,)))


HANGING: Vector = (0.1, -0.96, 0.06)
IDLE_HANDS: tuple[Vector, ...] = (HANGING, HANGING, (0.12, -0.9, 0.3), (0.12, -0.62, -0.05))
"""Where a hand without a task rests: hanging, in front of the hip, on the hip."""
STILL: Vector = (0.0, 0.0, 0.0)
ON_THIGH: Vector = (-0.05, -0.62, 0.55)
REACHING_DOWN: Vector = (0.0, -0.72, 0.6)
SEATED: Vector = (0.0, -0.46, -0.48)
CHANNEL_REST: dict[str, Vector] = {
    "pelvis": STILL,
    "trunk": STILL,
    "head": (0.0,),
    "hand": HANGING,
    "other_hand": HANGING,
    "foot": STILL,
    "other_foot": STILL,
    "toe": (0.0,),
    "other_toe": (0.0,),
}


def _hold(value: Vector, start: float, end: float, rest: Vector = HANGING) -> Keys:
    """Return keys that leave rest, stay at a value from start to end, and return."""
    return (0.0, rest), (start, value), (end, value), (1.0, rest)


def _both(keys: Keys) -> dict[str, Keys]:
    """Return the same keys for the two hands."""
    return {"hand": keys, "other_hand": keys}


_JUMP_FEET: Keys = ((0.0, STILL), (0.4, STILL), (0.52, (0.0, 0.26, 0.0)), (0.64, STILL))
_JUMP_TOES: Keys = ((0.0, (0.0,)), (0.38, (0.0,)), (0.48, (0.6,)), (0.64, (0.0,)))

ACTIONS: dict[str, Action] = {
    "wave": Action(
        table={
            "hand": (
                *((0.0, HANGING), (0.1, (0.3, -0.4, 0.55)), (0.2, (0.42, 0.42, 0.32))),
                *((0.82, (0.42, 0.42, 0.32)), (0.91, (0.3, -0.4, 0.5)), (1.0, HANGING)),
            ),
            "trunk": _hold((0.0, 0.05, -0.04), 0.2, 0.85, STILL),
        },
        swing=Swing(("hand",), (0.25, -0.04, 0.0), 2.0, 0.18, 0.88),
    ),
    "clap": Action(
        table=_both(_hold((-0.13, -0.2, 0.62), 0.18, 0.85)),
        swing=Swing(("hand", "other_hand"), (0.17, 0.0, -0.03), 2.6, 0.15, 0.9),
        spread=(0.015, 0.1, 0.06),
    ),
    "kick": Action(
        table={
            "foot": (
                *((0.0, STILL), (0.3, (0.0, 0.14, -0.38)), (0.52, (-0.02, 0.46, 0.84))),
                *((0.72, (0.0, 0.12, 0.1)), (0.9, STILL)),
            ),
            "toe": ((0.0, (0.0,)), (0.3, (0.7,)), (0.52, (0.1,)), (0.9, (0.0,))),
            "pelvis": _hold((-0.08, -0.03, 0.02), 0.25, 0.7, STILL),
            "trunk": (
                *((0.0, STILL), (0.3, (0.12, -0.2, -0.05))),
                *((0.52, (-0.18, 0.25, -0.08)), (0.9, STILL)),
            ),
            "other_hand": _hold((0.35, -0.6, 0.5), 0.45, 0.6),
            "hand": _hold((0.4, -0.75, -0.3), 0.45, 0.6),
        },
    ),
    "sit down": Action(
        table={
            "pelvis": (
                *((0.0, STILL), (0.3, (0.0, -0.1, -0.16))),
                *((0.8, SEATED), (1.0, SEATED)),
            ),
            "trunk": (
                *((0.0, STILL), (0.5, (0.6, 0.0, 0.0))),
                *((0.9, (0.06, 0.0, 0.0)), (1.0, (0.06, 0.0, 0.0))),
            ),
            **_both(((0.0, HANGING), (0.45, REACHING_DOWN), (0.85, ON_THIGH), (1.0, ON_THIGH))),
        },
    ),
    "stand up": Action(
        table={
            "pelvis": (
                *((0.0, SEATED), (0.25, SEATED), (0.7, (0.0, -0.1, -0.12))),
                *((0.95, STILL), (1.0, STILL)),
            ),
            "trunk": (
                *((0.0, (0.06, 0.0, 0.0)), (0.4, (0.7, 0.0, 0.0))),
                *((0.9, STILL), (1.0, STILL)),
            ),
            **_both(((0.0, ON_THIGH), (0.25, ON_THIGH), (0.5, REACHING_DOWN), (0.85, HANGING))),
        },
    ),
    "bow": Action(
        table={
            "trunk": _hold((1.0, 0.0, 0.0), 0.38, 0.62, STILL),
            "pelvis": _hold((0.0, -0.01, -0.12), 0.38, 0.62, STILL),
            "head": _hold((0.25,), 0.38, 0.62, (0.0,)),
            **_both(_hold((0.05, -0.82, 0.5), 0.38, 0.62)),
        },
    ),
    "pick up": Action(
        table={
            "trunk": _hold((1.2, 0.15, 0.1), 0.42, 0.55, STILL),
            "pelvis": _hold((0.0, -0.4, -0.2), 0.42, 0.55, STILL),
            "head": _hold((0.1,), 0.42, 0.55, (0.0,)),
            "other_hand": _hold((0.0, -0.6, 0.6), 0.4, 0.58),
            "hand": (
                *((0.0, HANGING), (0.42, (-0.05, -0.3, 0.94)), (0.55, (-0.05, -0.3, 0.94))),
                *((0.85, (-0.1, -0.55, 0.55)), (1.0, (0.0, -0.6, 0.5))),
            ),
        },
    ),
    "throw": Action(
        table={
            "hand": (
                *((0.0, HANGING), (0.2, (0.5, -0.5, 0.0)), (0.36, (0.42, 0.38, -0.35))),
                *((0.55, (0.1, 0.45, 0.78)), (0.7, (-0.4, -0.45, 0.65)), (1.0, HANGING)),
            ),
            "other_hand": _hold((0.15, -0.3, 0.75), 0.32, 0.4),
            "trunk": (
                *((0.0, STILL), (0.36, (-0.1, -0.55, 0.05))),
                *((0.62, (0.3, 0.5, -0.08)), (1.0, STILL)),
            ),
            "other_foot": (
                *((0.0, STILL), (0.25, STILL), (0.34, (0.0, 0.07, 0.15))),
                *((0.44, (0.0, 0.0, 0.3)), (1.0, (0.0, 0.0, 0.3))),
            ),
            "pelvis": ((0.0, STILL), (0.36, (0.03, -0.03, 0.0)), (0.6, (0.0, -0.04, 0.2))),
        },
    ),
    "point": Action(
        table={
            "hand": _hold((0.0, 0.05, 1.0), 0.35, 0.78),
            "trunk": _hold((0.03, 0.12, 0.0), 0.35, 0.78, STILL),
        },
        spread=(0.18, 0.14, 0.04),
    ),
    "jump": Action(
        table={
            "pelvis": (
                *((0.0, STILL), (0.26, (0.0, -0.24, -0.1)), (0.4, (0.0, 0.01, 0.0))),
                *((0.52, (0.0, 0.28, 0.0)), (0.64, (0.0, 0.0, 0.0))),
                *((0.74, (0.0, -0.17, -0.07)), (0.95, STILL)),
            ),
            "trunk": (
                *((0.0, STILL), (0.26, (0.55, 0.0, 0.0)), (0.45, (-0.03, 0.0, 0.0))),
                *((0.74, (0.35, 0.0, 0.0)), (0.95, STILL)),
            ),
            "foot": _JUMP_FEET,
            "other_foot": _JUMP_FEET,
            "toe": _JUMP_TOES,
            "other_toe": _JUMP_TOES,
            **_both(
                (
                    *((0.0, HANGING), (0.26, (0.2, -0.8, -0.45)), (0.37, (0.2, -0.7, 0.5))),
                    *((0.47, (0.2, 0.3, 0.8)),),
                    *((0.74, (0.25, -0.6, 0.5)), (1.0, HANGING)),
                )
            ),
        },
    ),
    "drink": Action(
        table={
            "hand": (
                *((0.0, HANGING), (0.15, (0.0, -0.5, 0.6)), (0.38, (-0.2, 0.03, 0.42))),
                *((0.55, (-0.2, 0.08, 0.38)), (0.75, (-0.2, 0.08, 0.38)), (1.0, HANGING)),
            ),
            "head": _hold((-0.35,), 0.5, 0.75, (0.0,)),
            "trunk": _hold((-0.06, 0.0, 0.0), 0.5, 0.75, STILL),
        },
        spread=(0.03, 0.03, 0.03),
    ),
    "handshake": Action(
        table={
            "hand": _hold((-0.3, -0.4, 0.8), 0.28, 0.78),
            "trunk": _hold((0.1, 0.12, 0.0), 0.28, 0.78, STILL),
        },
        swing=Swing(("hand",), (0.0, 0.11, 0.0), 2.2, 0.3, 0.78),
        partner={
            "hand": _hold((-0.3, -0.4, 0.8), 0.3, 0.78),
            "trunk": _hold((0.1, 0.12, 0.0), 0.3, 0.78, STILL),
        },
        gap=2.05,
        meet=_hold((1.0,), 0.3, 0.76, (0.0,)),
    ),
    "push": Action(
        table={
            **_both(
                (
                    *((0.0, HANGING), (0.25, (0.1, -0.2, 0.42)), (0.48, (-0.1, 0.0, 0.95))),
                    *((0.62, (-0.05, -0.05, 0.85)), (1.0, HANGING)),
                )
            ),
            "trunk": _hold((0.28, 0.0, 0.0), 0.45, 0.6, STILL),
            "foot": (
                *((0.0, STILL), (0.15, STILL), (0.27, (0.0, 0.06, 0.15)), (0.4, (0.0, 0.0, 0.3))),
                *((1.0, (0.0, 0.0, 0.3)),),
            ),
            "pelvis": ((0.0, STILL), (0.15, STILL), (0.48, (0.0, -0.06, 0.22))),
        },
        partner={
            "trunk": (
                *((0.0, STILL), (0.45, STILL), (0.58, (-0.3, 0.0, 0.0))),
                *((0.78, (0.2, 0.0, 0.0)), (1.0, STILL)),
            ),
            "pelvis": ((0.0, STILL), (0.46, STILL), (0.74, (0.0, -0.08, -0.5))),
            "foot": (
                *((0.0, STILL), (0.45, STILL), (0.56, (0.0, 0.08, -0.3))),
                *((0.66, (0.0, 0.0, -0.62)),),
            ),
            "other_foot": (
                *((0.0, STILL), (0.62, STILL), (0.72, (0.0, 0.07, -0.2))),
                *((0.84, (0.0, 0.0, -0.42)),),
            ),
            **_both(
                (
                    *((0.0, HANGING), (0.4, HANGING), (0.58, (0.4, -0.45, 0.5))),
                    *((0.78, (0.4, -0.6, 0.4)), (1.0, HANGING)),
                )
            ),
        },
        spread=(0.04, 0.06, 0.02),
        gap=1.4,
    ),
    "high five": Action(
        table={
            "hand": (
                *((0.0, HANGING), (0.3, (0.25, 0.4, 0.15)), (0.5, (-0.1, 0.5, 0.7))),
                *((0.6, (-0.1, 0.45, 0.68)), (1.0, HANGING)),
            ),
            "trunk": _hold((0.1, 0.2, 0.0), 0.48, 0.6, STILL),
        },
        partner={
            "hand": (
                *((0.0, HANGING), (0.35, (0.2, 0.4, 0.2)), (0.5, (-0.1, 0.5, 0.7))),
                *((0.6, (-0.1, 0.45, 0.68)), (1.0, HANGING)),
            ),
            "trunk": _hold((0.1, 0.2, 0.0), 0.48, 0.6, STILL),
        },
        gap=1.95,
        meet=((0.0, (0.0,)), (0.4, (0.0,)), (0.5, (1.0,)), (0.57, (1.0,)), (0.75, (0.0,))),
    ),
}


def interpolate_keys(keys: Keys, phase: Array) -> Array:
    """Return the value at each phase, shape (n_frames, n_components).

    Cubic between keys, without overshoot (slopes by Fritsch and Butland, 1984); constant outside.
    """
    times = np.array([time for time, _ in keys])
    values = np.array([value for _, value in keys])
    steps = np.diff(times)[:, None]
    rises = np.diff(values, axis=0) / steps
    slopes = np.zeros_like(values)
    products = np.maximum(rises[:-1] * rises[1:], 0.0)
    slopes[1:-1] = 2.0 * products / np.where(products > 0.0, rises[:-1] + rises[1:], 1.0)
    phase = np.clip(phase, times[0], times[-1])
    i = np.clip(np.searchsorted(times, phase, side="right") - 1, 0, len(times) - 2)
    u = (phase - times[i])[:, None] / steps[i]
    return np.asarray(
        values[i] * (1 + 2 * u) * (1 - u) ** 2
        + values[i + 1] * u**2 * (3 - 2 * u)
        + steps[i] * (slopes[i] * u * (1 - u) ** 2 - slopes[i + 1] * u**2 * (1 - u))
    )
