"""Plain-Python KNN fill: one coordinate at a time, equations (8)-(10) of the paper as written."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def fill_row(row: Row, donors: Sequence[Row], n_neighbors: int) -> list[float]:
    """Fill the NaN of one window from the donors of its cluster; NaN stays where none has it."""
    distances = [distance(row, donor) for donor in donors]
    return [
        fill_coordinate(column, donors, distances, n_neighbors) if math.isnan(value) else value
        for column, value in enumerate(row)
    ]


def fill_coordinate(column: int, donors: Sequence[Row], distances: Row, n_neighbors: int) -> float:
    """Average the nearest donors of a coordinate by inverse distance; else all that have it."""
    having = [k for k in range(len(donors)) if not math.isnan(donors[k][column])]
    comparable = [k for k in having if not math.isnan(distances[k])]
    if not comparable:
        return mean([donors[k][column] for k in having])
    nearest = sorted(comparable, key=lambda k: distances[k])[:n_neighbors]
    identical = [k for k in nearest if distances[k] == 0]
    if identical:
        return mean([donors[k][column] for k in identical])
    total = sum(1 / distances[k] for k in nearest)
    return sum(donors[k][column] / distances[k] for k in nearest) / total


def distance(row: Row, donor: Row) -> float:
    """Equation (8): Euclidean over what both have, scaled up to all coordinates; else NaN."""
    squared, n_common = 0.0, 0
    for own, other in zip(row, donor, strict=True):
        if not math.isnan(own) and not math.isnan(other):
            squared += (own - other) ** 2
            n_common += 1
    return math.sqrt(squared * len(row) / n_common) if n_common else math.nan


def mean(values: Row) -> float:
    return sum(values) / len(values) if values else math.nan
