"""Results as topics of a bag: what the node publishes, and everybody's labels as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from iospstl_ros.bag_messages import message_classes, types_with_vision
from iospstl_ros.bags import NewBag
from iospstl_ros.detections import detection_message
from iospstl_ros.events import ActionEvent
from iospstl_ros.imputed import imputed_message
from iospstl_ros.live_windows import Arrival
from iospstl_ros.results import FrameResult, PersonResult
from iospstl_ros.settings import RecognizerParameters

_STRING = "std_msgs/msg/String"


def output_topics(parameters: RecognizerParameters, namespace: str) -> dict[str, tuple[str, str]]:
    """Return topic and message type of all outputs by a short name."""
    node = f"{namespace}/recognizer"
    wanted = {
        "label": (f"{namespace}/action_label", _STRING, True),
        "labels": (f"{node}/labels", _STRING, True),
        "imputed": (
            f"{node}/imputed",
            "sensor_msgs/msg/PointCloud2",
            parameters.publish_imputed,
        ),
        "actions": (
            f"{node}/actions",
            "vision_msgs/msg/Detection3DArray",
            parameters.publish_actions,
        ),
        "events": (f"{node}/events", _STRING, parameters.publish_events),
    }
    return {name: (topic, kind) for name, (topic, kind, is_on) in wanted.items() if is_on}


class BagOutputs:
    """The output topics of a bag.

    Parameters
    ----------
    bag : NewBag
    parameters : RecognizerParameters
        Its ``publish_*`` say which topics there are.
    namespace : str
        In front of all topics; empty or with a leading slash.
    """

    def __init__(self, bag: NewBag, parameters: RecognizerParameters, namespace: str) -> None:
        store = types_with_vision()
        self._messages = message_classes(store)
        self._top_k = parameters.top_k
        self._write: dict[str, Callable[[int, Any], None]] = {
            name: bag.add_topic(topic, message_type, store)
            for name, (topic, message_type) in output_topics(parameters, namespace).items()
        }

    def write(self, result: FrameResult, bag_ns: int) -> None:
        """Write a result at the time at which the bag has the frame."""
        for line in _json_lines(result):
            self._write["labels"](bag_ns, self._messages.String(data=line))
        if result.most_salient is None:
            return
        self._write["label"](bag_ns, self._messages.String(data=result.most_salient.label))
        header = self._header(result.arrival)
        if "imputed" in self._write:
            self._write["imputed"](bag_ns, imputed_message(result, header, self._messages))
        if "actions" in self._write:
            message = detection_message(result, self._top_k, self._messages, header)
            self._write["actions"](bag_ns, message)

    def write_events(self, events: Iterable[ActionEvent], bag_ns: int) -> None:
        """Write starts and ends of actions."""
        for event in events:
            self._write["events"](bag_ns, self._messages.String(data=event.to_json()))

    def _header(self, arrival: Arrival) -> Any:
        seconds, nanoseconds = divmod(arrival.stamp_ns, 1_000_000_000)
        stamp = self._messages.Time(sec=seconds, nanosec=nanoseconds)
        return self._messages.Header(stamp=stamp, frame_id=arrival.frame_id)


def _json_lines(result: FrameResult) -> list[str]:
    """Return a JSON object for everybody in a frame; who was hardly seen has no label."""
    stamp_ns, names = result.arrival.stamp_ns, result.arrival.names
    rows = [_row(person, stamp_ns) for person in result.persons]
    rows += [
        {"stamp_ns": stamp_ns, "id": key, "name": names.get(key, str(key)), "label": None}
        for key in result.hidden
    ]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def _row(person: PersonResult, stamp_ns: int) -> dict[str, object]:
    return {
        "stamp_ns": stamp_ns,
        "id": person.track_id,
        "name": person.name,
        "label": person.label,
        "score": person.score,
        "known": person.known,
        "top": person.top,
        "observed_ratio": person.observed_ratio,
    }
