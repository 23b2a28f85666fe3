"""What ends a run too early: a disk that takes no more, a loss that is no number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iospstl_core.errors import InputError


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses in the block into an InputError with a remedy.

    Of several failures the first is told: closing files on a full disk fails again.
    """
    try:
        yield
    except OSError as error:
        first: BaseException = error
        earlier = error.__context__
        while earlier is not None:
            if isinstance(earlier, InputError | OSError):
                first = earlier
            earlier = earlier.__context__
        if isinstance(first, InputError):
            raise first from None
        raise InputError(_describe(path, first)) from error


def _describe(path: Path, error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return (
        f"{path}: could not be written: {reason}; what was saved before is kept; make room or "
        "repair the disk, then go on with the run"
    )


def find_bad(losses: Sequence[float]) -> int | None:
    """Return the index of the first loss that is no finite number, None if all are."""
    bad = (index for index, loss in enumerate(losses) if not math.isfinite(loss))
    return next(bad, None)
