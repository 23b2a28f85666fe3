"""What the node tells about itself."""

from dataclasses import replace

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from iospstl_ros.diagnostics import Identity, Statistics, diagnostic_message

CPU = Identity("/recognizer", "bundles/b", ("CPUExecutionProvider",), "CPUExecutionProvider")


def report_after(**counts):
    statistics = Statistics()
    for _ in range(20):
        statistics.add_message(7.9)
    for index in range(30):
        statistics.add_message(10.0 + index / 30)
        statistics.add_frame(2, is_jump=False)
    for duration_ms in range(1, 101):
        statistics.add_inference(duration_ms / 1e3)
        statistics.add_output(duration_ms / 1e3, 0.2)
    for _ in range(counts.get("errors", 0)):
        statistics.add_error()
    if "dropped" in counts:
        statistics.add_drop("malformed message", counts["dropped"])
    return statistics.report(now_s=11.0)


def status_of(report, previous=None, identity=CPU, is_active=True):
    previous = Statistics().report() if previous is None else previous
    (status,) = diagnostic_message(Time(), identity, report, previous, is_active).status
    return status, {item.key: item.value for item in status.values}


def test_all_values_are_told():
    _, values = status_of(report_after(errors=1, dropped=4))
    assert values["provider in use"] == "CPUExecutionProvider"
    assert values["provider asked for"] == "CPUExecutionProvider"
    assert values["bundle"] == "bundles/b"
    assert values["input rate (Hz)"] == "10.0"  # 30 within the last 3 s
    assert values["frames received"] == "50"
    assert values["dropped"] == values["dropped: malformed message"] == "4"
    assert values["persons"] == "2"
    assert float(values["inference (ms) p50"]) == pytest.approx(50.5)
    assert float(values["callback to label (ms) p95"]) == pytest.approx(95.05)
    assert float(values["header stamp to label (ms) p50"]) == pytest.approx(200)
    assert values["errors"] == "1"


@pytest.mark.parametrize(
    ("counts", "level", "message"),
    [
        ({}, DiagnosticStatus.OK, "recognising"),
        ({"dropped": 3}, DiagnosticStatus.WARN, "3 dropped since the last report"),
        ({"errors": 2, "dropped": 3}, DiagnosticStatus.ERROR, "2 windows failed; see the log"),
    ],
)
def test_the_level_is_that_of_what_is_new(counts, level, message):
    report = report_after(**counts)
    status, _ = status_of(report)
    assert (status.level, status.message) == (level, message)
    status, _ = status_of(report, previous=report)
    assert status.level == DiagnosticStatus.OK


def test_silence_fallback_and_inactivity_are_told():
    silent = replace(report_after(), input_rate_hz=0.0)
    assert status_of(silent)[0].message == "no skeletons come in"
    assert status_of(silent, is_active=False)[0].message == "inactive"
    fallback = replace(CPU, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    status, _ = status_of(report_after(), identity=fallback)
    assert status.level == DiagnosticStatus.WARN
    assert "CPUExecutionProvider instead of CUDAExecutionProvider" in status.message


def test_nothing_measured_yet_is_said():
    _, values = status_of(Statistics().report())
    assert values["inference (ms) p50"] == "none yet"
