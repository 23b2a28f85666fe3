"""A dataset's name and options to the reader of its format."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from iospstl_core.errors import InputError
from iospstl_core.skeleton import LAYOUTS, SkeletonLayout, get_layout, layout_from_mapping
from iospstl_train.data.npz import open_npz
from iospstl_train.data.ntu_formats import open_ntu_copy
from iospstl_train.data.nw_ucla import open_nw_ucla
from iospstl_train.data.source import Source
from iospstl_train.data.store import SOURCES_OF_DATA
from iospstl_train.data.synthetic import SyntheticSettings
from iospstl_train.data.synthetic_source import open_synthetic
from iospstl_train.data.utd_mhad import open_utd_mhad


def open_source(options: argparse.Namespace) -> Source:
    """Return the source that the options of ``iospstl-train prepare`` describe."""
    readers: dict[str, Callable[[argparse.Namespace], Source]] = {
        "nw-ucla": lambda given: open_nw_ucla(_data(given)),
        "utd-mhad": lambda given: open_utd_mhad(_data(given)),
        "ntu60": _open_ntu,
        "ntu120": _open_ntu,
        "npz": _open_npz,
        "synthetic": _open_synthetic,
    }
    if options.dataset not in readers:
        nearest = difflib.get_close_matches(options.dataset, readers, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise InputError(
            f"--dataset: expected one of {', '.join(readers)}, got '{options.dataset}'{hint}"
        )
    return readers[options.dataset](options)


def _data(options: argparse.Namespace) -> Path:
    """Return what --data names; say what to get where it is missing."""
    get, command = SOURCES_OF_DATA[options.dataset]
    if options.data is None:
        raise InputError(f"--data: {options.dataset} needs it. Get {get}. Then run: {command}")
    if not options.data.exists():
        raise InputError(f"{options.data}: nothing there. Get {get}. Then run: {command}")
    return Path(options.data)


def _open_ntu(options: argparse.Namespace) -> Source:
    return open_ntu_copy(
        options.dataset,
        _data(options),
        options.missing_list,
        inferred_is_missing=options.inferred_is_missing,
        kind=options.kind,
    )


def _open_npz(options: argparse.Namespace) -> Source:
    data = _data(options)
    if options.layout is None or options.split is None:
        raise InputError(
            "--layout and --split: npz needs both, such as --layout kinect-v1-20 "
            "--split 'train: view in 1,2; test: view in 3'"
        )
    layout = read_layout(options.layout)
    return open_npz(data, layout, options.split, options.zero_is_missing, options.fps)


def _open_synthetic(options: argparse.Namespace) -> Source:
    settings = SyntheticSettings(
        n_subjects=options.subjects, n_repeats=options.repeats, seed=options.seed
    )
    return open_synthetic(settings)


def read_layout(name_or_path: str) -> SkeletonLayout:
    """Return a built-in layout by name, or the one in a YAML joint list."""
    path = Path(name_or_path)
    if name_or_path in LAYOUTS or path.suffix not in (".yaml", ".yml"):
        return get_layout(name_or_path)
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a YAML joint list, got: {reason}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected the keys name, joints, parents, got {data!r:.40}")
    return layout_from_mapping(data, str(path))
