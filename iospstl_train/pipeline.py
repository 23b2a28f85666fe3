"""``iospstl-train pipeline``: from a store to a report and a bundle, resumable.

What takes long (pre-training) leaves checkpoints; everything else is computed again in seconds
when an interrupted run is started again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.fill import Filled
from iospstl_core.store import Occlusion, find_occlusion
from iospstl_train.calibration import Head
from iospstl_train.config import config_to_dict
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.linear import LinearResult, evaluate_encoder
from iospstl_train.evaluation.report import Report, ReportRow, write_report
from iospstl_train.evaluation.results import PICTURES, draw_results, write_offline_labels
from iospstl_train.export import (
    Classifier,
    describe_differences,
    export_bundle,
    make_bundle_settings,
)
from iospstl_train.imputing import (
    METHODS,
    Clusters,
    fit_clusters,
    imputation_error_mm,
    impute,
    save_imputed,
)
from iospstl_train.labeling import draft_of, label_export
from iospstl_train.models.encoder import Encoder
from iospstl_train.occlusion.occlude import find_or_make_occlusion
from iospstl_train.pipeline_options import (
    ROWS,
    PipelineOptions,
    check_options,
    claim_folder,
    make_provenance,
)
from iospstl_train.training.batches import training_data
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import (
    command_line,
    package_versions,
    pretrain,
    training_seconds,
)
from iospstl_train.training.processes import share_from_first
from iospstl_train.training.restore import train_restorer
from iospstl_train.training.run_folder import claimed

FloatArray = NDArray[np.float32]


@dataclass
class _Run:
    """What the steps of one run share."""

    options: PipelineOptions
    provenance: dict[str, Any]
    seconds: dict[str, float]
    rows: dict[str, ReportRow] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, Any] | None = None


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def run_pipeline(options: PipelineOptions) -> Report:
    """Occlude, pre-train, impute, pre-train again, evaluate and export; return the report.

    Writes ``report.md``, ``report.json``, ``pictures/``, ``bundle/``, ``offline.json`` (label of
    every test sequence) and a folder for each pre-training below ``options.out``. A run that was
    interrupted goes on where it stopped when it is started with the same options. Where several
    processes run together they share trainings and embeddings; the first does all the rest.

    Raises
    ------
    InputError
        If the folder holds a run with other options, another process works in it, or an option is
        wrong.
    """
    check_options(options)
    seconds: dict[str, float] = {}
    with _timed(seconds, "occlude"):
        occlusion = _find_occlusion(options)
    provenance = make_provenance(options, occlusion)
    run = _Run(options, provenance, seconds)
    with claimed(options.out):
        share_from_first(lambda: claim_folder(options, provenance))
        return _run_rows(run, occlusion)


def _find_occlusion(options: PipelineOptions) -> Occlusion:
    """Open the occlusion; the first process makes it if need be."""
    name = share_from_first(
        lambda: (
            find_or_make_occlusion(
                options.store,
                options.occlusion,
                options.config,
                options.occlusion_seed,
                options.severity,
                options.source,
            ).name
        )
    )
    return find_occlusion(options.store, name)


def _run_rows(run: _Run, occlusion: Occlusion) -> Report:
    """Compute all rows in a folder that is this run's; write and return the report."""
    options = run.options
    with _timed(run.seconds, "normalise"):
        occluded = load_windows(options.store, occlusion, options.split)
    if "clean" in options.rows:
        clean = load_windows(options.store, None, options.split)
        _add_row(run, "clean", clean, clean, fill_report=None)
    stage1, _ = _add_row(run, "none", occluded, occluded, fill_report=None)
    with _timed(run.seconds, "cluster"):
        embedding = embed(stage1, occluded.xyz, options.config.training.stream)
        clusters = fit_clusters(occluded, embedding, options.config.imputation)
    for method in METHODS:
        if method in options.rows and method != "none":
            _impute_and_train(run, method, occluded, clusters, stage1)
    report = _make_report(run, occlusion, occluded)
    share_from_first(lambda: write_report(options.out / "report.md", report))
    return report


def _add_row(
    run: _Run,
    name: str,
    windows: WindowSet,
    occluded: WindowSet,
    fill_report: tuple[float | None, Mapping[str, int]] | None,
) -> tuple[Encoder, LinearResult]:
    """Pre-train on the training windows and evaluate on the test windows."""
    options = run.options
    folder = options.out / (f"stage1-{name}" if fill_report is None else f"stage2-{name}")
    encoder = pretrain(
        training_data(windows, occluded),
        options.config,
        folder,
        options.seed,
        options.device,
        resume=True,
        provenance={**run.provenance, "row": name},
    )
    run.seconds[f"pre-train {name}"] = training_seconds(folder)
    with _timed(run.seconds, f"evaluate {name}"):
        result = evaluate_encoder(encoder, windows, options.config, options.seed)
    error_mm, counts = fill_report or (None, {})
    seconds = run.seconds[f"pre-train {name}"] + run.seconds[f"evaluate {name}"]
    run.rows[name] = ReportRow(name, error_mm, result.accuracy, counts, seconds)
    return encoder, result


def _impute_and_train(
    run: _Run, method: str, occluded: WindowSet, clusters: Clusters, stage1: Encoder
) -> None:
    """Add the row of one imputer, and export it if it is the one for the robot."""
    options = run.options
    restorer = None
    if method == "restore":
        restorer = share_from_first(lambda: _train_restorer(run, occluded))
    n_neighbors = options.config.imputation.n_neighbors
    with _timed(run.seconds, f"impute {method}"):
        filled = share_from_first(
            lambda: impute(occluded, method, clusters, n_neighbors, restorer=restorer)
        )
    error_mm = imputation_error_mm(occluded, filled, occluded.is_test)
    fill_report = (error_mm, Filled(filled.xyz, filled.source[occluded.is_test]).counts())
    completed = WindowSet(**{**vars(occluded), "xyz": filled.xyz})
    encoder, result = _add_row(run, method, completed, occluded, fill_report)
    if method == options.bundle_row:
        features = embed(encoder, filled.xyz[occluded.is_test], options.config.training.stream)
        classifier = Classifier(encoder.cpu(), result.classifier)
        share_from_first(
            lambda: _leave_bundle(
                run, occluded, filled, clusters, (stage1, classifier), features, restorer
            )
        )


def _leave_bundle(
    run: _Run,
    occluded: WindowSet,
    filled: Filled,
    clusters: Clusters,
    networks: tuple[Encoder, Classifier],
    features: FloatArray,
    restorer: Path | None,
) -> None:
    """Write completed windows, bundle, offline labels and pictures of the row for the robot.

    `features` (n_test, d) are the embeddings of the completed test windows.
    """
    options = run.options
    method = options.bundle_row
    manifest = {
        **run.provenance,
        "method": method,
        "imputation": asdict(options.config.imputation),
        "error_mm": run.rows[method].error_mm,
    }
    save_imputed(options.out / "imputed" / method, filled, clusters, manifest, restorer)
    with _timed(run.seconds, "export"):
        head = _export(run, occluded, clusters, networks, restorer)
    predicted = head.logits(features).argmax(axis=1)
    write_offline_labels(options.out / "offline.json", occluded, predicted)
    with _timed(run.seconds, "draw"):
        draw_results(options.out / "pictures", occluded, filled, predicted)


def _train_restorer(run: _Run, occluded: WindowSet) -> Path:
    """Train the restoring imputer of this run, or find it trained."""
    options = run.options
    with _timed(run.seconds, "train restorer"):
        return train_restorer(
            occluded,
            options.config.restorer,
            options.out / "restorer",
            options.seed,
            options.device,
            run.provenance,
        )


def _export(
    run: _Run,
    occluded: WindowSet,
    clusters: Clusters,
    networks: tuple[Encoder, Classifier],
    restorer: Path | None,
) -> Head:
    """Write the bundle; return the classifier that it labels with."""
    options = run.options
    stage1, classifier = networks
    row = run.rows[options.bundle_row]
    training = {
        **run.provenance,
        "seed": options.seed,
        "linear_accuracy": row.accuracy,
        "hidden_joint_error_mm": row.error_mm,
        "versions": package_versions(),
    }
    settings = make_bundle_settings(
        options.store,
        occluded,
        options.bundle_row,
        options.config.imputation,
        training,
        options.config.training.stream,
    )
    sample = occluded.xyz[occluded.is_test][:64]
    folder = options.out / "bundle"
    with draft_of(folder) as draft:
        differences = export_bundle(
            draft, settings, stage1.cpu(), classifier, clusters, sample, restorer
        )
        occlusion = find_occlusion(options.store, run.provenance["occlusion"])
        labeled = label_export(draft, folder, options.store, options.split, occlusion)
    run.notes.append(describe_differences(folder, differences))
    run.labels = labeled.labels
    return labeled.labeler.head


def _make_report(run: _Run, occlusion: Occlusion, occluded: WindowSet) -> Report:
    options = run.options
    return Report(
        dataset=options.store.dataset,
        split=run.provenance["split"],
        split_expression=options.store.splits[run.provenance["split"]],
        n_train=int(occluded.is_train.sum()),
        n_test=int(occluded.is_test.sum()),
        occlusion=occlusion.name,
        occlusion_kind=f"{occlusion.manifest['kind']}, seed {occlusion.manifest['seed']}",
        hidden_frac=occlusion.manifest["hidden_frac"],
        rows=tuple(run.rows[name] for name in ROWS if name in run.rows),
        seed=options.seed,
        settings=config_to_dict(options.config),
        versions=package_versions(),
        stage_seconds=run.seconds,
        command=command_line(),
        pictures=tuple(f"pictures/{name}" for name in PICTURES),
        notes=tuple(run.notes),
        labels=run.labels,
    )
