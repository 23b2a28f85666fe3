"""The report of a run: the table of imputers, what it says in words, and how it was made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import yaml

from iospstl_core.files import new_file, write_json
from iospstl_train.evaluation.labels import describe_labels

EXPLANATIONS = {
    "clean": "nothing is hidden: the upper bound",
    "none": "hidden joints stay at 0, but normalisation leaves them out (mask-aware)",
    "random": "hidden joints anywhere within the range of the training set: the control",
    "mean": "hidden joints at their mean over the training set, frame by frame",
    "linear": "interpolated in time within the sequence itself; its fallback is the mean",
    "knn": "weighted mean of the nearest training sequences in the predicted cluster (OPSTL)",
    "restore": "a network trained to put back what it hides of the training set",
}
OWN_SOURCE = {
    "random": "random",
    "mean": "bank_mean",
    "linear": "linear",
    "knn": "knn",
    "restore": "restored",
}
"""The cell source of each row that is no fallback."""
_LABELS_INTRODUCTION = (
    "The bundle's classifier is fitted on whole and partial actions, since a robot sees the "
    "beginning of an action before the whole of it, and on windows as the robot cuts them, out "
    "of recordings joined with pauses: they end in the second half of an action and may begin "
    "before it. The rows above are fitted on whole recordings only."
)
_NOT_FILLED = ("observed", "absent", "unfilled")
_RIVALS = {"knn": ("none", "linear", "mean"), "restore": ("none", "linear", "mean", "knn")}


@dataclass(frozen=True)
class ReportRow:
    """What one way of completing the data gives.

    Attributes
    ----------
    name : str
        "clean", "none", "random", "mean", "linear", "knn" or "restore".
    error_mm : float or None
        Mean position error over the hidden joints of the test set; None for clean and none.
    accuracy : float
        Share of the test set that a linear classifier recognizes after its last epoch, 0 to 1.
    counts : mapping of str to int
        Cells by source, as of ``Filled.counts``.
    seconds : float
        Pre-training and evaluation of this row.
    """

    name: str
    error_mm: float | None
    accuracy: float
    counts: Mapping[str, int]
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise ValueError(
                f"{self.name}: accuracy: expected a share from 0 to 1, got {self.accuracy}"
            )
        if self.error_mm is not None and not 0 <= self.error_mm < math.inf:
            raise ValueError(
                f"{self.name}: error_mm: expected a distance or None, got {self.error_mm}"
            )

    @property
    def fallback_frac(self) -> float | None:
        """Share of the filled cells that a last resort filled; None where nothing was filled."""
        n_filled = sum(n for source, n in self.counts.items() if source not in _NOT_FILLED)
        if self.name not in OWN_SOURCE or not n_filled:
            return None
        return 1 - self.counts.get(OWN_SOURCE[self.name], 0) / n_filled


@dataclass(frozen=True)
class Report:
    """Everything a reader needs to judge a run and to repeat it.

    Attributes
    ----------
    dataset, split, split_expression : str
    n_train, n_test : int
        Sequences.
    occlusion, occlusion_kind : str
    hidden_frac : float
        Share of the observed joints that are hidden, 0 to 1.
    rows : sequence of ReportRow
    seed : int
    settings : mapping
        Nested, of plain values.
    versions : mapping of str to str
    stage_seconds : mapping of str to float
        Time of each step; the sums of the rows are listed after them.
    command : str
    pictures : sequence of str
        Relative to the report.
    notes : sequence of str
        Sentences for the reader.
    labels : mapping, optional
        How honest the bundle's labels are, as of `iospstl_train.evaluation.labels.judge_labels`.
    """

    dataset: str
    split: str
    split_expression: str
    n_train: int
    n_test: int
    occlusion: str
    occlusion_kind: str
    hidden_frac: float
    rows: Sequence[ReportRow]
    seed: int
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    command: str
    pictures: Sequence[str] = ()
    notes: Sequence[str] = ()
    labels: Mapping[str, Any] | None = None


def write_report(path: Path, report: Report) -> None:
    """Write a report in Markdown, and the same facts in JSON beside it.

    Parameters
    ----------
    path : Path
        ``RUN/report.md``; the other file has the suffix ``.json``.
    report : Report
    """
    data = report_to_dict(report)
    text = "\n\n".join([*_describe_run(report), *_describe_making(data)]) + "\n"
    write_json(path.with_suffix(".json"), data)
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def report_to_dict(report: Report) -> dict[str, Any]:
    """Return all fields of a report and its rows, and its findings, as JSON would give them."""
    data = {item.name: getattr(report, item.name) for item in fields(report)}
    data["rows"] = [
        {item.name: getattr(row, item.name) for item in fields(row)}
        | {"fallback_frac": row.fallback_frac}
        for row in report.rows
    ]
    data["findings"] = describe_findings(report.rows)
    plain: dict[str, Any] = json.loads(json.dumps(data, default=dict))
    return plain


def describe_findings(rows: Sequence[ReportRow]) -> list[str]:
    """Return what the table says, in sentences, also where it is not what one hoped for.

    Parameters
    ----------
    rows : sequence of ReportRow
        Rows that are missing are not spoken of. What rounds to the same figure is a tie.
    """
    by_name = {row.name: row for row in rows}
    findings = _find_lowest_error(rows)
    for name in (name for name in _RIVALS if name in by_name):
        rivals = [by_name[rival] for rival in _RIVALS[name] if rival in by_name]
        findings += [_compare_accuracy(by_name[name], rival) for rival in rivals]
        findings += [line for rival in rivals for line in _compare_error(by_name[name], rival)]
    if "clean" in by_name and "none" in by_name:
        findings.append(_describe_recovery(by_name["clean"], by_name["none"], rows))
    return findings


def _find_lowest_error(rows: Sequence[ReportRow]) -> list[str]:
    errors_mm = {row.name: round(row.error_mm, 1) for row in rows if row.error_mm is not None}
    if not errors_mm:
        return []
    lowest_mm = min(errors_mm.values())
    best = [name for name, error_mm in errors_mm.items() if error_mm == lowest_mm]
    verb = "has" if len(best) == 1 else "share"
    return [f"{_join(best)} {verb} the lowest error on hidden joints: {lowest_mm:.1f} mm."]


def _compare_accuracy(row: ReportRow, rival: ReportRow) -> str:
    ours, theirs = round(100 * row.accuracy, 1), round(100 * rival.accuracy, 1)
    figures = f"{ours:.1f} % against {theirs:.1f} %, {abs(ours - theirs):.1f} points"
    if ours > theirs:
        return f"In accuracy, {row.name} beats {rival.name}: {figures} more."
    if ours == theirs:
        return f"In accuracy, {row.name} does NOT beat {rival.name}: both reach {ours:.1f} %."
    return f"In accuracy, {row.name} does NOT beat {rival.name}: {figures} less."


def _compare_error(row: ReportRow, rival: ReportRow) -> list[str]:
    """One sentence, or none where an error is not known."""
    if row.error_mm is None or rival.error_mm is None:
        return []
    ours, theirs = round(row.error_mm, 1), round(rival.error_mm, 1)
    if ours == theirs:
        return [f"In error, {row.name} does NOT beat {rival.name}: both are off by {ours:.1f} mm."]
    share = f"{_two_digits(100 * abs(ours - theirs) / theirs)} % " if theirs else ""
    verdict, way = ("beats", "less") if ours < theirs else ("does NOT beat", "more")
    figures = f"{ours:.1f} mm against {theirs:.1f} mm, {share}{way}"
    return [f"In error, {row.name} {verdict} {rival.name}: {figures}."]


def _describe_recovery(clean: ReportRow, none: ReportRow, rows: Sequence[ReportRow]) -> str:
    """How much of what occlusion costs the best imputer wins back."""
    loss = round(100 * (clean.accuracy - none.accuracy), 1)
    figures = f"clean {100 * clean.accuracy:.1f} %, none {100 * none.accuracy:.1f} %"
    if loss <= 0:
        return f"Occlusion costs no accuracy here ({figures}): there is nothing to win back."
    cost = f"Occlusion costs {loss:.1f} points of accuracy ({figures})"
    imputed = [row for row in rows if row.name not in ("clean", "none")]
    won = {row.name: round(100 * (row.accuracy - none.accuracy), 1) for row in imputed}
    if not won:
        return f"{cost}."
    most = max(won.values())
    if most <= 0:
        return f"{cost}; no imputer wins any of it back."
    best = _join([name for name, points in won.items() if points == most])
    return f"{cost}; the best, {best}, wins back {most:.1f}, {_two_digits(100 * most / loss)} %."


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _two_digits(value: float) -> str:
    """Two significant digits, never as a power of ten."""
    n_decimals = 1 - int(f"{value:.1e}".partition("e")[2])
    return f"{round(value, n_decimals):.{max(n_decimals, 0)}f}"


def _describe_run(report: Report) -> list[str]:
    """Blocks on what was measured and what came out."""
    n_test = report.n_test
    spread = 50 / math.sqrt(max(n_test, 1))
    blocks = [
        f"# {report.dataset} under {report.occlusion} occlusion",
        f"{report.n_train} training and {n_test} test sequences (split `{report.split}`: "
        f"`{report.split_expression}`). The occlusion `{report.occlusion}`, of kind "
        f"{report.occlusion_kind}, hides {100 * report.hidden_frac:.1f} % of the joints that the "
        f"sensor saw. Seed {report.seed}.",
        "## Results",
        _result_table(report.rows),
        "\n".join(
            f"- **{row.name}**: {EXPLANATIONS[row.name]}."
            for row in report.rows
            if row.name in EXPLANATIONS
        ),
        "Hidden-joint error: mean distance from the truth over the hidden joints of the test set. "
        "Linear accuracy: a linear classifier on the frozen encoder, test set, last epoch. "
        "Fallback: share of the filled joints that the row's own rule could not fill.",
        "## Findings",
        "\n".join(f"- {finding}" for finding in describe_findings(report.rows)),
        f"One run with one seed: with {n_test} test sequences the standard error of an accuracy "
        f"is up to {_two_digits(spread)} points; differences of that size may be chance.",
    ]
    if report.labels:
        sentences = "\n".join(f"- {line}" for line in describe_labels(report.labels))
        blocks += ["## Labels of the bundle", _LABELS_INTRODUCTION, sentences]
    if report.notes:
        blocks += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    if report.pictures:
        blocks += ["## Pictures", *(_embed(picture) for picture in report.pictures)]
    return blocks


def _describe_making(data: Mapping[str, Any]) -> list[str]:
    """Blocks on how to repeat the run, from a report as of `report_to_dict`."""
    times = [*data["stage_seconds"].items()]
    times += [(f"row {row['name']}: training, evaluation", row["seconds"]) for row in data["rows"]]
    settings = yaml.safe_dump(data["settings"], sort_keys=False, allow_unicode=True).rstrip()
    return [
        "## How it was made",
        f"```sh\n{data['command']}\n```",
        "### Times",
        _table(["step", "s"], [(step, f"{seconds:.1f}") for step, seconds in times]),
        "### Settings",
        f"```yaml\n{settings}\n```",
        "### Versions",
        _table(["package", "version"], [*data["versions"].items()]),
    ]


def _result_table(rows: Sequence[ReportRow]) -> str:
    header = ["row", "hidden-joint error (mm)", "linear accuracy (%)", "fallback (%)"]
    lines = [
        (
            row.name,
            "-" if row.error_mm is None else f"{row.error_mm:.1f}",
            f"{100 * row.accuracy:.1f}",
            "-" if row.fallback_frac is None else f"{100 * row.fallback_frac:.1f}",
        )
        for row in rows
    ]
    return _table(header, lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _embed(picture: str) -> str:
    caption = PurePosixPath(picture).stem.replace("-", " ").replace("_", " ")
    return f"![{caption}]({quote(picture)})"
