"""What is published of a result, what is not, and what is taken back."""

from dataclasses import replace

import pytest
from std_msgs.msg import String

from iospstl_ros import publishers as module
from iospstl_ros.publishers import Publishers, optional_messages
from iospstl_ros.settings import RecognizerParameters
from tests.ros import fake_vision_msgs
from tests.ros.people import make_arrival, make_person, make_result
from tests.ros.rig import Topic, counts, deleted_ids, events

S = 10**9
ALL = RecognizerParameters(publish_events=True)


@pytest.fixture
def make_publishers(monkeypatch):
    def make(n_listeners=1, has_vision=True):
        vision = fake_vision_msgs if has_vision else None
        monkeypatch.setattr(module, "optional_messages", lambda package: vision)
        topics = {}

        def create(kind, topic, depth):
            assert depth >= 10
            topics[topic] = Topic(kind, n_listeners)
            return topics[topic]

        return Publishers(create), topics

    return make


def test_everything_is_published_once(make_publishers):
    publishers, topics = make_publishers()
    result = make_result(make_person(1), make_person(2, "sit", z=3.0))
    assert publishers.publish_label(result)
    publishers.publish_rest(result, ALL)
    assert counts(topics) == {
        "action_label": 1,
        "~/imputed": 1,
        "~/markers": 1,
        "~/actions": 1,
        "~/events": 2,
    }
    assert topics["action_label"].sent == [String(data="wave")]
    assert [item.id for item in topics["~/actions"].sent[0].detections] == ["1", "2"]


@pytest.mark.parametrize("name", ["imputed", "markers", "actions", "events"])
def test_every_output_but_the_label_can_be_switched_off(make_publishers, name):
    publishers, topics = make_publishers()
    parameters = replace(ALL, **{f"publish_{name}": False})
    publishers.publish_rest(make_result(make_person(1)), parameters)
    found = counts(topics)
    assert found.pop(f"~/{name}") == 0
    assert found == {**dict.fromkeys(found, 1), "action_label": 0}


def test_nothing_is_made_that_nobody_listens_to(make_publishers):
    publishers, topics = make_publishers(n_listeners=0)
    result = make_result(make_person(1))
    publishers.publish_label(result)
    publishers.publish_rest(result, ALL)
    assert counts(topics) == {
        **dict.fromkeys(("~/imputed", "~/markers", "~/actions"), 0),
        **dict.fromkeys(("action_label", "~/events"), 1),
    }


def test_without_vision_msgs_the_rest_works(make_publishers):
    publishers, topics = make_publishers(has_vision=False)
    assert not publishers.has_actions
    publishers.publish_rest(make_result(make_person(1)), ALL)
    assert set(topics) == {"action_label", "~/imputed", "~/markers", "~/events"}
    assert make_publishers()[0].has_actions


def test_optional_messages_are_found_by_name():
    assert optional_messages("std_msgs.msg").String is String
    assert optional_messages("no_such_msgs.msg") is None


def test_people_of_whom_too_little_is_seen_have_no_label_and_no_markers(make_publishers):
    publishers, topics = make_publishers()
    publishers.publish_rest(make_result(make_person(1), make_person(2)), ALL)
    hidden = make_result(hidden=(1, 2))
    assert not publishers.publish_label(hidden)
    publishers.publish_rest(hidden, ALL)
    assert deleted_ids(topics) == [1, 2]
    assert events(topics)[2:] == [("ended", "1", "wave"), ("ended", "2", "wave")]
    assert counts(topics)["~/imputed"] == counts(topics)["~/actions"] == 1
    assert not publishers.is_showing


def test_markers_go_at_once_and_actions_after_the_timeout(make_publishers):
    publishers, topics = make_publishers()
    publishers.publish_rest(make_result(make_person(1), make_person(2), stamp_ns=S), ALL)
    publishers.take_back(make_arrival(S + S // 10, people=(2,)), ALL)
    assert deleted_ids(topics) == [1]
    assert len(events(topics)) == 2
    publishers.take_back(make_arrival(2 * S + 1, people=(2,)), ALL)
    assert events(topics)[2:] == [("ended", "1", "wave")]
    assert publishers.is_showing


def test_all_is_taken_back_once(make_publishers):
    publishers, topics = make_publishers()
    assert not publishers.is_showing
    publishers.publish_rest(make_result(make_person(1), make_person(2)), ALL)
    assert publishers.is_showing
    for _ in range(2):
        publishers.take_back_all()
        assert deleted_ids(topics) == [1, 2]
        assert [event for event, _, _ in events(topics)] == ["started"] * 2 + ["ended"] * 2
        assert not publishers.is_showing


def test_actions_end_when_events_are_switched_off(make_publishers):
    publishers, topics = make_publishers()
    publishers.publish_rest(make_result(make_person(1)), ALL)
    off = replace(ALL, publish_events=False)
    publishers.publish_rest(make_result(make_person(1, "sit")), off)
    publishers.take_back(make_arrival(people=(1,)), off)
    assert [event for event, _, _ in events(topics)] == ["started", "ended"]
