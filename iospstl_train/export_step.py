"""``iospstl-train export``: a bundle out of both encoders and what 'impute' left."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from iospstl_core.bundle import RESTORER
from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_core.store import find_occlusion
from iospstl_train.cli_options import check_out
from iospstl_train.evaluation.labels import describe_labels
from iospstl_train.evaluation.linear import evaluate_encoder
from iospstl_train.export import (
    Classifier,
    describe_differences,
    export_bundle,
    make_bundle_settings,
)
from iospstl_train.imputing import open_imputed
from iospstl_train.labeling import draft_of, label_export
from iospstl_train.settings import ImputationSettings
from iospstl_train.steps import completed_windows, load_data, take_over
from iospstl_train.training.pretrain import RUN_FILE, load_encoder


def run_export(options: argparse.Namespace) -> list[str]:
    """Fit the linear classifier of stage 2 and write a bundle."""
    check_out(options.out, "classifier.onnx")
    _, clusters, manifest = open_imputed(options.imputed)
    _check_method(options.imputed, manifest)
    take_over(options)
    store, windows, provenance = load_data(options)
    filled = completed_windows(windows, provenance, options.imputed)
    stage1, stage1_config = load_encoder(options.stage1)
    stage2, stage2_config = load_encoder(options.stage2)
    result = evaluate_encoder(stage2, filled, stage2_config, options.seed)
    training = _training_facts(provenance, options.stage2, result.accuracy)
    imputation = _imputation_settings(options.imputed, manifest)
    settings = make_bundle_settings(
        *(store, windows, manifest["method"], imputation, training, stage2_config.training.stream)
    )
    settings = replace(settings, encoder_stream=stage1_config.training.stream)
    sample = windows.xyz[windows.is_test][:64]
    classifier = Classifier(stage2, result.classifier)
    restorer = _find_restorer(options.imputed, manifest)
    with draft_of(options.out) as draft:
        differences = export_bundle(
            draft, settings, stage1, classifier, clusters, sample, restorer
        )
        occlusion = find_occlusion(store, options.occlusion)
        labeled = label_export(draft, options.out, store, options.split, occlusion)
    return [describe_differences(options.out, differences), *describe_labels(labeled.labels)]


def _check_method(folder: Path, manifest: dict[str, Any]) -> None:
    if manifest["method"] == "random":
        raise InputError(
            f"{folder}: a robot cannot complete windows as 'random' does; impute with "
            "none, mean, linear, knn or restore"
        )


def _training_facts(
    provenance: dict[str, Any], run: Path, linear_accuracy: float
) -> dict[str, Any]:
    """Return what the bundle says of its training."""
    described = read_json(run / RUN_FILE)
    return {
        **provenance,
        "seed": described["seed"],
        "linear_accuracy": linear_accuracy,
        "versions": described["versions"],
    }


def _find_restorer(folder: Path, manifest: dict[str, Any]) -> Path | None:
    """Return the network that completed windows were made with, where one was."""
    if manifest["method"] != "restore":
        return None
    restorer = folder / RESTORER
    if not restorer.is_file():
        raise InputError(f"{restorer}: expected a restorer, got none; impute again")
    return restorer


def _imputation_settings(folder: Path, manifest: dict[str, Any]) -> ImputationSettings:
    """Return the settings that windows were completed with: the robot's must be the same."""
    try:
        return ImputationSettings(**manifest["imputation"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'manifest.json'}: imputation: expected the settings that completed these "
            f"windows, got {manifest.get('imputation')}; impute again"
        ) from error
