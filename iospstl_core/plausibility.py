"""Joints that cannot be where the driver says: bones of the wrong length, and jumps.

Some drivers never say "not seen"; they put a hidden joint somewhere. What they put there is often
impossible: a forearm twice as long as a moment ago, or a hand that crosses the room in a frame.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25, joint_indices

FloatArray = NDArray[np.float32]
Doubles = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_MORE_PAIRS = (
    ("Head", "SpineShoulder"),
    ("SpineShoulder", "SpineBase"),
    ("ShoulderLeft", "ShoulderRight"),
    ("HipLeft", "HipRight"),
    ("HandTipLeft", "HandLeft"),
    ("HandTipRight", "HandRight"),
)
"""Pairs without a bone of the layout that also keep their distance, however a body moves."""
_NO_PAIRS = (("HandTipLeft", "ThumbLeft"), ("HandTipRight", "ThumbRight"))
"""Bones of the layout that do not."""

_FORGET_S = 5.0
"""After so long without a frame, an id may be another person's."""
_MAX_PERSONS = 64
_MAX_GAP_S = 0.5
"""Where a joint was longer ago says little about where it may be."""
_MIN_COMMON_JOINTS = 5
"""The motion of the body is the median over joints seen before and now; at least so many."""
_FIRST_STEP, _LAST_STEP, _WRONG_STEP = 0.2, 0.004, 0.001
"""Steps of the running medians, as shares of a length: in the first frame, in the end, and in the
end for a length that cannot be: it may be right all the same, and then is believed at last."""
_STRAINED = 0.5
"""Share of its limit from which a pair bears witness against its joints."""
_MOVED_M = 0.15
"""Of two joints with a wrong distance, the one that just went so far against the body did it."""
_MIN_MIRROR_COSINE = 0.2


def _pairs() -> IntArray:
    """Return the pairs of joints whose distance is checked, outer joint first, (n, 2)."""
    bones = [(NTU_25.joints[child], NTU_25.joints[parent]) for child, parent in NTU_25.bones]
    kept = [bone for bone in bones if bone not in _NO_PAIRS]
    return np.array([joint_indices(NTU_25, pair) for pair in (*kept, *_MORE_PAIRS)])


def _depths() -> IntArray:
    """Return how many bones lie between each joint and the root, (25,)."""
    depths = np.zeros(NTU_25.n_joints, dtype=np.int64)
    for joint in range(NTU_25.n_joints):
        ancestor = joint
        while NTU_25.parents[ancestor] != ancestor:
            ancestor = NTU_25.parents[ancestor]
            depths[joint] += 1
    return depths


_PAIRS = _pairs()
_DEPTHS = _depths()
_REST_M = np.array(NTU_25.rest_m)
_ADULT_M: Doubles = np.linalg.norm(_REST_M[_PAIRS[:, 0]] - _REST_M[_PAIRS[:, 1]], axis=1)


@dataclass(frozen=True)
class CheckLimits:
    """How far a joint may stray.

    Attributes
    ----------
    longest, shortest : float
        Times the person's own median length of a bone.
    slack_m : float
        What the noise of a sensor adds to or takes from the length of any bone, metres.
    max_speed_m_s : float
        Against the motion of the body as a whole.
    least_jump_m : float
        No step below it is a jump, metres: at high rates noise is fast.
    """

    longest: float = 1.5
    shortest: float = 0.5
    slack_m: float = 0.06
    max_speed_m_s: float = 15.0
    least_jump_m: float = 0.2


@dataclass
class _Body:
    """What is known of one person.

    Attributes
    ----------
    length_m : ndarray of shape (n_pairs,)
        Running median of the distance of each pair.
    n_lengths : ndarray of shape (n_pairs,)
        Frames that it has seen.
    place_m : ndarray of shape (25, 3)
        Where each joint was last believed to be.
    seen_s : ndarray of shape (25,)
        When that was.
    stamp_s : float
        Of the last frame.
    """

    length_m: Doubles = field(default_factory=_ADULT_M.copy)
    n_lengths: Doubles = field(default_factory=lambda: np.zeros(len(_PAIRS)))
    place_m: Doubles = field(default_factory=lambda: np.zeros((NTU_25.n_joints, 3)))
    seen_s: Doubles = field(default_factory=lambda: np.full(NTU_25.n_joints, -np.inf))
    stamp_s: float = -np.inf


class JointChecks:
    """Finds invented joints frame by frame, in people who are told apart by an id.

    Owns the bone lengths and last places of up to 64 people; whoever was not seen for longest
    makes room. Lengths start as those of an adult and become the person's own within about ten
    frames. Nothing is random.

    Parameters
    ----------
    limits : CheckLimits, optional

    Attributes
    ----------
    n_checked, n_jumps, n_bones : int
        Joints seen so far, those flagged for a jump, and those flagged for a bone.
    """

    def __init__(self, limits: CheckLimits | None = None) -> None:
        self.limits = limits or CheckLimits()
        self.n_checked = self.n_jumps = self.n_bones = 0
        self._bodies: OrderedDict[int, _Body] = OrderedDict()

    def clear(self) -> None:
        """Forget everybody; the counts stay."""
        self._bodies.clear()

    def check(self, person: int, stamp_s: float, xyz: FloatArray) -> BoolArray:
        """Return which joints cannot be where they are said to be.

        Parameters
        ----------
        person : int
            Id; the same number is the same body until it is away for 5 s.
        stamp_s : float
            Seconds; a stamp that is not newer than the person's last one starts afresh.
        xyz : ndarray of shape (25, 3), float32
            Joints of `NTU_25`, metres, any axes; NaN where not observed.

        Returns
        -------
        flagged : ndarray of shape (25,), bool
            Only observed joints.
        """
        body = self._body(person, stamp_s)
        place_m = np.asarray(xyz, dtype=np.float64)
        seen = ~np.isnan(place_m[:, 0])
        strayed_m, reach_m = self._strayed(body, stamp_s, place_m, seen)
        flagged: BoolArray = strayed_m > reach_m
        n_jumps = int(np.count_nonzero(flagged))
        self._flag_bones(body, place_m, seen, strayed_m, flagged)
        self.n_checked += int(np.count_nonzero(seen))
        self.n_jumps += n_jumps
        self.n_bones += int(np.count_nonzero(flagged)) - n_jumps
        believed = seen & ~flagged
        body.place_m[believed] = place_m[believed]
        body.seen_s[believed] = stamp_s
        body.stamp_s = stamp_s
        return flagged

    def _body(self, person: int, stamp_s: float) -> _Body:
        """Return what is known of a person: nothing if new, or away for too long."""
        body = self._bodies.pop(person, None)
        if body is None or not 0 < stamp_s - body.stamp_s <= _FORGET_S:
            body = _Body()
        self._bodies[person] = body
        if len(self._bodies) > _MAX_PERSONS:
            self._bodies.popitem(last=False)
        return body

    def _strayed(
        self, body: _Body, stamp_s: float, place_m: Doubles, seen: BoolArray
    ) -> tuple[Doubles, Doubles]:
        """Return how far each joint went against the body, and how far it can, (25,), metres.

        0 and infinity where it cannot be said.
        """
        strayed_m, reach_m = np.zeros(len(seen)), np.full(len(seen), np.inf)
        elapsed_s = stamp_s - body.seen_s
        joints = np.flatnonzero(seen & (elapsed_s <= _MAX_GAP_S))
        if len(joints) < _MIN_COMMON_JOINTS:
            return strayed_m, reach_m
        elapsed_s = elapsed_s[joints, None]
        speed = (place_m[joints] - body.place_m[joints]) / elapsed_s
        speed -= np.sort(speed, axis=0)[len(joints) // 2]  # the median, many times faster
        strayed_m[joints] = np.sqrt(((speed * elapsed_s) ** 2).sum(axis=1))
        reach_m[joints] = np.maximum(
            self.limits.max_speed_m_s * elapsed_s[:, 0], self.limits.least_jump_m
        )
        return strayed_m, reach_m

    def _flag_bones(
        self,
        body: _Body,
        place_m: Doubles,
        seen: BoolArray,
        strayed_m: Doubles,
        flagged: BoolArray,
    ) -> None:
        """Flag an end of each pair at an impossible distance, and take all distances in."""
        pairs = np.flatnonzero((seen & ~flagged)[_PAIRS].all(axis=1))
        ends = _PAIRS[pairs]
        apart = place_m[ends[:, 0]] - place_m[ends[:, 1]]
        change_m = np.sqrt((apart * apart).sum(axis=1)) - body.length_m[pairs]
        share = self._share_of_limit(change_m, body.length_m[pairs])
        is_wrong = share > 1
        if is_wrong.any():
            flagged[_culprits(ends, share, strayed_m)] = True
        count = body.n_lengths[pairs]
        step = np.maximum(
            _FIRST_STEP / (1 + count / 4), np.where(is_wrong, _WRONG_STEP, _LAST_STEP)
        )
        body.length_m[pairs] *= 1 + step * np.sign(change_m)
        body.n_lengths[pairs] = count + 1

    def _share_of_limit(self, change_m: Doubles, median_m: Doubles) -> Doubles:
        """Return how much of what is possible each length has changed by, (n,)."""
        growth_m = (self.limits.longest - 1) * median_m + self.limits.slack_m
        loss_m = (1 - self.limits.shortest) * median_m + self.limits.slack_m
        return np.where(change_m > 0, change_m / growth_m, -change_m / loss_m)


def _culprits(ends: IntArray, share: Doubles, strayed_m: Doubles) -> list[int]:
    """Return joints (the fewest that a greedy choice finds) that explain all wrong pairs.

    First the joint with most wrong pairs; then with most pairs that are on the way to it; then the
    one that just moved; then the outer one.

    Parameters
    ----------
    ends : ndarray of shape (n_pairs, 2), int64
    share : ndarray of shape (n_pairs,)
        Of the limit; above 1 a pair is wrong.
    strayed_m : ndarray of shape (25,)
    """
    wrong = ends[share > 1]
    n_strained = np.bincount(ends[share > _STRAINED].ravel(), minlength=len(_DEPTHS))
    has_moved = strayed_m > _MOVED_M
    culprits: list[int] = []
    while len(wrong):
        n_wrong = np.bincount(wrong.ravel(), minlength=len(_DEPTHS))
        reasons = (strayed_m, _DEPTHS, has_moved, n_strained, n_wrong)  # the last counts first
        culprits.append(int(np.lexsort(reasons)[-1]))
        wrong = wrong[(wrong != culprits[-1]).all(axis=1)]
    return culprits


_SHOULDER_LEFT, _SHOULDER_RIGHT, _HEAD, _BASE = joint_indices(
    NTU_25, ("ShoulderLeft", "ShoulderRight", "Head", "SpineBase")
)
_ANKLES = joint_indices(NTU_25, ("AnkleLeft", "AnkleRight"))
_FEET = joint_indices(NTU_25, ("FootLeft", "FootRight"))


def mirror_sign(xyz: FloatArray) -> float | None:
    """Return whether left and right of a skeleton are exchanged, by where its feet point.

    Parameters
    ----------
    xyz : ndarray of shape (25, 3), float32
        Joints of `NTU_25` in right-handed axes; NaN where not observed.

    Returns
    -------
    sign : float or None
        -1: a body; 1: its mirror image. None where shoulders, head, pelvis or both feet are
        missing, or the feet point neither way. A single frame may err; most frames do not.
    """
    left, right, head, base = xyz[[_SHOULDER_LEFT, _SHOULDER_RIGHT, _HEAD, _BASE]]
    backward = _cross((right - left).tolist(), (head - base).tolist())
    feet = (xyz[_FEET] - xyz[_ANKLES]).tolist()
    seen = [foot for foot in feet if not math.isnan(foot[0])]
    if not seen or math.isnan(backward[0]):
        return None
    toes = [sum(values) for values in zip(*seen, strict=True)]
    along = _dot(backward, toes)
    if along**2 <= _MIN_MIRROR_COSINE**2 * _dot(backward, backward) * _dot(toes, toes):
        return None
    return 1.0 if along > 0 else -1.0


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
