"""`iospstl-recognizer`, which also writes down when its networks ran: for `live_latency.py`.

    python benchmarks/live_timed.py TIMES.npy --bundle DIR ...

Nothing else is changed. `TIMES.npy` is written at the end: start and end of every run of a
network, in seconds of the monotonic clock, float64 of shape (n, 2).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.session import OnnxModel

Spans = list[tuple[float, float]]


def note_runs() -> Spans:
    """Make every `OnnxModel` note its runs from now on in the list that is returned."""
    spans: Spans = []
    run = OnnxModel.run

    def timed(self: OnnxModel, *args: Any, **others: Any) -> Any:
        start_s = time.monotonic()
        try:
            return run(self, *args, **others)
        finally:
            spans.append((start_s, time.monotonic()))

    OnnxModel.run = timed  # type: ignore[method-assign]
    return spans


def main() -> int:
    """Run the recogniser; return its exit status."""
    from iospstl_ros.recognizer_node import main as recognize

    spans = note_runs()
    try:
        return recognize([sys.argv[0], *sys.argv[2:]])
    finally:
        np.save(Path(sys.argv[1]), np.array(spans, dtype=np.float64).reshape(-1, 2))


if __name__ == "__main__":
    sys.exit(main())
