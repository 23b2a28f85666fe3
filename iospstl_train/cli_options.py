"""Options that commands of ``iospstl-train`` share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from iospstl_core.errors import InputError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


DEFAULT_PRESET = "mask-mixer"
"""The best on recordings and the fastest of all that were measured: benchmarks/README.md."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.default not in (None, False, [])
        return super()._get_help_string(action) if has_default else action.help


def add_command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command whose help shows the defaults."""
    return commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)


def add_data_options(parser: argparse.ArgumentParser, *, with_split: bool = True) -> None:
    """Add where the data are: --dataset, --root and --split."""
    root = Path(os.environ.get("IOSPSTL_DATA", "runs/data"))
    parser.add_argument("--dataset", required=True, help="name of a prepared store")
    parser.add_argument(
        "--root", type=Path, default=root, help="folder of the stores (or set $IOSPSTL_DATA)"
    )
    if with_split:
        parser.add_argument("--split", help="split by name; the store's first if left out")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings: --preset, --config and --set."""
    parser.add_argument(
        "--preset",
        default=DEFAULT_PRESET,
        help="built-in settings: mask-mixer (an encoder whose hidden joints are mask tokens), "
        "small (OPSTL with a small ST-GCN), and paper or paper/METHOD, with the published "
        "constants and quirks",
    )
    parser.add_argument("--config", type=Path, help="YAML file with differences to the preset")
    add_set_option(parser)


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Add --set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one setting, such as training.epochs=100; may be repeated",
    )


def add_archive_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what an .npz archive does not say: --layout, --zero-is-missing, --fps."""
    npz = parser.add_argument_group("npz")
    npz.add_argument("--layout", help="joint layout by name, or a YAML joint list")
    npz.add_argument("--zero-is-missing", action="store_true", help="(0, 0, 0) is not observed")
    npz.add_argument("--fps", type=float, default=30.0, help="frames per second of the archive")
    return npz


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add --seed, --device and --processes."""
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and masks")
    add_device_options(parser)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add --device and --processes, of commands that also run under torchrun."""
    parser.add_argument("--device", default="cpu", help="torch device, such as cuda")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes of this machine that share the work, each with a GPU of its own for "
        "--device cuda; several machines: torchrun",
    )


def check_out(folder: Path, marker: str) -> None:
    """Refuse to replace what is no earlier result of the same command."""
    if folder.is_file() or (
        folder.is_dir() and not (folder / marker).is_file() and any(folder.iterdir())
    ):
        raise InputError(f"{folder}: holds something else already; choose another --out")


def say(lines: Sequence[str]) -> None:
    """Print lines at once, also into a pipe."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
