"""What an occlusion hides: rates of every joint and sequence, and how long the gaps are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iospstl_core.files import new_file
from iospstl_core.store import Store

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

PERCENTILES = (0, 10, 25, 50, 75, 90, 100)
N_NAMES = 3
"""Names shown of sequences of which nothing is left."""
_COLUMNS = ("name", "n_frames", "hidden_frac", "missing_frac")


def gap_lengths(missing: BoolArray) -> IntArray:
    """Return how many frames each gap lasts, over all columns.

    Parameters
    ----------
    missing : ndarray of shape (n_frames, ...), bool
        True where a joint is not seen.
    """
    flat = missing.reshape(len(missing), -1).T
    edge = np.zeros((len(flat), 1), dtype=np.int8)
    steps = np.diff(flat.astype(np.int8), prepend=edge, append=edge, axis=1)
    first, last = np.nonzero(steps == 1)[1], np.nonzero(steps == -1)[1]
    return np.asarray(last - first, dtype=np.int64)


@dataclass(frozen=True)
class _Row:
    n_frames: int
    present: float  # cells of persons that are there
    observed: float
    hidden: float

    @property
    def hidden_frac(self) -> float:
        return self.hidden / max(self.observed, 1)

    @property
    def missing_frac(self) -> float:
        return 1 - (self.observed - self.hidden) / max(self.present, 1)


class Tally:
    """Counts cells, sequence by sequence.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        n_joints = store.layout.n_joints
        self._hidden, self._observed = np.zeros(n_joints), np.zeros(n_joints)
        self._present = 0.0
        self._rows: list[_Row] = []
        self._gaps = np.zeros(1, dtype=np.int64)  # gaps by their length

    def add(self, hidden: BoolArray, observed: BoolArray, present: BoolArray) -> None:
        """Count one sequence.

        Parameters
        ----------
        hidden, observed : ndarray of shape (n_frames, n_persons, n_joints), bool
        present : ndarray of shape (n_frames, n_persons), bool
        """
        self._hidden += hidden.sum(axis=(0, 1))
        self._observed += observed.sum(axis=(0, 1))
        self._present += present.sum()
        cells = float(present.sum() * hidden.shape[-1])
        self._rows.append(_Row(len(hidden), cells, float(observed.sum()), float(hidden.sum())))
        counts = np.bincount(gap_lengths(hidden))
        longer = max(len(counts), len(self._gaps))
        self._gaps = np.pad(self._gaps, (0, longer - len(self._gaps)))
        self._gaps[: len(counts)] += counts

    @property
    def hidden_frac(self) -> float:
        """Share of the observed cells that are hidden."""
        return float(self._hidden.sum() / max(self._observed.sum(), 1))

    @property
    def last_hidden_frac(self) -> float:
        """Hidden share of the sequence counted last."""
        return self._rows[-1].hidden_frac

    def by_joint(self) -> dict[str, float]:
        """Return the hidden share of each joint's observed cells."""
        share = self._hidden / np.maximum(self._observed, 1)
        return dict(zip(self._store.layout.joints, share.round(4).tolist(), strict=True))

    def lines(self, title: str) -> list[str]:
        """Return the report as Markdown."""
        missing = 1 - (self._observed - self._hidden) / max(self._present, 1)
        share = self._hidden / np.maximum(self._observed, 1)
        lines = [f"# {title}", "", f"{self.hidden_frac:.1%} of the observed cells are hidden.", ""]
        lines += ["Missing is what is hidden, or was not observed of a person who is there.", ""]
        lines += ["| joint | hidden, % | missing, % |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {100 * hidden:.1f} | {100 * lost:.1f} |"
            for name, hidden, lost in zip(self._store.layout.joints, share, missing, strict=True)
        ]
        return [*lines, "", *self._sequence_lines(), "", *self._gap_lines()]

    def _sequence_lines(self) -> list[str]:
        shares = [row.hidden_frac for row in self._rows]
        lost = [row.missing_frac for row in self._rows]
        lines = ["| percentile of the sequences | " + " | ".join(map(str, PERCENTILES)) + " |"]
        lines.append("|---" + "|---:" * len(PERCENTILES) + "|")
        for label, values in (("hidden, %", shares), ("missing, %", lost)):
            shown = [f"{100 * value:.1f}" for value in np.percentile(values, PERCENTILES)]
            lines.append(f"| {label} | " + " | ".join(shown) + " |")
        names = [
            name
            for name, row in zip(self._store.names, self._rows, strict=True)
            if row.hidden == row.observed
        ]
        untouched = sum(row.hidden == 0 for row in self._rows)
        if names:
            examples = ", ".join(names[:N_NAMES]) + (", ..." if len(names) > N_NAMES else "")
            lines += ["", f"Nothing is left of {len(names)} sequences: {examples}."]
        return [*lines, "", f"Nothing is hidden in {untouched} of {len(self._rows)} sequences."]

    def _gap_lines(self) -> list[str]:
        n_gaps = int(self._gaps.sum())
        if not n_gaps:
            return ["There are no gaps."]
        lengths = np.repeat(np.arange(len(self._gaps)), self._gaps)
        ms = 1000 / self._store.fps
        low, middle, high = np.percentile(lengths, (25, 50, 75))
        return [
            f"{n_gaps} gaps of single joints; frames: quartiles {low:g}, {middle:g}, {high:g}, "
            f"mean {lengths.mean():.1f} ({lengths.mean() * ms:.0f} ms), longest {lengths.max()}."
        ]

    def write(self, folder: Path, title: str) -> None:
        """Write ``report.md`` and ``sequences.csv`` beside the masks."""
        with new_file(folder / "report.md") as partial:
            partial.write_text("\n".join(self.lines(title)) + "\n", encoding="utf-8")
        with (
            new_file(folder / "sequences.csv") as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for name, row in zip(self._store.names, self._rows, strict=True):
                fractions = (row.hidden_frac, row.missing_frac)
                writer.writerow([name, row.n_frames, *(f"{value:.4f}" for value in fractions)])
