"""Results as the engine returns them, made by hand."""

import numpy as np

from iospstl_core.skeleton import NTU_25
from iospstl_ros.live_windows import Arrival
from iospstl_ros.results import FrameResult, PersonResult

STAMP_NS = 1_795_000_000_123_456_789


def make_arrival(stamp_ns=STAMP_NS, people=(1, 2), axes="kinect", received_s=0.0):
    return Arrival(stamp_ns, "kinect", received_s, frozenset(people), axes)


def make_person(
    track_id=1, label="wave", score=0.934, z=2.0, unfilled=(), hidden=("Head",), **changes
):
    """A standing person: `hidden` joints were completed, `unfilled` ones could not be."""
    xyz = np.array(NTU_25.rest_m, dtype=np.float32) + np.float32([0, 0, z])
    observed = np.ones(25, dtype=bool)
    observed[[NTU_25.index(name) for name in (*hidden, *unfilled)]] = False
    xyz[[NTU_25.index(name) for name in unfilled]] = np.nan
    confidence = np.where(observed, 1, np.where(np.isnan(xyz[:, 0]), 0, 0.25))
    values = {
        "track_id": track_id,
        "name": str(track_id),
        "label": label,
        "score": score,
        "known": 0.7,
        "is_known": label != "unknown",
        "top": (("wave", 0.934), ("sit", 0.05), ("stand", 0.016)),
        "xyz": xyz,
        "observed": observed,
        "confidence": confidence.astype(np.float32),
        "observed_ratio": 0.9,
    }
    return PersonResult(**{**values, **changes})


def make_result(*persons, hidden=(), **arrival):
    people = [person.track_id for person in persons] + list(hidden)
    return FrameResult(make_arrival(people=people, **arrival), persons, hidden)
