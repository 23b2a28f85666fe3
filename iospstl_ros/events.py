"""When actions start and end: a person's labels, told only when they change."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from iospstl_ros.live_windows import Arrival
from iospstl_ros.results import FrameResult

STARTED, ENDED = "started", "ended"


@dataclass(frozen=True)
class ActionEvent:
    """The start or the end of an action.

    Attributes
    ----------
    event : {"started", "ended"}
    person : str
        The source's name of the person.
    label : str
        The class.
    score : float
        Its probability: the first one when it starts, the last one when it ends.
    stamp_ns : int
        Of the frame that showed it, nanoseconds.
    """

    event: str
    person: str
    label: str
    score: float
    stamp_ns: int

    def to_json(self) -> str:
        """Return the event as a JSON object; the stamp in seconds."""
        return json.dumps(
            {
                "event": self.event,
                "person": self.person,
                "label": self.label,
                "score": round(self.score, 4),
                "stamp": round(self.stamp_ns * 1e-9, 6),
            },
            ensure_ascii=False,
        )


@dataclass(frozen=True)
class _Action:
    """What a person is doing, and when they were last seen."""

    person: str
    label: str
    score: float
    seen_ns: int


class ActionEvents:
    """Remembers what everybody is doing.

    An action lasts from the first result that names the class to the first one that does not. It
    also ends when too little of the person is seen, and when the person has been away for longer
    than the time that ids survive.
    """

    def __init__(self) -> None:
        self._actions: dict[int, _Action] = {}

    def __bool__(self) -> bool:
        return bool(self._actions)

    def see(self, result: FrameResult) -> list[ActionEvent]:
        """Return what new results start and end."""
        stamp_ns = result.arrival.stamp_ns
        events = []
        for track_id in result.hidden:
            events += self._end(track_id, stamp_ns)
        for person in result.persons:
            before = self._actions.get(person.track_id)
            if before is not None and not (person.is_known and before.label == person.label):
                events += self._end(person.track_id, stamp_ns)
                before = None
            if not person.is_known:
                continue
            action = _Action(person.name, person.label, person.score, stamp_ns)
            self._actions[person.track_id] = action
            if before is None:
                events.append(_event(STARTED, action, stamp_ns))
        return events

    def expire(self, newest: Arrival, track_timeout_s: float) -> list[ActionEvent]:
        """Return the ends of those who have been away for too long when a frame comes.

        Someone whom the frame does not show, and who was last seen after it, is gone as well: the
        clock jumped back.
        """
        events = []
        for track_id, action in list(self._actions.items()):
            away_s = (newest.stamp_ns - action.seen_ns) * 1e-9
            if track_id in newest.track_ids:
                self._actions[track_id] = replace(action, seen_ns=newest.stamp_ns)
            elif not 0 <= away_s <= track_timeout_s:
                events += self._end(track_id, newest.stamp_ns)
        return events

    def end_all(self) -> list[ActionEvent]:
        """Return the ends of everybody's actions, stamped with when they were last seen."""
        events = []
        for track_id, action in list(self._actions.items()):
            events += self._end(track_id, action.seen_ns)
        return events

    def _end(self, track_id: int, stamp_ns: int) -> list[ActionEvent]:
        action = self._actions.pop(track_id, None)
        return [] if action is None else [_event(ENDED, action, stamp_ns)]


def _event(kind: str, action: _Action, stamp_ns: int) -> ActionEvent:
    return ActionEvent(kind, action.person, action.label, action.score, stamp_ns)
