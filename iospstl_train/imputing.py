"""Clusters, bank and imputed windows: what lies between the two stages of pre-training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from iospstl_core.errors import InputError
from iospstl_core.files import new_folder, read_json, write_json
from iospstl_core.imputation.bank import (
    ImputationBank,
    build_bank,
    nearest_cluster,
    open_bank,
    save_bank,
)
from iospstl_core.imputation.fill import Filled
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_core.imputation.plain import (
    fill_linear,
    fill_mean,
    fill_none,
    fill_random,
    observed_limits,
)
from iospstl_train.config import ImputationSettings
from iospstl_train.data.windows import WindowSet

FloatArray = NDArray[np.float32]

METHODS = ("none", "random", "mean", "linear", "knn")


@dataclass(frozen=True)
class Clusters:
    """Clusters of the training set and the donors in them.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features), float32
    bank : ImputationBank
    assigned : ndarray of shape (n,), int64
        Cluster of every window, of the test set too.
    """

    centroids: FloatArray
    bank: ImputationBank
    assigned: NDArray[np.int64]


def fit_clusters(
    windows: WindowSet, embedding: FloatArray, settings: ImputationSettings, seed: int = 0
) -> Clusters:
    """Cluster the training embeddings and group the training windows as donors.

    Parameters
    ----------
    windows : WindowSet
        Occluded; only its training windows become donors.
    embedding : ndarray of shape (n, n_features), float32
        Stage-1 embeddings of all windows, not normalised.
    settings : ImputationSettings
    seed : int
        Of k-means.
    """
    n_train = int(windows.is_train.sum())
    n_clusters = min(settings.n_clusters or len(windows.class_names), n_train)
    fitted = KMeans(n_clusters, max_iter=settings.max_iter, n_init=1, random_state=seed)
    fitted.fit(embedding[windows.is_train])
    centroids = fitted.cluster_centers_.astype(np.float32)
    assigned = nearest_cluster(embedding, centroids)
    train = windows.is_train
    return Clusters(
        centroids, build_bank(windows.xyz[train], assigned[train], n_clusters), assigned
    )


def impute(
    windows: WindowSet, method: str, clusters: Clusters, n_neighbors: int, seed: int = 0
) -> Filled:
    """Complete all windows, training and test; donors are training windows only.

    Parameters
    ----------
    windows : WindowSet
    method : {"none", "random", "mean", "linear", "knn"}
    clusters : Clusters
    n_neighbors : int
        Of "knn".
    seed : int
        Of "random".
    """
    xyz, present, bank = windows.xyz, windows.present, clusters.bank
    if method == "none":
        return fill_none(xyz, present)
    if method == "random":
        limits_m = observed_limits(xyz[windows.is_train])
        return fill_random(xyz, present, bank, limits_m, np.random.default_rng(seed))
    if method == "mean":
        return fill_mean(xyz, present, bank)
    if method == "linear":
        return fill_linear(xyz, present, bank)
    if method == "knn":
        imputer = ClusterKnnImputer(bank, n_neighbors, max_open_clusters=1)
        return imputer.fill(xyz, present, clusters.assigned)
    raise InputError(f"method: expected one of {', '.join(METHODS)}, got '{method}'")


def imputation_error_mm(
    windows: WindowSet, filled: Filled, rows: NDArray[np.bool_]
) -> float | None:
    """Return the mean distance (mm) between completed and true position of the hidden joints.

    None where nothing is hidden. A hidden joint that stayed empty counts at the origin of the body
    frame, which is where a network would see it.
    """
    hidden = windows.hidden[rows]
    found = np.nan_to_num(filled.xyz[rows][hidden])
    if not len(found):
        return None
    distance = np.linalg.norm(found - windows.truth[rows][hidden], axis=-1)
    return float(distance.mean(dtype=np.float64) * 1000)


def save_imputed(
    folder: Path, filled: Filled, clusters: Clusters, manifest: dict[str, Any]
) -> None:
    """Write completed windows, their sources, and the clusters they came from."""
    with new_folder(folder) as partial:
        np.save(partial / "xyz.npy", filled.xyz)
        np.save(partial / "source.npy", filled.source)
        np.save(partial / "centroids.npy", clusters.centroids)
        np.save(partial / "assigned.npy", clusters.assigned)
        (partial / "bank").mkdir()
        save_bank(clusters.bank, partial / "bank")
        write_json(partial / "manifest.json", manifest)


def open_imputed(folder: Path) -> tuple[Filled, Clusters, dict[str, Any]]:
    """Open what `save_imputed` wrote."""
    if not (folder / "manifest.json").is_file():
        raise InputError(
            f"{folder}: expected completed windows, got no manifest.json; "
            "run: iospstl-train impute"
        )
    try:
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("xyz", "source", "centroids", "assigned")
        }
        bank = open_bank(folder / "bank")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: expected completed windows, got: {error}; impute again"
        ) from error
    clusters = Clusters(arrays["centroids"], bank, arrays["assigned"])
    return Filled(arrays["xyz"], arrays["source"]), clusters, read_json(folder / "manifest.json")
