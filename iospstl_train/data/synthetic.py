"""Procedural NTU-25 recordings: no download, and the same bytes for the same settings.

Twelve or more subjects perform the classes of `synthetic_actions` in front of three cameras.
Camera frame as in Kinect recordings: x to the sensor's left, y up, z away from the sensor, so a
person who faces the sensor has the right shoulder at the larger x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_train.data.recording import Recording
from iospstl_train.data.synthetic_actions import (
    ACTIONS,
    CHANNEL_REST,
    IDLE_HANDS,
    Action,
    Swing,
    Table,
    interpolate_keys,
)
from iospstl_train.data.synthetic_body import (
    Array,
    Motion,
    Stance,
    draw_body,
    pose_joints,
    rotate,
    take_stance,
)

SYNTHETIC_CLASSES: tuple[str, ...] = tuple(ACTIONS)

VIEW_ANGLES_DEG = (0.0, 45.0, -45.0)
"""Cameras 1 (in front), 2 and 3 (to its sides) around the stage."""
SETUPS = ((3.0, 1.2, 0.05), (2.5, 1.5, 0.14), (3.6, 1.35, 0.0), (4.3, 1.0, -0.02))
"""Distance from the stage's centre (m), height (m) and downward tilt (rad) of the cameras."""
MAX_TURN_DEG = 25.0
DURATION_S = (1.3, 2.7)
MIN_ACTIVE_S = 1.15
"""A recording may start before its action and end after it; the action lasts at least this."""
JITTER_TIME_S = 0.1
"""Standard deviation of the kernel that smooths the sensor's jitter."""
WHITE_NOISE_FRAC = 0.3
END_NOISE_FACTOR = 1.5
"""Kinect places hands and feet less surely than the trunk."""
PALM_GAP_M = 0.09
"""Half the distance between two wrists whose palms touch."""
LEFT_HANDED_FRAC = 0.35

_BODY_STREAM, _MOTION_STREAM, _NOISE_STREAM = range(3)


@dataclass(frozen=True)
class SyntheticSettings:
    """What to generate.

    Attributes
    ----------
    n_subjects : int
        People with a body and a manner of their own, numbered from 1.
    n_repeats : int
        Performances per subject and class.
    n_views : int
        Cameras per performance, 1 to 3.
    fps : float
        Frames per second.
    seed : int
        Same seed, same bytes.
    noise_m : float
        Standard deviation per coordinate of the smooth jitter of the sensor.
    """

    n_subjects: int = 12
    n_repeats: int = 1
    n_views: int = 3
    fps: float = 30.0
    seed: int = 0
    noise_m: float = 0.006

    def __post_init__(self) -> None:
        limits = {
            "n_subjects of at least 1": self.n_subjects >= 1,
            "n_repeats of at least 1": self.n_repeats >= 1,
            f"n_views from 1 to {len(VIEW_ANGLES_DEG)}": 1 <= self.n_views <= len(VIEW_ANGLES_DEG),
            "fps of at least 5": self.fps >= 5.0,
            "seed of at least 0": self.seed >= 0,
            "noise_m of at least 0": self.noise_m >= 0.0,
        }
        broken = [limit for limit, is_met in limits.items() if not is_met]
        if broken:
            raise InputError(f"synthetic settings: expected {'; '.join(broken)}; got {self}")


@dataclass(frozen=True)
class _Style:
    """How one person performs once.

    Attributes
    ----------
    phase : ndarray of shape (n_frames,)
        Progress of the action, 0 to 1.
    time_s : ndarray of shape (n_frames,)
    amplitude, tempo : float
        Factors on the size of the movement and on its repetitions.
    side : int
        Acting side: 1 is right, -1 is left.
    """

    phase: Array
    time_s: Array
    amplitude: float
    tempo: float
    side: int


def recording_count(settings: SyntheticSettings) -> int:
    """Return how many recordings the settings describe."""
    return int(np.prod(_counts(settings)))


def make_recording(index: int, settings: SyntheticSettings) -> Recording:
    """Return one recording; a function of its arguments alone.

    The views of one performance follow each other (then classes, repeats, subjects) and show the
    same motion with different noise.

    Parameters
    ----------
    index : int
        From 0 to ``recording_count(settings) - 1``.
    settings : SyntheticSettings

    Returns
    -------
    Recording
        Layout NTU_25, always two person slots; the second is absent (NaN) unless the class has
        two people. ``name`` follows NTU RGB+D (setup, camera, person, repeat, action, from 1).

    Raises
    ------
    ValueError
        If the index is out of range.
    """
    n_recordings = recording_count(settings)
    if not 0 <= index < n_recordings:
        raise ValueError(f"index: expected 0 to {n_recordings - 1}, got {index}")
    subject, repeat, label, view = (int(i) for i in np.unravel_index(index, _counts(settings)))
    setup = (subject + repeat) % len(SETUPS)
    people = _perform(subject, repeat, label, settings)
    seen = [_see_from_camera(joints, setup, view) for joints in people]
    rng = _generator(settings, _NOISE_STREAM, subject, repeat, label, view)
    xyz = np.full((len(seen[0]), 2, NTU_25.n_joints, 3), np.nan, dtype=np.float32)
    for person, joints in enumerate(seen):
        xyz[:, person] = joints + _draw_noise(rng, len(joints), settings)
    return Recording(
        name=f"S{setup + 1:03d}C{view + 1:03d}P{subject + 1:03d}R{repeat + 1:03d}A{label + 1:03d}",
        xyz=xyz,
        present=np.tile(np.arange(2) < len(people), (len(xyz), 1)),
        label=label,
        subject=subject + 1,
        view=view + 1,
        setup=setup + 1,
    )


def _counts(settings: SyntheticSettings) -> tuple[int, int, int, int]:
    """Return the numbers of subjects, repeats, classes and views."""
    n_classes = len(SYNTHETIC_CLASSES)
    return settings.n_subjects, settings.n_repeats, n_classes, settings.n_views


def _generator(settings: SyntheticSettings, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([settings.seed, *key]))


def _perform(subject: int, repeat: int, label: int, settings: SyntheticSettings) -> list[Array]:
    """Return one array (n_frames, 25, 3) per person, on the stage."""
    action = ACTIONS[SYNTHETIC_CLASSES[label]]
    manner = _generator(settings, _BODY_STREAM, subject)
    body = draw_body(manner)
    amplitude, tempo = manner.uniform(0.84, 1.08), manner.uniform(0.85, 1.2)
    rng = _generator(settings, _MOTION_STREAM, subject, repeat, label)
    style = _draw_style(rng, settings.fps, amplitude, tempo)
    turn = np.deg2rad(rng.uniform(-MAX_TURN_DEG, MAX_TURN_DEG))
    place = rng.uniform(-0.15, 0.15, size=2)
    motion = _draw_motion(rng, action, action.table, style)
    if action.partner is None:
        return [pose_joints(body, motion, take_stance(body, motion, turn, place))]

    partner = draw_body(rng)
    answer = _draw_motion(rng, action, action.partner, style)
    heading = turn + (np.pi / 2 if rng.random() < 0.5 else -np.pi / 2)
    ahead = -np.array([np.sin(heading), np.cos(heading)])
    half_gap = 0.25 * action.gap * (body.arm + partner.arm) * ahead
    first = take_stance(body, motion, heading, place - half_gap)
    second = take_stance(partner, answer, heading + np.pi, place + half_gap)
    first, second = _join_hands(first, second, interpolate_keys(action.meet, style.phase))
    people = [pose_joints(body, motion, first), pose_joints(partner, answer, second)]
    return people if rng.random() < 0.5 else people[::-1]


def _draw_style(rng: np.random.Generator, fps: float, amplitude: float, tempo: float) -> _Style:
    """Return duration, onset, rhythm, size and side of one performance."""
    duration_s = rng.uniform(*DURATION_S)
    active_s = max(MIN_ACTIVE_S, rng.uniform(0.65, 1.0) * duration_s)
    onset_s = rng.uniform(0.0, duration_s - active_s)
    time_s = np.arange(round(duration_s * fps)) / fps
    progress = np.clip((time_s - onset_s) / active_s, 0.0, 1.0)
    return _Style(
        phase=progress ** rng.uniform(0.8, 1.25),
        time_s=time_s,
        amplitude=amplitude * rng.uniform(0.9, 1.1),
        tempo=tempo * rng.uniform(0.85, 1.2),
        side=-1 if rng.random() < LEFT_HANDED_FRAC else 1,
    )


def _draw_motion(rng: np.random.Generator, action: Action, table: Table, style: _Style) -> Motion:
    """Return an action's table as this person performs it, with idle sway."""
    hand_offset = rng.normal(0.0, action.spread)
    channels = {
        name: _draw_channel(rng, name, table, style, hand_offset) for name in sorted(CHANNEL_REST)
    }
    if action.swing is not None:
        wave = _swing_wave(action.swing, style)
        for name in action.swing.channels:
            channels[name] = channels[name] + style.amplitude * wave

    def sway(size: float, n_components: int) -> Array:
        return size * _draw_sway(rng, style.time_s, n_components)

    hands = np.stack([channels["hand"], channels["other_hand"]], axis=1)
    return Motion(
        pelvis=channels["pelvis"] + sway(0.012, 3) * np.array([1.0, 0.2, 1.0]),
        trunk=channels["trunk"] + sway(0.025, 3),
        head=channels["head"][:, 0] + sway(0.06, 1)[:, 0],
        hands=hands + np.stack([sway(0.02, 3), sway(0.03, 3)], axis=1),
        feet=np.stack([channels["foot"], channels["other_foot"]], axis=1) + _draw_feet(rng),
        toes=np.concatenate([channels["toe"], channels["other_toe"]], axis=1),
        side=style.side,
    )


def _draw_channel(
    rng: np.random.Generator, name: str, table: Table, style: _Style, hand_offset: Array
) -> Array:
    """Return one channel (n_frames, n_components): hands vary in place, the rest in size."""
    rest = CHANNEL_REST[name]
    is_hand = name.endswith("hand")
    if name not in table:
        value = IDLE_HANDS[rng.integers(len(IDLE_HANDS))] if is_hand else rest
        return np.tile(value, (len(style.phase), 1))
    scale, offset = (1.0, hand_offset) if is_hand else (style.amplitude, np.zeros(len(rest)))
    return interpolate_keys(
        tuple(
            (time, tuple(value if value == rest else scale * np.array(value) + offset))
            for time, value in table[name]
        ),
        style.phase,
    )


def _draw_feet(rng: np.random.Generator) -> Array:
    """Return where the feet stand, shape (2, 3): wider or narrower, one a little ahead."""
    out, ahead = rng.uniform(-0.01, 0.12), rng.uniform(-0.05, 0.05)
    return np.array([[out, 0.0, ahead], [out, 0.0, -ahead]])


def _swing_wave(swing: Swing, style: _Style) -> Array:
    """Return the repeated movement, shape (n_frames, n_components); it fades in and out."""
    share = np.clip((style.phase - swing.start) / (swing.end - swing.start), 0.0, 1.0)
    envelope = np.clip(6.0 * np.minimum(share, 1.0 - share), 0.0, 1.0)
    wave = envelope * np.sin(2.0 * np.pi * swing.rate_hz * style.tempo * style.time_s)
    return np.asarray(wave[:, None] * np.array(swing.amplitude))


def _draw_sway(rng: np.random.Generator, time_s: Array, n_components: int) -> Array:
    """Return slow random movement of unit standard deviation, shape (n_frames, n_components)."""
    n_waves = 3
    rate_hz = rng.uniform(0.1, 0.8, size=(n_waves, n_components))
    start = rng.uniform(0.0, 2.0 * np.pi, size=(n_waves, n_components))
    waves = np.sin(2.0 * np.pi * rate_hz * time_s[:, None, None] + start)
    return np.asarray(np.sqrt(2.0 / n_waves) * waves.sum(axis=1))


def _join_hands(first: Stance, second: Stance, weight: Array) -> tuple[Stance, Stance]:
    """Return the stances with the acting wrists pulled together; weight (n_frames, 1)."""
    middle = 0.5 * (first.wrists[:, 0] + second.wrists[:, 0])
    apart = (first.base - second.base) * np.array([1.0, 0.0, 1.0])
    apart *= PALM_GAP_M / np.linalg.norm(apart, axis=1, keepdims=True)

    def join(stance: Stance, goal: Array) -> Stance:
        wrists = stance.wrists.copy()
        wrists[:, 0] += weight * (goal - wrists[:, 0])
        return replace(stance, wrists=wrists)

    return join(first, middle + apart), join(second, middle - apart)


def _see_from_camera(joints: Array, setup: int, view: int) -> Array:
    """Turn stage positions into the frame of a camera that looks at the stage's centre."""
    distance_m, height_m, tilt_rad = SETUPS[setup]
    turned = joints @ rotate(1, np.deg2rad(VIEW_ANGLES_DEG[view])).T
    level = turned + np.array([0.0, -height_m, distance_m])
    return np.asarray(level @ rotate(0, np.array(-tilt_rad)).T)


def _draw_noise(rng: np.random.Generator, n_frames: int, settings: SyntheticSettings) -> Array:
    """Return the sensor's error, shape (n_frames, 25, 3): smooth jitter and a little white."""
    lag_s = (np.arange(n_frames)[:, None] - np.arange(n_frames)) / settings.fps
    kernel = np.exp(-0.5 * (lag_s / JITTER_TIME_S) ** 2)
    kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
    shape = (n_frames, NTU_25.n_joints * 3)
    smooth = kernel @ rng.standard_normal(shape)
    noise = smooth + WHITE_NOISE_FRAC * rng.standard_normal(shape)
    return np.asarray(settings.noise_m * noise.reshape(n_frames, -1, 3) * _noise_factor()[:, None])


def _noise_factor() -> NDArray[np.float64]:
    """Return 1 for the trunk and more for the ends of the limbs, shape (25,)."""
    ends = ("Hand", "Thumb", "Foot", "Ankle", "Wrist")
    return np.array([END_NOISE_FACTOR if j.startswith(ends) else 1.0 for j in NTU_25.joints])
