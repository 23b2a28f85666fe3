"""The recogniser without its node: messages in, results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from sensor_msgs.msg import PointCloud2

from iospstl_core.bundle import open_bundle
from iospstl_core.errors import BundleError, InputError
from iospstl_core.pipeline import Recognizer
from iospstl_core.skeleton import NTU_25, get_layout
from iospstl_ros.diagnostics import Statistics
from iospstl_ros.live_windows import Added, Arrival, LiveWindows, nearest_persons
from iospstl_ros.parameters import RecognizerParameters
from iospstl_ros.pointcloud import read_skeletons
from iospstl_ros.results import (
    FrameResult,
    PersonResult,
    group_by_frame,
    ready_persons,
    recognize,
    warm_up,
)


class Engine:
    """A loaded bundle and the frames of the last seconds.

    Owns the models, the windows and the statistics. `receive` may run in another thread than
    `process`.

    Parameters
    ----------
    parameters : RecognizerParameters
        The dynamic ones may be replaced later by assigning to `parameters`.

    Raises
    ------
    InputError
        If the bundle cannot be used, or the providers or the layout are unknown.
    """

    def __init__(self, parameters: RecognizerParameters) -> None:
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
        self._layout = get_layout(parameters.layout)
        self._recognizer = Recognizer(
            bundle, parameters.providers, parameters.require_gpu, parameters.n_threads
        )
        warm_up(self._recognizer)
        self._windows = LiveWindows(self.window_s, parameters.track_timeout_s, settings.n_persons)

    @property
    def provider(self) -> str:
        """Execution provider in use."""
        return self._recognizer.provider

    @property
    def newest(self) -> Arrival | None:
        """The newest frame that was stored."""
        return self._windows.newest

    def receive(self, message: PointCloud2) -> Added:
        """Decode and store a message; raise InputError, after counting, if it is malformed."""
        now_s = time.monotonic()
        self.statistics.add_message(now_s)
        parameters = self.parameters
        try:
            frame = read_skeletons(message, self._layout, parameters.min_confidence)
        except InputError:
            self.statistics.add_drop("malformed message")
            raise
        kept = nearest_persons(frame.persons, parameters.max_persons)
        if len(kept) < len(frame.persons):
            self.statistics.add_drop("persons beyond max_persons", len(frame.persons) - len(kept))
        frame = replace(frame, persons=kept)
        added = self._windows.add(frame, now_s, parameters.track_timeout_s)
        if added is Added.NOT_NEWER:
            self.statistics.add_drop(added.value)
        else:
            self.statistics.add_frame(len(kept), added is Added.CLOCK_JUMP)
        return added

    def process(self, on_error: Callable[[Exception], None]) -> list[FrameResult]:
        """Recognise everybody with a new frame.

        Parameters
        ----------
        on_error : callable
            Gets what a window raised, after counting; the other windows go on.
        """
        return group_by_frame(self._results(on_error))

    def _results(
        self, on_error: Callable[[Exception], None]
    ) -> Iterator[tuple[Arrival, PersonResult]]:
        parameters = self.parameters
        for due in self._windows.take_due():
            persons = ready_persons(due, parameters, self._layout)
            if not persons:
                continue
            started_s = time.monotonic()
            try:
                results = recognize(self._recognizer, due, persons, parameters)
            except Exception as error:
                self.statistics.add_error()
                on_error(error)
                continue
            self.statistics.add_inference(time.monotonic() - started_s)
            yield from ((due.arrival, result) for result in results)
