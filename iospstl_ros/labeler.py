"""Labels for a recording: messages into the engine of the node, results into a bag.

Time is that of the stamps: an inference is due whenever they have advanced by a period, so that
the same bag gives the same labels on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError
from iospstl_ros.bag_outputs import BagOutputs
from iospstl_ros.engine import Engine
from iospstl_ros.events import ActionEvents
from iospstl_ros.live_windows import Added

_STORED = (Added.STORED, Added.CLOCK_JUMP, Added.SILENCE)


@dataclass
class Summary:
    """What was done.

    Attributes
    ----------
    messages, malformed, labels : int
        Messages of the skeletons, those of them that were dropped, and labels of a person.
    copied : int
        Messages of the source.
    recorded_s, spent_s : float
        Length of the recording, and how long labelling took.
    faults : dict of str to int
        Why messages were dropped or windows failed, by their first words.
    """

    copied: int = 0
    messages: int = 0
    malformed: int = 0
    labels: int = 0
    recorded_s: float = 0.0
    spent_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)

    def note(self, fault: object) -> None:
        """Count a fault by what it says."""
        self.faults[str(fault)] = self.faults.get(str(fault), 0) + 1

    def lines(self, target: Path) -> list[str]:
        """Return what is said at the end."""
        times = self.recorded_s / self.spent_s if self.spent_s else 0.0
        first = (
            f"{target}: {self.labels} labels from {self.messages} messages "
            f"({self.malformed} malformed); {self.recorded_s:.1f} s in {self.spent_s:.1f} s, "
            f"{times:.1f} times as fast as recorded"
        )
        most = sorted(self.faults.items(), key=lambda item: -item[1])[:3]
        return [first, *(f"  {count} x {text}" for text, count in most)]


class StampPace:
    """Says when an inference is due, by the stamps alone.

    Parameters
    ----------
    rate_hz : float
        Inferences a second. Frames that come a little late do not slow it down.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._due_ns: int | None = None

    def is_due(self, stamp_ns: int) -> bool:
        """Tell of a frame; return whether the windows should be recognised now."""
        if self._due_ns is not None and stamp_ns < self._due_ns:
            return False
        started = self._due_ns is not None and stamp_ns - self._due_ns < self._period_ns
        base_ns = self._due_ns if started and self._due_ns is not None else stamp_ns
        self._due_ns = base_ns + self._period_ns
        return True

    def restart(self) -> None:
        """Make the next frame due, after a jump back of the clock."""
        self._due_ns = None


@dataclass
class BagClock:
    """When the message at hand was recorded: the time of what has no stamp.

    Attributes
    ----------
    now_ns : int
    """

    now_ns: int = 0

    def __call__(self) -> int:
        """Return the time in nanoseconds."""
        return self.now_ns


class Labeler:
    """Feeds an engine and writes what it says.

    Parameters
    ----------
    engine : Engine
    outputs : BagOutputs
    summary : Summary
        Counts what happens.
    clock : BagClock
        The one that the engine was made with; follows the messages.
    """

    def __init__(
        self, engine: Engine, outputs: BagOutputs, summary: Summary, clock: BagClock
    ) -> None:
        self._engine = engine
        self._outputs = outputs
        self._summary = summary
        self._pace = StampPace(engine.parameters.infer_rate_hz)
        self._events = ActionEvents() if engine.parameters.publish_events else None
        self._bag_ns: dict[int, int] = {}
        self._clock = clock

    def feed(self, decode: Callable[[bytes], Any], raw: bytes, bag_ns: int) -> None:
        """Take a message of the skeletons; what is wrong with it costs only itself."""
        self._summary.messages += 1
        self._clock.now_ns = bag_ns
        try:
            added = self._engine.receive(decode(raw))
        except Exception as error:  # as live: an odd message costs only itself
            self._summary.malformed += 1
            is_ours = isinstance(error, InputError)
            self._summary.note(error if is_ours else f"{type(error).__name__}: {error}")
            return
        if added is Added.NOT_NEWER:
            self._summary.note(added.value)
        newest = self._engine.newest
        if added not in _STORED or newest is None:
            return
        if added is Added.CLOCK_JUMP:
            self._pace.restart()
        self._bag_ns[newest.stamp_ns] = bag_ns
        if self._pace.is_due(newest.stamp_ns):
            self._process()

    def finish(self) -> None:
        """Recognise everybody's last frame."""
        self._process()
        if self._events is not None:
            self._outputs.write_events(self._events.end_all(), self._clock.now_ns)

    def _process(self) -> None:
        for result in self._engine.process(self._summary.note):
            bag_ns = self._bag_ns[result.arrival.stamp_ns]
            self._outputs.write(result, bag_ns)
            self._summary.labels += len(result.persons)
            if self._events is not None:
                self._outputs.write_events(self._events.see(result), bag_ns)
        self._bag_ns.clear()
        newest = self._engine.newest
        if self._events is not None and newest is not None:
            timeout_s = self._engine.parameters.track_timeout_s
            ended = self._events.expire(newest, timeout_s)
            self._outputs.write_events(ended, self._clock.now_ns)
