"""Published names and counts of NTU RGB+D; a store is compared with them."""

from __future__ import annotations

import numpy as np
import pytest

from iospstl_core.splits import parse_split
from iospstl_train.data.ntu_names import (
    PUBLISHED_SIZES,
    SPLITS,
    NtuName,
    missing_names,
    parse_name,
    published,
)
from iospstl_train.data.published import Difference, Published, compare


@pytest.mark.parametrize(
    ("dataset", "n_sequences", "n_subjects"), [("ntu60", 56_578, 40), ("ntu120", 113_945, 106)]
)
def test_published_names_have_the_published_counts(dataset, n_sequences, n_subjects):
    names = published(dataset).names
    assert len(names) == len(set(names)) == n_sequences
    assert list(names) == sorted(names)
    numbers = [parse_name(name) for name in names]
    fields = {
        field: np.array([getattr(number, field) for number in numbers])
        for field in ("subject", "view", "setup")
    }
    assert len(np.unique(fields["subject"])) == n_subjects
    for split, expression in SPLITS[dataset].items():
        parsed = parse_split(expression)
        sizes = (parsed.train(fields).sum(), parsed.test(fields).sum())
        assert sizes == PUBLISHED_SIZES[dataset][split]


def test_split_sizes_are_those_of_the_papers():
    assert PUBLISHED_SIZES["ntu60"] == {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)}
    assert PUBLISHED_SIZES["ntu120"] == {"xsub": (63_026, 50_919), "xset": (54_468, 59_477)}


def test_missing_names_of_both_halves():
    missing = missing_names()
    assert len(missing) == 535
    assert sum(parse_name(name).setup <= 17 for name in missing) == 302
    assert missing.isdisjoint(published("ntu120").names)


@pytest.mark.parametrize("name", ["S001C001P001R001A121", "S001C001P001R001A000", "S1C1", ""])
def test_other_names_are_none_of_the_dataset(name):
    assert parse_name(name) is None


def test_a_name_tells_its_numbers():
    name = parse_name("S017C002P040R001A060")
    assert name == NtuName(setup=17, view=2, subject=40, repetition=1, action=60)
    assert name.label == 59


def test_differences_are_named():
    expected = Published(("a", "b", "c", "d", "e", "f"), {})
    difference = compare(["b", "x"], ["a"], expected)
    assert difference == Difference(6, ["c", "d", "e", "f"], ["x"])
    assert difference.lines() == [
        "not there: 4 of 6 published sequences: c, d, e and 1 more",
        "not published: 1 sequences: x",
    ]
    assert compare("abcdef", [], expected).lines() == [
        "as published: all 6 sequences and no others"
    ]
