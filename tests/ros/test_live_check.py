"""The comparison of live and offline: exact stamps, missing results count as wrong."""

import json
import os

import pytest
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker, MarkerArray

from iospstl_core.errors import InputError
from iospstl_ros.live_check import Comparison, TruthTail, _fault

OFFLINE = {"a": "wave", "b": "sit down", "c": "sit down"}


def heard(stamp_ns, person, text, action=Marker.ADD, namespace="label"):
    marker = Marker(ns=namespace, id=person, action=action, text=text)
    marker.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return MarkerArray(markers=[marker])


def truth(sequence, label, persons, last_stamp_ns):
    return {
        "sequence": sequence,
        "label": label,
        "persons": persons,
        "first_stamp_ns": 0,
        "last_stamp_ns": last_stamp_ns,
    }


def test_the_label_of_exactly_the_last_frame_counts():
    comparison = Comparison(OFFLINE)
    comparison.hear(heard(5_000_000_001, 1, "sit down 0.40"))
    comparison.hear(heard(5_000_000_002, 1, "wave 0.93"))
    comparison.hear(heard(5_000_000_002, 2, "sit down 1.00"))
    comparison.hear(heard(5_000_000_002, 1, "", Marker.DELETE))
    comparison.hear(heard(5_000_000_002, 1, "", namespace="bones"))
    comparison.add_truth(truth("a", "wave", [1], 5_000_000_002))
    (result,) = comparison.match()
    assert (result["live"], result["score"], result["equal"]) == ("wave", 0.93, True)
    assert comparison.match() == []


def test_results_may_come_after_the_truth_and_from_any_person_who_stayed():
    comparison = Comparison(OFFLINE)
    comparison.add_truth(truth("b", "sit down", [3, 2**32 - 1], 7))
    assert comparison.match() == []
    comparison.hear(heard(7, -1, "sit down 0.51"))
    assert [item["live"] for item in comparison.match()] == ["sit down"]


def test_a_sequence_without_result_is_a_wrong_one():
    comparison = Comparison(OFFLINE)
    comparison.hear(heard(1, 1, "wave 0.9"))
    comparison.hear(heard(2, 2, "wave 0.9"))
    for number, name in enumerate("abc", start=1):
        comparison.add_truth(truth(name, "sit down" if name != "a" else "wave", [number], number))
    comparison.add_truth({"done": True})
    comparison.match()
    assert comparison.is_done
    assert comparison.summary() == {
        "n_windows": 3,
        "n_results": 2,
        "n_equal": 1,
        "live_accuracy": pytest.approx(1 / 3),
        "offline_accuracy": 1.0,
    }


def test_a_sequence_unknown_offline_is_named():
    with pytest.raises(InputError, match="expected a label for 'd'"):
        Comparison(OFFLINE).add_truth(truth("d", "wave", [1], 1))


@pytest.mark.parametrize(
    ("n_results", "n_labels", "is_complete", "fault"),
    [
        (95, 10, True, None),
        (94, 10, True, "expected results for 95% of 100 windows, got 94"),
        (95, 0, True, "nothing on the label topic"),
        (95, 10, False, "had not finished after 60 s"),
    ],
)
def test_success_is_decided(n_results, n_labels, is_complete, fault):
    summary = {"n_windows": 100, "n_results": n_results}
    found = _fault(summary, n_labels, is_complete, 60.0)
    assert found is None if fault is None else fault in found


def test_a_run_that_played_nothing_is_no_success():
    assert _fault({"n_windows": 0, "n_results": 0}, 1, True, 1.0) == "the player played nothing"


def test_the_truth_is_read_while_it_is_written(tmp_path):
    path = tmp_path / "truth.jsonl"
    tail = TruthTail(path)
    assert tail.read() == []
    with path.open("w") as file:
        file.write(json.dumps({"a": 1}) + '\n{"b"')
        file.flush()
        assert tail.read() == [{"a": 1}]
        assert tail.read() == []
        file.write(": 2}\n")
        file.flush()
        assert tail.read() == [{"b": 2}]


def test_a_file_of_an_earlier_run_does_not_count(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"done": true}\n')
    os.utime(path, (1e9, 1e9))
    assert TruthTail(path).read() == []
