"""``iospstl-train prepare``: from the files of a dataset's owners to a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iospstl_core.store import open_store
from iospstl_train.data.recording import Recording
from iospstl_train.data.source import Source
from iospstl_train.data.store import write_store
from iospstl_train.parallel import map_in_order


@dataclass
class PrepareReport:
    """What became of a dataset's sequences.

    Attributes
    ----------
    n_sequences : int
        Sequences in the store.
    skipped : list of (name, reason)
        Sequences that were left out.
    """

    n_sequences: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def lines(self, folder: Path) -> list[str]:
        """Return what to tell the user about the store that was written."""
        store = open_store(folder)
        lines = [f"{folder}: {self.n_sequences} sequences, {len(store.xyz)} frames"]
        reasons = Counter(reason for _, reason in self.skipped)
        lines += [f"left out {count}: {reason}" for reason, count in reasons.items()]
        lines += [] if reasons else ["left out: none"]
        return [*lines, *(f"split {name}: {store.describe_split(name)}" for name in store.splits)]


def prepare(
    source: Source, folder: Path, arguments: dict[str, Any], n_workers: int | None = None
) -> PrepareReport:
    """Read every sequence of a source and write them as a store.

    Parameters
    ----------
    source : Source
    folder : Path
        The store; replaced only when every sequence has been read.
    arguments : mapping
        Of the command, for the manifest.
    n_workers : int, optional
        Processes; all cores if left out.
    """
    report = PrepareReport()

    def recordings() -> Iterator[Recording]:
        for item in map_in_order(source.read, source.items, source.dataset, n_workers):
            if isinstance(item, Recording):
                yield item
            else:
                report.skipped.append((item.name, item.reason))

    manifest: dict[str, Any] = {
        "dataset": source.dataset,
        "class_names": list(source.class_names),
        "n_persons": source.n_persons,
        "fps": source.fps,
        "splits": dict(source.splits),
        "steps": [{"step": "prepare", **arguments}],
    }
    manifest["skipped"] = report.skipped
    report.n_sequences = write_store(folder, manifest, source.layout, recordings())
    return report
