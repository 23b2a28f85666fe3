"""Clusters, bank and imputed windows: what lies between the two stages of pre-training."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from iospstl_core.bundle import RESTORER
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
from iospstl_core.imputation.plain import (
    fill_linear,
    fill_mean,
    fill_none,
    fill_random,
    observed_limits,
)
from iospstl_core.imputation.restore import RestoreImputer
from iospstl_core.session import OnnxModel
from iospstl_train.cluster_fill import fill_clusters
from iospstl_train.data.windows import WindowSet
from iospstl_train.settings import ImputationSettings

FloatArray = NDArray[np.float32]

CPU = ("CPUExecutionProvider",)
METHODS = ("none", "random", "mean", "linear", "knn", "restore")


@dataclass(frozen=True)
class Clusters:
    """Clusters of the training set and the donors in them.

    Attributes
    ----------
    centroids : ndarray of shape (n_clusters, n_features), float32
    bank : ImputationBank
    assigned : ndarray of shape (n,) or (n, nprobe), int64
        Cluster of every window, of the test set too; with several, the nearest first.
    max_donors : int, optional
        Donors used of each cluster; all if left out.
    """

    centroids: FloatArray
    bank: ImputationBank
    assigned: NDArray[np.int64]
    max_donors: int | None = None


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

    Raises
    ------
    InputError
        If a window is to have more clusters than there are.
    """
    n_train = int(windows.is_train.sum())
    n_clusters = min(settings.n_clusters or len(windows.class_names), n_train)
    if settings.nprobe > n_clusters:
        raise InputError(
            f"imputation.nprobe: expected at most {n_clusters}, the number of clusters, got "
            f"{settings.nprobe}; lower it or raise imputation.n_clusters"
        )
    fitted = KMeans(n_clusters, max_iter=settings.max_iter, n_init=1, random_state=seed)
    fitted.fit(embedding[windows.is_train])
    centroids = fitted.cluster_centers_.astype(np.float32)
    train = windows.is_train
    donor_cluster = nearest_cluster(embedding[train], centroids)
    return Clusters(
        centroids,
        build_bank(windows.xyz[train], donor_cluster, n_clusters),
        nearest_cluster(embedding, centroids, settings.nprobe),
        settings.max_donors or None,
    )


def impute(
    windows: WindowSet,
    method: str,
    clusters: Clusters,
    n_neighbors: int,
    seed: int = 0,
    restorer: Path | None = None,
    *,
    n_workers: int = 1,
    device: str | None = None,
) -> Filled:
    """Complete all windows, training and test; donors are training windows only.

    Parameters
    ----------
    windows : WindowSet
    method : {"none", "random", "mean", "linear", "knn", "restore"}
    clusters : Clusters
    n_neighbors : int
        Of "knn".
    seed : int
        Of "random".
    restorer : Path, optional
        ONNX file of `iospstl_train.training.restore.train_restorer`, for "restore".
    n_workers : int
        Processes for "knn"; -1 for all cores. ``joblib.parallel_config`` moves them elsewhere.
    device : str, optional
        Torch device for "knn"; NumPy computes if left out.
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
        return fill_clusters(
            *(bank, xyz, present, clusters.assigned, n_neighbors, n_workers),
            device=device,
            max_donors=clusters.max_donors,
        )
    if method == "restore" and restorer is not None:
        return RestoreImputer(OnnxModel(restorer, CPU), bank).fill(xyz, present)
    raise InputError(
        f"method: expected one of {', '.join(METHODS)}, and for restore a trained restorer, got "
        f"'{method}'"
    )


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
    folder: Path,
    filled: Filled,
    clusters: Clusters,
    manifest: dict[str, Any],
    restorer: Path | None = None,
) -> None:
    """Write completed windows, their sources, and what completed them."""
    with new_folder(folder) as partial:
        np.save(partial / "xyz.npy", filled.xyz)
        np.save(partial / "source.npy", filled.source)
        if filled.error_m is not None:
            np.save(partial / "error_m.npy", filled.error_m)
        if restorer is not None:
            shutil.copyfile(restorer, partial / RESTORER)
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
            for name in ("xyz", "source", "centroids", "assigned", "error_m")
            if name != "error_m" or (folder / "error_m.npy").is_file()
        }
        bank = open_bank(folder / "bank")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: expected completed windows, got: {error}; impute again"
        ) from error
    clusters = Clusters(arrays["centroids"], bank, arrays["assigned"])
    filled = Filled(arrays["xyz"], arrays["source"], arrays.get("error_m"))
    return filled, clusters, read_json(folder / "manifest.json")
