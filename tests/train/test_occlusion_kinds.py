import re
from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, NTU_25
from iospstl_train.config import Config
from iospstl_train.occlusion.cells import CellSettings
from iospstl_train.occlusion.dropout import DropoutSettings, draw_frames
from iospstl_train.occlusion.kind import SkeletonSequence
from iospstl_train.occlusion.kinds import KINDS
from iospstl_train.occlusion.parts import PARTS, PartSettings, find_parts
from iospstl_train.occlusion.tabletop import TabletopSettings
from iospstl_train.occlusion.time_block import TimeSettings

PLAIN_KINDS = ("random", "parts", "time", "tabletop", "dropout")
WITHOUT_FILES = ("realistic", *PLAIN_KINDS)
STANDING_M = np.array([0.0, 0.5, 2.8])


def make_sequence(n_frames=100, layout=NTU_25, n_persons=1):
    """Somebody who stands before the camera; a second person beside."""
    rng = np.random.default_rng(3)
    rest = np.array(NTU_25.rest_m)[: layout.n_joints] + STANDING_M
    aside = 0.8 * np.arange(n_persons)[:, None, None] * np.array([1.0, 0.0, 0.0])
    noise = rng.normal(scale=0.02, size=(n_frames, n_persons, layout.n_joints, 3))
    xyz = (rest + aside + noise).astype(np.float32)
    return SkeletonSequence(xyz, np.ones(xyz.shape[:2], dtype=bool), layout, 30.0)


def hide(kind, sequence, settings, seed=0):
    content = find_parts(sequence.layout, settings) if kind == "parts" else None
    return KINDS[kind].hide(sequence, settings, content, np.random.default_rng(seed))


# All kinds.


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_settings_in_the_configuration(kind):
    settings = getattr(Config(), kind)
    assert settings == KINDS[kind].settings()
    assert hasattr(settings, KINDS[kind].severity)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_same_generator_same_masks(kind):
    sequence, settings = make_sequence(), getattr(Config(), kind)
    once, again = (hide(kind, sequence, settings, seed=4) for _ in range(2))
    np.testing.assert_array_equal(once.hidden, again.hidden)
    assert once.drawn == again.drawn
    assert once.hidden.any()
    assert not once.hidden.all()


@pytest.mark.parametrize("kind", WITHOUT_FILES)
def test_more_severity_hides_more(kind, store):
    found = KINDS[kind]
    severities = (1, 2, 4) if kind in ("parts", "tabletop") else (0.1, 0.3, 0.6)
    shares = []
    for severity in severities:
        settings = found.with_severity(getattr(Config(), kind), severity)
        opened = found.open_source(None, None, store, settings) if found.open_source else None
        sequence = SkeletonSequence(*store.sequence(3), store.layout, store.fps)
        masked = found.hide(
            sequence, settings, opened and opened.content, np.random.default_rng(1)
        )
        shares.append((masked.hidden & sequence.observed).sum())
    assert shares == sorted(set(shares))


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("random", 1.0, "--severity: fraction: expected 0 <= fraction < 1, got 1"),
        ("time", -0.1, "--severity: fraction: expected 0 <= fraction < 1, got -0.1"),
        ("dropout", 1.0, "--severity: fraction: expected"),
        ("parts", 1.5, "--severity: n_parts: expected a whole number, got 1.5"),
        ("parts", 5, "--severity: n_parts: expected 1 to 4, one part less than there are, got 5"),
        ("tabletop", 7, "--severity: level: expected 1 to 6, got 7"),
        ("realistic", 0.0, "--severity: hidden_frac: expected a share between 0 and 1, got 0"),
    ],
)
def test_a_severity_that_a_kind_does_not_have(kind, severity, message):
    with pytest.raises(InputError, match=re.escape(message)):
        KINDS[kind].with_severity(KINDS[kind].settings(), severity)


# Random cells.


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_the_share_of_random_cells_is_exact(fraction):
    hidden, _ = hide("random", make_sequence(), CellSettings(fraction))
    assert hidden.sum() == round(fraction * 2500)


# Body parts.


def test_parts_are_the_published_joints():
    expected = {
        "left-arm": (5, 6, 7, 8, 22, 23),
        "right-arm": (9, 10, 11, 12, 24, 25),
        "two-hands": (22, 23, 24, 25),
        "two-legs": (13, 14, 15, 16, 17, 18, 19, 20),
        "trunk": (1, 2, 3, 4, 21),
    }
    assert {
        name: tuple(sorted(NTU_25.index(joint) + 1 for joint in joints))
        for name, joints in PARTS.items()
    } == expected


def test_one_part_is_hidden_in_all_frames_and_every_part_is_drawn():
    drawn = set()
    for seed in range(40):
        hidden, described = hide("parts", make_sequence(9, n_persons=2), PartSettings(), seed)
        (name,) = described["parts"]
        expected = np.isin(np.arange(25), [NTU_25.index(joint) for joint in PARTS[name]])
        assert (hidden == expected).all()
        drawn.add(name)
    assert drawn == set(PARTS)


def test_a_layout_without_hands_lacks_that_part_only(store):
    small = replace(store, layout=KINECT_V1_20)
    opened = KINDS["parts"].open_source(None, None, small, PartSettings())
    assert "two-hands" not in opened.content
    assert opened.notes == ("never drawn: two-hands: kinect-v1-20 has none of their joints",)
    with pytest.raises(
        InputError, match="expected 1 parts with joints of the layout kinect-v1-20"
    ):
        KINDS["parts"].open_source(None, None, small, PartSettings(("two-hands",)))


@pytest.mark.parametrize("parts", [("arm",), (), ("trunk", "trunk")])
def test_unknown_parts_raise(parts):
    with pytest.raises(ValueError, match=r"parts: expected some of left-arm, .*, each once, got"):
        PartSettings(parts)


# Time blocks.


@pytest.mark.parametrize("n_hidden", [10, 20, 30, 40, 50])
def test_a_time_block_is_the_published_one_around_frame_50(n_hidden):
    hidden, _ = hide("time", make_sequence(140), TimeSettings(n_hidden / 100))
    frames = np.flatnonzero(hidden.any(axis=(1, 2)))
    assert hidden[frames].all()
    assert frames.tolist() == list(range(50 - n_hidden // 2, 50 + n_hidden // 2))


def test_a_short_sequence_loses_its_share_or_what_the_publication_hides():
    hidden, drawn = hide("time", make_sequence(40), TimeSettings(0.5))
    assert np.flatnonzero(hidden[:, 0, 0]).tolist() == list(range(10, 30))
    assert drawn == {"first_frame": 10, "n_frames": 20}
    hidden, drawn = hide("time", make_sequence(40), TimeSettings(0.5, shrink=False))
    assert np.flatnonzero(hidden[:, 0, 0]).tolist() == list(range(25, 40))
    assert drawn == {"first_frame": 25, "n_frames": 15}
    hidden, drawn = hide("time", make_sequence(20), TimeSettings(0.5, shrink=False))
    assert not hidden.any()
    assert drawn["n_frames"] == 0


def test_a_block_anywhere_reaches_both_ends():
    settings = TimeSettings(0.5, place="anywhere")
    firsts = {
        hide("time", make_sequence(10), settings, seed)[1]["first_frame"] for seed in range(60)
    }
    assert firsts == set(range(6))


# Dropouts.


@pytest.mark.parametrize("form", ["random", "even"])
@pytest.mark.parametrize("burst", [1, 4])
@pytest.mark.parametrize(("n_frames", "fraction"), [(100, 0.3), (37, 0.5), (10, 0.97), (3, 0.1)])
def test_the_share_of_lost_frames_is_exact(form, burst, n_frames, fraction):
    settings = DropoutSettings(fraction, form, burst)
    for seed in range(5):
        lost = draw_frames(n_frames, settings, np.random.default_rng(seed))
        assert len(set(lost.tolist())) == len(lost) == round(fraction * n_frames)
        assert set(lost.tolist()) <= set(range(n_frames))


def test_bursts_last_as_long_as_wanted_and_lie_anywhere():
    settings = DropoutSettings(0.1, burst_frames=5)
    drawn = [draw_frames(100, settings, np.random.default_rng(seed)) for seed in range(200)]
    for lost in drawn:
        one, other = lost[:5], lost[5:]
        assert (np.diff(one) == 1).all()
        assert (np.diff(other) == 1).all()
    rate = np.bincount(np.concatenate(drawn), minlength=100) / len(drawn)
    assert rate[10:90].mean() == pytest.approx(0.1, abs=0.01)


def test_even_dropouts_are_evenly_spread():
    lost = draw_frames(60, DropoutSettings(0.25, "even"), np.random.default_rng(0))
    assert set(np.diff(lost)) == {4}


def test_a_lost_frame_lacks_every_joint_of_everybody():
    hidden, _ = hide("dropout", make_sequence(50, n_persons=2), DropoutSettings(0.3))
    lost = hidden.any(axis=(1, 2))
    assert lost.sum() == 15
    assert hidden[lost].all()


# Tabletop.


def test_the_line_is_so_many_pixels_above_the_lowest_joint():
    # Joints 2 m before the camera: 1,000 pixels of focal length are 500 pixels a metre.
    sequence = make_sequence(1)
    sequence.xyz[...] = (0.0, 1.0, 2.0)
    sequence.xyz[0, 0, :4] = [(0, -1.0, 2), (0, -0.52, 2), (0, -0.48, 2), (0, -1.04, 4)]
    hidden, drawn = hide("tabletop", sequence, TabletopSettings(level=3, focal_px=1000.0))
    assert drawn["line_px"] == 500 - 50 * 5
    assert np.flatnonzero(hidden).tolist() == [0, 1, 3]


def test_the_line_stands_still_and_unobserved_joints_do_not_count():
    sequence = make_sequence(5)
    sequence.xyz[0, 0, NTU_25.index("FootLeft")] = np.nan
    hidden, _ = hide("tabletop", sequence, TabletopSettings())
    assert not hidden[0, 0, NTU_25.index("FootLeft")]
    sequence.xyz[2, 0, :, 1] += 3  # jumps out of everything
    hidden, _ = hide("tabletop", sequence, TabletopSettings())
    assert hidden[0].any()
    assert not hidden[2].any()


def test_a_tabletop_needs_the_camera_frame():
    sequence = make_sequence(5)
    sequence.xyz[...] -= STANDING_M.astype(np.float32)
    with pytest.raises(InputError, match="occlude the recording before it is centred"):
        hide("tabletop", sequence, TabletopSettings())
    sequence.xyz[...] = np.nan
    assert not hide("tabletop", sequence, TabletopSettings()).hidden.any()
