"""The command ``iospstl-train``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iospstl_core.errors import InputError
from iospstl_train.cli_options import (
    Commands,
    add_command,
    add_config_options,
    add_data_options,
    add_set_option,
    add_training_options,
)
from iospstl_train.cli_table import add_table

USER_FAULT = 2
INTERRUPTED = 130

LABEL_BAG = "label-bag"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 2 for a fault of the input after one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [LABEL_BAG]:
        _become_label_bag(words[1:])
    try:
        parsed = make_parser().parse_args(words)
        parsed.run(parsed)
    except InputError as error:
        print(f"iospstl-train: {error}", file=sys.stderr)
        return USER_FAULT
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"iospstl-train: {error}", file=sys.stderr)
        return USER_FAULT
    except ModuleNotFoundError as error:
        print(
            f"iospstl-train: needs the package '{error.name}'; install the toolkit with: "
            "pip install 'iospstl_ros[train]'",
            file=sys.stderr,
        )
        return USER_FAULT
    except KeyboardInterrupt:
        print("iospstl-train: interrupted; start it again to go on", file=sys.stderr)
        return INTERRUPTED
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="iospstl-train",
        description="Pre-train, complete, evaluate and export skeleton recognisers for "
        "occluded scenes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_prepare,
        _add_occlude,
        _add_pretrain,
        _add_impute,
        _add_evaluate,
        _add_export,
        _add_classes,
        _add_pipeline,
        add_table,
        _add_demo,
        _add_info,
        _add_label_bag,
    ):
        add(commands)
    return parser


def _add_prepare(commands: Commands) -> None:
    parser = add_command(commands, "prepare", "Turn a dataset's files into a store.")
    add_data_options(parser, with_split=False)
    parser.add_argument("--data", type=Path, help="file or folder from the dataset's owners")
    parser.add_argument("--name", help="name of the store; the dataset's if left out")
    parser.add_argument("--workers", type=int, help="processes; all cores if left out")
    npz = parser.add_argument_group("npz")
    npz.add_argument("--layout", help="joint layout by name, or a YAML joint list")
    npz.add_argument("--split", help="such as 'train: view in 1,2; test: view in 3'")
    npz.add_argument("--zero-is-missing", action="store_true", help="(0, 0, 0) is not observed")
    npz.add_argument("--fps", type=float, default=30.0, help="frames per second of the archive")
    ntu = parser.add_argument_group("ntu60, ntu120")
    ntu.add_argument("--missing-list", type=Path, help="names of files without skeletons")
    ntu.add_argument(
        "--inferred-is-missing", action="store_true", help="drop joints that the Kinect inferred"
    )
    synthetic = parser.add_argument_group("synthetic")
    synthetic.add_argument("--subjects", type=int, default=12, help="number of actors")
    synthetic.add_argument("--repeats", type=int, default=1, help="performances of each class")
    synthetic.add_argument("--seed", type=int, default=0, help="of the generated recordings")
    parser.set_defaults(run=_run_prepare)


def _run_prepare(options: argparse.Namespace) -> None:
    from iospstl_train.data.open import open_source
    from iospstl_train.data.prepare import prepare

    name = options.name or options.dataset
    source = replace(open_source(options), dataset=name)  # a store's name is how it is found
    folder = options.root / name
    arguments = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(options).items()
        if key not in ("run", "workers", "root")
    }
    report = prepare(source, folder, arguments, options.workers)
    _print(report.lines(folder))


def _add_occlude(commands: Commands) -> None:
    parser = add_command(
        commands, "occlude", "Hide joints of a store; coordinates stay as they are."
    )
    add_data_options(parser, with_split=False)
    parser.add_argument("--kind", choices=("realistic", "random"), default="realistic")
    parser.add_argument("--name", help="name of the occlusion; the kind if left out")
    parser.add_argument("--seed", type=int, default=0, help="of objects and places, or cells")
    parser.add_argument("--fraction", type=float, default=0.1, help="random: share of the cells")
    parser.add_argument("--meshes", type=Path, help="realistic: folder of OBJ, STL, PLY or GLB")
    parser.add_argument("--workers", type=int, help="processes; all cores if left out")
    add_config_options(parser)
    parser.set_defaults(run=_run_occlude)


def _run_occlude(options: argparse.Namespace) -> None:
    from iospstl_train.config import load_config
    from iospstl_train.data.store import find_store
    from iospstl_train.occlusion.occlude import occlude

    config = load_config(options.preset, options.config, options.set)
    if not 0 <= options.fraction < 1:
        raise InputError(f"--fraction: expected 0 <= fraction < 1, got {options.fraction}")
    store = find_store(options.dataset, options.root)
    occlusion = occlude(
        store,
        options.name or options.kind,
        options.kind,
        options.seed,
        config.realistic,
        options.fraction,
        options.meshes,
        options.workers,
    )
    share = occlusion.manifest["hidden_frac"]
    print(f"{store.folder / 'occlusion' / occlusion.name}: {share:.1%} of the cells are hidden")


def _add_pretrain(commands: Commands) -> None:
    parser = add_command(commands, "pretrain", "Pre-train an encoder without labels (OPSTL).")
    add_data_options(parser)
    parser.add_argument("--occlusion", help="stage 1: name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="stage 2: folder written by 'impute'")
    parser.add_argument("--out", type=Path, help="run folder; runs/DATASET-STAGE if left out")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    add_training_options(parser)
    add_config_options(parser)
    parser.set_defaults(run=_run_pretrain)


def _run_pretrain(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_pretrain(options))


def _add_impute(commands: Commands) -> None:
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
    from iospstl_train import steps

    _print(steps.run_impute(options))


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(commands, "evaluate", "Linear evaluation of a pre-trained encoder.")
    add_data_options(parser)
    parser.add_argument("--encoder", type=Path, required=True, help="run folder of 'pretrain'")
    parser.add_argument("--occlusion", help="name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="folder written by 'impute'")
    parser.add_argument("--seed", type=int, default=1, help="of the classifier")
    parser.set_defaults(run=_run_evaluate)


def _run_evaluate(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_evaluate(options))


def _add_export(commands: Commands) -> None:
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
    from iospstl_train import steps

    _print(steps.run_export(options))


def _add_classes(commands: Commands) -> None:
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
    npz = parser.add_argument_group("npz")
    npz.add_argument("--layout", help="joint layout by name, or a YAML joint list")
    npz.add_argument("--zero-is-missing", action="store_true", help="(0, 0, 0) is not observed")
    npz.add_argument("--fps", type=float, default=30.0, help="frames per second of the archive")
    parser.set_defaults(run=_run_classes)


def _run_classes(options: argparse.Namespace) -> None:
    from iospstl_train.classes import run_classes

    _print(run_classes(options))


def _add_pipeline(commands: Commands) -> None:
    parser = add_command(
        commands, "pipeline", "All steps: occlude to report, pictures and bundle."
    )
    add_data_options(parser)
    parser.add_argument("--occlusion", default="realistic", help="realistic, random, or a name")
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
    parser.add_argument("--fraction", type=float, help="random: share of the cells (default: 0.1)")
    parser.add_argument("--meshes", type=Path, help="realistic: folder of OBJ, STL, PLY or GLB")
    add_training_options(parser)
    add_config_options(parser)
    parser.set_defaults(run=_run_pipeline)


def _run_pipeline(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_pipeline_command(options))


def _add_demo(commands: Commands) -> None:
    parser = add_command(
        commands, "demo", "The whole chain on generated recordings, live at the end."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder")
    parser.set_defaults(run=_run_demo)


def _run_demo(options: argparse.Namespace) -> None:
    from iospstl_train.demo import run_demo

    run_demo(options.out)


def _add_info(commands: Commands) -> None:
    parser = add_command(
        commands, "info", "Describe a store, a run or a bundle, or the installation."
    )
    parser.add_argument("path", type=Path, nargs="?", help="store, run folder or bundle")
    parser.set_defaults(run=_run_info)


def _run_info(options: argparse.Namespace) -> None:
    from iospstl_train.info import describe

    _print(describe(options.path))


def _add_label_bag(commands: Commands) -> None:
    """Make the command known to the list of commands; its own process reads its options."""
    add_command(commands, LABEL_BAG, "Add labels and completed skeletons to a ROS 2 bag.")


def _become_label_bag(arguments: Sequence[str]) -> None:
    """Put the program of the ROS package in the place of this one, which may not import it.

    Signals, exit status and --help are then its own.
    """
    command = [sys.executable, "-m", "iospstl_ros.label_bag", *arguments]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
