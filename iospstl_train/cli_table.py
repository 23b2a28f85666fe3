"""``iospstl-train table``: tables that compare, such as the one of imputers."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iospstl_core.errors import InputError
from iospstl_train.cli_occlusion import OCCLUSION_HELP, add_severity_option
from iospstl_train.cli_options import (
    Commands,
    add_command,
    add_config_options,
    add_data_options,
    say,
)

if TYPE_CHECKING:
    from iospstl_train.evaluation.imputer_options import TableOptions
    from iospstl_train.evaluation.imputer_rows import BaselineSettings

ACCURACY_ROWS = ("clean", "none", "linear", "knn", "restore")
"""Rows whose accuracy is measured if nothing else is said, where the table has them."""


def add_table(commands: Commands) -> None:
    """Add the command ``table`` with its tables."""
    parser = add_command(commands, "table", "Tables that compare.")
    tables = parser.add_subparsers(required=True, metavar="TABLE")
    parser = add_command(tables, "imputers", "Error, cost and worth of every imputer.")
    add_data_options(parser)
    parser.add_argument("--occlusion", default="realistic", help=OCCLUSION_HELP)
    add_severity_option(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of training")
    parser.add_argument(
        "--rows", nargs="+", help="imputers; all that need no other package if left out"
    )
    parser.add_argument(
        "--accuracy-rows",
        nargs="*",
        help="rows whose windows an encoder is pre-trained on, for each seed (default: those of "
        f"{', '.join(ACCURACY_ROWS)} that there are); none after it: no accuracy, quick",
    )
    parser.add_argument(
        "--severities",
        *("--rates",),
        type=float,
        nargs="*",
        help="points of the curves, of which each is an occlusion of the store, NAME-SEVERITY, "
        "made if missing (default: 0.1 to 0.5 for random; else the windows' own hidden shares)",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change a setting of a baseline, such as pypots.epochs=20; may be repeated",
    )
    parser.add_argument(
        "--again",
        nargs="+",
        default=[],
        metavar="ROW",
        help="rows to make again, stage 2 included",
    )
    parser.add_argument("--out", type=Path, help="folder; goes on if begun")
    parser.add_argument("--device", default="cpu", help="torch device, such as cuda")
    add_config_options(parser)
    parser.set_defaults(run=_run_imputers)


def _run_imputers(options: argparse.Namespace) -> None:
    from iospstl_train.evaluation.imputer_report import write_table
    from iospstl_train.evaluation.imputer_table import ImputerTable

    table_options = _make_options(options)
    table = ImputerTable(table_options, lambda line: say([line]))
    lines: list[str] = []
    for results in table.run():
        lines = write_table(table_options.out, results)
    say([*lines, f"table: {table_options.out / 'imputers.md'}"])


def _make_options(options: argparse.Namespace) -> TableOptions:
    from iospstl_train.config import load_config
    from iospstl_train.data.store import find_store
    from iospstl_train.evaluation.imputer_options import TableOptions
    from iospstl_train.evaluation.imputer_rows import default_rows

    rows = tuple(options.rows or default_rows())
    chosen = options.accuracy_rows
    if chosen is None:
        chosen = [name for name in ACCURACY_ROWS if name in ("clean", "none", *rows)]
    default_out = Path("runs") / f"imputers-{options.dataset}-{options.occlusion}"
    made = TableOptions(
        store=find_store(options.dataset, options.root),
        occlusion=options.occlusion,
        out=options.out or default_out,
        config=load_config(options.preset, options.config, options.set),
        settings=parse_settings(options.baseline),
        rows=rows,
        accuracy_rows=tuple(chosen),
        seeds=tuple(dict.fromkeys(options.seeds)),
        split=options.split,
        severity=options.severity,
        device=options.device,
        again=tuple(options.again),
        severities=None if options.severities is None else tuple(options.severities),
    )
    return made


def parse_settings(texts: Sequence[str]) -> BaselineSettings:
    """Return the settings of baselines with some ``SECTION.KEY=VALUE`` changed.

    Raises
    ------
    InputError
        For an unknown section or key (names the nearest) or a value of the wrong type or range.
    """
    from pydantic import TypeAdapter, ValidationError
    from yaml import YAMLError, safe_load

    from iospstl_train.evaluation.imputer_rows import BaselineSettings

    data: dict[str, dict[str, Any]] = asdict(BaselineSettings())
    known = [f"{section}.{key}" for section, values in data.items() for key in values]
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
            raise InputError(f"--baseline: expected SECTION.KEY=VALUE, got '{text}'; {hint}")
        section, _, key = name.partition(".")
        try:
            data[section][key] = safe_load(value)
            settings = TypeAdapter(BaselineSettings).validate_python(data)
        except (YAMLError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "no YAML"
            raise InputError(f"--baseline: {name}: {reason}, got '{value}'") from error
    return settings if texts else BaselineSettings()
