import numpy as np
import pytest
import torch

from iospstl_train.evaluation.linear import evaluate_linear
from iospstl_train.settings import LinearSettings

SETTINGS = LinearSettings(epochs=30, batch_size=16)


def make_groups(n_per_class=20, n_classes=3, spread=0.1, seed=0):
    """Classes far apart on features of very different scale and offset."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(size=(n_classes, 6))
    labels = np.repeat(np.arange(n_classes), n_per_class)
    points = centers[labels] + rng.normal(scale=spread, size=(len(labels), 6))
    scaled = points * [1e-3, 1, 50, 1, 1, 1] + [5, 0, 1000, 0, -3, 0]
    return scaled.astype(np.float32), labels.astype(np.int64)


def test_separable_classes_are_told_apart():
    result = evaluate_linear(make_groups(seed=1), make_groups(seed=2), 3, SETTINGS)
    assert result.accuracy == 1.0
    np.testing.assert_array_equal(result.predicted, make_groups()[1])


def test_accuracy_is_the_share_of_samples():
    """Seven test samples over batches of any size: 5 of 7 right is 5/7, no mean of batches."""
    features, labels = make_groups(seed=2)
    rows = [0, 1, 2, 20, 21, 40, 41]
    told = labels[rows].copy()
    told[[0, 6]] = [1, 0]  # two that no classifier can get right
    settings = LinearSettings(epochs=30, batch_size=3)
    result = evaluate_linear(make_groups(seed=1), (features[rows], told), 3, settings)
    assert result.accuracy == pytest.approx(5 / 7)


def test_classifier_takes_raw_embeddings():
    train, test = make_groups(seed=1, spread=1.0), make_groups(seed=2, spread=1.0)
    result = evaluate_linear(train, test, 3, SETTINGS)
    assert 0.4 < result.accuracy < 1
    with torch.no_grad():
        again = result.classifier(torch.from_numpy(test[0])).argmax(dim=1).numpy()
    np.testing.assert_array_equal(again, result.predicted)


def test_scale_and_offset_of_a_feature_do_not_matter():
    """Standardised over the training set: the same problem in other units."""
    train, test = make_groups(seed=1, spread=1.0), make_groups(seed=2, spread=1.0)
    result = evaluate_linear(train, test, 3, SETTINGS)
    scale, shift = np.float32([2, 4, 0.5, 8, 1, 2]), np.float32([1, 2, 0, 4, 8, 0])
    moved = [((x * scale + shift).astype(np.float32), labels) for x, labels in (train, test)]
    other = evaluate_linear(moved[0], moved[1], 3, SETTINGS)
    assert np.mean(other.predicted == result.predicted) > 0.98


def test_constant_feature_is_ignored():
    """A feature that is 0 in training, as behind a ReLU, and is not in one test sample."""
    train, test = make_groups(seed=1), make_groups(seed=2)
    dead = [(np.pad(x, ((0, 0), (0, 2))), labels) for x, labels in (train, test)]
    dead[1][0][:, 6:] = 0.01
    result = evaluate_linear(dead[0], dead[1], 3, SETTINGS)
    assert result.accuracy == 1.0
    assert float(result.classifier.weight.detach().abs().max()) < 1e5


def test_same_seed_same_classifier():
    train, test = make_groups(spread=1.0), make_groups(seed=2, spread=1.0)
    weights = [
        evaluate_linear(train, test, 3, SETTINGS, seed).classifier.weight for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_test_set_does_not_change_the_classifier():
    train = make_groups(spread=1.0)
    first = evaluate_linear(train, make_groups(seed=2), 3, SETTINGS).classifier
    far = (make_groups(seed=3)[0] * 100, make_groups()[1])
    second = evaluate_linear(train, far, 3, SETTINGS).classifier
    assert torch.equal(first.weight, second.weight)


def test_published_optimizer_and_drop_by_hand():
    """One batch an epoch, as they are, rate 0.5 and a tenth in the last of three epochs."""
    features, labels = np.eye(4, dtype=np.float32) + 1, np.arange(4)
    settings = LinearSettings(
        epochs=3,
        batch_size=4,
        learning_rate=0.5,
        optimizer="sgd",
        schedule="drop",
        drop_epoch=2,
        standardize=False,
    )
    found = evaluate_linear((features, labels), (features, labels), 4, settings, seed=3)
    torch.manual_seed(3)
    head = torch.nn.Linear(4, 4)
    weight, bias = head.weight.detach().numpy().copy(), head.bias.detach().numpy().copy()
    speed = np.zeros_like(weight), np.zeros_like(bias)
    for rate in (0.5, 0.5, 0.05):
        chance = np.exp(features @ weight.T + bias)
        error = (chance / chance.sum(axis=1, keepdims=True) - np.eye(4)) / 4
        speed = 0.9 * speed[0] + error.T @ features, 0.9 * speed[1] + error.sum(axis=0)
        weight, bias = weight - rate * speed[0], bias - rate * speed[1]
    np.testing.assert_allclose(found.classifier.weight.detach(), weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.classifier.bias.detach(), bias, rtol=1e-4, atol=1e-5)
