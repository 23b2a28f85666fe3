"""Labels over time: averages, the lead that a change needs, and what is unknown."""

import numpy as np
import pytest

from iospstl_core.smoothing import LabelSmoother

SETTINGS = {"threshold": 0.05, "smoothing_s": 0.5, "hysteresis": 0.1}


def scores(*values):
    return np.array(values, dtype=np.float32)


def decide(smoother, stamp_s, probabilities, known=0.5, person=1, **changes):
    settings = {**SETTINGS, **changes}
    return smoother.decide(person, stamp_s, probabilities, known, **settings)


def test_the_first_result_counts_as_it_is():
    decision = decide(LabelSmoother(), 5.0, scores(0.2, 0.8))
    assert (decision.index, decision.known) == (1, 0.5)
    np.testing.assert_array_equal(decision.probabilities, scores(0.2, 0.8))


def test_scores_are_averaged_with_a_time_constant():
    smoother = LabelSmoother()
    decide(smoother, 0.0, scores(1, 0), known=1.0)
    decision = decide(smoother, 0.5, scores(0, 1), known=0.0)
    keep = np.exp(-1)
    np.testing.assert_allclose(decision.probabilities, [keep, 1 - keep], rtol=1e-6)
    assert decision.known == pytest.approx(keep)
    assert decision.probabilities.dtype == np.float32
    once = LabelSmoother()  # twice half the time is the same
    decide(once, 0.0, scores(1, 0))
    decide(once, 0.25, scores(0, 1))
    twice = decide(once, 0.5, scores(0, 1))
    np.testing.assert_allclose(twice.probabilities, [keep, 1 - keep], rtol=1e-6)


def test_a_new_label_needs_a_lead():
    smoother = LabelSmoother()
    assert decide(smoother, 0.0, scores(0.6, 0.4)).index == 0
    far = {"smoothing_s": 1e-3}  # averages follow at once: only the lead holds the label
    assert decide(smoother, 1.0, scores(0.46, 0.54), **far).index == 0
    assert decide(smoother, 2.0, scores(0.44, 0.56), **far).index == 1
    assert decide(smoother, 3.0, scores(0.54, 0.46), **far).index == 1
    assert decide(smoother, 4.0, scores(0.54, 0.46), **far, hysteresis=0.0).index == 0


def test_one_wrong_window_does_not_change_the_label():
    smoother = LabelSmoother()
    labels = []
    for index in range(20):
        now = scores(0.1, 0.9) if index == 10 else scores(0.9, 0.1)
        labels.append(decide(smoother, index / 10, now))
    assert {decision.index for decision in labels} == {0}


def test_what_is_below_the_threshold_is_unknown_and_comes_back_higher():
    smoother = LabelSmoother()
    far = {"smoothing_s": 1e-3}
    assert decide(smoother, 0.0, scores(1, 0), known=0.04).index is None
    assert decide(smoother, 1.0, scores(1, 0), known=0.06, **far).index is None
    assert decide(smoother, 2.0, scores(1, 0), known=0.08, **far).index == 0
    assert decide(smoother, 3.0, scores(1, 0), known=0.06, **far).index == 0
    assert decide(smoother, 4.0, scores(1, 0), known=0.04, **far).index is None


def test_without_a_threshold_everything_has_a_name():
    smoother = LabelSmoother()
    for stamp_s in (0.0, 0.1):
        assert decide(smoother, stamp_s, scores(1, 0), known=0.0, threshold=0.0).index == 0


def test_without_smoothing_every_result_stands_for_itself():
    smoother = LabelSmoother()
    for index, best in enumerate([0, 1, 0, 1]):
        probabilities = scores(0.51, 0.49)[:: 1 if best == 0 else -1]
        decision = decide(smoother, index / 10, probabilities, smoothing_s=0.0)
        assert decision.index == best
        np.testing.assert_array_equal(decision.probabilities, probabilities)


def test_people_have_memories_of_their_own():
    smoother = LabelSmoother()
    decide(smoother, 0.0, scores(1, 0), person=1)
    assert decide(smoother, 0.1, scores(0, 1), person=2).index == 1
    assert decide(smoother, 0.1, scores(0, 1), person=1).index == 0


@pytest.mark.parametrize("newest_s", [1.2, -0.1])
def test_who_was_away_or_comes_after_a_jump_back_starts_afresh(newest_s):
    smoother = LabelSmoother()
    decide(smoother, 0.0, scores(1, 0))
    smoother.forget(newest_s, track_timeout_s=1.0)
    assert decide(smoother, newest_s, scores(0, 1)).index == 1


def test_a_short_absence_and_clear():
    smoother = LabelSmoother()
    decide(smoother, 0.0, scores(1, 0))
    smoother.forget(0.9, track_timeout_s=1.0)
    assert decide(smoother, 0.9, scores(0.5, 0.5)).index == 0
    smoother.clear()
    assert decide(smoother, 1.0, scores(0, 1)).index == 1
