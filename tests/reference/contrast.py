"""Contrast with a queue, number by number: lists of rows in, a number out."""

import math


def cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    lengths = [math.sqrt(sum(value * value for value in each)) for each in (first, second)]
    return dot / (lengths[0] * lengths[1])


def cosines(query, key, queue):
    """Return what a query is compared with: its key first, then the queue."""
    return [cosine(query, other) for other in (key, *queue)]


def log_softmax(values, temperature):
    scaled = [value / temperature for value in values]
    highest = max(scaled)
    total = sum(math.exp(value - highest) for value in scaled)
    return [value - highest - math.log(total) for value in scaled]


def mean_loss(rows, positives, temperature):
    """Return the mean over rows of minus the mean log chance of the positives of a row."""
    losses = []
    for values, chosen in zip(rows, positives, strict=True):
        chance = log_softmax(values, temperature)
        losses.append(-sum(chance[index] for index in chosen) / len(chosen))
    return sum(losses) / len(losses)


def info_nce(queries, keys, queue, temperature):
    """Return the loss whose only positive is the key of each query."""
    pairs = zip(queries, keys, strict=True)
    rows = [cosines(query, key, queue) for query, key in pairs]
    return mean_loss(rows, [[0]] * len(rows), temperature)


def nearest(values):
    """Return the index of the largest value."""
    return max(range(len(values)), key=lambda index: values[index])
