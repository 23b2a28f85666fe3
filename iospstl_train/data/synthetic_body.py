"""The body of a synthetic actor: lengths from the NTU rest pose, and joints from a motion.

Stage frame, in metres: x to the right of an actor with heading 0 (which is the front sensor's
left), y up from the floor, z away from the front sensor; heading 0 looks along -z, at the sensor.
Only lengths are read from the rest pose; which side is left follows from this frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25

Array = NDArray[np.float64]

STANDING_REACH = 0.985
"""Hip to ankle over thigh + shank when standing at ease: the knees are never locked."""
MAX_REACH = 0.998
FOOT_HEIGHT_M = 0.03
ELBOW_DIRECTION = (0.5, -0.8, -0.6)
"""Where elbows point (outward, up, forward), in the chest's axes; no arm comes parallel to it."""
PELVIS_PITCH_FRAC = 0.6
"""Share of the trunk's forward bend that the pelvis takes; the spine takes the rest."""


@dataclass(frozen=True)
class Body:
    """Segment lengths of one person in metres; both sides are equal.

    Pairs are (outward, upward) for shoulders and hips from the spine, (forward, downward) for the
    foot from the ankle, (along, across) for the thumb from the hand.
    """

    lower_spine: float
    upper_spine: float
    neck: float
    head: float
    shoulder: tuple[float, float]
    hip: tuple[float, float]
    upper_arm: float
    forearm: float
    palm: float
    fingers: float
    thumb: tuple[float, float]
    thigh: float
    shank: float
    foot: tuple[float, float]

    @property
    def arm(self) -> float:
        """Length from shoulder to wrist."""
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> float:
        """Length from hip to ankle."""
        return self.thigh + self.shank


@dataclass(frozen=True)
class Motion:
    """What a body does in each frame, free of its size. Index 0 is the acting side.

    Attributes
    ----------
    pelvis : ndarray of shape (n_frames, 3)
        Shift (to the acting side, up, forward) from standing, in leg lengths.
    trunk : ndarray of shape (n_frames, 3)
        Angles (forward bend, twist that brings the acting shoulder forward, lean to the acting
        side), radians.
    head : ndarray of shape (n_frames,)
        Forward bend of the head against the chest, radians.
    hands : ndarray of shape (n_frames, 2, 3)
        Wrists (outward, up, forward) from their shoulders in the chest's axes, in arm lengths.
    feet : ndarray of shape (n_frames, 2, 3)
        Ankles (outward, up, forward) from their standing places, in leg lengths.
    toes : ndarray of shape (n_frames, 2)
        Downward rotation of the feet, radians.
    side : int
        Acting side: 1 is right, -1 is left.
    """

    pelvis: Array
    trunk: Array
    head: Array
    hands: Array
    feet: Array
    toes: Array
    side: int


@dataclass(frozen=True)
class Stance:
    """Trunk of a person on the stage, and where the wrists should go.

    Attributes
    ----------
    pelvis_frame, chest_frame : ndarray of shape (n_frames, 3, 3)
        Rotations that turn body axes (right, up, back) into stage axes.
    base, chest : ndarray of shape (n_frames, 3)
        SpineBase and SpineShoulder.
    wrists, ankles : ndarray of shape (n_frames, 2, 3)
        Targets on the stage; index 0 is the acting side.
    """

    pelvis_frame: Array
    chest_frame: Array
    base: Array
    chest: Array
    wrists: Array
    ankles: Array


def measure_rest() -> Body:
    """Return the lengths of the NTU rest pose."""
    rest = {name: np.array(NTU_25.rest_m[j]) for j, name in enumerate(NTU_25.joints)}

    def length(child: str, parent: str) -> float:
        return float(np.linalg.norm(rest[child] - rest[parent]))

    shoulder = rest["ShoulderLeft"] - rest["SpineShoulder"]
    hip = rest["HipLeft"] - rest["SpineBase"]
    foot = rest["FootLeft"] - rest["AnkleLeft"]
    thumb = rest["ThumbLeft"] - rest["HandLeft"]
    fingers = rest["HandTipLeft"] - rest["HandLeft"]
    along = float(thumb @ fingers / np.linalg.norm(fingers))
    return Body(
        lower_spine=length("SpineMid", "SpineBase"),
        upper_spine=length("SpineShoulder", "SpineMid"),
        neck=length("Neck", "SpineShoulder"),
        head=length("Head", "Neck"),
        shoulder=(abs(float(shoulder[0])), float(shoulder[1])),
        hip=(abs(float(hip[0])), float(hip[1])),
        upper_arm=length("ElbowLeft", "ShoulderLeft"),
        forearm=length("WristLeft", "ElbowLeft"),
        palm=length("HandLeft", "WristLeft"),
        fingers=float(np.linalg.norm(fingers)),
        thumb=(along, float(np.sqrt(thumb @ thumb - along**2))),
        thigh=length("KneeLeft", "HipLeft"),
        shank=length("AnkleLeft", "KneeLeft"),
        foot=(float(np.hypot(foot[0], foot[2])), -float(foot[1])),
    )


def draw_body(rng: np.random.Generator) -> Body:
    """Return a random adult: the rest pose scaled as a whole and part by part."""
    rest = measure_rest()
    size = rng.uniform(0.9, 1.12)
    trunk, arms, legs, shoulders, hips, feet = size * rng.uniform(
        (0.95, 0.94, 0.94, 0.88, 0.88, 0.94), (1.05, 1.06, 1.06, 1.12, 1.12, 1.06)
    )
    return replace(
        rest,
        lower_spine=trunk * rest.lower_spine,
        upper_spine=trunk * rest.upper_spine,
        neck=trunk * rest.neck,
        head=trunk * rest.head,
        shoulder=(shoulders * rest.shoulder[0], trunk * rest.shoulder[1]),
        hip=(hips * rest.hip[0], trunk * rest.hip[1]),
        upper_arm=arms * rest.upper_arm,
        forearm=arms * rest.forearm,
        palm=arms * rest.palm,
        fingers=arms * rest.fingers,
        thumb=(arms * rest.thumb[0], arms * rest.thumb[1]),
        thigh=legs * rest.thigh,
        shank=legs * rest.shank,
        foot=(feet * rest.foot[0], feet * rest.foot[1]),
    )


def rotate(axis: int, angle_rad: Array) -> Array:
    """Return right-handed rotations about x, y or z (axis 0, 1, 2), shape (..., 3, 3)."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.zeros((*np.shape(angle_rad), 3, 3))
    rotation[..., axis, axis] = 1.0
    rotation[..., i, i] = rotation[..., j, j] = np.cos(angle_rad)
    rotation[..., j, i] = np.sin(angle_rad)
    rotation[..., i, j] = -rotation[..., j, i]
    return rotation


def take_stance(body: Body, motion: Motion, heading_rad: float, place_m: Array) -> Stance:
    """Place the trunk and set the targets of the limbs.

    Parameters
    ----------
    heading_rad : float
        Turn about the vertical; 0 looks at the front sensor, positive turns to the actor's left.
    place_m : ndarray of shape (2,)
        Where on the stage (x, z) the actor stands.
    """
    heading = rotate(1, np.array(heading_rad))
    chest_frame = heading @ _trunk_turn(motion.trunk, motion.side)
    pelvis_share = np.array([PELVIS_PITCH_FRAC, 0.3, 0.3])
    pelvis_frame = heading @ _trunk_turn(pelvis_share * motion.trunk, motion.side)
    origin = np.array([place_m[0], 0.0, place_m[1]])

    ankle_height = FOOT_HEIGHT_M + body.foot[1]
    ankles = body.leg * _outward_to_body(motion.feet, motion.side)
    ankles += np.stack([[side * body.hip[0], ankle_height, 0.0] for side in _sides(motion)])
    ankles = ankles @ heading.T + origin

    base = body.leg * _outward_to_body(motion.pelvis[:, None], motion.side)[:, 0]
    base[:, 1] += ankle_height + STANDING_REACH * body.leg - body.hip[1]
    base = base @ heading.T + origin
    base[:, 1] = np.minimum(base[:, 1], _highest_base(body, motion, pelvis_frame, base, ankles))

    chest = base + body.lower_spine * pelvis_frame[..., 1] + body.upper_spine * chest_frame[..., 1]
    wrists = _shoulders(body, motion, chest_frame, chest) + body.arm * np.einsum(
        "fij,fsj->fsi", chest_frame, _outward_to_body(motion.hands, motion.side)
    )
    return Stance(pelvis_frame, chest_frame, base, chest, wrists, ankles)


def pose_joints(body: Body, motion: Motion, stance: Stance) -> Array:
    """Return the joints on the stage, shape (n_frames, 25, 3), in the order of NTU_25."""
    joints = np.full((len(stance.base), NTU_25.n_joints, 3), np.nan)

    def put(joint: str, xyz: Array) -> None:
        joints[:, NTU_25.index(joint)] = xyz

    put("SpineBase", stance.base)
    put("SpineMid", stance.base + body.lower_spine * stance.pelvis_frame[..., 1])
    put("SpineShoulder", stance.chest)
    put("Neck", stance.chest + body.neck * stance.chest_frame[..., 1])
    head_up = (stance.chest_frame @ rotate(0, -motion.head))[..., 1]
    put("Head", stance.chest + body.neck * stance.chest_frame[..., 1] + body.head * head_up)
    shoulders = _shoulders(body, motion, stance.chest_frame, stance.chest)
    hips = _hips(body, motion, stance.pelvis_frame, stance.base)
    for k, side in enumerate(_sides(motion)):
        name = "Right" if side > 0 else "Left"
        elbow_direction = stance.chest_frame @ (np.array(ELBOW_DIRECTION) * (side, 1.0, -1.0))
        arm = _bend_limb(
            shoulders[:, k], stance.wrists[:, k], body.upper_arm, body.forearm, elbow_direction
        )
        for joint, xyz in zip(("Shoulder", "Elbow", "Wrist"), arm, strict=True):
            put(joint + name, xyz)
        for joint, xyz in zip(("Hand", "HandTip", "Thumb"), _hand(body, *arm), strict=True):
            put(joint + name, xyz)
        forward = -stance.pelvis_frame[..., 2]
        leg = _bend_limb(hips[:, k], stance.ankles[:, k], body.thigh, body.shank, forward)
        for joint, xyz in zip(("Hip", "Knee", "Ankle"), leg, strict=True):
            put(joint + name, xyz)
        put("Foot" + name, leg[2] + _foot(body, stance.pelvis_frame, motion.toes[:, k]))
    return joints


def _sides(motion: Motion) -> tuple[int, int]:
    """Return 1 for right and -1 for left, the acting side first."""
    return motion.side, -motion.side


def _outward_to_body(vectors: Array, side: int) -> Array:
    """Turn (outward, up, forward) into (right, up, back); axis -2 holds acting and other side."""
    signs = np.array([[side, 1.0, -1.0], [-side, 1.0, -1.0]])
    return np.asarray(vectors * signs[: vectors.shape[-2]])


def _trunk_turn(angles: Array, side: int) -> Array:
    """Return rotations (n_frames, 3, 3) from (bend, twist, lean)."""
    turned = rotate(1, side * angles[:, 1]) @ rotate(2, -side * angles[:, 2])
    return np.asarray(turned @ rotate(0, -angles[:, 0]))


def _shoulders(body: Body, motion: Motion, frame: Array, chest: Array) -> Array:
    """Return both shoulders, shape (n_frames, 2, 3)."""
    out, up = body.shoulder
    offsets = np.array([[side * out, up, 0.0] for side in _sides(motion)])
    return np.asarray(chest[:, None] + np.einsum("fij,sj->fsi", frame, offsets))


def _hips(body: Body, motion: Motion, frame: Array, base: Array) -> Array:
    """Return both hips, shape (n_frames, 2, 3)."""
    out, up = body.hip
    offsets = np.array([[side * out, up, 0.0] for side in _sides(motion)])
    return np.asarray(base[:, None] + np.einsum("fij,sj->fsi", frame, offsets))


def _highest_base(body: Body, motion: Motion, frame: Array, base: Array, ankles: Array) -> Array:
    """Return the height of SpineBase, shape (n_frames,), above which a foot leaves its place."""
    hips = _hips(body, motion, frame, base)
    aside = np.linalg.norm((hips - ankles)[..., [0, 2]], axis=-1)
    rise = np.sqrt(np.maximum((MAX_REACH * body.leg) ** 2 - aside**2, 0.0))
    return np.asarray((ankles[..., 1] + rise - (hips - base[:, None])[..., 1]).min(axis=1))


def _bend_limb(
    root: Array, target: Array, upper: float, lower: float, direction: Array
) -> tuple[Array, Array, Array]:
    """Return root, middle and end of two bones that reach for a target, bent in a direction."""
    span = target - root
    distance = np.linalg.norm(span, axis=-1, keepdims=True)
    along = span / np.maximum(distance, 1e-9)
    reach = np.clip(distance, 1.05 * abs(upper - lower) + 1e-3, MAX_REACH * (upper + lower))
    across = direction - np.sum(direction * along, axis=-1, keepdims=True) * along
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    cosine = (upper**2 + reach**2 - lower**2) / (2.0 * upper * reach)
    middle = root + upper * (cosine * along + np.sqrt(1.0 - cosine**2) * across)
    return root, middle, root + reach * along


def _hand(body: Body, shoulder: Array, elbow: Array, wrist: Array) -> tuple[Array, Array, Array]:
    """Return hand, hand tip and thumb: straight on from the forearm, thumb away from the elbow."""
    along = (wrist - elbow) / body.forearm
    across = shoulder - elbow
    across = across - np.sum(across * along, axis=-1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    hand = wrist + body.palm * along
    thumb = hand + body.thumb[0] * along + body.thumb[1] * across
    return hand, hand + body.fingers * along, thumb


def _foot(body: Body, pelvis_frame: Array, toes_rad: Array) -> Array:
    """Return the feet from their ankles, shape (n_frames, 3), pointing where the hips do."""
    ahead = -pelvis_frame[..., 2] * np.array([1.0, 0.0, 1.0])
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    forward, down = body.foot
    cosine, sine = np.cos(toes_rad)[:, None], np.sin(toes_rad)[:, None]
    level = forward * cosine - down * sine
    drop = forward * sine + down * cosine
    return np.asarray(level * ahead - drop * np.array([0.0, 1.0, 0.0]))
