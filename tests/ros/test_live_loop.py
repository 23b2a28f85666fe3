"""Between subscription and publishers: faults are counted, and nothing is cleared under work."""

import threading
import time
from dataclasses import replace

import pytest
from sensor_msgs.msg import PointCloud2

from iospstl_core.errors import BundleError
from tests.ros.rig import Rig, counts, deleted_ids, events
from tests.ros.tiny import make_bundle, raised_hand


@pytest.fixture
def rig(bundle):
    return Rig(bundle)


def dropped(rig):
    return rig.engine.statistics.report().dropped


def test_what_comes_in_comes_out(rig):
    rig.play()
    rig.loop.work()
    assert rig.topics["action_label"].sent[0].data == "hand up"
    assert counts(rig.topics)["~/markers"] == 1
    assert events(rig.topics) == [("started", "1", "hand up")]
    report = rig.engine.statistics.report()
    assert report.age_ms == (pytest.approx(1000 - 19 * 33, abs=1),)
    assert report.latency_ms[0] > 0
    assert not rig.loop.look()


def test_bytes_that_are_no_message_are_counted_as_such(rig):
    for data in (b"", b"\0\1\0\0", bytes(range(256)), b"\0\1\0\0" + b"\xff" * 100):
        assert not rig.loop.receive(data, PointCloud2)
    assert dropped(rig) == {"undecodable message": 4}
    assert rig.engine.statistics.report().received == 4
    assert "message dropped: undecodable" in rig.log.warnings[0]


def test_malformed_late_and_surprising_messages_are_counted(rig, monkeypatch):
    rig.play()
    assert not rig.loop.store(PointCloud2(height=1, width=25))
    assert not rig.send(3, {1: raised_hand(1, 0.4)[0]})
    monkeypatch.setattr(rig.engine, "receive", lambda message: 1 / 0)
    assert not rig.loop.store(PointCloud2())
    assert dropped(rig) == {
        "malformed message": 1,
        "stamp not newer than the last one": 1,
        "message that raised ZeroDivisionError": 1,
    }
    assert len(rig.log.warnings) == 3


def test_a_jump_of_the_stamps_is_told(rig):
    rig.play(start=3000)
    assert rig.send(0, {1: raised_hand(1, 0.4)[0]})
    assert "the clock of the stamps jumped back" in rig.log.warnings[-1]


def test_a_jump_of_the_node_s_clock_clears_before_the_next_frame(rig):
    rig.play()
    rig.loop.work()
    rig.loop.note_jump(None)
    assert rig.engine.newest is not None  # the clock's callback itself does nothing
    assert rig.send(5, {1: raised_hand(1, 0.4)[0]})  # would be late without the jump
    assert rig.engine.statistics.report().clock_jumps == 1
    assert deleted_ids(rig.topics) == [1]
    assert [event for event, _, _ in events(rig.topics)] == ["started", "ended"]
    assert rig.send(6, {1: raised_hand(1, 0.4)[0]})
    assert rig.engine.statistics.report().clock_jumps == 1


def test_silence_takes_everything_back(rig):
    rig.play()
    rig.loop.work()
    assert rig.engine.statistics.persons == 1
    assert not rig.loop.look()
    time.sleep(0.55)
    assert rig.loop.look()
    rig.loop.work()
    assert deleted_ids(rig.topics) == [1]
    assert events(rig.topics)[-1] == ("ended", "1", "hand up")
    assert rig.engine.statistics.persons == 0
    assert not rig.loop.look()


def test_people_who_leave_lose_their_markers_at_once(rig):
    rig.play()
    rig.loop.work()
    rig.send(20, {})
    rig.loop.work()
    assert deleted_ids(rig.topics) == [1]
    assert len(events(rig.topics)) == 1
    rig.send(40, {})
    rig.loop.work()
    assert events(rig.topics)[-1] == ("ended", "1", "hand up")


def test_nothing_is_cleared_while_the_worker_is_at_work(rig, monkeypatch):
    is_inside, may_go_on, order = threading.Event(), threading.Event(), []

    def process(on_error):
        is_inside.set()
        may_go_on.wait(5.0)
        order.append("processed")
        return []

    clear = rig.engine.clear
    monkeypatch.setattr(rig.engine, "process", process)
    monkeypatch.setattr(rig.engine, "clear", lambda: (order.append("cleared"), clear()))
    worker = threading.Thread(target=rig.loop.work)
    worker.start()
    assert is_inside.wait(5.0)
    with pytest.raises(TimeoutError, match=r"busy for more than 0\.05 s"):
        rig.loop.forget(patience_s=0.05)
    assert order == []
    threading.Timer(0.1, may_go_on.set).start()
    rig.loop.forget()
    worker.join()
    assert order == ["processed", "cleared"]


def test_a_clock_jump_waits_for_a_worker_that_hangs(rig, monkeypatch):
    rig.play()
    rig.loop.note_jump(None)
    with monkeypatch.context() as patch:
        patch.setattr(rig.loop, "forget", lambda: (_ for _ in ()).throw(TimeoutError("busy")))
        rig.send(20, {1: raised_hand(1, 0.4)[0]})
    assert "the windows are not forgotten yet" in rig.log.warnings[-1]
    assert rig.engine.statistics.report().clock_jumps == 0
    rig.send(3, {1: raised_hand(1, 0.4)[0]})
    assert rig.engine.statistics.report().clock_jumps == 1


def test_a_window_that_fails_and_a_worker_that_fails_are_told(rig, monkeypatch):
    rig.play()
    monkeypatch.setattr(rig.engine._recognizer, "recognize", lambda windows: 1 / 0)
    rig.loop.work()
    rig.loop.note_error(ValueError("a topic"))
    assert rig.log.errors == [
        "a window failed: ZeroDivisionError: division by zero",
        "the worker failed: ValueError: a topic",
    ]
    report = rig.engine.statistics.report()
    assert report.errors_by_kind == {"ZeroDivisionError": 1, "ValueError": 1}


def test_an_overwritten_bundle_is_not_used(tmp_path):
    rig = Rig(make_bundle(tmp_path / "bundle"))
    rig.play()
    path = tmp_path / "bundle" / "bank" / "mean.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="overwritten in place while in use"):
        rig.loop.work()
    assert counts(rig.topics)["action_label"] == 0


def test_parameters_count_from_the_next_window_on(rig):
    rig.engine.parameters = replace(rig.engine.parameters, publish_imputed=False)
    rig.play()
    rig.loop.work()
    assert counts(rig.topics)["~/imputed"] == 0
