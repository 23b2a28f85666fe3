"""Options about occlusions, which several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from iospstl_core.errors import InputError
from iospstl_train.occlusion.kinds import KINDS

OCCLUSION_HELP = f"name of an occlusion of the store; made if it is one of {', '.join(KINDS)}"


def add_kind_option(parser: argparse.ArgumentParser) -> None:
    """Add --kind, and what the kinds are to the end of the help."""
    parser.add_argument("--kind", choices=tuple(KINDS), default="realistic", help="see below")
    kinds = [
        f"{name}: {kind.text}; severity: {kind.severity_text}" for name, kind in KINDS.items()
    ]
    parser.epilog = (
        f"Kinds. {'. '.join(kinds)}. Their other settings: --set KIND.KEY=VALUE, "
        "docs/occlusion.md."
    )


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the files that kinds draw from: --meshes and --recording."""
    parser.add_argument("--meshes", type=Path, help="realistic: folder of OBJ, STL, PLY or GLB")
    parser.add_argument(
        "--recording",
        type=Path,
        help="sensor: .skeleton file or a folder of them, .npz archive with 'confidence', store, "
        "or manifest.json of an earlier occlusion",
    )


def add_severity_option(parser: argparse.ArgumentParser) -> None:
    """Add --severity of an occlusion that is made."""
    parser.add_argument(
        "--severity",
        *("--fraction",),
        type=float,
        help="of an occlusion that is made, as its kind counts it: see 'occlude --help' (default: "
        "that of its settings)",
    )


def parse_severities(text: str) -> tuple[float, ...]:
    """Return the numbers of ``0.1,0.2``, each once."""
    return tuple(dict.fromkeys(float(word) for word in text.split(",")))


def source_of(options: argparse.Namespace) -> Path | None:
    """Return the files to draw from that a command line names."""
    given = {
        f"--{name}": getattr(options, name)
        for name in ("meshes", "recording")
        if getattr(options, name, None) is not None
    }
    kind = getattr(options, "kind", None) or options.occlusion
    wanted = KINDS[kind].source_option if kind in KINDS else None
    for name in given:
        if kind in KINDS and name != wanted:
            raise InputError(f"{name}: the kind '{kind}' has no use for it; leave it out")
    return next(iter(given.values()), None)
