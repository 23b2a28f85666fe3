"""The worker: paced, never deaf to the last notification, not stopped by an exception."""

import itertools
import threading
import time

from iospstl_ros.worker import PacedWorker


def run(work, on_error=lambda error: None, rate_hz=20.0):
    worker = PacedWorker(work, on_error, rate_hz)
    worker.start()
    return worker


def wait_for(condition, timeout_s=3.0):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_it_starts_at_once_and_then_keeps_the_rate():
    times = []
    worker = run(lambda: times.append(time.monotonic()))
    started = time.monotonic()
    while time.monotonic() < started + 0.4:
        worker.notify()
        time.sleep(0.002)
    assert worker.stop()
    assert times[0] - started < 0.04
    assert 5 <= len(times) <= 9
    gaps_s = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps_s) > 0.024  # half a period, after one that was late


def test_what_comes_while_it_works_is_worked_on_afterwards():
    seen, value, is_busy = [], [0], threading.Event()

    def work():
        seen.append(value[0])
        is_busy.set()
        time.sleep(0.1)

    worker = run(work, rate_hz=1000.0)
    worker.notify()
    assert is_busy.wait(1.0)
    for number in (1, 2, 3):
        value[0] = number
        worker.notify()
    assert wait_for(lambda: len(seen) == 2)
    assert seen == [0, 3]
    time.sleep(0.15)
    assert worker.stop()
    assert seen == [0, 3]


def test_an_exception_is_handed_over_and_the_next_window_goes_on():
    errors, calls = [], []

    def work():
        calls.append(1)
        raise ValueError("a bad window")

    worker = run(work, errors.append, rate_hz=1000.0)
    for count in (1, 2):
        worker.notify()
        assert wait_for(lambda count=count: len(errors) == count)
    assert worker.stop()
    assert [str(error) for error in errors] == ["a bad window"] * 2


def test_it_stops_at_once_while_it_waits():
    for is_pending in (False, True):
        worker = run(lambda: None, rate_hz=0.1)
        for _ in range(1 + is_pending):
            worker.notify()
            time.sleep(0.02)
        started = time.monotonic()
        assert worker.stop()
        assert time.monotonic() - started < 0.2


def test_a_worker_that_hangs_is_left_behind():
    release = threading.Event()
    worker = run(release.wait)
    worker.notify()
    time.sleep(0.05)
    assert not worker.stop(timeout_s=0.05)
    release.set()
    assert worker.stop()


def test_a_worker_that_never_started_stops():
    assert PacedWorker(lambda: None, lambda error: None, 10.0).stop()


def test_it_starts_on_what_is_new_not_on_what_came_in_the_pause():
    """Frames at 20 Hz, work at 15: every label is of the frame that has just come."""
    ages_s, notified_s = [], [0.0]
    worker = run(lambda: ages_s.append(time.monotonic() - notified_s[0]), rate_hz=15.0)
    for _ in range(24):
        notified_s[0] = time.monotonic()
        worker.notify()
        time.sleep(0.05)
    assert worker.stop()
    assert 12 <= len(ages_s) <= 19
    assert sorted(ages_s)[len(ages_s) // 2] < 0.01


def test_the_last_notification_of_a_pause_is_worked_on_one_period_later():
    times = []
    worker = run(lambda: times.append(time.monotonic()), rate_hz=10.0)
    worker.notify()
    assert wait_for(lambda: len(times) == 1)
    worker.notify()
    assert wait_for(lambda: len(times) == 2)
    time.sleep(0.25)
    assert worker.stop()
    assert len(times) == 2
    assert 0.15 < times[1] - times[0] < 0.3
