import numpy as np
import pytest

from iospstl_train.evaluation.probe import effective_rank, neighbor_accuracy


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_rank_of_equal_directions_is_their_number():
    axes = np.eye(6, dtype=np.float32)
    assert effective_rank(np.concatenate([axes[:4], -axes[:4]])) == pytest.approx(4, abs=1e-5)


def test_rank_by_hand_where_directions_differ():
    points = np.zeros((4, 3), dtype=np.float32)
    points[0, 0], points[1, 0], points[2, 1], points[3, 1] = 3, -3, 1, -1  # singular values 3 : 1
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(points) == pytest.approx(expected, abs=1e-5)


def test_rank_does_not_see_the_mean_or_the_scale():
    points = draw(30, 5)
    assert effective_rank(7 * points + 100) == pytest.approx(effective_rank(points), rel=1e-3)


def test_rank_of_equal_points_is_zero():
    assert effective_rank(np.ones((5, 3), dtype=np.float32)) == 0


def test_neighbors_label_by_direction_and_not_by_length():
    train = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1])
    test = (train * 50, labels)
    assert neighbor_accuracy((train, labels), test) == 1
    assert neighbor_accuracy((train, 1 - labels), test) == 0


def test_fewer_samples_than_neighbors_all_vote():
    one = (np.ones((1, 2), dtype=np.float32), np.array([3]))
    assert neighbor_accuracy(one, one) == 1
