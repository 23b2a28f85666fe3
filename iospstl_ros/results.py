"""What the recogniser says of people, before it becomes messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iospstl_core.imputation.fill import CellSource, confidence_of
from iospstl_core.normalize import BodyFrame, Window, to_camera_frame
from iospstl_core.pipeline import Recognition, Recognizer
from iospstl_core.skeleton import NTU_25
from iospstl_ros.frames import BoolArray, FloatArray
from iospstl_ros.live_windows import Arrival, DueWindow, distance_m


@dataclass(frozen=True)
class PersonResult:
    """One person's action, and the skeleton in the newest frame of the window.

    Attributes
    ----------
    track_id : int
    name : str
        The source's name of the person.
    label : str
        The class, or the unknown label.
    score : float
        Probability of the class, or of the best class where the label is unknown.
    known : float
        Share of known actions that look stranger than this movement.
    is_known : bool
        Whether the label is a class.
    top : tuple of (str, float)
        The best classes and their probabilities.
    xyz : ndarray of shape (25, 3), float32
        Axes of the models; observed joints as they came, the others completed; NaN where nobody
        could.
    observed : ndarray of shape (25,), bool
    confidence : ndarray of shape (25,), float32
        As of `iospstl_core.imputation.fill.confidence_of`.
    observed_ratio : float
        Share of the joints that the source has which were observed in the window.
    """

    track_id: int
    name: str
    label: str
    score: float
    known: float
    is_known: bool
    top: tuple[tuple[str, float], ...]
    xyz: FloatArray
    observed: BoolArray
    confidence: FloatArray
    observed_ratio: float


@dataclass(frozen=True)
class FrameResult:
    """All results whose windows end with the same frame.

    Attributes
    ----------
    arrival : Arrival
    persons : tuple of PersonResult
        Everybody of whom enough was seen.
    hidden : tuple of int
        Everybody of whom too little was seen for a label.
    """

    arrival: Arrival
    persons: tuple[PersonResult, ...]
    hidden: tuple[int, ...] = ()

    @property
    def most_salient(self) -> PersonResult | None:
        """The person nearest to the camera; ties by id."""
        return min(
            self.persons, key=lambda item: (distance_m(item.xyz), item.track_id), default=None
        )


@dataclass(frozen=True)
class ReadyWindow:
    """A due window with at least one person who has been seen long and well enough.

    Attributes
    ----------
    due : DueWindow
    ratios : mapping of int to float
        Observed share by person, of those who get a result.
    """

    due: DueWindow
    ratios: Mapping[int, float]


def observed_ratios(due: DueWindow, min_frames: int, structural: BoolArray) -> dict[int, float]:
    """Return what share of the joints was observed of everybody who was there long enough.

    Parameters
    ----------
    due : DueWindow
    min_frames : int
        Frames that a person must have been there.
    structural : ndarray of shape (25,), bool
        Joints that the source never has: they do not count.
    """
    ratios = {}
    for person in due.persons:
        column = due.raw.track_ids.index(person)
        present = due.raw.present[:, column]
        if np.count_nonzero(present) >= min_frames:
            seen = ~np.isnan(due.raw.xyz[present, column][:, ~structural, 0])
            ratios[person] = float(seen.mean()) if seen.size else 0.0
    return ratios


def newest_skeleton(
    due: DueWindow, person: int, recognition: Recognition
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Newest joints of a person (25, 3); which of them were seen; and their confidence."""
    column = due.raw.track_ids.index(person)
    observed = recognition.filled.source[-1, column] == CellSource.OBSERVED
    completed = to_camera_frame(recognition.filled.xyz[-1, column], recognition.window.frame)
    xyz = np.where(observed[:, None], due.raw.xyz[-1, column], completed)
    return xyz, observed, confidence_of(recognition.filled)[-1, column]


def best_classes(
    classes: Sequence[str], probabilities: FloatArray, top_k: int
) -> tuple[tuple[str, float], ...]:
    """Return the most probable classes and their probabilities, best first."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return tuple((classes[index], float(probabilities[index])) for index in order)


def warm_up(recognizer: Recognizer) -> None:
    """Run a window with a gap through all networks and the imputer; a bad bundle fails here."""
    settings = recognizer.settings
    shape = (settings.n_frames, settings.n_persons, NTU_25.n_joints, 3)
    present = np.zeros(shape[:2], dtype=bool)
    present[:, 0] = True
    xyz = np.full(shape, np.nan, dtype=np.float32)
    xyz[:, 0] = np.asarray(NTU_25.rest_m, dtype=np.float32)
    xyz[0, 0, -1] = np.nan  # a window without gaps is not imputed
    frame = BodyFrame(np.zeros(3, dtype=np.float32), 0.0, False)
    recognizer.recognize([Window(xyz, present, frame)])
