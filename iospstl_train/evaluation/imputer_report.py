"""The table of imputers as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iospstl_core.files import new_file, write_json
from iospstl_train.evaluation.imputer_cells import Values
from iospstl_train.evaluation.imputer_curves import CurvePoint, draw_curves
from iospstl_train.evaluation.imputer_metrics import CALIBRATION
from iospstl_train.evaluation.imputer_rows import ROWS
from iospstl_train.evaluation.imputer_table import TableResults
from iospstl_train.training.pretrain import command_line, package_versions

BySeed = Mapping[int | None, Values]


@dataclass(frozen=True)
class Column:
    """One column: where its values are, and how they are shown."""

    key: str
    header: str
    n_decimals: int
    factor: float = 1.0


ERROR_COLUMNS = (
    Column("error", "all (mm)", 1),
    Column("gap", "in gaps (mm)", 1),
    Column("never", "never seen (mm)", 1),
    Column("trailing", "trailing (mm)", 1),
    Column("trunk", "head, trunk (mm)", 1),
    Column("arm_left", "left arm (mm)", 1),
    Column("arm_right", "right arm (mm)", 1),
    Column("leg_left", "left leg (mm)", 1),
    Column("leg_right", "right leg (mm)", 1),
    Column("bone", "bone length (mm)", 1),
    Column("acceleration", "acceleration (mm/frame²)", 1),
    Column("ms", "ms a sequence", 2),
    Column("mb", "MB", 2),
)
ACCURACY_COLUMNS = (
    Column("accuracy", "linear (%)", 1, 100),
    Column("knn_accuracy", "k-NN (%)", 1, 100),
)
CALIBRATION_COLUMNS = tuple(
    Column(key, header, 2)
    for key, header in zip(
        CALIBRATION,
        ("mean expected / mean true", "correlation", "within 1x", "within 2x"),
        strict=True,
    )
)
_LEGEND = (
    "Errors are means over hidden joints of the test windows whose truth is known. *In gaps*: the "
    "joint is seen at another time of the window; *never seen*: it is not; *trailing*: after its "
    "last seen frame, all that a live system sees. *Bone length*: absolute difference, bones with "
    "a hidden end. *Acceleration*: norm of the difference of second differences at hidden joints. "
    "*ms a sequence*: filling on one thread, without fitting and without the embedding that tells "
    "a cluster. *MB*: the bank, model and encoder that it needs. Mean ± sample standard deviation "
    "over seeds; without ±, the seed makes no difference or there is one."
)


def write_table(out: Path, results: TableResults) -> list[str]:
    """Write ``imputers.md``, ``.csv``, ``.json`` and ``curves.png``; return the Markdown's lines.

    Parameters
    ----------
    out : Path
        Folder; older tables are replaced.
    results : TableResults
    """
    rows = summarize(results)
    curves = make_curves(results)
    blocks = _make_blocks(results, rows)
    if any(curves.values()):
        title = f"{results.made_by['dataset']}, {results.made_by['occlusion']} occlusion"
        draw_curves(out / "curves.png", curves, title)
        blocks.append("![hidden-joint error over the share of hidden joints](curves.png)")
    with new_file(out / "imputers.md") as partial:
        partial.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    _write_csv(out / "imputers.csv", rows)
    data = {
        "command": command_line(),
        "versions": package_versions(),
        "made_by": dict(results.made_by),
        "kind": results.kind,
        "n_test": results.n_test,
        "rows": rows,
        "won_back": describe_won_back(results.accuracy),
        "curves": {name: [vars(point) for point in points] for name, points in curves.items()},
    }
    write_json(out / "imputers.json", data)
    return "\n\n".join(blocks).splitlines()


def summarize(results: TableResults) -> list[dict[str, Any]]:
    """Return mean, sample standard deviation and values over seeds of each row and column."""
    names = [name for name in ("clean", "none") if name in results.accuracy]
    names += [name for name in ROWS if name in results.measures]
    rows = []
    for name in names:
        values: dict[str, Any] = {}
        for columns, by_row in (
            ((*ERROR_COLUMNS, *CALIBRATION_COLUMNS), results.measures),
            (ACCURACY_COLUMNS, results.accuracy),
        ):
            for column in columns:
                values[column.key] = _spread(by_row.get(name, {}), column.key)
        rows.append({"name": name, "values": values})
    return rows


def _spread(by_seed: BySeed, key: str) -> dict[str, Any] | None:
    """Mean and spread of one value; None where no seed has it."""
    found = [values[key] for values in by_seed.values() if values.get(key) is not None]
    if not found:
        return None
    spread = statistics.stdev(found) if len(found) > 1 else None
    return {"mean": statistics.mean(found), "std": spread, "by_seed": found}


def make_curves(results: TableResults) -> dict[str, list[CurvePoint]]:
    """Return the curve of each row, in order of the hidden share."""
    return {
        name: [
            CurvePoint(share, list(by_seed.values())) for share, by_seed in sorted(points.items())
        ]
        for name, points in results.curves.items()
    }


def describe_won_back(accuracy: Mapping[str, BySeed]) -> list[str]:
    """Return for each row what share of the points that occlusion costs it wins back.

    Seeds that lack one of the rows clean, none and the row itself are left out.
    """
    lines = []
    for name in accuracy:
        seeds = [
            s for s in accuracy[name] if all(s in accuracy.get(r, {}) for r in ("clean", "none"))
        ]
        if name in ("clean", "none") or not seeds:
            continue
        mean = {
            row: 100 * statistics.mean(accuracy[row][seed]["accuracy"] for seed in seeds)
            for row in ("clean", "none", name)
        }
        lost, won = mean["clean"] - mean["none"], mean[name] - mean["none"]
        figures = (
            f"clean {mean['clean']:.1f} %, none {mean['none']:.1f} %, {name} {mean[name]:.1f} %"
        )
        share = (
            f"won back: {100 * won / lost:.0f} %" if lost > 0 else "there is nothing to win back"
        )
        lines.append(
            f"{name}: of the {lost:.1f} points that occlusion costs (clean minus none), {share} "
            f"({figures}; {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'})"
        )
    return lines


def _make_blocks(results: TableResults, rows: Sequence[dict[str, Any]]) -> list[str]:
    made_by = results.made_by
    imputers = [row for row in rows if row["values"]["error"] is not None]
    blocks = [
        f"# Imputers: {made_by['dataset']}, {made_by['occlusion']} occlusion",
        f"Split `{made_by['split']}`, {results.n_test} test sequences.",
        "## Hidden joints",
        _format(imputers, ERROR_COLUMNS),
        _LEGEND,
        "\n".join(f"- **{row['name']}**: {ROWS[row['name']].about}." for row in imputers),
    ]
    recognised = [row for row in rows if row["values"]["accuracy"] is not None]
    if recognised:
        won_back = "\n".join(f"- {line}." for line in describe_won_back(results.accuracy))
        blocks += ["## Recognition", _format(rows, ACCURACY_COLUMNS), won_back]
    calibrated = [row for row in rows if row["values"][CALIBRATION[0]] is not None]
    if calibrated:
        blocks += ["## Expected errors", _format(calibrated, CALIBRATION_COLUMNS)]
    return [*filter(None, blocks), "## How it was made", f"```sh\n{command_line()}\n```"]


def _format(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str:
    """Return a Markdown table."""
    lines = [["row", *(column.header for column in columns)], ["---", *["---:"] * len(columns)]]
    for row in rows:
        lines.append([row["name"], *(_show(row["values"][c.key], c) for c in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _show(value: dict[str, Any] | None, column: Column) -> str:
    if value is None:
        return "-"
    text = f"{column.factor * value['mean']:.{column.n_decimals}f}"
    spread = value["std"]
    return text if spread is None else f"{text} ± {column.factor * spread:.{column.n_decimals}f}"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write mean and std of every column, unrounded, in units of the header."""
    columns = (*ERROR_COLUMNS, *ACCURACY_COLUMNS, *CALIBRATION_COLUMNS)
    header = [f"{column.header}{part}" for column in columns for part in ("", " std")]
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", *header])
        for row in rows:
            line = [row["name"]]
            for column in columns:
                value = row["values"][column.key] or {"mean": None, "std": None}
                for part in ("mean", "std"):
                    number = value[part]
                    line.append("" if number is None else repr(column.factor * number))
            writer.writerow(line)
