"""Work over many items on all cores, in order, with a progress bar."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16
_CHUNKS_AHEAD = 3


def map_in_order(
    work: Callable[[Item], Result], items: Sequence[Item], label: str, n_workers: int | None = None
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in the order of the items.

    Only a few results a process wait for whoever takes them, whatever the number of items.

    Parameters
    ----------
    work : callable
        Picklable.
    items : sequence
        Picklable items.
    label : str
        Text before the progress bar.
    n_workers : int, optional
        Processes; as many as there are cores if left out, none at all for 1.
    """
    n_workers = n_workers or os.cpu_count() or 1
    if n_workers == 1 or len(items) <= _CHUNK:
        yield from tqdm(map(work, items), label, len(items), unit="seq")
        return
    with ProcessPoolExecutor(n_workers) as pool:
        starts = range(0, len(items), _CHUNK)
        chunks = (pool.submit(_work_on, work, items[start : start + _CHUNK]) for start in starts)
        yield from tqdm(_in_order(chunks, n_workers), label, len(items), unit="seq")


def _work_on(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _in_order(chunks: Iterator[Future[list[Result]]], n_workers: int) -> Iterator[Result]:
    """Yield the results of chunks that are submitted when they are taken from the iterator."""
    waiting = deque(islice(chunks, _CHUNKS_AHEAD * n_workers))
    try:
        while waiting:
            results = waiting.popleft().result()
            waiting.extend(islice(chunks, 1))
            yield from results
    finally:
        for future in waiting:
            future.cancel()
