"""``iospstl-train prepare``: from the files of a dataset's owners to a store."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iospstl_core.files import write_json
from iospstl_core.store import Store, open_store
from iospstl_train.data.published import Difference, Published, compare
from iospstl_train.data.recording import Recording
from iospstl_train.data.source import Source
from iospstl_train.data.store import write_store
from iospstl_train.parallel import map_in_order

REPORT = "report.json"
"""The file of a store with the names of what was left out, cleaned and compared."""


@dataclass
class PrepareReport:
    """What became of a dataset's sequences.

    Attributes
    ----------
    n_sequences : int
        Sequences in the store.
    skipped : list of (name, reason)
        Sequences that were left out.
    cleaned : mapping of str to (mapping of str to int)
        What was cleaned, in words -> name of the sequence -> how often.
    published : Published, optional
        What the store should hold.
    difference : Difference, optional
        Between that and what it holds.
    notes : tuple of str
        What the reader tells.
    n_read, seconds, n_workers : int, float, int
        Items that were read and written, by how many processes, and how long it took.
    """

    n_sequences: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    cleaned: dict[str, dict[str, int]] = field(default_factory=dict)
    published: Published | None = None
    difference: Difference | None = None
    notes: tuple[str, ...] = ()
    n_read: int = 0
    seconds: float = 0.0
    n_workers: int = 1

    def lines(self, folder: Path) -> list[str]:
        """Return what to tell the user about the store that was written."""
        store = open_store(folder)
        lines = [f"{folder}: {self.n_sequences} sequences, {len(store.xyz)} frames"]
        reasons = Counter(reason for _, reason in self.skipped)
        lines += [f"left out {count}: {reason}" for reason, count in reasons.items()]
        lines += [] if reasons else ["left out: none"]
        lines += [self._describe_split(store, name) for name in store.splits]
        lines += [
            f"cleaned: {sum(counts.values())} {what} in {len(counts)} sequences"
            for what, counts in self.cleaned.items()
        ]
        lines += self.difference.lines() if self.difference is not None else []
        lines += self.notes
        if any(self.content().values()):
            lines.append(f"the names of all that: {folder / REPORT}")
        return [*lines, *self._describe_speed()]

    def _describe_speed(self) -> list[str]:
        if not self.n_read:
            return []
        rate = self.n_read / max(self.seconds, 1e-3)
        processes = f"{self.n_workers} process{'es' if self.n_workers > 1 else ''}"
        return [f"read {self.n_read} in {self.seconds:.1f} s: {rate:.0f} a second, {processes}"]

    def _describe_split(self, store: Store, name: str) -> str:
        text = f"split {name}: {store.describe_split(name)}"
        if self.published is None or name not in self.published.split_sizes:
            return text
        n_train, n_test = self.published.split_sizes[name]
        expected = f"{n_train} train / {n_test} test"
        return (
            f"{text}, as published"
            if text.endswith(expected)
            else f"{text}; published: {expected}"
        )

    def content(self) -> dict[str, Any]:
        """Return the same with all names, for a file."""
        content: dict[str, Any] = {"left_out": dict(self.skipped), "cleaned": self.cleaned}
        if self.difference is not None:
            content["not_there"] = self.difference.not_there
            content["not_published"] = self.difference.not_published
        return content


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

    Returns
    -------
    report : PrepareReport
        Also written into the store, as ``report.json``.
    """
    n_workers = n_workers or os.cpu_count() or 1
    report = PrepareReport(notes=source.notes, n_read=len(source.items), n_workers=n_workers)

    def recordings() -> Iterator[Recording]:
        for item in map_in_order(source.read, source.items, source.dataset, n_workers):
            if not isinstance(item, Recording):
                report.skipped.append((item.name, item.reason))
                continue
            for what, count in item.cleaned.items():
                report.cleaned.setdefault(what, {})[item.name] = count
            yield item

    begun = time.monotonic()
    manifest: dict[str, Any] = {
        "dataset": source.dataset,
        "class_names": list(source.class_names),
        "n_persons": source.n_persons,
        "fps": source.fps,
        "splits": dict(source.splits),
        "camera_frame": source.camera_frame,
        "steps": [{"step": "prepare", **arguments}],
    }
    manifest["skipped"] = report.skipped
    report.n_sequences = write_store(folder, manifest, source.layout, recordings())
    report.seconds = time.monotonic() - begun
    if source.published is not None:
        report.published = source.published()
        left_out = [name for name, _ in report.skipped]
        report.difference = compare(open_store(folder).names, left_out, report.published)
    write_json(folder / REPORT, report.content())
    return report
