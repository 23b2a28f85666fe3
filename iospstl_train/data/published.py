"""What was prepared, compared with what everybody who prepares a dataset should have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

_N_SHOWN = 3


@dataclass(frozen=True)
class Published:
    """What everybody who prepares a dataset should have.

    Attributes
    ----------
    names : collection of str
        All sequences.
    split_sizes : mapping of str to (int, int)
        Split -> training and test sequences.
    """

    names: Collection[str]
    split_sizes: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Difference:
    """Names that are on one side only, in order.

    Attributes
    ----------
    n_published : int
    not_there : sequence of str
        Published, but neither stored nor left out.
    not_published : sequence of str
        Stored, but not published.
    """

    n_published: int
    not_there: Sequence[str]
    not_published: Sequence[str]

    def lines(self) -> list[str]:
        """Return what to tell the user."""
        lines = []
        if self.not_there:
            lines.append(
                f"not there: {len(self.not_there)} of {self.n_published} published sequences: "
                + shorten(self.not_there)
            )
        if self.not_published:
            lines.append(
                f"not published: {len(self.not_published)} sequences: "
                + shorten(self.not_published)
            )
        return lines or [f"as published: all {self.n_published} sequences and no others"]


def compare(names: Collection[str], left_out: Collection[str], expected: Published) -> Difference:
    """Compare the names that were stored, and those left out, with the published ones."""
    stored, known = set(names), set(expected.names)
    return Difference(len(known), sorted(known - stored - set(left_out)), sorted(stored - known))


def shorten(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:_N_SHOWN])
    more = len(names) - _N_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
