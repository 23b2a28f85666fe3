"""The recogniser without its node: messages in, results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import BundleError, InputError
from iospstl_core.normalize import Window
from iospstl_core.pipeline import Recognition, Recognizer
from iospstl_core.plausibility import JointChecks, mirror_sign
from iospstl_core.skeleton import NTU_25
from iospstl_core.smoothing import LabelSmoother
from iospstl_core.tracking import PositionTracker
from iospstl_ros.adapters import make_adapter
from iospstl_ros.frames import SkeletonFrame, no_structural_misses
from iospstl_ros.live_windows import Added, Arrival, DueWindow, LiveWindows, nearest_persons
from iospstl_ros.results import (
    FrameResult,
    PersonResult,
    ReadyWindow,
    best_classes,
    newest_skeleton,
    observed_ratios,
    warm_up,
)
from iospstl_ros.settings import RecognizerParameters
from iospstl_ros.statistics import Statistics

OnError = Callable[[Exception], None]


class Engine:
    """A loaded bundle and the frames of the last seconds.

    Owns the adapter, the models, the windows and the statistics. `receive` may run in another
    thread than `process`.

    Parameters
    ----------
    parameters : RecognizerParameters
        The dynamic ones may be replaced later by assigning to `parameters`.
    clock_ns : callable
        Time of reception in nanoseconds, for sources whose messages have no stamp.

    Raises
    ------
    InputError
        If the bundle cannot be used, or the providers, the adapter or the layout are unknown.
    """

    def __init__(
        self, parameters: RecognizerParameters, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        if not parameters.bundle:
            raise InputError(
                "bundle: expected the folder of a bundle, got none; set it with --bundle FOLDER "
                "or -p bundle:=FOLDER"
            )
        bundle = open_bundle(Path(parameters.bundle).expanduser())
        settings = bundle.settings
        if settings.layout != NTU_25.name:
            raise BundleError(
                f"{bundle.folder}: expected models for {NTU_25.name}, got {settings.layout}"
            )
        self.parameters = parameters
        self.settings = settings
        self.window_s = parameters.window_s or settings.window_s
        self.statistics = Statistics()
        self.adapter = make_adapter(replace(parameters.adapter_settings, clock_ns=clock_ns))
        self._recognizer = Recognizer(
            bundle, parameters.providers, parameters.require_gpu, parameters.n_threads
        )
        warm_up(self._recognizer)
        self._windows = LiveWindows(self.window_s, parameters.track_timeout_s, settings.n_persons)
        self._tracker = PositionTracker(parameters.track_timeout_s)
        is_checked = parameters.check_joints == "on" or (
            parameters.check_joints == "auto" and self.adapter.invents_joints
        )
        self._checks = JointChecks() if is_checked else None
        self._smoother = LabelSmoother()
        self._structural = no_structural_misses()

    @property
    def provider(self) -> str:
        """Execution provider in use."""
        return self._recognizer.provider

    @property
    def newest(self) -> Arrival | None:
        """The newest frame that was stored."""
        return self._windows.newest

    def clear(self) -> None:
        """Forget all frames and everybody in them; call it while no other thread is at work."""
        self._windows.clear()
        self._tracker.clear()
        self._smoother.clear()
        if self._checks is not None:
            self._checks.clear()

    def receive(self, message: Any) -> Added:
        """Decode and store a message; raise InputError, after counting, if it is malformed."""
        started_s = time.monotonic()
        self.statistics.add_message(started_s)
        parameters = self.parameters
        try:
            frame = self.adapter.read(message, parameters.min_confidence)
        except InputError:
            self.statistics.add_drop("malformed message")
            raise
        if frame is None:
            return Added.NOTHING
        frame = self._checked(self._nearest(self._followed(frame)))
        self._structural = frame.structural
        self._windows.set_limits(
            parameters.track_timeout_s, parameters.max_pair_distance_m, parameters.max_gap_s
        )
        added = self._windows.add(frame, started_s)
        if added is Added.NOT_NEWER:
            self.statistics.add_drop(added.value)
        else:
            self.statistics.add_frame(len(frame.persons), added)
        self.statistics.add_stage("read", time.monotonic() - started_s)
        return added

    def _followed(self, frame: SkeletonFrame) -> SkeletonFrame:
        """Give people ids by their position where the source has none."""
        if frame.has_ids and self.parameters.track_by != "position":
            return frame
        self._tracker.track_timeout_s = self.parameters.track_timeout_s
        people = list(frame.persons.values())
        ids = self._tracker.assign(frame.stamp_s, people)
        return replace(frame, persons=dict(zip(ids, people, strict=True)), names={})

    def _nearest(self, frame: SkeletonFrame) -> SkeletonFrame:
        kept = nearest_persons(frame.persons, self.parameters.max_persons)
        n_beyond = len(frame.persons) - len(kept)
        if n_beyond:
            self.statistics.add_drop("persons beyond max_persons", n_beyond)
        return replace(frame, persons=kept)

    def _checked(self, frame: SkeletonFrame) -> SkeletonFrame:
        """Take out joints that cannot be, and see whether left and right are exchanged."""
        for xyz in frame.persons.values():
            self.statistics.add_mirror(mirror_sign(xyz))
        if self._checks is None or not frame.persons:
            return frame
        persons = {}
        for person, xyz in frame.persons.items():
            invented = self._checks.check(person, frame.stamp_s, xyz)
            self.statistics.add_invented(int(np.count_nonzero(invented)))
            persons[person] = np.where(invented[:, None], np.float32(np.nan), xyz)
        return replace(frame, persons=persons)

    def process(self, on_error: OnError) -> list[FrameResult]:
        """Recognise everybody with a new frame.

        Parameters
        ----------
        on_error : callable
            Gets what a window raised, after counting; the other windows go on.
        """
        started_s = time.monotonic()
        due = self._windows.take_due()
        if not due:
            return []
        ready, hidden = self._sort(due)
        self.statistics.add_stage("cut windows", time.monotonic() - started_s)
        recognized = self._recognize(ready, on_error)
        newest_s = due[-1].arrival.stamp_ns * 1e-9
        self._smoother.forget(newest_s, self.parameters.track_timeout_s)
        frames: dict[int, FrameResult] = {}
        for item in due:
            frames.setdefault(item.arrival.stamp_ns, FrameResult(item.arrival, ()))
        for window, recognition in recognized:
            key = window.due.arrival.stamp_ns
            persons = tuple(self._result(window, person, recognition) for person in window.ratios)
            frames[key] = replace(frames[key], persons=frames[key].persons + persons)
        for key, people in hidden.items():
            frames[key] = replace(frames[key], hidden=tuple(people))
        return [frame for frame in frames.values() if frame.persons or frame.hidden]

    def _sort(self, due: Sequence[DueWindow]) -> tuple[list[ReadyWindow], dict[int, list[int]]]:
        """Return the windows to recognise, and by stamp those of whom too little was seen."""
        parameters = self.parameters
        ready: list[ReadyWindow] = []
        hidden: dict[int, list[int]] = {}
        for item in due:
            ratios = observed_ratios(item, parameters.min_frames, self._structural)
            seen = {
                person: ratio
                for person, ratio in ratios.items()
                if ratio >= parameters.min_observed_ratio
            }
            if seen:
                ready.append(ReadyWindow(item, seen))
            hidden.setdefault(item.arrival.stamp_ns, []).extend(ratios.keys() - seen.keys())
        self.statistics.add_hidden(sum(len(people) for people in hidden.values()))
        return ready, {stamp_ns: sorted(people) for stamp_ns, people in hidden.items() if people}

    def _recognize(
        self, ready: Sequence[ReadyWindow], on_error: OnError
    ) -> list[tuple[ReadyWindow, Recognition]]:
        """Recognise all windows in one batch; should that fail, one by one."""
        normalized: list[tuple[ReadyWindow, Window]] = []
        started_s = time.monotonic()
        for item in ready:
            try:
                normalized.append((item, self._recognizer.normalize(item.due.raw)))
            except Exception as error:
                self._count(error, on_error)
        self.statistics.add_stage("normalize", time.monotonic() - started_s)
        started_s = time.monotonic()
        done: list[tuple[ReadyWindow, Recognition]] = []
        try:
            batch = self._recognizer.recognize([window for _, window in normalized])
            done = [(item, one) for (item, _), one in zip(normalized, batch, strict=True)]
            for stage, duration_s in self._recognizer.seconds.items() if done else ():
                self.statistics.add_stage(stage, duration_s)
        except Exception:
            for item, window in normalized:
                try:
                    done.append((item, self._recognizer.recognize([window])[0]))
                except Exception as error:
                    self._count(error, on_error)
        self.statistics.add_inference(len(done), time.monotonic() - started_s)
        return done

    def _count(self, error: Exception, on_error: OnError) -> None:
        self.statistics.add_error(error)
        on_error(error)

    def _result(self, item: ReadyWindow, person: int, recognition: Recognition) -> PersonResult:
        parameters, arrival = self.parameters, item.due.arrival
        decision = self._smoother.decide(
            person,
            arrival.stamp_ns * 1e-9,
            recognition.probabilities,
            recognition.known,
            threshold=parameters.score_threshold,
            smoothing_s=parameters.smoothing,
            hysteresis=parameters.hysteresis,
        )
        classes = self.settings.classes
        index = int(decision.probabilities.argmax()) if decision.index is None else decision.index
        is_known = decision.index is not None
        xyz, observed, confidence = newest_skeleton(item.due, person, recognition)
        result = PersonResult(
            track_id=person,
            name=arrival.names.get(person, str(person)),
            label=classes[index] if is_known else parameters.unknown_label,
            score=float(decision.probabilities[index]),
            known=decision.known,
            is_known=is_known,
            top=best_classes(classes, decision.probabilities, parameters.top_k),
            xyz=xyz,
            observed=observed,
            confidence=confidence,
            observed_ratio=item.ratios[person],
        )
        self.statistics.add_result(result, recognition.filled.error_m)
        return result
