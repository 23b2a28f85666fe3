"""What the results of a table are computed with: windows, encoders, clusters, fitted imputers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.imputation.bank import nearest_cluster
from iospstl_core.store import Occlusion
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.imputer_metrics import take
from iospstl_train.evaluation.imputer_options import STAGE_1, TableOptions, describe_data
from iospstl_train.evaluation.imputer_rows import ROWS, FittedRow, RowRequest, one_cluster
from iospstl_train.imputing import METHODS, Clusters, fit_clusters
from iospstl_train.models.encoder import Encoder
from iospstl_train.training.batches import training_data
from iospstl_train.training.embed import embed
from iospstl_train.training.pretrain import pretrain

IntArray = NDArray[np.int64]
_BYTES_PER_WEIGHT = 4


@dataclass(frozen=True)
class Stage1:
    """The encoder of occluded windows, and the clusters that it makes.

    Attributes
    ----------
    encoder : Encoder
    clusters : Clusters
    size_bytes : int
        Of encoder and centroids.
    """

    encoder: Encoder
    clusters: Clusters
    size_bytes: int


class TableModels:
    """Encoders and imputers, made when they are needed and kept while they are.

    Parameters
    ----------
    options : TableOptions
    occlusion : Occlusion
    say : callable
        Gets a line for everything that takes long.
    """

    def __init__(
        self, options: TableOptions, occlusion: Occlusion, say: Callable[[str], None]
    ) -> None:
        self.options = options
        self.say = say
        self.provenance = describe_data(options, occlusion)
        self.windows = load_windows(options.store, occlusion, options.split)
        self.test = take(self.windows, self.windows.is_test)
        self._one_cluster = one_cluster(self.windows)
        self._stage1: dict[int, Stage1] = {}
        self._fitted: dict[tuple[str, int | None], FittedRow] = {}

    def forget_seed(self) -> None:
        """Drop what only one seed needs."""
        self._stage1.clear()
        self._fitted = {key: row for key, row in self._fitted.items() if key[1] is None}

    def pretrain(
        self, folder: str, name: str, windows: WindowSet, occluded: WindowSet, seed: int
    ) -> Encoder:
        """Pre-train as the pipeline does, or take over what it left in the same folder."""
        provenance = {**self.provenance, "row": name}
        if name not in (*STAGE_1, *METHODS):
            provenance["imputer"] = ROWS[name].describe(self.options.settings)
        self.say(f"pre-training {folder}, seed {seed}; what is finished is only read")
        return pretrain(
            training_data(windows, occluded),
            self.options.config,
            self.options.out / f"seed-{seed}" / folder,
            seed,
            self.options.device,
            resume=True,
            provenance=provenance,
        )

    def stage1(self, seed: int) -> Stage1:
        """Return encoder and clusters of one seed, pre-trained if need be."""
        if seed not in self._stage1:
            config = self.options.config
            encoder = self.pretrain("stage1-none", "none", self.windows, self.windows, seed)
            embedding = embed(encoder, self.windows.xyz, config.training.stream)
            clusters = fit_clusters(self.windows, embedding, config.imputation)
            size_bytes = _BYTES_PER_WEIGHT * sum(weight.numel() for weight in encoder.parameters())
            self._stage1[seed] = Stage1(encoder, clusters, size_bytes + clusters.centroids.nbytes)
        return self._stage1[seed]

    def assigned(self, name: str, seed: int) -> IntArray:
        """Cluster (n,) of all windows for a row."""
        if not ROWS[name].needs_clusters:
            return self._one_cluster.assigned
        return self.stage1(seed).clusters.assigned

    def assign(self, name: str, seed: int, windows: WindowSet) -> IntArray:
        """Cluster (n,) of other windows for a row."""
        if not ROWS[name].needs_clusters:
            return np.zeros(len(windows.names), dtype=np.int64)
        stage1 = self.stage1(seed)
        embedding = embed(stage1.encoder, windows.xyz, self.options.config.training.stream)
        assigned = stage1.clusters.assigned
        nprobe = 1 if assigned.ndim == 1 else assigned.shape[1]
        return nearest_cluster(embedding, stage1.clusters.centroids, nprobe)

    def fit(self, name: str, seed: int) -> FittedRow:
        """Fit a row, once in this process."""
        row = ROWS[name]
        key = (name, seed if row.varies else None)
        if key not in self._fitted:
            stage1 = self.stage1(seed) if row.needs_clusters else None
            request = RowRequest(
                windows=self.windows,
                clusters=stage1.clusters if stage1 else self._one_cluster,
                cluster_bytes=stage1.size_bytes if stage1 else 0,
                config=self.options.config,
                settings=self.options.settings,
                seed=seed,
                device=self.options.device,
                provenance=self.provenance,
                folder=self.options.out / f"seed-{seed}" / "rows" / name,
            )
            self.say(f"fitting {name}, seed {seed}")
            self._fitted[key] = row.fit(request)
        return self._fitted[key]
