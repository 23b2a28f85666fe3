"""The topics of the results: who is shown there, and what has to be taken back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from iospstl_ros.detections import detection_message
from iospstl_ros.events import ActionEvent, ActionEvents
from iospstl_ros.imputed import imputed_message
from iospstl_ros.live_windows import Arrival
from iospstl_ros.outputs import (
    delete_message,
    label_message,
    make_header,
    marker_message,
)
from iospstl_ros.results import FrameResult
from iospstl_ros.settings import RecognizerParameters

_DEPTH = 10


def optional_messages(package: str) -> ModuleType | None:
    """Return the messages, or services, of a package such as ``vision_msgs.msg``, if installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


class Publishers:
    """Publishes results, markers and events, and takes back what is over.

    Owns the publishers; one thread at a time may use it.

    Parameters
    ----------
    create : callable
        ``create(message class, topic, depth)`` returns a publisher.
    """

    def __init__(self, create: Callable[[Any, str, int], Any]) -> None:
        self._detections = optional_messages("vision_msgs.msg")
        self._events = ActionEvents()
        self._shown: dict[int, Arrival] = {}
        self._label = create(String, "action_label", _DEPTH)
        self._imputed = create(PointCloud2, "~/imputed", _DEPTH)
        self._markers = create(MarkerArray, "~/markers", _DEPTH)
        self._event = create(String, "~/events", _DEPTH)
        self._actions: Any = None
        if self._detections is not None:
            self._actions = create(self._detections.Detection3DArray, "~/actions", _DEPTH)

    @property
    def has_actions(self) -> bool:
        """Whether ``vision_msgs`` is installed, so that there is a topic ``~/actions``."""
        return self._detections is not None

    @property
    def is_showing(self) -> bool:
        """Whether markers or actions are still to be taken back."""
        return bool(self._shown or self._events)

    def publish_label(self, result: FrameResult) -> bool:
        """Publish the label of the most salient person; return whether there was one."""
        message = label_message(result)
        if message is not None:
            self._label.publish(message)
        return message is not None

    def publish_rest(self, result: FrameResult, parameters: RecognizerParameters) -> None:
        """Publish all but the label; messages that nobody listens to are not even made."""
        if parameters.publish_events:
            self._tell(self._events.see(result))
        if result.persons and parameters.publish_imputed and _is_heard(self._imputed):
            self._imputed.publish(imputed_message(result, make_header(result.arrival)))
        if result.persons and parameters.publish_actions and _is_heard(self._actions):
            header = make_header(result.arrival)
            message = detection_message(result, parameters.top_k, self._detections, header)
            self._actions.publish(message)
        if result.persons and parameters.publish_markers:
            self._shown |= dict.fromkeys(
                (person.track_id for person in result.persons), result.arrival
            )
            if _is_heard(self._markers):
                lifetime_s = max(1.0, parameters.track_timeout_s, 2.0 / parameters.infer_rate_hz)
                self._markers.publish(marker_message(result, lifetime_s))
        self._delete_markers(result.hidden)

    def take_back(self, newest: Arrival, parameters: RecognizerParameters) -> None:
        """Take away the markers and, after the timeout, the actions of who is not in a frame."""
        self._delete_markers(self._shown.keys() - newest.track_ids)
        if parameters.publish_events:
            self._tell(self._events.expire(newest, parameters.track_timeout_s))
        else:
            self._tell(self._events.end_all())  # what was told before it was switched off

    def take_back_all(self) -> None:
        """Take away all markers and end all actions."""
        self._delete_markers(list(self._shown))
        self._tell(self._events.end_all())

    def _delete_markers(self, track_ids: Iterable[int]) -> None:
        gone = self._shown.keys() & set(track_ids)
        if gone:
            newest = max((self._shown[track_id] for track_id in gone), key=lambda a: a.received_s)
            self._markers.publish(delete_message(newest, gone))
        for track_id in gone:
            del self._shown[track_id]

    def _tell(self, events: Iterable[ActionEvent]) -> None:
        for event in events:
            self._event.publish(String(data=event.to_json()))


def _is_heard(publisher: Any) -> bool:
    """Whether somebody has subscribed."""
    return publisher is not None and publisher.get_subscription_count() > 0
