"""Work over many items on all cores, in order, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16


def map_in_order(
    work: Callable[[Item], Result], items: Sequence[Item], label: str, n_workers: int | None = None
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in the order of the items.

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
        results = pool.map(work, items, chunksize=_CHUNK)
        yield from tqdm(results, label, len(items), unit="seq")
