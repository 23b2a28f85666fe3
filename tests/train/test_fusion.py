"""Late fusion of runs, and of the streams of one run."""

import numpy as np
import pytest
import torch

from iospstl_core.errors import InputError
from iospstl_train.evaluation.fusion import fuse_logits, join_classifiers
from iospstl_train.evaluation.linear import evaluate_linear, evaluate_parts
from iospstl_train.settings import LinearSettings

SETTINGS = LinearSettings(epochs=60, batch_size=32, learning_rate=0.05)


def test_fusion_by_hand():
    """Alone, the first says class 0 and the second class 1; together the surer one wins."""
    first, second = np.float32([[2.0, 1.0], [1.0, 0.9]]), np.float32([[0.0, 0.5], [0.0, 3.0]])
    np.testing.assert_allclose(fuse_logits([first, second]), [[2.0, 1.5], [1.0, 3.9]])
    weighted = fuse_logits([first, second], [0.6, 0.4])
    np.testing.assert_allclose(weighted, [[1.2, 0.8], [0.6, 1.74]], rtol=1e-6)
    np.testing.assert_array_equal(fuse_logits([first, second], [0, 1]), second)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0], [-1.0, 3.0], [0.0, 0.0], [np.nan, 1]])
def test_faulty_weights_are_refused(weights):
    with pytest.raises(InputError, match="--weights: expected"):
        fuse_logits([np.zeros((1, 2), np.float32)] * 2, weights)


def test_joined_classifier_is_the_mean_of_logits():
    parts = [torch.randn(7, size, generator=torch.Generator().manual_seed(1)) for size in (3, 5)]
    heads = [torch.nn.Linear(size, 4) for size in (3, 5)]
    expected = (heads[0](parts[0]) + heads[1](parts[1])) / 2
    torch.testing.assert_close(join_classifiers(heads)(torch.cat(parts, dim=1)), expected)


def make_features(seed):
    """Four groups, of which each part of the features tells two pairs apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, 120)
    first, second = rng.normal(size=(2, 120, 5)).astype(np.float32)
    first[:, 0] += 4 * (label % 2)
    second[:, 0] += 4 * (label // 2)
    return np.concatenate([first, second], axis=1), label


def test_streams_side_by_side_get_a_classifier_each():
    train, test = make_features(0), make_features(1)
    found = evaluate_parts(train, test, 4, SETTINGS, 1, (5, 5))
    each = [
        evaluate_linear(
            (np.ascontiguousarray(train[0][:, part]), train[1]),
            (np.ascontiguousarray(test[0][:, part]), test[1]),
            *(4, SETTINGS, 1),
        )
        for part in (slice(0, 5), slice(5, 10))
    ]
    expected = (each[0].logits + each[1].logits) / 2
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)
    assert found.accuracy > 0.85 > 0.65 > max(result.accuracy for result in each)
    with torch.no_grad():
        again = found.classifier(torch.from_numpy(test[0])).numpy()
    np.testing.assert_array_equal(again, found.logits)


def test_one_stream_is_evaluated_as_ever():
    train, test = make_features(0), make_features(1)
    expected = evaluate_linear(train, test, 4, SETTINGS, 1)
    found = evaluate_parts(train, test, 4, SETTINGS, 1, (10,))
    np.testing.assert_array_equal(found.logits, expected.logits)
