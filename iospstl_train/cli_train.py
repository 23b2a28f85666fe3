"""Commands of ``iospstl-train`` that train and measure: ``pretrain`` to ``pipeline``."""

from __future__ import annotations

import argparse
from pathlib import Path

from iospstl_train.cli_occlusion import OCCLUSION_HELP, add_severity_option, add_source_options
from iospstl_train.cli_options import (
    Commands,
    add_command,
    add_config_options,
    add_data_options,
    add_device_options,
    add_set_option,
    add_training_options,
    say,
)


def add_pretrain(commands: Commands) -> None:
    """Add the command ``pretrain``."""
    parser = add_command(
        commands,
        "pretrain",
        "Pre-train an encoder without labels, as training.method says (docs/methods.md).",
    )
    add_data_options(parser)
    parser.add_argument("--occlusion", help="stage 1: name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="stage 2: folder written by 'impute'")
    parser.add_argument("--out", type=Path, help="run folder; runs/DATASET-STAGE if left out")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what the run will need, and train nothing"
    )
    add_training_options(parser)
    add_config_options(parser)
    parser.set_defaults(run=_run_pretrain)


def _run_pretrain(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    say(steps.run_pretrain(options))


def add_impute(commands: Commands) -> None:
    """Add the command ``impute``."""
    parser = add_command(commands, "impute", "Cluster the training set and complete all windows.")
    add_data_options(parser)
    parser.add_argument("--occlusion", required=True, help="name of an occlusion of the store")
    parser.add_argument("--encoder", type=Path, required=True, help="stage-1 run folder")
    parser.add_argument(
        "--method",
        choices=("none", "random", "mean", "linear", "knn", "restore"),
        default="restore",
        help="knn is the paper's rule; restore trains a network on what is seen",
    )
    parser.add_argument("--seed", type=int, default=0, help="of k-means, 'random' and 'restore'")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--restorer", type=Path, help="restore: training folder; OUT-restorer if left out"
    )
    parser.add_argument(
        "--device", default="cpu", help="knn and restore: torch device, such as cuda"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="knn: processes; -1 for as many as cores"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="knn: scheduler of a Dask cluster")
    add_set_option(parser)
    parser.set_defaults(run=_run_impute)


def _run_impute(options: argparse.Namespace) -> None:
    from iospstl_train.impute_step import run_impute

    say(run_impute(options))


def add_evaluate(commands: Commands) -> None:
    """Add the command ``evaluate``."""
    parser = add_command(commands, "evaluate", "Linear evaluation of a pre-trained encoder.")
    add_data_options(parser)
    parser.add_argument(
        "--encoder",
        type=Path,
        required=True,
        nargs="+",
        metavar="RUN",
        help="run folder of 'pretrain'; several, such as those of the streams joint, motion and "
        "bone, also together",
    )
    parser.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="WEIGHT",
        help="several runs: of their logits in the sum (default: equal)",
    )
    parser.add_argument("--occlusion", help="name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="folder written by 'impute'")
    parser.add_argument("--seed", type=int, default=1, help="of the classifier")
    add_device_options(parser)
    parser.set_defaults(run=_run_evaluate)


def _run_evaluate(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    say(steps.run_evaluate(options))


def add_pipeline(commands: Commands) -> None:
    """Add the command ``pipeline``."""
    parser = add_command(
        commands, "pipeline", "All steps: occlude to report, pictures and bundle."
    )
    add_data_options(parser)
    parser.add_argument("--occlusion", default="realistic", help=OCCLUSION_HELP)
    parser.add_argument("--out", type=Path, required=True, help="run folder; goes on if begun")
    parser.add_argument(
        "--rows",
        default="clean,none,random,mean,linear,knn,restore",
        help="rows of the table; each but 'none' costs a pre-training",
    )
    parser.add_argument("--bundle-row", default="restore", help="imputer of the bundle")
    parser.add_argument(
        "--occlusion-seed", type=int, help="of an occlusion that is made (default: 0)"
    )
    add_severity_option(parser)
    add_source_options(parser)
    add_training_options(parser)
    add_config_options(parser)
    parser.set_defaults(run=_run_pipeline)


def _run_pipeline(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    say(steps.run_pipeline_command(options))
