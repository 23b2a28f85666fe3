from __future__ import annotations

import re

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.splits import parse_split

FIELDS = {
    "subject": np.array([1, 2, 3, 4, 5, 6]),
    "view": np.array([1, 2, 3, 1, 2, 3]),
    "setup": np.array([1, 1, 1, 2, 2, 2]),
    "label": np.array([0, 0, 0, 0, 0, 1]),
}


@pytest.mark.parametrize(
    ("text", "train", "test"),
    [
        ("train: view in 1,2; test: view in 3", [0, 1, 3, 4], [2, 5]),
        ("test: view in 3; train: view in 1,2;", [0, 1, 3, 4], [2, 5]),
        ("train:subject in 1-3,5;test:subject not in 1-3,5", [0, 1, 2, 4], [3, 5]),
        ("train: view in 1 and setup in 1; test: setup not in 1", [0], [3, 4, 5]),
        ("train: view in 1-2 and setup in 1 and subject in 2; test: view in 3", [1], [2, 5]),
        ("train: subject in 2-2; test: label not in 0 and view in 3", [1], [5]),
        ("train:\n  view in 1\n;\ntest: view not in 1-1", [0, 3], [1, 2, 4, 5]),
    ],
)
def test_split_chooses_the_sequences(text: str, train: list[int], test: list[int]) -> None:
    split = parse_split(text)
    assert np.flatnonzero(split.train(FIELDS)).tolist() == train
    assert np.flatnonzero(split.test(FIELDS)).tolist() == test
    assert split.train(FIELDS).dtype == np.bool_


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'train' or 'test' at position 1, got the end"),
        ("train view in 1", "expected ':' at position 7, got 'view'"),
        ("train: view in 1", "expected ';' at position 17, got the end"),
        ("train: view in 1; train: view in 2", "expected 'test' at position 19, got 'train'"),
        ("train: viwe in 1; test: view in 2", "got 'viwe'; did you mean 'view'?"),
        ("train: View in 1; test: view in 2", "position 8, got 'View'; did you mean 'view'?"),
        ("train: camera in 1; test: view in 2", "subject, view, setup, label at position 8"),
        (
            "train: view is 1; test: view in 2",
            "expected 'in' or 'not in' at position 13, got 'is'",
        ),
        ("train: view not 1; test: view in 2", "expected 'in' at position 17, got '1'"),
        ("train: view in ; test: view in 2", "expected a whole number at position 16, got ';'"),
        ("train: view in one; test: view in 2", "expected a whole number at position 16"),
        ("train: view in -1; test: view in 2", "expected a whole number at position 16, got '-'"),
        ("train: view in 1,; test: view in 2", "expected a whole number at position 18"),
        ("train: view in 1-; test: view in 2", "expected the end of the range at position 18"),
        ("train: view in 5-3; test: view in 2", "the end of the range, 5 or more at position 18"),
        (
            "train: view in 1 or view in 2; test: view in 3",
            "expected ';' at position 18, got 'or'",
        ),
        ("train: view in 1; test: view in 2 view", "end of the expression at position 35"),
        ("train: view in 1; test: view in 2; x", "end of the expression at position 36, got 'x'"),
        ("train: view in " + "9" * 5000 + "; test: view in 2", "at most 9 digits"),
    ],
)
def test_syntax_error_names_the_position_and_shows_an_example(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        parse_split(text)
    assert 'example: "train: view in 1,2; test: view in 3"' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train: view in 1,2; test: view in 2,3",
            "no sequence on both sides, got 2 of 6; view in the data: 1, 2, 3",
        ),
        (
            "train: view in 9; test: view in 2",
            "got none of 6 for train; view in the data: 1, 2, 3",
        ),
        ("train: view in 1; test: subject in 9", "got none of 6 for test"),
    ],
)
def test_overlap_and_empty_side_are_errors_on_either_call(text: str, message: str) -> None:
    split = parse_split(text)
    for side in (split.train, split.test):
        with pytest.raises(InputError, match=re.escape(message)):
            side(FIELDS)


def test_field_that_the_source_does_not_say_is_an_error() -> None:
    split = parse_split("train: view in 1; test: view not in 1")
    with pytest.raises(InputError, match="expected the view of every sequence, got none for 1"):
        split.train({"view": np.array([1, -1, 2])})
    with pytest.raises(InputError, match="expected the view of every sequence, got none for any"):
        split.train({"subject": np.array([1, 2])})
