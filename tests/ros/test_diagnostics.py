"""What the node tells about itself."""

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from iospstl_ros.bundle_watch import BundleState
from iospstl_ros.diagnostics import MIRROR_CHECKS, Condition, Identity, diagnostic_message
from iospstl_ros.live_windows import Added
from iospstl_ros.statistics import Statistics
from tests.ros.people import make_person

CPU = Identity("/recognizer", "bundles/b", ("CPUExecutionProvider",), "CPUExecutionProvider")
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
ACTIVE = Condition("active")


def fill_statistics(dropped=0, errors=0, mirrored=0):
    statistics = Statistics()
    for _ in range(20):
        statistics.add_message(7.9)
    for index in range(30):
        statistics.add_message(10.0 + index / 30)
        statistics.add_frame(2, Added.STORED)
        statistics.add_mirror(1.0 if index < mirrored else -1.0)
    statistics.add_mirror(None)
    for duration_ms in range(1, 101):
        statistics.add_inference(1, duration_ms / 1e3)
        statistics.add_stage("read", duration_ms / 1e5)
        statistics.add_output(duration_ms / 1e3, 0.2)
    for _ in range(errors):
        statistics.add_error(RuntimeError("no memory"))
    for reason in ("malformed message", "undecodable message"):
        for _ in range(dropped):
            statistics.add_drop(reason)
    return statistics


def report_after(**counts):
    return fill_statistics(**counts).report(now_s=11.0)


def status_of(report, previous=None, identity=CPU, condition=ACTIVE):
    previous = Statistics().report() if previous is None else previous
    (status,) = diagnostic_message(Time(), identity, condition, report, previous).status
    return status, {item.key: item.value for item in status.values}


def test_all_values_are_told():
    statistics = fill_statistics(dropped=4, errors=2, mirrored=3)
    statistics.add_error(ValueError("a window"))
    error_m = np.array([[0.0, 0.05], [np.nan, 0.07]], dtype=np.float32)
    statistics.add_result(make_person(1, observed_ratio=0.5), error_m)
    statistics.add_result(make_person(2, "unknown", observed_ratio=0.7), None)
    statistics.add_hidden(3)
    statistics.add_invented(5)
    status, values = status_of(statistics.report(now_s=11.0), identity=replace(CPU, adapter="zed"))
    assert status.name == "/recognizer: action recognition"
    assert values["state"] == "active"
    assert values["adapter"] == "zed"
    assert values["bundle"] == "bundles/b"
    assert values["bundle on disk"] == "as loaded"
    assert values["provider in use"] == values["provider asked for"] == "CPUExecutionProvider"
    assert values["input rate (Hz)"] == "10.0"  # 30 within the last 3 s
    assert values["input age (s)"] == "0.03"
    assert values["frames received"] == "50"
    assert values["dropped"] == "8"
    assert values["dropped: malformed message"] == values["dropped: undecodable message"] == "4"
    assert values["mirrored skeletons"] == "3 of the last 30"
    assert values["persons"] == "2"
    assert values["too little seen"] == "3"
    assert values["joints taken out"] == "5"
    assert values["observed ratio"] == "0.60"
    assert values["imputation distance (mm)"] == "60"
    assert (values["labels"], values["unknown"], values["unknown rate"]) == ("2", "1", "0.50")
    assert values["inferences"] == "100"
    for name in ("recognize (ms)", "callback to label (ms)"):
        assert float(values[f"{name} p50"]) == pytest.approx(50.5)
        assert float(values[f"{name} p95"]) == pytest.approx(95.05)
        assert float(values[f"{name} max"]) == pytest.approx(100)
    assert float(values["read (ms) p50"]) == pytest.approx(0.505, abs=0.01)
    assert float(values["header stamp to label (ms) p50"]) == pytest.approx(200)
    assert values["errors"] == "3"
    assert (values["errors: RuntimeError"], values["errors: ValueError"]) == ("2", "1")


def test_clock_jumps_and_silences_are_counted_apart():
    statistics = Statistics()
    statistics.add_frame(1, Added.CLOCK_JUMP)
    statistics.add_clock_jump()
    statistics.add_frame(1, Added.SILENCE)
    _, values = status_of(statistics.report())
    assert (values["clock jumps"], values["silences"]) == ("2", "1")


def test_nobody_is_there_any_more():
    statistics = fill_statistics()
    statistics.clear_persons()
    assert status_of(statistics.report())[1]["persons"] == "0"


@pytest.mark.parametrize(
    ("counts", "level", "message"),
    [
        ({}, OK, "recognising"),
        ({"dropped": 3}, WARN, "6 dropped since the last report"),
        ({"errors": 2, "dropped": 3}, ERROR, "2 windows failed; see the log"),
    ],
)
def test_the_level_is_that_of_what_is_new(counts, level, message):
    report = report_after(**counts)
    status, _ = status_of(report)
    assert (status.level, status.message) == (level, message)
    status, _ = status_of(report, previous=report)
    assert status.level == OK


def test_what_a_parameter_drops_is_no_reason_to_warn():
    statistics = fill_statistics()
    statistics.add_drop("persons beyond max_persons", 44)
    status, values = status_of(statistics.report(now_s=11.0))
    assert status.level == OK
    assert values["dropped: persons beyond max_persons"] == "44"


def test_everything_of_the_worst_level_is_said():
    report = replace(report_after(dropped=1, mirrored=30), input_rate_hz=0.0)
    status, _ = status_of(report)
    assert status.level == WARN
    assert status.message.startswith("no skeletons come in; 2 dropped since the last report; left")


@pytest.mark.parametrize(("mirrored", "is_told"), [(15, False), (16, True), (30, True)])
def test_mirrored_skeletons_are_told_with_the_remedy(mirrored, is_told):
    status, _ = status_of(report_after(mirrored=mirrored))
    assert (status.level == WARN) == is_told
    assert ("left and right are exchanged" in status.message) == is_told
    assert ("switch off the mirroring" in status.message) == is_told


def test_a_few_skeletons_say_nothing_about_mirrors():
    statistics = Statistics()
    statistics.add_message(10.0)
    for _ in range(MIRROR_CHECKS - 1):
        statistics.add_mirror(1.0)
    assert status_of(statistics.report(now_s=10.5))[0].level == OK
    statistics.add_mirror(1.0)
    assert status_of(statistics.report(now_s=10.5))[0].level == WARN


def test_silence_fallback_and_inactivity_are_told():
    silent = replace(report_after(), input_rate_hz=0.0)
    assert status_of(silent)[0].message == "no skeletons come in"
    for state in ("inactive", "paused"):
        status, _ = status_of(silent, condition=Condition(state))
        assert (status.level, status.message) == (OK, state)
    fallback = replace(CPU, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    status, _ = status_of(report_after(), identity=fallback)
    assert status.level == WARN
    assert "CPUExecutionProvider instead of CUDAExecutionProvider" in status.message
    assert "set providers to ['CPUExecutionProvider']" in status.message


@pytest.mark.parametrize(
    ("state", "level"), [(BundleState.REPLACED, WARN), (BundleState.OVERWRITTEN, ERROR)]
)
def test_a_bundle_that_changed_on_disk_is_told(state, level):
    status, values = status_of(report_after(), condition=Condition("active", state))
    assert status.level == level
    assert "cleanup and configure" in status.message
    assert values["bundle on disk"] == state.value


def test_nothing_measured_yet_is_said():
    _, values = status_of(Statistics().report())
    for key in ("callback to label (ms) p50", "observed ratio", "unknown rate", "input age (s)"):
        assert values[key] == "none yet"
