"""``iospstl-train info``: what a folder is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iospstl_core.bundle import Bundle, open_bundle
from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_core.store import open_store
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.imputing import open_imputed
from iospstl_train.training.pretrain import (
    RUN_FILE,
    package_versions,
    read_metrics,
    training_seconds,
)


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
    rows = read_metrics(path)
    epochs = described["config"]["training"]["epochs"]
    return [
        f"pre-training run, {len(rows)} of {epochs} epochs in {training_seconds(path):.0f} s",
        f"command: {described['command']}",
        f"data: {described['provenance']}",
        f"seed: {described['seed']}",
        f"last epoch: {rows[-1] if rows else 'none yet'}",
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
