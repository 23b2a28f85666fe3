"""The loss of Barlow Twins as the paper writes it: equations (2)-(4), element by element."""

import math

_VARIANCE_EPS = 1e-5
"""Of the batch norm without parameters that the published code uses."""


def standardize(column):
    """Return a feature over the batch with mean 0 and variance 1."""
    mean = sum(column) / len(column)
    variance = sum((value - mean) ** 2 for value in column) / len(column)
    return [(value - mean) / math.sqrt(variance + _VARIANCE_EPS) for value in column]


def barlow_twins_parts(first, second):
    """Return the sums on and off the diagonal for two lists of n samples with d features."""
    firsts = [standardize(column) for column in zip(*first, strict=True)]
    seconds = [standardize(column) for column in zip(*second, strict=True)]
    on_diagonal = off_diagonal = 0.0
    for i, one in enumerate(firsts):
        for j, other in enumerate(seconds):
            correlation = sum(a * b for a, b in zip(one, other, strict=True)) / len(one)
            if i == j:
                on_diagonal += (1 - correlation) ** 2
            else:
                off_diagonal += correlation**2
    return on_diagonal, off_diagonal
