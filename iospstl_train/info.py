"""``iospstl-train info``: what a folder is."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from iospstl_core.bundle import Bundle, open_bundle
from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_core.store import open_store
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.imputing import open_imputed
from iospstl_train.training.checkpoint import checkpoint_paths
from iospstl_train.training.run_folder import (
    CHECKPOINT,
    RUN_FILE,
    find_worker,
    package_versions,
    read_metrics,
    training_seconds,
)

_LOOKS = ("embedding_rank", "neighbor_accuracy")


def describe(path: Path | None) -> list[str]:
    """Return lines about a folder that a command wrote; about the installation without one."""
    if path is None:
        return [f"{name} {number}" for name, number in package_versions().items()]
    if (path / RUN_FILE).is_file():
        return _describe_run(path)
    if (path / "pipeline.json").is_file():
        return [f"{key}: {value}" for key, value in read_json(path / "pipeline.json").items()]
    if (path / "manifest.json").is_file():
        manifest = read_json(path / "manifest.json")
        if manifest.get("format") == "iospstl-bundle":
            return _describe_bundle(path)
        return _describe_imputed(path) if "method" in manifest else _describe_store(path)
    raise InputError(
        f"{path}: expected a store, a run folder, completed windows or a bundle, got none of them"
    )


def _describe_run(path: Path) -> list[str]:
    described = read_json(path / RUN_FILE)
    rows = [json.loads(row) for row in read_metrics(path)]
    n_epochs = described["config"]["training"]["epochs"]
    return [
        f"pre-training run, {len(rows)} of {n_epochs} epochs in {training_seconds(path):.0f} s",
        _describe_state(path, len(rows), n_epochs, described["command"]),
        *_describe_progress(rows, n_epochs),
        *_describe_checkpoints(path),
        f"command: {described['command']}",
        f"data: {described['provenance']}",
        f"seed: {described['seed']}",
    ]


def _describe_state(path: Path, n_done: int, n_epochs: int, command: str) -> str:
    """Say whether a run is finished, under way, or waits to be taken up again."""
    if n_done >= n_epochs:
        return "state: finished"
    worker = find_worker(path)
    if worker is not None:
        return f"state: under way, {worker}"
    resume = "" if "--resume" in command or " pretrain " not in f" {command} " else " --resume"
    return f"state: stopped; go on with: {command}{resume}"


def _describe_progress(rows: Sequence[Mapping[str, Any]], n_epochs: int) -> list[str]:
    """Say how fast the run is, and what its last epoch and last look at embeddings found."""
    if not rows:
        return ["last epoch: none yet"]
    epoch_s = statistics.median(row["seconds"] for row in rows)
    left_s = (n_epochs - len(rows)) * epoch_s
    shown = {key: value for key, value in rows[-1].items() if key not in ("epoch", "seconds")}
    lines = [
        f"time: {epoch_s:.1f} s an epoch" + (f", {left_s / 60:.0f} min left" if left_s else ""),
        f"loss: {rows[0]['loss']:.4g} in the first epoch, {rows[-1]['loss']:.4g} in the last",
        "last epoch: " + ", ".join(f"{key} {value:.4g}" for key, value in shown.items()),
    ]
    looked = [row for row in rows if "embedding_rank" in row]
    if looked and looked[-1] is not rows[-1]:
        lines.append(
            f"embeddings after epoch {looked[-1]['epoch']}: "
            + ", ".join(f"{key} {looked[-1][key]:.4g}" for key in _LOOKS if key in looked[-1])
        )
    return lines


def _describe_checkpoints(path: Path) -> list[str]:
    """Name the files that a run would go on from, newest first."""
    return [
        f"checkpoint: {found.name}, {found.stat().st_size / 1e6:.1f} MB, "
        f"{datetime.fromtimestamp(found.stat().st_mtime).isoformat(' ', 'seconds')}"
        for found in checkpoint_paths(path / CHECKPOINT)
    ]


def _describe_store(path: Path) -> list[str]:
    store = open_store(path)
    occlusions = sorted(item.parent.name for item in path.glob("occlusion/*/manifest.json"))
    lines = [
        f"store {store.dataset}: {len(store)} sequences, {len(store.xyz)} frames, "
        f"{store.n_persons} persons at most, layout {store.layout.name}, {store.fps:g} fps",
        f"classes: {', '.join(store.class_names)}",
        f"occlusions: {', '.join(occlusions) or 'none'}",
    ]
    for name, text in store.splits.items():
        lines.append(f"split {name}: {store.describe_split(name)} ({text})")
    return lines


def _describe_imputed(path: Path) -> list[str]:
    filled, clusters, manifest = open_imputed(path)
    cells = ", ".join(f"{count} {name}" for name, count in filled.counts().items())
    return [
        f"completed windows: {len(filled.xyz)} sequences, {clusters.bank.n_clusters} clusters",
        f"cells: {cells}",
        *(f"{key}: {value}" for key, value in manifest.items() if key != "cells"),
    ]


def _describe_labels(bundle: Bundle, labels: Mapping[str, Any] | None) -> list[str]:
    if bundle.rejection is None:
        return ["labels: all movement gets one; the bundle has no rejection"]
    return [f"labels: {line}" for line in describe_labels(labels)] if labels else []


def _describe_bundle(path: Path) -> list[str]:
    bundle = open_bundle(path)
    settings = bundle.settings
    training = dict(settings.training)
    labels = training.pop("labels", None)
    return [
        f"bundle, every file as its manifest says: {len(settings.classes)} classes, windows of "
        f"{settings.n_frames} frames and {settings.n_persons} persons over {settings.window_s} s",
        f"imputer: {settings.imputer}, {bundle.bank.n_clusters} clusters, "
        f"{len(bundle.bank.donors)} donors",
        f"classes: {', '.join(settings.classes)}",
        f"training: {training}",
        *_describe_labels(bundle, labels),
    ]
