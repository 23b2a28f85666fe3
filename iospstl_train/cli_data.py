"""Commands of ``iospstl-train`` that make data: ``prepare`` and ``occlude``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from iospstl_train.cli_occlusion import (
    add_kind_option,
    add_source_options,
    parse_severities,
    source_of,
)
from iospstl_train.cli_options import (
    Commands,
    add_archive_options,
    add_command,
    add_config_options,
    add_data_options,
    say,
)


def add_prepare(commands: Commands) -> None:
    """Add the command ``prepare``."""
    parser = add_command(commands, "prepare", "Turn a dataset's files into a store.")
    add_data_options(parser, with_split=False)
    parser.add_argument("--data", type=Path, help="file or folder from the dataset's owners")
    parser.add_argument("--name", help="name of the store; the dataset's if left out")
    parser.add_argument("--workers", type=int, help="processes; all cores if left out")
    npz = add_archive_options(parser)
    npz.add_argument("--split", help="such as 'train: view in 1,2; test: view in 3'")
    ntu = parser.add_argument_group(
        "ntu60, ntu120",
        "--data is a folder of .skeleton files, *_3danno.pkl of pyskl, an .npz of CTR-GCN or "
        "MAMP, or a folder with *_data.npy, *_data_nan.npy or *_position.npy and *_label.pkl "
        "(ST-GCN, CrosSCLR, AimCLR, OPSTL).",
    )
    ntu.add_argument(
        "--missing-list", type=Path, help="names to leave out; as published if left out"
    )
    ntu.add_argument(
        "--inferred-is-missing", action="store_true", help="drop joints that the Kinect inferred"
    )
    ntu.add_argument(
        "--kind",
        choices=("data", "data-nan", "position"),
        help="of a folder with several kinds of .npy files; told by content if left out",
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
    say(report.lines(folder))


def add_occlude(commands: Commands) -> None:
    """Add the command ``occlude``."""
    parser = add_command(
        commands, "occlude", "Hide joints of a store; coordinates stay as they are."
    )
    add_data_options(parser, with_split=False)
    add_kind_option(parser)
    parser.add_argument("--name", help="name of the occlusion; the kind if left out")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument(
        "--severity",
        *("--fraction",),
        type=parse_severities,
        metavar="S[,S...]",
        help="how much is hidden, as the kind counts it; several make a series of occlusions, "
        "called NAME-S",
    )
    add_source_options(parser)
    parser.add_argument("--workers", type=int, help="processes; all cores if left out")
    add_config_options(parser)
    parser.set_defaults(run=_run_occlude)


def _run_occlude(options: argparse.Namespace) -> None:
    from iospstl_train.config import load_config
    from iospstl_train.data.store import find_store
    from iospstl_train.occlusion.occlude import KINDS, occlude, series_name
    from iospstl_train.occlusion.pictures import draw_masks

    store = find_store(options.dataset, options.root)
    config = load_config(options.preset, options.config, options.set)
    kind, name = KINDS[options.kind], options.name or options.kind
    severities = options.severity or (None,)
    settings = getattr(config, options.kind)
    wanted = [settings if one is None else kind.with_severity(settings, one) for one in severities]
    for severity, changed in zip(severities, wanted, strict=True):
        called = name if len(severities) == 1 else series_name(name, severity)
        source, workers = source_of(options), options.workers
        occlusion = occlude(store, called, options.kind, options.seed, changed, source, workers)
        folder = store.folder / "occlusion" / called
        draw_masks(folder / "masks.png", store, occlusion)
        if len(severities) == 1:
            say((folder / "report.md").read_text(encoding="utf-8").splitlines())
        say(occlusion.manifest["notes"])
        share = occlusion.manifest["hidden_frac"]
        say([f"{folder}: {share:.1%} of the cells are hidden; report.md, masks.png"])
