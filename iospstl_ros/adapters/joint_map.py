"""A joint map: how each joint of the models comes from the joints of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25
from iospstl_ros.frames import AXES, FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Doubles = NDArray[np.float64]

RESULT_PREFIX = "ntu."
"""Marks a joint of the result among those of the source: ``ntu.SpineBase``."""


BY_FRAME = "frame"
"""Axes that follow the name of the frame, as REP 103 has it."""
UNITS_M = {"m": 1.0, "mm": 0.001}

_OPTICAL_ENDINGS = ("_optical_frame", "_optical")


@dataclass(frozen=True)
class JointRule:
    """Where one joint comes from.

    Attributes
    ----------
    sources : tuple of str
        Joints of the source, or of the result with `RESULT_PREFIX`; their mean is taken.
    needs_all : bool
        Whether all of them must be seen; else the mean is over those that are.
    otherwise : str
        Joint that is taken where the mean cannot be; empty for none.
    """

    sources: tuple[str, ...]
    needs_all: bool = True
    otherwise: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every joint that the rule reads."""
        return (*self.sources, self.otherwise) if self.otherwise else self.sources


@dataclass(frozen=True)
class RuleStep:
    """Rules that can be applied together.

    All indices are into one row of points: those of the source, then the 25 of the result, then
    one that is never seen.

    Attributes
    ----------
    targets : ndarray of shape (n,), int64
    sources : ndarray of shape (n, most_sources), int64
        Filled up with the point that is never seen.
    needed : ndarray of shape (n,), int64
        How many of the sources must be seen.
    otherwise : ndarray of shape (n,), int64
    """

    targets: IntArray
    sources: IntArray
    needed: IntArray
    otherwise: IntArray

    def apply(self, points: Doubles, seen: BoolArray) -> None:
        """Write the targets of points (..., n_row, 3) and seen (..., n_row); unseen are 0."""
        if self.sources.shape[1] == 1:
            value, enough = points[..., self.sources[:, 0], :], seen[..., self.sources[:, 0]]
        else:
            count = seen[..., self.sources].sum(axis=-1)
            enough = count >= self.needed
            value = points[..., self.sources, :].sum(axis=-2) / np.maximum(count, 1)[..., None]
        points[..., self.targets, :] = np.where(
            enough[..., None], value, points[..., self.otherwise, :]
        )
        seen[..., self.targets] = enough | seen[..., self.otherwise]


@dataclass(frozen=True)
class JointMap:
    """How a source's joints become those of the models.

    Attributes
    ----------
    name : str
    axes : str
        A key of `AXES`, or `BY_FRAME`.
    unit : str
        A key of `UNITS_M`.
    index : mapping of str to int
        Number of each joint of the source.
    rules : mapping of str to JointRule
        By joint of `NTU_25`.
    message : mapping
        Where a message keeps its parts; empty for sources with an adapter of their own.
    """

    name: str
    axes: str
    unit: str
    index: Mapping[str, int]
    rules: Mapping[str, JointRule]
    message: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def n_source(self) -> int:
        """Number of points of the source."""
        return n_points(self.index)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the source's joints by number; empty where a number is no joint."""
        names = {number: name for name, number in self.index.items()}
        return tuple(names.get(number, "") for number in range(self.n_source))

    @cached_property
    def structural(self) -> BoolArray:
        """Which joints of the models the source never has, (25,)."""
        return np.array([name not in self.rules for name in NTU_25.joints])

    @cached_property
    def _steps(self) -> list[RuleStep]:
        return compile_rules(self.rules, self.index)

    def axes_of(self, frame_id: str) -> str:
        """Return the axes, a key of `AXES`, of points in a frame."""
        if self.axes != BY_FRAME:
            return self.axes
        return "optical" if frame_id.endswith(_OPTICAL_ENDINGS) else "ros"

    def to_models(self, points: Doubles, observed: BoolArray, frame_id: str = "") -> FloatArray:
        """Return the joints of the models.

        Parameters
        ----------
        points : ndarray of shape (..., n_source, 3)
            In the source's unit and axes; anything where not observed.
        observed : ndarray of shape (..., n_source), bool
        frame_id : str, default=""
            Tells the axes where the map leaves them to the frame.

        Returns
        -------
        joints : ndarray of shape (..., 25, 3), float32
            Metres, axes of the models; NaN where not observed.
        """
        n_row = self.n_source + NTU_25.n_joints + 1
        row = np.zeros((*observed.shape[:-1], n_row, 3))
        seen = np.zeros(row.shape[:-1], dtype=bool)
        seen[..., : self.n_source] = observed
        row[..., : self.n_source, :] = np.where(observed[..., None], points, 0.0)
        for step in self._steps:
            step.apply(row, seen)
        models_from_source = AXES[self.axes_of(frame_id)] * UNITS_M[self.unit]
        joints = row[..., self.n_source : -1, :] @ models_from_source.T
        joints[~seen[..., self.n_source : -1]] = np.nan
        result: FloatArray = joints.astype(np.float32)
        return result

    def seen(self, observed: BoolArray) -> BoolArray:
        """Return which joints of the models (..., 25) follow from observed (..., n_source)."""
        return ~np.isnan(self.to_models(np.zeros((*observed.shape, 3)), observed)[..., 0])


def compile_rules(rules: Mapping[str, JointRule], index: Mapping[str, int]) -> list[RuleStep]:
    """Return steps that apply checked rules, references last.

    Parameters
    ----------
    rules : mapping of str to JointRule
        By joint of `NTU_25`.
    index : mapping of str to int
        Of the joints of the source; the largest tells where the result begins.
    """
    first = n_points(index)
    places = dict(index) | {
        RESULT_PREFIX + name: first + joint for joint, name in enumerate(NTU_25.joints)
    }
    nothing = first + NTU_25.n_joints
    steps = []
    for names in order_rules(rules)[0]:
        for is_mean in (False, True):
            some = [name for name in names if (len(rules[name].sources) > 1) == is_mean]
            if some:
                steps.append(_compile_step(some, rules, places, nothing))
    return steps


def n_points(index: Mapping[str, int]) -> int:
    """Return how many points a source with these joints has."""
    return max(index.values()) + 1


def order_rules(rules: Mapping[str, JointRule]) -> tuple[list[list[str]], list[str]]:
    """Return the names of the rules, each list needing only those before it, and the rest.

    The rest are those that refer to each other in a circle, and those that need them.
    """
    rounds: list[list[str]] = []
    left, done = list(rules), set[str]()
    while now := [name for name in left if _references(rules[name]) <= done]:
        rounds.append(now)
        done |= set(now)
        left = [name for name in left if name not in done]
    return rounds, left


def _references(rule: JointRule) -> set[str]:
    """Return the joints of the result that a rule reads."""
    return {
        name.removeprefix(RESULT_PREFIX) for name in rule.names if name.startswith(RESULT_PREFIX)
    }


def _compile_step(
    names: Sequence[str],
    rules: Mapping[str, JointRule],
    places: Mapping[str, int],
    nothing: int,
) -> RuleStep:
    most = max(len(rules[name].sources) for name in names)
    sources = np.full((len(names), most), nothing, dtype=np.int64)
    for row, name in enumerate(names):
        found = [places[source] for source in rules[name].sources]
        sources[row, : len(found)] = found
    needed = [len(rules[name].sources) if rules[name].needs_all else 1 for name in names]
    otherwise = [places.get(rules[name].otherwise, nothing) for name in names]
    return RuleStep(
        targets=np.array([places[RESULT_PREFIX + name] for name in names], dtype=np.int64),
        sources=sources,
        needed=np.array(needed, dtype=np.int64),
        otherwise=np.array(otherwise, dtype=np.int64),
    )
