"""The live path: normalise -> embed -> cluster -> impute -> classify, on a bundle.

Training's own report is checked against this very code; the robot runs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.bundle import Bundle
from iospstl_core.imputation.bank import nearest_cluster
from iospstl_core.imputation.fill import Filled
from iospstl_core.imputation.knn import ClusterKnnImputer
from iospstl_core.imputation.plain import fill_linear, fill_mean, fill_none
from iospstl_core.imputation.restore import RestoreImputer
from iospstl_core.normalize import Window, normalize
from iospstl_core.session import DEFAULT_PROVIDERS, OnnxModel
from iospstl_core.streams import to_network
from iospstl_core.window import RawWindow

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Recognition:
    """What was recognised in one window.

    Attributes
    ----------
    label : str
        Most probable class.
    score : float
        Its probability (softmax of the classifier's logits).
    probabilities : ndarray of shape (n_classes,), float32
    cluster : int or None
        Cluster whose donors completed the window; None where the imputer asks for none.
    window : Window
        The normalised window, NaN where not observed.
    filled : Filled
        The completed window and the source of each cell, without the leading axis of a batch.
    """

    label: str
    score: float
    probabilities: FloatArray
    cluster: int | None
    window: Window
    filled: Filled


class Recognizer:
    """A bundle in memory, ready to complete and classify windows.

    Parameters
    ----------
    bundle : Bundle
        An opened bundle.
    providers, require_gpu, n_threads
        As of `iospstl_core.session.OnnxModel`.

    Attributes
    ----------
    provider : str
        Execution provider in use by the classifier.
    """

    def __init__(
        self,
        bundle: Bundle,
        providers: Sequence[str] = DEFAULT_PROVIDERS,
        require_gpu: bool = False,
        n_threads: int = 1,
    ) -> None:
        self.settings = bundle.settings
        self._bank = bundle.bank
        self._centroids = bundle.centroids
        self._classifier = OnnxModel(bundle.classifier_path, providers, require_gpu, n_threads)
        if bundle.settings.imputer == "knn":
            settings = bundle.settings
            self._encoder = OnnxModel(bundle.encoder_path, providers, require_gpu, n_threads)
            self._knn = ClusterKnnImputer(
                bundle.bank,
                settings.n_neighbors,
                nprobe=settings.nprobe,
                max_donors=settings.max_donors,
            )
        if bundle.settings.imputer == "restore":
            restorer = OnnxModel(bundle.restorer_path, providers, require_gpu, n_threads)
            self._restorer = RestoreImputer(restorer, bundle.bank)
        self.provider = self._classifier.provider

    def normalize(self, raw: RawWindow) -> Window:
        """Return a received window in the form that `recognize` takes."""
        return normalize(raw.xyz, raw.present, self.settings.n_frames, raw.times_s)

    def recognize(self, windows: Sequence[Window]) -> list[Recognition]:
        """Complete and classify a batch of windows; one result each, in order."""
        if not windows:
            return []
        xyz = np.stack([window.xyz for window in windows])
        present = np.stack([window.present for window in windows])
        cluster = self._find_clusters(xyz) if self.settings.imputer == "knn" else None
        filled = self._impute(xyz, present, cluster)
        logits = self._classifier.run(to_network(filled.xyz, self.settings.classifier_stream))[0]
        probabilities = _softmax(logits)
        return [
            Recognition(
                label=self.settings.classes[int(row.argmax())],
                score=float(row.max()),
                probabilities=row,
                cluster=None if cluster is None else int(cluster[index].flat[0]),
                window=windows[index],
                filled=filled.one(index),
            )
            for index, row in enumerate(probabilities)
        ]

    def _find_clusters(self, xyz: FloatArray) -> NDArray[np.int64]:
        """Nearest clusters of windows, (n,) or (n, nprobe); costs a run of the encoder."""
        embedding = self._encoder.run(to_network(xyz, self.settings.encoder_stream))[0]
        return nearest_cluster(embedding, self._centroids, self.settings.nprobe)

    def _impute(
        self, xyz: FloatArray, present: NDArray[np.bool_], cluster: NDArray[np.int64] | None
    ) -> Filled:
        if cluster is not None:
            return self._knn.fill(xyz, present, cluster)
        if self.settings.imputer == "restore":
            return self._restorer.fill(xyz, present)
        if self.settings.imputer == "linear":
            return fill_linear(xyz, present, self._bank)
        if self.settings.imputer == "mean":
            return fill_mean(xyz, present, self._bank)
        return fill_none(xyz, present)


def _softmax(logits: FloatArray) -> FloatArray:
    """Probabilities over the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True), dtype=np.float32)
