"""The single steps behind the commands of ``iospstl-train``; `pipeline` chains them.

The longer ones have files of their own: `impute_step` and `export_step`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_core.files import write_json
from iospstl_core.store import Store, find_occlusion
from iospstl_train.cli_occlusion import source_of
from iospstl_train.config import load_config
from iospstl_train.data.store import find_store
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.fusion import fuse_logits
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.evaluation.linear import LinearResult, evaluate_encoder
from iospstl_train.imputing import open_imputed
from iospstl_train.pipeline import run_pipeline
from iospstl_train.pipeline_options import PipelineOptions
from iospstl_train.training.batches import training_data
from iospstl_train.training.pretrain import estimate_pretraining, load_encoder, pretrain
from iospstl_train.training.processes import share_from_first


def load_data(options: argparse.Namespace) -> tuple[Store, WindowSet, dict[str, Any]]:
    """Return store, windows and provenance of ``--dataset --occlusion --split``."""
    store = find_store(options.dataset, options.root)
    name = getattr(options, "occlusion", None)
    occlusion = find_occlusion(store, name) if name else None
    windows = load_windows(store, occlusion, options.split)
    split = options.split or store.default_split
    provenance = {"dataset": store.dataset, "split": split, "occlusion": name}
    return store, windows, provenance


def take_over(options: argparse.Namespace) -> None:
    """Let occlusion and split default to those that the completed windows were made for."""
    manifest = open_imputed(options.imputed)[2]
    options.occlusion = options.occlusion or manifest["occlusion"]
    options.split = options.split or manifest["split"]


def completed_windows(windows: WindowSet, provenance: dict[str, Any], folder: Path) -> WindowSet:
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
        take_over(options)
    _, windows, provenance = load_data(options)
    occluded = windows
    if options.imputed:
        windows = completed_windows(windows, provenance, options.imputed)
        provenance["imputed"] = str(options.imputed)
    stage = options.imputed.name if options.imputed else options.occlusion or "clean"
    n_train = int(windows.is_train.sum())
    if options.dry_run:
        shape = (n_train, *windows.xyz.shape[1:])
        return estimate_pretraining(config, shape, options.device).lines()
    folder = options.out or Path("runs") / f"{options.dataset}-{stage}"
    data = training_data(windows, occluded)
    pretrain(data, config, folder, options.seed, options.device, options.resume, provenance)
    return [f"{folder}: trained on {n_train} sequences"]


def run_evaluate(options: argparse.Namespace) -> list[str]:
    """Measure the linear accuracy of encoders, each by itself and all together."""
    if options.imputed:
        take_over(options)
    _, windows, provenance = load_data(options)
    if options.imputed:
        windows = completed_windows(windows, provenance, options.imputed)
        provenance["imputed"] = str(options.imputed)
    results = [_evaluate_run(folder, options, windows, provenance) for folder in options.encoder]
    n_test = int(windows.is_test.sum())
    if len(results) == 1:
        return [
            f"linear accuracy: {results[0].accuracy:.4f} over {n_test} test sequences (last epoch)"
        ]
    fused = fuse_logits([result.logits for result in results], options.weights)
    accuracy = float((fused.argmax(axis=1) == windows.label[windows.is_test]).mean())
    return [
        *(
            f"{folder}: linear accuracy: {result.accuracy:.4f}"
            for folder, result in zip(options.encoder, results, strict=True)
        ),
        f"fused accuracy: {accuracy:.4f} over {n_test} test sequences (last epochs)",
    ]


def _evaluate_run(
    folder: Path, options: argparse.Namespace, windows: WindowSet, provenance: dict[str, Any]
) -> LinearResult:
    """Evaluate one run and leave its accuracy in its folder."""
    encoder, config = load_encoder(folder, options.device)
    result = evaluate_encoder(encoder, windows, config, options.seed)
    report = {**provenance, "seed": options.seed, "linear_accuracy": result.accuracy}
    share_from_first(lambda: write_json(folder / "evaluation.json", report))
    return result


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
            severity=options.severity,
            source=source_of(options),
            device=options.device,
        )
    )
    lines = [f"{'row':8} {'hidden-joint error':>18} {'linear accuracy':>16}"]
    for row in report.rows:
        error = "" if row.error_mm is None else f"{row.error_mm:.0f} mm"
        lines.append(f"{row.name:8} {error:>18} {row.accuracy:>16.1%}")
    lines += [*describe_labels(report.labels), *report.notes] if report.labels else report.notes
    return [*lines, f"report: {options.out / 'report.md'}  bundle: {options.out / 'bundle'}"]
