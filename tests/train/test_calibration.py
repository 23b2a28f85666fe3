"""Calibration on made embeddings whose truth is known."""

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from iospstl_core.rejection import DEFAULT_THRESHOLD
from iospstl_train.calibration import (
    fit_head,
    fit_labeler,
    fit_rejection,
    fit_temperature,
    fold_numbers,
    has_people,
    hold_out,
)
from iospstl_train.data.window_kinds import ACTIONS, DESCRIPTIONS, MADE, Kind
from iospstl_train.evaluation.labels import (
    describe_labels,
    expected_calibration_error,
    judge_labels,
    measure_actions,
)
from iospstl_train.examples import ExampleSet

N_FEATURES = 6
MEANS = np.random.default_rng(1).normal(size=(5, N_FEATURES)) * 2.5


def make_set(n_classes=4, n_each=20, seed=0, n_people=5):
    """Clusters of actions, and a wide cloud of what is none, three windows of each a sequence."""
    rng = np.random.default_rng(seed)
    columns = []
    for sequence in range(n_classes * n_each):
        label, person = sequence % n_classes, sequence // n_classes % n_people
        columns += [(MEANS[label], 1.0, label, label, kind, person, sequence) for kind in ACTIONS]
        partner = (label + 1) % n_classes
        for kind in MADE:
            other = partner if kind in (Kind.JOINED, Kind.PAUSE) else label
            columns.append((0 * MEANS[0], 3.0, label, other, kind, person, sequence))
    noise = rng.normal(size=(len(columns), N_FEATURES))
    embedding = np.array([row[0] + row[1] * eps for row, eps in zip(columns, noise, strict=True)])
    facts = np.array([row[2:] for row in columns], dtype=np.int64).T
    return ExampleSet((5 + 0.3 * embedding).astype(np.float32), *facts)


@pytest.fixture(scope="module")
def examples():
    return make_set()


@pytest.fixture(scope="module")
def labeler(examples):
    return fit_labeler(examples, 4)


@pytest.fixture(scope="module")
def fresh():
    return make_set(n_each=200, seed=9)


def draw_logits(n=4000, n_classes=5, seed=0):
    """Logits whose softmax is the truth: labels are drawn from it."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, n_classes))
    chance = softmax(logits, axis=1).cumsum(axis=1)
    return logits.astype(np.float32), (rng.random((n, 1)) > chance).sum(axis=1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_factor(factor):
    logits, label = draw_logits()
    assert fit_temperature(factor * logits, label) == pytest.approx(factor, rel=0.1)


def test_temperature_that_must_not_sharpen_is_at_least_one():
    logits, label = draw_logits()
    assert fit_temperature(0.3 * logits, label, may_sharpen=False) == 1
    assert fit_temperature(4 * logits, label, may_sharpen=False) == pytest.approx(4, rel=0.1)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    label = np.array([0, 1, 1, 1])
    # bins: 0.9 twice, half right; 0.7 right; 0.6 right
    expected = (2 * 0.4 + 0.3 + 0.4) / 4
    assert expected_calibration_error(probabilities, label) == pytest.approx(expected)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0


def test_true_probabilities_are_calibrated():
    logits, label = draw_logits()
    before, after = (measure_actions(logits * 3, label, t)["ece"] for t in (1.0, 3.0))
    assert after < 0.03 < 0.1 < before
    measured = measure_actions(logits * 3, label, 3.0)
    assert measured["ece_before"] == before
    assert measured["nll"] < measured["nll_before"]


def test_folds_hold_people_whole_and_spread_them(examples):
    fold = fold_numbers(examples)
    assert set(fold) == set(range(5))
    for person in range(5):
        assert len(set(fold[examples.group == person])) == 1
    assert has_people(examples)


def test_folds_of_single_recordings_spread_every_class():
    examples = make_set(n_each=5)
    alone = dataclasses.replace(examples, group=examples.sequence)
    assert not has_people(alone)
    fold = fold_numbers(alone)
    for number in range(5):
        assert set(alone.label[fold == number]) == {0, 1, 2, 3}
    for sequence in np.unique(alone.sequence):
        assert len(set(fold[alone.sequence == sequence])) == 1


def test_head_takes_raw_embeddings_and_is_right(examples, fresh):
    head = fit_head(examples, 4)
    actions = fresh[fresh.is_action]
    logits = head.logits(actions.embedding)
    assert (logits.argmax(axis=1) == actions.label).mean() > 0.95
    moved = dataclasses.replace(examples, embedding=examples.embedding * 7 - 3)
    again = fit_head(moved, 4).logits(actions.embedding * 7 - 3)
    np.testing.assert_allclose(again, logits, atol=0.05)


def test_head_of_two_classes_has_a_softmax_of_two():
    examples = make_set(n_classes=2)
    head = fit_head(examples, 2)
    assert head.weight.shape == (2, N_FEATURES)
    actions = examples[examples.is_action]
    predicted = head.logits(actions.embedding).argmax(axis=1)
    assert (predicted == actions.label).mean() > 0.95


def test_head_of_one_class_names_it(examples):
    head = fit_head(examples[examples.label == 2], 4)
    assert (head.logits(examples.embedding).argmax(axis=1) == 2).all()


def test_two_people_are_enough():
    """One is held out, the other fitted, also where there is no test set."""
    examples = make_set(n_people=2)
    labeler = fit_labeler(examples, 4)
    labels = judge_labels(labeler, examples, None, 4)
    assert labels["test"]["n_windows"] == examples.is_action.sum() / 2
    assert labels["test"]["accuracy"] > 0.9


def test_a_class_without_examples_is_never_named(examples):
    head = fit_head(examples[examples.label != 1], 5)
    assert not np.isin(head.logits(examples.embedding).argmax(axis=1), [1, 4]).any()


def test_held_out_actions_are_asked_of_others(examples):
    """Nobody but that person could teach that their movement means something else."""
    is_odd = examples.group == 2
    swapped = np.where(is_odd, (examples.label + 1) % 4, examples.label)
    mirrored = np.where(is_odd[:, None], 10 - examples.embedding, examples.embedding)
    odd = dataclasses.replace(examples, embedding=mirrored, label=swapped, partner=swapped)
    held_out = hold_out(odd, 4)
    assert len(held_out.label) == odd.is_action.sum()
    assert held_out.is_whole.sum() == len(np.unique(odd.sequence))
    fold = fold_numbers(odd)
    order = np.argsort(fold[odd.is_action], kind="stable")
    asked = odd[odd.is_action][order]
    np.testing.assert_array_equal(held_out.label, asked.label)
    own = asked.group == 2
    right = held_out.logits.argmax(axis=1) == held_out.label
    taught = fit_head(odd, 4).logits(asked.embedding).argmax(axis=1) == asked.label
    assert right[own].mean() < taught[own].mean() - 0.1


def test_rejection_is_that_of_hand_made_gaussians(examples):
    """With plenty of data the shrinkage is small, and the covariances are those of numpy."""
    examples = make_set(n_each=500)
    scale = np.float32([0.2, 1, 5, 0.5, 2, 20])
    examples = dataclasses.replace(examples, embedding=examples.embedding * scale)
    rejection = fit_rejection(examples)
    x = examples.embedding.astype(np.float64)
    own, other = x[examples.is_action], x[~examples.is_action]
    label = examples.label[examples.is_action]
    means = np.stack([own[label == c].mean(axis=0) for c in range(4)])
    within = np.linalg.inv(np.cov((own - means[label]).T))
    beyond = np.linalg.inv(np.cov(other.T))
    asked = x[::97]
    to_class = [min((p - m) @ within @ (p - m) for m in means) for p in asked]
    gone = asked - other.mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", gone, beyond, gone) - to_class
    found = rejection.score(examples.embedding[::97])
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.1)


def test_threshold_costs_the_share_of_actions_that_it_says(labeler, fresh):
    known = labeler.rejection.known(fresh[fresh.is_action].embedding)
    for threshold in (DEFAULT_THRESHOLD, 0.2, 0.5):
        assert (known < threshold).mean() == pytest.approx(threshold, abs=0.04)
    unknown = labeler.rejection.known(fresh[~fresh.is_action].embedding)
    assert (unknown < DEFAULT_THRESHOLD).mean() > 0.7


def test_quantiles_rise_and_come_from_held_out_windows(labeler):
    quantiles = labeler.rejection.quantiles
    assert (np.diff(quantiles) >= 0).all()
    score = labeler.held_out.score
    np.testing.assert_allclose(quantiles[[0, 50, 100]], np.quantile(score, [0, 0.5, 1]), rtol=1e-5)


def test_judgement_of_a_test_set(labeler, examples, fresh):
    labels = judge_labels(labeler, examples, fresh, 4)
    test = labels["test"]
    assert not test["is_fold"]
    assert test["n_windows"] == fresh.is_action.sum()
    for name in ("accuracy_whole", "accuracy_parts", "accuracy_live"):
        assert test[name] > 0.95
    assert test["coverage"] == pytest.approx(0.95, abs=0.04)
    assert test["accuracy_covered"] >= test["accuracy"]
    assert set(labels["unknown"]) == {DESCRIPTIONS[kind] for kind in MADE}
    for found in labels["unknown"].values():
        assert found["auroc"] > 0.9
        assert found["auroc_not_fitted"] > 0.9  # all kinds are alike here
        assert 0.5 < found["rejected"] < 1
    assert len(labels["auroc_held_out_classes"]) == 4
    text = "\n".join(describe_labels(labels))
    assert f"Temperature {labels['temperature']:.2f}" in text
    assert "on the test set" in text
    assert "standing still: AUROC 0.9" in text
    assert "4 groups of classes" in text


def test_judgement_without_a_test_set_is_of_a_held_out_fold(labeler, examples):
    labels = judge_labels(labeler, examples, None, 4)
    assert labels["test"]["is_fold"]
    assert labels["test"]["n_windows"] == examples.is_action.sum() / 5
    assert labels["temperature"] == labeler.temperature
    assert "on a held-out fold" in describe_labels(labels)[0]


def test_classes_that_were_held_out_are_unknown_where_they_are_far(labeler, examples, fresh):
    """A class that is like no other scores lower; one that is like another does not."""
    far = judge_labels(labeler, examples, fresh, 4)["auroc_held_out_classes"]
    assert min(far) > 0.8
    noise = np.random.default_rng(0).normal(size=examples.embedding.shape).astype(np.float32)
    blurred = dataclasses.replace(examples, embedding=noise)
    near = judge_labels(labeler, blurred, blurred, 4)["auroc_held_out_classes"]
    assert np.mean(near) == pytest.approx(0.5, abs=0.1)


def test_two_classes_cannot_be_held_out():
    examples = make_set(n_classes=2)
    labels = judge_labels(fit_labeler(examples, 2), examples, None, 2)
    assert labels["auroc_held_out_classes"] == []
    assert not any("have not seen" in line for line in describe_labels(labels))
