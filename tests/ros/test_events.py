"""Starts and ends of actions: told once, in the right order, whatever ends them."""

import json

import pytest

from iospstl_ros.events import ActionEvents
from tests.ros.people import make_arrival, make_person, make_result

S = 10**9


def told(events):
    return [(event.event, event.person, event.label, event.stamp_ns // S) for event in events]


@pytest.fixture
def events():
    return ActionEvents()


def see(events, second, *persons, hidden=()):
    return told(events.see(make_result(*persons, hidden=hidden, stamp_ns=second * S)))


def test_an_action_is_told_when_it_starts_and_when_another_takes_its_place(events):
    assert see(events, 1, make_person(1, "wave")) == [("started", "1", "wave", 1)]
    assert see(events, 2, make_person(1, "wave")) == []
    assert see(events, 3, make_person(1, "sit")) == [
        ("ended", "1", "wave", 3),
        ("started", "1", "sit", 3),
    ]


def test_it_ends_with_the_unknown_label_and_with_too_little_seen(events):
    assert see(events, 1, make_person(1, "unknown")) == []
    see(events, 2, make_person(1, "wave"), make_person(2, "sit"))
    assert see(events, 3, make_person(1, "unknown"), hidden=(2,)) == [
        ("ended", "2", "sit", 3),
        ("ended", "1", "wave", 3),
    ]
    assert not events


def test_it_ends_when_the_person_is_away_for_longer_than_the_timeout(events):
    see(events, 10, make_person(1, "wave"), make_person(2, "sit"))

    def frame(second, *people):
        return told(events.expire(make_arrival(second * S, people), track_timeout_s=2.0))

    assert frame(11, 2) == []
    assert frame(12, 2) == []
    assert frame(13, 2) == [("ended", "1", "wave", 13)]
    assert frame(15, 2) == []  # seen in between without a new result
    assert frame(16) == frame(17) == []
    assert frame(18) == [("ended", "2", "sit", 18)]


def test_a_clock_that_jumped_back_ends_what_it_left_behind(events):
    see(events, 10, make_person(1, "wave"))
    assert told(events.expire(make_arrival(5 * S, ()), 2.0)) == [("ended", "1", "wave", 5)]


def test_all_end_with_the_stamp_at_which_they_were_last_seen(events):
    see(events, 10, make_person(1, "wave"), make_person(2, "sit"))
    events.expire(make_arrival(11 * S, (2,)), 2.0)
    assert told(events.end_all()) == [("ended", "1", "wave", 10), ("ended", "2", "sit", 11)]
    assert events.end_all() == []


def test_an_event_is_one_json_object():
    person = make_person(7, "hand über", 0.93456, name="body_é")
    (event,) = ActionEvents().see(make_result(person))
    assert "hand über" in event.to_json()
    assert json.loads(event.to_json()) == {
        "event": "started",
        "person": "body_é",
        "label": "hand über",
        "score": 0.9346,
        "stamp": 1_795_000_000.123457,
    }
