"""The rows of the table of imputers: how each is fitted and what it needs.

A row is one entry of `ROWS`: a function from a `RowRequest` to a `FittedRow`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import ImputationBank, build_bank
from iospstl_core.imputation.fill import Filled
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_core.imputation.plain import fill_linear, fill_random, observed_limits
from iospstl_core.imputation.restore import RestoreImputer
from iospstl_core.session import OnnxModel
from iospstl_train.baselines.interpolate import fill_last, fill_spline
from iospstl_train.baselines.low_rank import LowRankModel, LowRankSettings, fit_low_rank
from iospstl_train.baselines.pypots_rows import PypotsSettings, check_pypots, fit_pypots
from iospstl_train.baselines.samples import fill_from_samples, to_samples
from iospstl_train.config import Config
from iospstl_train.data.windows import WindowSet
from iospstl_train.imputing import CPU, Clusters, impute
from iospstl_train.training.restore import train_restorer

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class BaselineSettings:
    """Settings of rows that no robot runs."""

    low_rank: LowRankSettings = field(default_factory=LowRankSettings)
    pypots: PypotsSettings = field(default_factory=PypotsSettings)


@dataclass(frozen=True)
class RowRequest:
    """What a row is fitted from.

    Attributes
    ----------
    windows : WindowSet
        Occluded, training and test; only training windows may be learnt from, never the truth.
    clusters : Clusters
        Of stage 1; a single one for rows with ``needs_clusters`` off.
    cluster_bytes : int
        Size of what tells the cluster of a window: encoder and centroids.
    config : Config
    settings : BaselineSettings
    seed : int
    device : str
    provenance : mapping
        Which data and masks these are, in the words of the pipeline.
    folder : Path
        Of this row and seed, ``OUT/seed-S/rows/NAME``, for models and logs; not made yet.
    """

    windows: WindowSet
    clusters: Clusters
    cluster_bytes: int
    config: Config
    settings: BaselineSettings
    seed: int
    device: str
    provenance: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class FittedRow:
    """An imputer that is ready.

    Attributes
    ----------
    fill : callable
        From some windows and their clusters (n,) to the completed windows.
    size_bytes : int
        Of everything it needs to run.
    """

    fill: Callable[[WindowSet, IntArray], Filled]
    size_bytes: int


def _is_ready() -> None:
    """Do nothing: the row needs nothing but the toolkit."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    fit : callable
        Fits the imputer; anything that takes long belongs here, it is not timed.
    about : str
        For the reader, one line.
    section : str, optional
        Field of `BaselineSettings` that it reads: a change there makes its results again.
    needs_clusters : bool
        Where False, stage 1 need not be trained for it, and its cluster is always 0.
    varies : bool
        Where False, all seeds give the same and one is computed.
    check : callable
        Raises InputError where the row cannot run on this machine; called before anything else.
    """

    fit: Callable[[RowRequest], FittedRow]
    about: str
    section: str | None = None
    needs_clusters: bool = False
    varies: bool = False
    check: Callable[[], None] = _is_ready

    def describe(self, settings: BaselineSettings) -> dict[str, Any]:
        """Return the settings that it reads, for the record."""
        return dict(vars(getattr(settings, self.section))) if self.section else {}


def fit_through_impute(method: str, request: RowRequest) -> FittedRow:
    """Return a row that is a method of `iospstl_train.imputing.impute`."""
    clusters, n_neighbors = request.clusters, request.config.imputation.n_neighbors

    def fill(windows: WindowSet, assigned: IntArray) -> Filled:
        return impute(
            windows, method, replace(clusters, assigned=assigned), n_neighbors, request.seed
        )

    size_bytes = bank_bytes(clusters.bank) if method == "knn" else clusters.bank.mean.nbytes
    return FittedRow(fill, size_bytes + (request.cluster_bytes if method == "knn" else 0))


def bank_bytes(bank: ImputationBank) -> int:
    """Size of a bank."""
    return sum(array.nbytes for array in (bank.donors, bank.observed, bank.offsets, bank.mean))


def one_cluster(windows: WindowSet) -> Clusters:
    """Return the training windows as a single cluster, without any encoder."""
    train = windows.xyz[windows.is_train]
    bank = build_bank(train, np.zeros(len(train), dtype=np.int64), 1)
    assigned = np.zeros(len(windows.xyz), dtype=np.int64)
    return Clusters(np.zeros((1, 1), dtype=np.float32), bank, assigned)


def _fit_last(request: RowRequest) -> FittedRow:
    bank = request.clusters.bank
    return FittedRow(lambda w, _: fill_last(w.xyz, w.present, bank), bank.mean.nbytes)


def _fit_spline(request: RowRequest) -> FittedRow:
    bank = request.clusters.bank
    return FittedRow(lambda w, _: fill_spline(w.xyz, w.present, bank), bank.mean.nbytes)


def _fit_restore(request: RowRequest, **left_out: Any) -> FittedRow:
    """Train the restoring imputer, whole or with some settings changed."""
    settings = replace(request.config.restorer, **left_out)
    path = train_restorer(
        request.windows, settings, request.folder, request.seed, request.device, request.provenance
    )
    bank = request.clusters.bank
    imputer = RestoreImputer(OnnxModel(path, CPU), bank)
    return FittedRow(
        lambda windows, _: imputer.fill(windows.xyz, windows.present),
        path.stat().st_size + bank.mean.nbytes,
    )


def _fit_random(request: RowRequest) -> FittedRow:
    """Like the method "random" of impute, whose range is that of the training windows."""
    bank = request.clusters.bank
    limits_m = observed_limits(request.windows.xyz[request.windows.is_train])

    def fill(windows: WindowSet, _: IntArray) -> Filled:
        rng = np.random.default_rng(request.seed)
        return fill_random(windows.xyz, windows.present, bank, limits_m, rng)

    return FittedRow(fill, limits_m.nbytes)


def _fit_knn_all(request: RowRequest) -> FittedRow:
    clusters = request.clusters
    imputer = ClusterKnnImputer(clusters.bank, request.config.imputation.n_neighbors)

    def fill(windows: WindowSet, assigned: IntArray) -> Filled:
        return imputer.fill(windows.xyz, windows.present, assigned)

    return FittedRow(fill, bank_bytes(clusters.bank))


def _fit_low_rank(request: RowRequest) -> FittedRow:
    windows, bank = request.windows, request.clusters.bank
    joints = ~windows.structural
    train = windows.xyz[windows.is_train], windows.present[windows.is_train]
    samples = _flatten(to_samples(*train, joints))
    start = _flatten(to_samples(fill_linear(*train, bank).xyz, train[1], joints))
    model = fit_low_rank(samples, np.nan_to_num(start), request.settings.low_rank)

    def fill(windows: WindowSet, _: IntArray) -> Filled:
        return _complete(model, windows, joints, bank)

    return FittedRow(fill, model.mean.nbytes + model.basis.nbytes)


def _complete(
    model: LowRankModel, windows: WindowSet, joints: NDArray[np.bool_], bank: ImputationBank
) -> Filled:
    samples = to_samples(windows.xyz, windows.present, joints)
    completed = model.complete(_flatten(samples)).reshape(samples.shape)
    return fill_from_samples(windows.xyz, windows.present, joints, completed, bank)


def _flatten(samples: FloatArray) -> FloatArray:
    return samples.reshape(len(samples), -1)


def _fit_pypots(kind: Literal["saits", "brits"], request: RowRequest) -> FittedRow:
    settings, bank = request.settings.pypots, request.clusters.bank
    model = fit_pypots(kind, request.windows, bank, settings, request.seed, request.device)
    return FittedRow(lambda windows, _: model.fill(windows), model.size_bytes)


ROWS: dict[str, Row] = {
    "mean": Row(partial(fit_through_impute, "mean"), "mean over the training set"),
    "last": Row(_fit_last, "last observed position carried on"),
    "linear": Row(partial(fit_through_impute, "linear"), "interpolated linearly in time"),
    "spline": Row(_fit_spline, "cubic spline in time"),
    "random": Row(_fit_random, "anywhere within the range of the training set", varies=True),
    "knn-all": Row(_fit_knn_all, "nearest training windows, whatever their cluster"),
    "knn": Row(
        partial(fit_through_impute, "knn"),
        "nearest training windows of the predicted cluster (OPSTL)",
        needs_clusters=True,
        varies=True,
    ),
    "low-rank": Row(_fit_low_rank, "low-rank completion (EM)", section="low_rank"),
    "saits": Row(
        partial(_fit_pypots, "saits"),
        "SAITS (PyPOTS), self-attention",
        section="pypots",
        varies=True,
        check=check_pypots,
    ),
    "brits": Row(
        partial(_fit_pypots, "brits"),
        "BRITS (PyPOTS), recurrent in both directions",
        section="pypots",
        varies=True,
        check=check_pypots,
    ),
    "restore": Row(_fit_restore, "ours: a network that puts back what it hid", varies=True),
    "restore-no-network": Row(
        partial(_fit_restore, steps=1), "ours, only path, shape and sides of gaps", varies=True
    ),
    "restore-no-body": Row(
        partial(_fit_restore, follow_body=False), "ours without path and shape", varies=True
    ),
    "restore-no-sides": Row(
        partial(_fit_restore, keep_sides=False),
        "ours, gaps need not meet their sides",
        varies=True,
    ),
    "restore-no-curtains": Row(
        partial(_fit_restore, curtain_masks=0.0), "ours without curtain masks", varies=True
    ),
    "restore-no-own-masks": Row(
        partial(_fit_restore, curtain_masks=0.8, plain_masks=0.2),
        "ours without the training set's own masks",
        varies=True,
    ),
    "restore-no-turns": Row(
        partial(_fit_restore, max_yaw_deg=0.0, max_scale=0.0),
        "ours, windows neither turned nor scaled",
        varies=True,
    ),
}
"""All rows by name, in the order of the table."""

OPTIONAL = ("saits", "brits")
"""Rows that are only made when they are asked for."""


def default_rows(rows: Mapping[str, Row] = ROWS) -> tuple[str, ...]:
    """Return the names of the rows that need nothing but the toolkit."""
    return tuple(name for name in rows if name not in OPTIONAL and "-no-" not in name)
