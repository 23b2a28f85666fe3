"""Split expressions: which sequences train and which test, in one line of text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError

BoolArray = NDArray[np.bool_]
Fields = Mapping[str, NDArray[np.integer[Any]]]

FIELDS = ("subject", "view", "setup", "label")
GIVEN = "part"
"""What sources without names say instead: 1 to train, 2 to test."""

EXAMPLE = "train: view in 1,2; test: view in 3"
_MAX_DIGITS = 9
_TOKEN = re.compile(r"\d+|[^\W\d]\w*|\S")


@dataclass(frozen=True)
class Condition:
    """One test of one field: its value lies in any of the ranges, or in none if `negated`.

    Attributes
    ----------
    field : str
        One of `FIELDS`, or `GIVEN`; labels count from 0.
    negated : bool
        True for ``not in``.
    ranges : tuple of (first, last)
        Both ends belong to the range.
    """

    field: str
    negated: bool
    ranges: tuple[tuple[int, int], ...]

    def holds(self, fields: Fields) -> BoolArray:
        """Return True for every sequence that meets the condition, shape (n_sequences,)."""
        values = np.asarray(fields[self.field])
        inside = np.zeros(values.shape, dtype=np.bool_)
        for first, last in self.ranges:
            inside |= (values >= first) & (values <= last)
        return ~inside if self.negated else inside


@dataclass(frozen=True)
class Split:
    """A parsed split expression.

    Attributes
    ----------
    text : str
        The expression as written.
    train_conditions, test_conditions : tuple of Condition
        All conditions of a side must hold.
    """

    text: str
    train_conditions: tuple[Condition, ...]
    test_conditions: tuple[Condition, ...]

    def train(self, fields: Fields) -> BoolArray:
        """Return which sequences train.

        Parameters
        ----------
        fields : mapping of str to ndarray of shape (n_sequences,), int
            Values of the fields that the expression names; -1 where the source does not say.

        Returns
        -------
        chosen : ndarray of shape (n_sequences,), bool

        Raises
        ------
        InputError
            If a field is not known for every sequence, a side is empty or the sides overlap.
        """
        return self._apply(fields)[0]

    def test(self, fields: Fields) -> BoolArray:
        """Return which sequences test; see `train`."""
        return self._apply(fields)[1]

    def _apply(self, fields: Fields) -> tuple[BoolArray, BoolArray]:
        self._check_known(fields)
        train = np.logical_and.reduce([c.holds(fields) for c in self.train_conditions])
        test = np.logical_and.reduce([c.holds(fields) for c in self.test_conditions])
        for name, side in (("train", train), ("test", test)):
            if not side.any():
                raise InputError(
                    f"split {self.text!r}: expected sequences on both sides, got none of "
                    f"{side.size} for {name}; {self._describe_values(fields)}"
                )
        if (train & test).any():
            raise InputError(
                f"split {self.text!r}: expected no sequence on both sides, got "
                f"{(train & test).sum()} of {train.size}; {self._describe_values(fields)}"
            )
        return train, test

    def _check_known(self, fields: Fields) -> None:
        for name in self._used():
            unknown = np.asarray(fields[name]) < 0 if name in fields else np.ones(1, np.bool_)
            if unknown.any():
                raise InputError(
                    f"split {self.text!r}: expected the {name} of every sequence, got none for "
                    f"{unknown.sum() if name in fields else 'any'}; "
                    f"split by another of {', '.join(FIELDS)}"
                )

    def _used(self) -> list[str]:
        return list(dict.fromkeys(c.field for c in self.train_conditions + self.test_conditions))

    def _describe_values(self, fields: Fields) -> str:
        described = []
        for name in self._used():
            values = np.unique(np.asarray(fields[name]))
            shown = ", ".join(map(str, values[:20])) + (", ..." if values.size > 20 else "")
            described.append(f"{name} in the data: {shown}")
        return "; ".join(described)


def parse_split(text: str) -> Split:
    """Parse a split expression.

    Parameters
    ----------
    text : str
        ``train: CONDITIONS; test: CONDITIONS``, where conditions are joined by ``and`` and each is
        ``FIELD [not] in VALUES``. Values are whole numbers and ranges with both ends, ``1-5``.

    Returns
    -------
    split : Split

    Raises
    ------
    InputError
        With the position and word of the first fault, and an example.

    Examples
    --------
    >>> split = parse_split("train: view in 1,2 and subject not in 3-5; test: view in 3")
    >>> split.test({"view": np.array([1, 2, 3]), "subject": np.array([1, 4, 1])})
    array([False, False,  True])
    """
    parser = _Parser(text)
    sides: dict[str, tuple[Condition, ...]] = {}
    while len(sides) < 2:
        if sides:
            parser.take("';'", ";")
        remaining = [side for side in ("train", "test") if side not in sides]
        side = parser.take(" or ".join(f"'{name}'" for name in remaining), *remaining)
        parser.take("':'", ":")
        sides[side] = parser.conditions()
    if parser.word == ";":
        parser.take("';'", ";")
    parser.take("the end of the expression", "")
    return Split(text, sides["train"], sides["test"])


class _Parser:
    """Reads the words of an expression one after another; '' stands for the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [(m.group(), m.start() + 1) for m in _TOKEN.finditer(text)]
        self._words.append(("", len(text) + 1))
        self._next = 0

    @property
    def word(self) -> str:
        return self._words[self._next][0]

    def take(self, expected: str, *allowed: str) -> str:
        word = self.word
        if word not in allowed:
            self._fail(expected)
        self._advance()
        return word

    def conditions(self) -> tuple[Condition, ...]:
        found = [self._condition()]
        while self.word == "and":
            self._advance()
            found.append(self._condition())
        return tuple(found)

    def _condition(self) -> Condition:
        if self.word not in (*FIELDS, GIVEN):
            nearest = difflib.get_close_matches(self.word.lower(), FIELDS, n=1)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            self._fail(f"one of the fields {', '.join(FIELDS)}", hint)
        field = self.word
        self._advance()
        negated = self.word == "not"
        if negated:
            self._advance()
        self.take("'in'" if negated else "'in' or 'not in'", "in")
        ranges = [self._range()]
        while self.word == ",":
            self._advance()
            ranges.append(self._range())
        return Condition(field, negated, tuple(ranges))

    def _range(self) -> tuple[int, int]:
        first = self._number("a whole number")
        if self.word != "-":
            return first, first
        self._advance()
        return first, self._number("the end of the range", smallest=first)

    def _number(self, expected: str, smallest: int = 0) -> int:
        word = self.word
        if not word.isdecimal():
            self._fail(expected)
        if len(word) > _MAX_DIGITS:
            self._fail(f"a number of at most {_MAX_DIGITS} digits")
        if int(word) < smallest:
            self._fail(f"{expected}, {smallest} or more")
        self._advance()
        return int(word)

    def _advance(self) -> None:
        self._next = min(self._next + 1, len(self._words) - 1)

    def _fail(self, expected: str, hint: str = "") -> None:
        word, position = self._words[self._next]
        got = f"'{word[:40]}'" if word else "the end"
        raise InputError(
            f"split {self._text!r}: expected {expected} at position {position}, got {got}{hint}; "
            f'example: "{EXAMPLE}"'
        )
