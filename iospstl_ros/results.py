"""Windows to results: who did what, and where every joint of them is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from iospstl_core.imputation.fill import CellSource, confidence_of
from iospstl_core.normalize import BodyFrame, Window, to_camera_frame
from iospstl_core.pipeline import Recognition, Recognizer
from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_sources
from iospstl_core.window import RawWindow
from iospstl_ros.live_windows import Arrival, DueWindow, distance_m
from iospstl_ros.parameters import RecognizerParameters
from iospstl_ros.pointcloud import BoolArray, FloatArray


@dataclass(frozen=True)
class PersonResult:
    """One person's action, and the skeleton in the newest frame of the window.

    Attributes
    ----------
    track_id : int
    label : str
        The class, or the unknown label where the score is below the threshold.
    score : float
    xyz : ndarray of shape (25, 3), float32
        Camera frame; observed joints as they came, the others completed; NaN where nobody could.
    observed : ndarray of shape (25,), bool
    confidence : ndarray of shape (25,), float32
        As of `iospstl_core.imputation.fill.confidence_of`.
    """

    track_id: int
    label: str
    score: float
    xyz: FloatArray
    observed: BoolArray
    confidence: FloatArray


@dataclass(frozen=True)
class FrameResult:
    """All results whose windows end with the same frame."""

    arrival: Arrival
    persons: tuple[PersonResult, ...]

    @property
    def most_salient(self) -> PersonResult:
        """The person nearest to the camera; ties by id."""
        return min(self.persons, key=lambda item: (distance_m(item.xyz), item.track_id))


def group_by_frame(results: Iterable[tuple[Arrival, PersonResult]]) -> list[FrameResult]:
    """Return results frame by frame, in the order of the frames' first results."""
    frames: dict[int, tuple[Arrival, list[PersonResult]]] = {}
    for arrival, result in results:
        frames.setdefault(arrival.stamp_ns, (arrival, []))[1].append(result)
    return [FrameResult(arrival, tuple(persons)) for arrival, persons in frames.values()]


def ready_persons(
    due: DueWindow, parameters: RecognizerParameters, layout: SkeletonLayout
) -> tuple[int, ...]:
    """Return who of a due window has been seen long and well enough for a result."""
    available = joint_sources(layout, NTU_25) >= 0
    return tuple(
        person
        for person in due.persons
        if _is_ready(due.raw, due.raw.track_ids.index(person), parameters, available)
    )


def _is_ready(
    raw: RawWindow, column: int, parameters: RecognizerParameters, available: BoolArray
) -> bool:
    present = raw.present[:, column]
    if present.sum() < parameters.min_frames:
        return False
    seen = ~np.isnan(raw.xyz[present, column][:, available, 0])
    return bool(seen.mean() >= parameters.min_observed_ratio)


def recognize(
    recognizer: Recognizer,
    due: DueWindow,
    persons: Iterable[int],
    parameters: RecognizerParameters,
) -> list[PersonResult]:
    """Complete and classify one window; return a result for each of `persons`."""
    recognition = recognizer.recognize([recognizer.normalize(due.raw)])[0]
    is_known = recognition.score >= parameters.score_threshold
    label = recognition.label if is_known else parameters.unknown_label
    return [
        PersonResult(person, label, recognition.score, *_newest_skeleton(due, person, recognition))
        for person in persons
    ]


def _newest_skeleton(
    due: DueWindow, person: int, recognition: Recognition
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Newest joints of a person (25, 3), camera frame; which were seen; and confidence."""
    column = due.raw.track_ids.index(person)
    observed = recognition.filled.source[-1, column] == CellSource.OBSERVED
    completed = to_camera_frame(recognition.filled.xyz[-1, column], recognition.window.frame)
    xyz = np.where(observed[:, None], due.raw.xyz[-1, column], completed)
    return xyz, observed, confidence_of(recognition.filled)[-1, column]


def warm_up(recognizer: Recognizer) -> None:
    """Run an empty window through both networks and the imputer; a bad bundle fails here."""
    settings = recognizer.settings
    shape = (settings.n_frames, settings.n_persons, NTU_25.n_joints, 3)
    present = np.zeros(shape[:2], dtype=bool)
    present[:, 0] = True
    xyz = np.full(shape, np.nan, dtype=np.float32)
    xyz[:, 0] = np.asarray(NTU_25.rest_m, dtype=np.float32)
    frame = BodyFrame(np.zeros(3, dtype=np.float32), 0.0, False)
    recognizer.recognize([Window(xyz, present, frame)])
