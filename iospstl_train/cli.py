"""The command ``iospstl-train``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from iospstl_core.errors import InputError

USER_FAULT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 2 for a fault of the input after one line on stderr."""
    try:
        parsed = make_parser().parse_args(arguments)
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
        _add_pipeline,
        _add_demo,
        _add_info,
    ):
        add(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.default not in (None, False, [])
        return super()._get_help_string(action) if has_default else action.help


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text, formatter_class=_Formatter)


def _add_data_options(parser: argparse.ArgumentParser, *, with_split: bool = True) -> None:
    root = Path(os.environ.get("IOSPSTL_DATA", "runs/data"))
    parser.add_argument("--dataset", required=True, help="name of a prepared store")
    parser.add_argument(
        "--root", type=Path, default=root, help="folder of the stores (or set $IOSPSTL_DATA)"
    )
    if with_split:
        parser.add_argument("--split", help="split by name; the store's first if left out")


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="small", help="built-in settings: small or paper")
    parser.add_argument("--config", type=Path, help="YAML file with differences to the preset")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one setting, such as training.epochs=100; may be repeated",
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and masks")
    parser.add_argument("--device", default="cpu", help="torch device, such as cuda")


def _add_prepare(commands: Commands) -> None:
    parser = _command(commands, "prepare", "Turn a dataset's files into a store.")
    _add_data_options(parser, with_split=False)
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
    parser = _command(commands, "occlude", "Hide joints of a store; coordinates stay as they are.")
    _add_data_options(parser, with_split=False)
    parser.add_argument("--kind", choices=("realistic", "random"), default="realistic")
    parser.add_argument("--name", help="name of the occlusion; the kind if left out")
    parser.add_argument("--seed", type=int, default=0, help="of objects and places, or cells")
    parser.add_argument("--fraction", type=float, default=0.1, help="random: share of the cells")
    parser.add_argument("--meshes", type=Path, help="realistic: folder of OBJ, STL, PLY or GLB")
    parser.add_argument("--workers", type=int, help="processes; all cores if left out")
    _add_config_options(parser)
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
    parser = _command(commands, "pretrain", "Pre-train an encoder without labels (OPSTL).")
    _add_data_options(parser)
    parser.add_argument("--occlusion", help="stage 1: name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="stage 2: folder written by 'impute'")
    parser.add_argument("--out", type=Path, help="run folder; runs/DATASET-STAGE if left out")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    _add_training_options(parser)
    _add_config_options(parser)
    parser.set_defaults(run=_run_pretrain)


def _run_pretrain(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_pretrain(options))


def _add_impute(commands: Commands) -> None:
    parser = _command(commands, "impute", "Cluster the training set and complete all windows.")
    _add_data_options(parser)
    parser.add_argument("--occlusion", required=True, help="name of an occlusion of the store")
    parser.add_argument("--encoder", type=Path, required=True, help="stage-1 run folder")
    parser.add_argument(
        "--method", choices=("none", "random", "mean", "linear", "knn"), default="knn"
    )
    parser.add_argument("--seed", type=int, default=0, help="of k-means and of 'random'")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.set_defaults(run=_run_impute)


def _run_impute(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_impute(options))


def _add_evaluate(commands: Commands) -> None:
    parser = _command(commands, "evaluate", "Linear evaluation of a pre-trained encoder.")
    _add_data_options(parser)
    parser.add_argument("--encoder", type=Path, required=True, help="run folder of 'pretrain'")
    parser.add_argument("--occlusion", help="name of an occlusion of the store")
    parser.add_argument("--imputed", type=Path, help="folder written by 'impute'")
    parser.add_argument("--seed", type=int, default=1, help="of the classifier")
    parser.set_defaults(run=_run_evaluate)


def _run_evaluate(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_evaluate(options))


def _add_export(commands: Commands) -> None:
    parser = _command(commands, "export", "Write the bundle that the robot needs.")
    _add_data_options(parser)
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


def _add_pipeline(commands: Commands) -> None:
    parser = _command(commands, "pipeline", "All steps: occlude to report, pictures and bundle.")
    _add_data_options(parser)
    parser.add_argument("--occlusion", default="realistic", help="realistic, random, or a name")
    parser.add_argument("--out", type=Path, required=True, help="run folder; goes on if begun")
    parser.add_argument(
        "--rows",
        default="clean,none,random,mean,linear,knn",
        help="rows of the table; each but 'none' costs a pre-training",
    )
    parser.add_argument("--bundle-row", default="knn", help="imputer of the bundle")
    parser.add_argument(
        "--occlusion-seed", type=int, help="of an occlusion that is made (default: 0)"
    )
    parser.add_argument("--fraction", type=float, help="random: share of the cells (default: 0.1)")
    parser.add_argument("--meshes", type=Path, help="realistic: folder of OBJ, STL, PLY or GLB")
    _add_training_options(parser)
    _add_config_options(parser)
    parser.set_defaults(run=_run_pipeline)


def _run_pipeline(options: argparse.Namespace) -> None:
    from iospstl_train import steps

    _print(steps.run_pipeline_command(options))


def _add_demo(commands: Commands) -> None:
    parser = _command(
        commands, "demo", "The whole chain on generated recordings, live at the end."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder")
    parser.set_defaults(run=_run_demo)


def _run_demo(options: argparse.Namespace) -> None:
    from iospstl_train.demo import run_demo

    run_demo(options.out)


def _add_info(commands: Commands) -> None:
    parser = _command(
        commands, "info", "Describe a store, a run or a bundle, or the installation."
    )
    parser.add_argument("path", type=Path, nargs="?", help="store, run folder or bundle")
    parser.set_defaults(run=_run_info)


def _run_info(options: argparse.Namespace) -> None:
    from iospstl_train.info import describe

    _print(describe(options.path))


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
