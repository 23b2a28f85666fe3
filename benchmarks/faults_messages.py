"""Damaged messages: thousands into the inner loop of the node, and some over DDS."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from faults_bench import FRAME_NS, Bench, Outcome
from sensor_msgs.msg import PointCloud2

from tests.ros import fuzz
from tests.ros.rig import Rig

_WORK_EVERY = 10
_DDS_PAUSE_S = 0.004
_N_HYPOTHESIS = 0.1
"""Share of the messages that hypothesis makes: it is slow."""


def fuzz_here(bench: Bench, n_messages: int, seed: int) -> list[Outcome]:
    """Send damaged messages through adapter and engine in this process."""
    kinds = [*fuzz.TYPED, *fuzz.LOOSE, "bytes of a message lost, changed, made up"]
    n_each = int(n_messages * (1 - _N_HYPOTHESIS)) // len(kinds)
    outcomes = []
    for index, kind in enumerate(kinds):
        rng = np.random.default_rng((seed, index))

        def send(rig: Rig, n: int, kind: str = kind, rng: Any = rng) -> bool:
            if kind in fuzz.TYPED or kind in fuzz.LOOSE:
                return bool(rig.loop.store(fuzz.damaged(kind, rng, (1 + n) * FRAME_NS)))
            data = fuzz.damaged_bytes(rng, (1 + n) * FRAME_NS)
            return bool(rig.loop.receive(data, PointCloud2))

        outcomes.append(_fuzz_kind(bench, kind, n_each, send))
    outcomes.append(_fuzz_with_hypothesis(bench, n_messages - n_each * len(kinds), seed))
    return outcomes


def _fuzz_kind(
    bench: Bench, kind: str, n_messages: int, send: Callable[[Rig, int], bool]
) -> Outcome:
    rig, n_stored = Rig(bench.bundle, infer_rate_hz=1000.0), 0
    before_mb = _resident_mb()
    for index in range(n_messages):
        n_stored += send(rig, index)
        if index % _WORK_EVERY == 0:
            rig.loop.work()
        for topic in rig.topics.values():
            topic.sent.clear()
    return _judge(rig, f"{n_messages} x {kind}", n_messages, n_stored, before_mb)


def _fuzz_with_hypothesis(bench: Bench, n_messages: int, seed: int) -> Outcome:
    import hypothesis

    rig, sent = Rig(bench.bundle, infer_rate_hz=1000.0), []
    before_mb = _resident_mb()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n_messages,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(fuzz.any_cloud())
    def send(cloud: Any) -> None:
        sent.append(rig.loop.store(cloud))
        if len(sent) % _WORK_EVERY == 0:
            rig.loop.work()

    send()
    return _judge(rig, f"{len(sent)} x what hypothesis finds", len(sent), sum(sent), before_mb)


def _judge(rig: Rig, fault: str, n_sent: int, n_stored: int, before_mb: float) -> Outcome:
    """Compare what was counted with what was sent, and see whether people are still recognised."""
    report = rig.engine.statistics.report()
    dropped = {k: v for k, v in report.dropped.items() if not k.startswith("persons beyond")}
    is_counted = report.received == n_sent and sum(dropped.values()) == n_sent - n_stored
    rig.loop.forget()
    rig.topics["action_label"].sent.clear()
    rig.play()
    rig.loop.work()
    labels = [message.data for message in rig.topics["action_label"].sent]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    what = (
        f"{n_stored} stored; dropped and counted: {reasons or 'none'}; {report.errors} errors; "
        f"{_resident_mb() - before_mb:+.0f} MB"
    )
    return Outcome(fault, what, is_counted and labels[-1:] == ["hand up"] and report.errors == 0)


def fuzz_over_dds(bench: Bench, n_messages: int, seed: int) -> Outcome:
    """Publish damaged messages, and damaged bytes, to a node of its own."""
    rng = np.random.default_rng((seed, 99))
    partner = bench.partner
    kinds = (*fuzz.TYPED, "bytes", "bytes", "bytes")
    with bench.node() as process:
        for index in range(n_messages):
            kind, stamp_ns = fuzz.pick(rng, kinds), (1 + index) * FRAME_NS
            is_raw = kind == "bytes"
            partner.clouds.publish(
                fuzz.damaged_bytes(rng, stamp_ns) if is_raw else fuzz.damaged(kind, rng, stamp_ns)
            )
            time.sleep(_DDS_PAUSE_S)
            if index % 100 == 0:
                partner.spin_for(0.01)
        partner.spin_for(1.0)
        before = bench.values(lambda values: values["input rate (Hz)"] == "0.0")
        n_received = int(before["frames received"])
        is_well = process.poll() is None and bench.recognizes() and before["errors"] == "0"
        is_well &= n_received > 0.8 * n_messages  # the subscription is best effort
        drops = {k: v for k, v in before.items() if k.startswith("dropped: ")}
        counted = ", ".join(f"{count} {key[9:]}" for key, count in drops.items())
        what = f"{n_received} received; dropped and counted: {counted}; then recognises"
        return Outcome(f"{n_messages} damaged messages and bytes over DDS", what, is_well)


def _resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
