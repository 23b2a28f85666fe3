"""``iospstl-train impute``: embed, cluster, complete all windows, and say how far off that is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import joblib

from iospstl_core.errors import InputError
from iospstl_core.imputation.fill import Filled
from iospstl_train.cli_options import check_out
from iospstl_train.config import Config, change_config
from iospstl_train.data.windows import WindowSet
from iospstl_train.imputing import (
    Clusters,
    fit_clusters,
    imputation_error_mm,
    impute,
    save_imputed,
)
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.steps import load_data
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import load_encoder
from iospstl_train.training.restore import train_restorer

_DASK_TIMEOUT_S = 15


def run_impute(options: argparse.Namespace) -> list[str]:
    """Embed with a stage-1 encoder, cluster, complete, and report the error."""
    check_out(options.out, "assigned.npy")
    _check_workers(options)
    _, windows, provenance = load_data(options)
    encoder, config = load_encoder(options.encoder)
    settings = _restorer_settings(config, options)
    embedding = embed(encoder, windows.xyz, config.training.stream)
    clusters = fit_clusters(windows, embedding, config.imputation, options.seed)
    restorer = _train_restorer(options, windows, settings, provenance)
    filled = _fill(options, windows, clusters, config, restorer)
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
    return _describe(options.out, filled, errors)


def _train_restorer(
    options: argparse.Namespace,
    windows: WindowSet,
    settings: RestorerSettings,
    provenance: Mapping[str, Any],
) -> Path | None:
    """Train the network of the method ``restore``, or find it trained; None for the others."""
    if options.method != "restore":
        return None
    folder = options.restorer or options.out.with_name(f"{options.out.name}-restorer")
    return train_restorer(windows, settings, folder, options.seed, options.device, provenance)


def _fill(
    options: argparse.Namespace,
    windows: WindowSet,
    clusters: Clusters,
    config: Config,
    restorer: Path | None,
) -> Filled:
    """Complete all windows with what the options name to do it with."""
    n_neighbors = config.imputation.n_neighbors
    with _joblib_backend(options.dask):
        return impute(
            *(windows, options.method, clusters, n_neighbors, options.seed, restorer),
            n_workers=options.workers,
            device=None if options.device == "cpu" else options.device,
        )


def _describe(folder: Path, filled: Filled, errors: Mapping[str, float | None]) -> list[str]:
    cells = ", ".join(f"{count} {name}" for name, count in filled.counts().items())
    described = (
        f"{name} {error:.1f} mm" if error is not None else f"{name} has nothing hidden"
        for name, error in errors.items()
    )
    return [f"{folder}: cells: {cells}", "hidden-joint error: " + ", ".join(described)]


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
