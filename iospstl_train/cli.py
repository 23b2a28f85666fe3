"""The command ``iospstl-train``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from iospstl_core.errors import EXIT_INTERRUPTED, EXIT_USER_FAULT, InputError
from iospstl_train.cli_data import add_occlude, add_prepare
from iospstl_train.cli_options import Commands, add_command, say
from iospstl_train.cli_robot import add_classes, add_export
from iospstl_train.cli_table import add_table
from iospstl_train.cli_train import add_evaluate, add_impute, add_pipeline, add_pretrain
from iospstl_train.training.launch import launched_index, n_launched, run_processes
from iospstl_train.training.stopping import Interrupted, interruptible

LABEL_BAG = "label-bag"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0; 2 for a fault of the input, after one line on stderr; 128 and the number of the signal
        that ended it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [LABEL_BAG]:
        _become_label_bag(words[1:])
    try:
        return _run(words)
    except InputError as error:
        _tell(str(error))
        return EXIT_USER_FAULT
    except OSError as error:  # a folder that cannot be written, a full disk
        _tell(str(error))
        return EXIT_USER_FAULT
    except ModuleNotFoundError as error:
        _tell(
            f"needs the package '{error.name}'; install the toolkit with: "
            "pip install 'iospstl_ros[train]'"
        )
        return EXIT_USER_FAULT
    except KeyboardInterrupt:
        _tell("interrupted; start it again to go on")
        return EXIT_INTERRUPTED


def _tell(text: str) -> None:
    """Say what went wrong, on a line of its own: the bar on it may be another process's."""
    start = "\n" if launched_index() > 0 else ""
    print(f"{start}iospstl-train: {text}", file=sys.stderr)


def _run(words: Sequence[str]) -> int:
    """Run one command in this process, or in as many as it asks for."""
    with _quiet_but_first():
        options = make_parser().parse_args(words)
    n_processes = getattr(options, "processes", 1)
    if n_processes < 1:
        raise InputError(f"--processes: expected a number from 1 on, got {n_processes}")
    if n_processes > 1 and n_launched() == 1:
        return run_processes(words, n_processes)
    try:
        with interruptible(), _together(options):
            options.run(options)
    except Interrupted as error:
        advice = " and --resume" if hasattr(options, "resume") else ""
        _tell(f"{error}; go on with the same command{advice}")
        return error.status
    return 0


@contextmanager
def _quiet_but_first() -> Iterator[None]:
    """Let only the first process of several speak."""
    if launched_index() == 0:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _together(options: argparse.Namespace) -> Iterator[None]:
    """Join the processes that were started for this command, if there are several."""
    if n_launched() == 1:
        yield
        return
    if not hasattr(options, "processes"):
        if launched_index() > 0:
            raise SystemExit(EXIT_USER_FAULT)
        raise InputError("this command runs in one process; start it without torchrun or srun")
    from iospstl_train.training.join import joined

    with joined(options.device), Path(os.devnull).open("w") as nowhere:
        if launched_index() == 0:
            yield
        else:
            with redirect_stdout(nowhere):
                yield


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="iospstl-train",
        description="Pre-train, complete, evaluate and export skeleton recognisers for "
        "occluded scenes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_prepare,
        add_occlude,
        add_pretrain,
        add_impute,
        add_evaluate,
        add_export,
        add_classes,
        add_pipeline,
        add_table,
        _add_demo,
        _add_info,
        _add_label_bag,
    ):
        add(commands)
    return parser


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

    say(describe(options.path))


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


if __name__ == "__main__":
    sys.exit(main())
