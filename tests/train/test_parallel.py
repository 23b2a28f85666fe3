"""Work on all cores keeps the order, and never runs far ahead of who takes the results."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from iospstl_train.parallel import map_in_order


class Counted(Sequence):
    """Numbers that know how many of them were asked for."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.asked = 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index):
        numbers = list(range(self.n))[index]
        self.asked += len(numbers) if isinstance(index, slice) else 1
        return numbers


def double(number: int) -> int:
    if number == 5000:
        raise ValueError("five thousand")
    return 2 * number


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 1000])
def test_results_come_in_order(n, n_workers):
    results = list(map_in_order(double, range(n), "n", n_workers))
    np.testing.assert_array_equal(results, np.arange(0, 2 * n, 2))


def test_few_results_wait():
    items = Counted(4000)
    results = map_in_order(double, items, "n", 2)
    for _ in range(10):
        next(results)
    time.sleep(0.2)
    assert 10 <= items.asked <= 150
    assert len(list(results)) == 3990


def test_an_error_of_a_worker_arrives():
    with pytest.raises(ValueError, match="five thousand"):
        list(map_in_order(double, range(5500), "n", 2))
