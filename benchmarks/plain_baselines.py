"""Nearest neighbour and ridge classifier on the normalised coordinates; encoders never trained.

    python benchmarks/plain_baselines.py --dataset nw-ucla

A learned encoder that does not beat these means nothing. Hidden joints are 0, as a network sees
them ("none"), interpolated in time ("linear"), or restored ("restore", with --restorer).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.plain import fill_linear
from iospstl_core.imputation.restore import RestoreImputer
from iospstl_core.session import OnnxModel
from iospstl_core.store import find_occlusion
from iospstl_train.cli import main as run_command
from iospstl_train.config import load_config
from iospstl_train.data.store import find_store
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.linear import evaluate_encoder
from iospstl_train.training.model import make_model

PRESETS = ("small", "mask-mixer")
SEEDS = (1, 2, 3)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="synthetic", help="name of a prepared store")
    parser.add_argument("--root", type=Path, default=Path("runs/data"))
    parser.add_argument("--occlusion", default="realistic", help="made if missing")
    parser.add_argument("--restorer", type=Path, help="restorer.onnx of a run: one more row")
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
    filled = {"linear": fill_linear(occluded.xyz, occluded.present, bank).xyz}
    if options.restorer is not None:
        restorer = RestoreImputer(OnnxModel(options.restorer, ["CPUExecutionProvider"]), bank)
        filled["restore"] = restorer.fill(occluded.xyz, occluded.present).xyz
    rows = {"clean": score(clean), "none": score(occluded)}
    rows |= {name: score(replace(occluded, xyz=xyz)) for name, xyz in filled.items()}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    columns = list(rows["clean"])
    print(f"| row, % | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(format_scores(row[column]) for column in columns)} |")


def score(windows: WindowSet) -> dict[str, list[float]]:
    """Return accuracies on the test windows: of classifiers, and of encoders by seed."""
    untrained = {
        f"{preset}, untrained": [score_untrained(windows, preset, seed) for seed in SEEDS]
        for preset in PRESETS
    }
    return {**score_coordinates(windows), **untrained}


def score_untrained(windows: WindowSet, preset: str, seed: int) -> float:
    """Return the linear accuracy of an encoder with its random initial weights."""
    config = load_config(preset)
    torch.manual_seed(seed)
    encoder = make_model(config).encoder.eval()
    return evaluate_encoder(encoder, windows, config, seed).accuracy


def format_scores(scores: list[float]) -> str:
    """Return per cents: one, or mean and standard deviation."""
    mean = f"{100 * np.mean(scores):.1f}"
    return mean if len(scores) == 1 else f"{mean} ± {100 * np.std(scores, ddof=1):.1f}"


def score_coordinates(windows: WindowSet) -> dict[str, list[float]]:
    """Return the accuracy on the test windows of both classifiers of coordinates."""
    features = np.nan_to_num(windows.xyz).reshape(len(windows.xyz), -1)
    train, test = windows.is_train, windows.is_test
    models = {"nearest neighbour": KNeighborsClassifier(1), "ridge": RidgeClassifier(alpha=10.0)}
    for model in models.values():
        model.fit(features[train], windows.label[train])
    return {
        name: [float(model.score(features[test], windows.label[test]))]
        for name, model in models.items()
    }


if __name__ == "__main__":
    main()
