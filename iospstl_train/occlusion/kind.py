"""What a kind of occlusion is: settings, and a function that hides joints of one sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_sources
from iospstl_core.store import Store

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class SkeletonSequence:
    """One sequence as its sensor saw it.

    Attributes
    ----------
    xyz : ndarray of shape (n_frames, n_persons, n_joints, 3), float32
        Metres, camera frame; NaN where not observed or absent.
    present : ndarray of shape (n_frames, n_persons), bool
    layout : SkeletonLayout
    fps : float
    """

    xyz: NDArray[np.float32]
    present: BoolArray
    layout: SkeletonLayout
    fps: float

    @property
    def observed(self) -> BoolArray:
        """Joints (n_frames, n_persons, n_joints) that were seen of persons that are there."""
        seen: BoolArray = self.present[..., None] & np.isfinite(self.xyz).all(axis=-1)
        return seen


class Masked(NamedTuple):
    """What is hidden of one sequence.

    Attributes
    ----------
    hidden : ndarray of shape (n_frames, n_persons, n_joints), bool
    drawn : dict
        What was drawn for it, for the manifest: objects, parts, frames; ready for JSON.
    """

    hidden: BoolArray
    drawn: dict[str, Any]


class Source(NamedTuple):
    """What a kind draws from besides its settings, such as the user's meshes."""

    content: Any
    described: dict[str, Any]
    """For the manifest, ready for JSON."""
    notes: tuple[str, ...] = ()
    """Lines for the user."""


@dataclass(frozen=True)
class Kind:
    """One kind of occlusion.

    Attributes
    ----------
    text : str
        What it hides, for ``--help``.
    settings : type
        Frozen dataclass whose defaults are the protocol's constants; its ``__post_init__`` raises
        ValueError for values out of range.
    hide : callable
        ``hide(sequence, settings, content, rng)`` -> `Masked`; content is that of its `Source`,
        or None. Cells that were not observed may be marked: they are taken out again.
    severity : str
        The setting that makes it milder or harder.
    severity_text : str
        What its numbers mean.
    at_severity : callable, optional
        Returns settings with another severity, where that is more than setting one number.
    open_source : callable, optional
        ``open_source(path or None, manifest or None, store, settings)`` -> `Source`: reads what
        the kind draws from, or takes it from the manifest of an earlier occlusion.
    source_option : str
        The command's option for it.
    needs_camera : bool
        Hides what lies behind or below something, seen from the camera: of no use where a store
        has lost the camera's place.
    """

    text: str
    settings: type
    hide: Callable[[SkeletonSequence, Any, Any, np.random.Generator], Masked]
    severity: str
    severity_text: str
    at_severity: Callable[[Any, float], Any] | None = None
    open_source: Callable[[Path | None, dict[str, Any] | None, Store, Any], Source] | None = None
    source_option: str | None = None
    needs_camera: bool = False

    def with_severity(self, settings: Any, severity: float) -> Any:
        """Return the settings with another severity; raise InputError if it has no such value."""
        try:
            if self.at_severity is not None:
                return self.at_severity(settings, severity)
            is_count = isinstance(getattr(settings, self.severity), int)
            if is_count and severity != int(severity):
                raise ValueError(f"{self.severity}: expected a whole number, got {severity:g}")
            value = int(severity) if is_count else float(severity)
            return replace(settings, **{self.severity: value})
        except ValueError as error:
            raise InputError(f"--severity: {error}") from error


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError where a share of what is observed is not at least 0 and less than 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected 0 <= {name} < 1, got {value:g}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError where a setting is none of its choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got '{value}'")


def find_joints(layout: SkeletonLayout, names: tuple[str, ...]) -> list[int]:
    """Return where joints of the NTU layout are in another one; those it lacks are left out."""
    sources = joint_sources(layout, NTU_25)
    found = [int(sources[NTU_25.index(name)]) for name in names]
    return [joint for joint in found if joint >= 0]
