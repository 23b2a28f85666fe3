"""The recogniser's state as a ``diagnostic_msgs/DiagnosticArray``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from iospstl_ros.bundle_watch import BundleState
from iospstl_ros.statistics import Report

MIRROR_CHECKS = 20
"""Skeletons that must have been looked at before left and right are called exchanged."""

_WANTED_DROPS = frozenset({"persons beyond max_persons"})
"""Dropped because a parameter says so: counted, but nothing to warn of."""

_OK, _WARN, _ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Identity:
    """What does not change while the node is configured.

    Attributes
    ----------
    node : str
        Full name.
    bundle : str
        Its folder.
    providers : tuple of str
        What was asked for.
    provider : str
        What is in use.
    adapter : str
    """

    node: str
    bundle: str
    providers: tuple[str, ...]
    provider: str
    adapter: str = "pointcloud"

    @property
    def is_fallback(self) -> bool:
        """Whether another provider than the first one asked for is in use."""
        return self.provider != self.providers[0]


@dataclass(frozen=True)
class Condition:
    """What changes while the node is configured, apart from what is counted.

    Attributes
    ----------
    state : {"active", "inactive", "paused"}
    bundle : BundleState
    """

    state: str
    bundle: BundleState = BundleState.SAME


def diagnostic_message(
    stamp: Time, identity: Identity, condition: Condition, report: Report, previous: Report
) -> DiagnosticArray:
    """Return the node's status; what happened since `previous` decides on its level."""
    level, message = _judge(identity, condition, report, previous)
    values = {
        "state": condition.state,
        "adapter": identity.adapter,
        "bundle": identity.bundle,
        "bundle on disk": condition.bundle.value,
        "provider asked for": ", ".join(identity.providers),
        "provider in use": identity.provider,
        **_input_values(report),
        **_people_values(report),
        **_time_values(report),
    }
    status = DiagnosticStatus(
        level=level,
        name=f"{identity.node}: action recognition",
        message=message,
        hardware_id=identity.provider,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _input_values(report: Report) -> dict[str, str]:
    is_there = np.isfinite(report.input_age_s)
    return {
        "input rate (Hz)": f"{report.input_rate_hz:.1f}",
        "input age (s)": f"{report.input_age_s:.2f}" if is_there else "none yet",
        "frames received": str(report.received),
        **_counts("dropped", report.dropped),
        "clock jumps": str(report.clock_jumps),
        "silences": str(report.silences),
        "mirrored skeletons": f"{report.mirrored} of the last {report.mirror_checks}",
    }


def _people_values(report: Report) -> dict[str, str]:
    imputation_mm = [value * 1e3 for value in report.imputation_m]
    return {
        "persons": str(report.persons),
        "too little seen": str(report.hidden),
        "observed ratio": _mean(report.observed_ratio, "{:.2f}"),
        "joints taken out": str(report.invented),
        "imputation distance (mm)": _mean(imputation_mm, "{:.0f}"),
        "labels": str(report.results),
        "unknown": str(report.unknown),
        "unknown rate": _mean([report.unknown_share], "{:.2f}"),
        "inferences": str(report.inferences),
        **_counts("errors", report.errors_by_kind),
    }


def _time_values(report: Report) -> dict[str, str]:
    values = {
        **_percentiles("callback to label (ms)", report.latency_ms),
        **_percentiles("header stamp to label (ms)", report.age_ms),
    }
    for stage, durations_ms in sorted(report.stage_ms.items()):
        values |= _percentiles(f"{stage} (ms)", durations_ms)
    return values


def _judge(
    identity: Identity, condition: Condition, report: Report, previous: Report
) -> tuple[bytes, str]:
    """Return the worst level and all that is on it, the most urgent first."""
    faults = _find_faults(identity, condition, report, previous)
    for level in (_ERROR, _WARN):
        texts = [text for found, text in faults if found == level]
        if texts:
            return level, "; ".join(texts)
    return _OK, "recognising" if condition.state == "active" else condition.state


def _find_faults(
    identity: Identity, condition: Condition, report: Report, previous: Report
) -> list[tuple[bytes, str]]:
    faults = []
    if condition.bundle is BundleState.OVERWRITTEN:
        faults.append((_ERROR, f"bundle: {condition.bundle.value}"))
    n_errors = report.errors - previous.errors
    if n_errors:
        faults.append((_ERROR, f"{n_errors} windows failed; see the log"))
    if condition.state == "active":
        faults += [(_WARN, text) for text in _find_input_faults(report, previous)]
    if condition.bundle is BundleState.REPLACED:
        faults.append((_WARN, f"bundle: {condition.bundle.value}"))
    if identity.is_fallback:
        text = (
            f"runs on {identity.provider} instead of {identity.providers[0]}; if that is meant, "
            f"set providers to ['{identity.provider}']"
        )
        faults.append((_WARN, text))
    return faults


def _find_input_faults(report: Report, previous: Report) -> list[str]:
    texts = []
    if report.input_rate_hz == 0:
        texts.append("no skeletons come in")
    n_dropped = _unwanted(report) - _unwanted(previous)
    if n_dropped:
        texts.append(f"{n_dropped} dropped since the last report")
    if report.clock_jumps > previous.clock_jumps:
        texts.append("the clock jumped: all windows start afresh")
    if report.mirror_checks >= MIRROR_CHECKS and 2 * report.mirrored > report.mirror_checks:
        texts.append(
            "left and right are exchanged in most of the recent skeletons: switch off the "
            "mirroring of the driver or camera, or choose the adapter and joint map that fit"
        )
    return texts


def _unwanted(report: Report) -> int:
    return sum(count for reason, count in report.dropped.items() if reason not in _WANTED_DROPS)


def _counts(name: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Return the sum, and every count."""
    every = {f"{name}: {kind}": str(count) for kind, count in sorted(counts.items())}
    return {name: str(sum(counts.values())), **every}


def _mean(values: Sequence[float], form: str) -> str:
    known = [value for value in values if not np.isnan(value)]
    return form.format(np.mean(known)) if known else "none yet"


def _percentiles(name: str, values: Sequence[float]) -> dict[str, str]:
    if not values:
        return {f"{name} {part}": "none yet" for part in ("p50", "p95", "max")}
    p50, p95 = np.percentile(values, [50, 95])
    return {
        f"{name} p50": f"{p50:.2f}",
        f"{name} p95": f"{p95:.2f}",
        f"{name} max": f"{max(values):.2f}",
    }
