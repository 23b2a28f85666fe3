"""Nearest neighbour and ridge classifier on the normalised coordinates, no network at all.

    python benchmarks/plain_baselines.py --dataset nw-ucla

A learned encoder that does not beat these means nothing. Hidden joints are 0, as a network sees
them ("none"), or interpolated in time ("linear").
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.plain import fill_linear
from iospstl_core.store import find_occlusion
from iospstl_train.cli import main as run_command
from iospstl_train.data.store import find_store
from iospstl_train.data.windows import WindowSet, load_windows


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="synthetic", help="name of a prepared store")
    parser.add_argument("--root", type=Path, default=Path("runs/data"))
    parser.add_argument("--occlusion", default="realistic", help="made if missing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    where = ["--dataset", options.dataset, "--root", str(options.root)]
    if options.dataset == "synthetic" and not (options.root / "synthetic").exists():
        run_command(["prepare", *where])
    store = find_store(options.dataset, options.root)
    if not (store.folder / "occlusion" / options.occlusion).exists():
        run_command(["occlude", *where, "--name", options.occlusion])
    clean = load_windows(store)
    occluded = load_windows(store, find_occlusion(store, options.occlusion))
    train = occluded.xyz[occluded.is_train]
    bank = build_bank(train, np.zeros(len(train), dtype=np.int64), 1)
    rows = {
        "clean": score(clean, clean.xyz),
        "none": score(occluded, occluded.xyz),
        "linear": score(occluded, fill_linear(occluded.xyz, occluded.present, bank).xyz),
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| row | nearest neighbour, % | ridge, % |\n| --- | --- | --- |")
    for name, row in rows.items():
        print(f"| {name} | {row['nearest']:.1%} | {row['ridge']:.1%} |".replace("%", ""))


def score(windows: WindowSet, xyz: NDArray[np.float32]) -> dict[str, float]:
    """Return the accuracy on the test windows of both classifiers."""
    features = np.nan_to_num(xyz).reshape(len(xyz), -1)
    train, test = windows.is_train, windows.is_test
    models = {"nearest": KNeighborsClassifier(1), "ridge": RidgeClassifier(alpha=10.0)}
    return {
        name: float(
            model.fit(features[train], windows.label[train]).score(
                features[test], windows.label[test]
            )
        )
        for name, model in models.items()
    }


if __name__ == "__main__":
    main()
