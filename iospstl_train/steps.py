"""The single steps behind the commands of ``iospstl-train``; `pipeline` chains them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from iospstl_core.bundle import RESTORER
from iospstl_core.errors import InputError
from iospstl_core.files import read_json, write_json
from iospstl_core.store import Store, find_occlusion
from iospstl_train.config import Config, ImputationSettings, change_config, load_config
from iospstl_train.data.store import find_store
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.evaluation.linear import evaluate_encoder
from iospstl_train.export import (
    Classifier,
    describe_differences,
    export_bundle,
    make_bundle_settings,
)
from iospstl_train.imputing import (
    fit_clusters,
    imputation_error_mm,
    impute,
    open_imputed,
    save_imputed,
)
from iospstl_train.labeling import draft_of, label_export
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.pipeline import PipelineOptions, run_pipeline
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import RUN_FILE, PretrainData, load_encoder, pretrain
from iospstl_train.training.restore import train_restorer

_DASK_TIMEOUT_S = 15


def load_data(options: argparse.Namespace) -> tuple[Store, WindowSet, dict[str, Any]]:
    """Return store, windows and provenance of ``--dataset --occlusion --split``."""
    store = find_store(options.dataset, options.root)
    name = getattr(options, "occlusion", None)
    occlusion = find_occlusion(store, name) if name else None
    windows = load_windows(store, occlusion, options.split)
    split = options.split or next(iter(store.splits))
    provenance = {"dataset": store.dataset, "split": split, "occlusion": name}
    return store, windows, provenance


def _take_over(options: argparse.Namespace) -> None:
    """Let occlusion and split default to those that the completed windows were made for."""
    manifest = open_imputed(options.imputed)[2]
    options.occlusion = options.occlusion or manifest["occlusion"]
    options.split = options.split or manifest["split"]


def _completed(windows: WindowSet, provenance: dict[str, Any], folder: Path) -> WindowSet:
    """Return the windows with the coordinates that 'impute' left in a folder."""
    filled, _, manifest = open_imputed(folder)
    for key in ("dataset", "split", "occlusion"):
        if manifest[key] != provenance[key]:
            raise InputError(
                f"{folder}: was completed for the {key} '{manifest[key]}', got "
                f"'{provenance[key]}'; give --{key} {manifest[key]} or impute again"
            )
    if filled.xyz.shape != windows.xyz.shape:
        raise InputError(
            f"{folder}: expected windows of shape {windows.xyz.shape}, got {filled.xyz.shape}; "
            "impute again for this dataset"
        )
    return WindowSet(**{**vars(windows), "xyz": np.asarray(filled.xyz)})


def run_pretrain(options: argparse.Namespace) -> list[str]:
    """Pre-train on a store, an occlusion of it, or completed windows.

    Like every step here, takes the options of its command and returns lines to print.
    """
    config = load_config(options.preset, options.config, options.set)
    if options.imputed:
        _take_over(options)
    _, windows, provenance = load_data(options)
    hidden_frac = windows.hidden_frac()
    if options.imputed:
        windows = _completed(windows, provenance, options.imputed)
        provenance["imputed"] = str(options.imputed)
    stage = options.imputed.name if options.imputed else options.occlusion or "clean"
    folder = options.out or Path("runs") / f"{options.dataset}-{stage}"
    train = windows.is_train
    data = PretrainData(windows.xyz[train], hidden_frac[train])
    pretrain(data, config, folder, options.seed, options.device, options.resume, provenance)
    return [f"{folder}: trained on {train.sum()} sequences"]


def _check_out(folder: Path, marker: str) -> None:
    """Refuse to replace what is no earlier result of the same command."""
    if folder.is_file() or (
        folder.is_dir() and not (folder / marker).is_file() and any(folder.iterdir())
    ):
        raise InputError(f"{folder}: holds something else already; choose another --out")


def run_impute(options: argparse.Namespace) -> list[str]:
    """Embed with a stage-1 encoder, cluster, complete, and report the error."""
    _check_out(options.out, "assigned.npy")
    _check_workers(options)
    _, windows, provenance = load_data(options)
    encoder, config = load_encoder(options.encoder)
    settings = _restorer_settings(config, options)
    embedding = embed(encoder, windows.xyz, config.training.stream)
    clusters = fit_clusters(windows, embedding, config.imputation, options.seed)
    n_neighbors = config.imputation.n_neighbors
    restorer = None
    if options.method == "restore":
        folder = options.restorer or options.out.with_name(f"{options.out.name}-restorer")
        restorer = train_restorer(
            windows, settings, folder, options.seed, options.device, provenance
        )
    with _joblib_backend(options.dask):
        filled = impute(
            *(windows, options.method, clusters, n_neighbors, options.seed, restorer),
            n_workers=options.workers,
            device=None if options.device == "cpu" else options.device,
        )
    errors = {
        name: imputation_error_mm(windows, filled, rows)
        for name, rows in (("train", windows.is_train), ("test", windows.is_test))
    }
    manifest = {
        **provenance,
        "method": options.method,
        "imputation": asdict(config.imputation),
        "encoder": str(options.encoder),
        "error_mm": errors,
        "cells": filled.counts(),
    }
    save_imputed(options.out, filled, clusters, manifest, restorer)
    cells = ", ".join(f"{count} {name}" for name, count in filled.counts().items())
    return [
        f"{options.out}: cells: {cells}",
        "hidden-joint error: "
        + ", ".join(
            f"{name} {error:.1f} mm" if error is not None else f"{name} has nothing hidden"
            for name, error in errors.items()
        ),
    ]


def _check_workers(options: argparse.Namespace) -> None:
    """Refuse workers that would have nothing to do, or that there cannot be."""
    if options.workers == 0 or options.workers < -1:
        raise InputError(
            f"--workers: expected a number from 1 on, or -1 for all cores, got {options.workers}"
        )
    if options.method != "knn" and (options.workers != 1 or options.dask):
        raise InputError(
            "--workers and --dask: expected --method knn, the only one that has work for them, "
            f"got {options.method}; leave them out"
        )


def _restorer_settings(config: Config, options: argparse.Namespace) -> RestorerSettings:
    """Return the encoder's own settings of the restorer, changed by --set."""
    changed = change_config(config, options.set)
    is_for_restorer = replace(changed, restorer=config.restorer) == config
    if options.set and not (is_for_restorer and options.method == "restore"):
        raise InputError(
            "--set: impute takes restorer.KEY=VALUE with --method restore only; everything else "
            "is as in the run of the encoder"
        )
    return changed.restorer


@contextmanager
def _joblib_backend(scheduler: str | None) -> Iterator[None]:
    """Let joblib use the Dask cluster of a scheduler; processes of this machine without one."""
    if scheduler is None:
        yield
        return
    try:
        from dask.distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            "--dask: needs the packages dask and distributed; install them with: "
            "pip install 'iospstl_ros[dask]'"
        ) from error
    try:
        client = Client(scheduler, timeout=_DASK_TIMEOUT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask: expected the address of a running scheduler, such as tcp://host:8786, got "
            f"'{scheduler}': {error}"
        ) from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def run_evaluate(options: argparse.Namespace) -> list[str]:
    """Measure the linear accuracy of an encoder and leave it in its run folder."""
    if options.imputed:
        _take_over(options)
    _, windows, provenance = load_data(options)
    if options.imputed:
        windows = _completed(windows, provenance, options.imputed)
        provenance["imputed"] = str(options.imputed)
    encoder, config = load_encoder(options.encoder)
    result = evaluate_encoder(encoder, windows, config, options.seed)
    report = {**provenance, "seed": options.seed, "linear_accuracy": result.accuracy}
    write_json(options.encoder / "evaluation.json", report)
    n_test = int(windows.is_test.sum())
    return [f"linear accuracy: {result.accuracy:.4f} over {n_test} test sequences (last epoch)"]


def run_export(options: argparse.Namespace) -> list[str]:
    """Fit the linear classifier of stage 2 and write a bundle."""
    _check_out(options.out, "classifier.onnx")
    _, clusters, manifest = open_imputed(options.imputed)
    if manifest["method"] == "random":
        raise InputError(
            f"{options.imputed}: a robot cannot complete windows as 'random' does; impute with "
            "none, mean, linear, knn or restore"
        )
    _take_over(options)
    store, windows, provenance = load_data(options)
    completed = _completed(windows, provenance, options.imputed)
    stage1, stage1_config = load_encoder(options.stage1)
    stage2, stage2_config = load_encoder(options.stage2)
    result = evaluate_encoder(stage2, completed, stage2_config, options.seed)
    described = read_json(options.stage2 / RUN_FILE)
    training = {
        **provenance,
        "seed": described["seed"],
        "linear_accuracy": result.accuracy,
        "versions": described["versions"],
    }
    settings = make_bundle_settings(
        store,
        windows,
        manifest["method"],
        _imputation_settings(options.imputed, manifest),
        training,
        stage2_config.training.stream,
    )
    settings = replace(settings, encoder_stream=stage1_config.training.stream)
    sample = windows.xyz[windows.is_test][:64]
    classifier = Classifier(stage2, result.classifier)
    restorer = options.imputed / RESTORER if manifest["method"] == "restore" else None
    if restorer is not None and not restorer.is_file():
        raise InputError(f"{restorer}: expected a restorer, got none; impute again")
    with draft_of(options.out) as draft:
        differences = export_bundle(
            draft, settings, stage1, classifier, clusters, sample, restorer
        )
        occlusion = find_occlusion(store, options.occlusion)
        labeled = label_export(draft, options.out, store, options.split, occlusion)
    return [describe_differences(options.out, differences), *describe_labels(labeled.labels)]


def _imputation_settings(folder: Path, manifest: dict[str, Any]) -> ImputationSettings:
    """Return the settings that windows were completed with: the robot's must be the same."""
    try:
        return ImputationSettings(**manifest["imputation"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'manifest.json'}: imputation: expected the settings that completed these "
            f"windows, got {manifest.get('imputation')}; impute again"
        ) from error


def run_pipeline_command(options: argparse.Namespace) -> list[str]:
    """Run the pipeline and return its table."""
    config = load_config(options.preset, options.config, options.set)
    report = run_pipeline(
        PipelineOptions(
            store=find_store(options.dataset, options.root),
            occlusion=options.occlusion,
            out=options.out,
            config=config,
            split=options.split,
            rows=tuple(name.strip() for name in options.rows.split(",")),
            bundle_row=options.bundle_row,
            seed=options.seed,
            occlusion_seed=options.occlusion_seed,
            random_fraction=options.fraction,
            meshes=options.meshes,
            device=options.device,
        )
    )
    lines = [f"{'row':8} {'hidden-joint error':>18} {'linear accuracy':>16}"]
    for row in report.rows:
        error = "" if row.error_mm is None else f"{row.error_mm:.0f} mm"
        lines.append(f"{row.name:8} {error:>18} {row.accuracy:>16.1%}")
    lines += [*describe_labels(report.labels), *report.notes] if report.labels else report.notes
    return [*lines, f"report: {options.out / 'report.md'}  bundle: {options.out / 'bundle'}"]
