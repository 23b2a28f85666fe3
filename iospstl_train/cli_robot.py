"""Commands of ``iospstl-train`` that write what the robot runs: ``export`` and ``classes``."""

from __future__ import annotations

import argparse
from pathlib import Path

from iospstl_train.cli_options import (
    Commands,
    add_archive_options,
    add_command,
    add_data_options,
    say,
)


def add_export(commands: Commands) -> None:
    """Add the command ``export``."""
    parser = add_command(commands, "export", "Write the bundle that the robot needs.")
    add_data_options(parser)
    parser.add_argument("--stage1", type=Path, required=True, help="stage-1 run folder")
    parser.add_argument("--stage2", type=Path, required=True, help="stage-2 run folder")
    parser.add_argument("--imputed", type=Path, required=True, help="folder written by 'impute'")
    parser.add_argument("--occlusion", required=True, help="name of an occlusion of the store")
    parser.add_argument("--seed", type=int, default=1, help="of the classifier")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.set_defaults(run=_run_export)


def _run_export(options: argparse.Namespace) -> None:
    from iospstl_train.export_step import run_export

    say(run_export(options))


def add_classes(commands: Commands) -> None:
    """Add the command ``classes``."""
    parser = add_command(
        commands,
        "classes",
        "Make a bundle recognise your own classes: fits a new classifier, with calibration and "
        "rejection, on recordings of them. Takes about a minute for 1000 recordings. Three a "
        "class are the least, ten or more by several people are better; record them where and "
        "how the robot will see them.",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to start from")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of a prepared store, or an .npz archive"
    )
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument(
        "--keep", action="store_true", help="add to the bundle's classes instead of replacing them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the windows that are cut")
    store = parser.add_argument_group("store")
    store.add_argument(
        "--split",
        help="fit on its training side and measure on its test side; all are fitted if left out, "
        "and a held-out fold is measured",
    )
    store.add_argument("--occlusion", help="name of an occlusion to hide joints with")
    add_archive_options(parser)
    parser.set_defaults(run=_run_classes)


def _run_classes(options: argparse.Namespace) -> None:
    from iospstl_train.classes import run_classes

    say(run_classes(options))
