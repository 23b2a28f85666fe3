"""The live path: normalise -> embed -> cluster -> impute -> classify, on a bundle.

Training's own report is checked against this very code; the robot runs nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iospstl_core.bundle import Bundle
from iospstl_core.imputation.bank import nearest_cluster
from iospstl_core.imputation.fill import CellSource, Filled
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
        Its probability.
    probabilities : ndarray of shape (n_classes,), float32
        Softmax of the classifier's logits over the bundle's temperature: how often each class is
        right, if the movement is any of them.
    known : float
        Share of the true actions that look less like a class than this movement, 0 to 1: calling
        everything below 0.05 unknown costs 5 % of the true actions. 1 without a rejection.
    embedding : ndarray of shape (n_features,), float32
        Of the classifier's encoder.
    cluster : int or None
        Cluster whose donors completed the window; None where the imputer asks for none, and where
        nothing had to be completed.
    window : Window
        The normalised window, NaN where not observed.
    filled : Filled
        The completed window and the source of each cell, without the leading axis of a batch.
    """

    label: str
    score: float
    probabilities: FloatArray
    known: float
    embedding: FloatArray
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
    seconds : dict of str to float
        Durations of the stages of the last `recognize`, by name.
    """

    def __init__(
        self,
        bundle: Bundle,
        providers: Sequence[str] = DEFAULT_PROVIDERS,
        require_gpu: bool = False,
        n_threads: int = 1,
    ) -> None:
        self.settings = bundle.settings
        self.seconds: dict[str, float] = {}
        self._bank = bundle.bank
        self._centroids = bundle.centroids
        self._rejection = bundle.rejection
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
        started_s = time.monotonic()
        xyz = np.stack([window.xyz for window in windows])
        present = np.stack([window.present for window in windows])
        filled, cluster = self._impute(xyz, present)
        imputed_s = time.monotonic()
        x = to_network(filled.xyz, self.settings.classifier_stream)
        logits, embedding = self._classifier.run_windows(x)
        probabilities = _softmax(logits / np.float32(self.settings.temperature))
        known = np.ones(len(x)) if self._rejection is None else self._rejection.known(embedding)
        self.seconds = {"impute": imputed_s - started_s, "classify": time.monotonic() - imputed_s}
        return [
            Recognition(
                label=self.settings.classes[int(row.argmax())],
                score=float(row.max()),
                probabilities=row,
                known=float(known[index]),
                embedding=embedding[index],
                cluster=cluster[index],
                window=windows[index],
                filled=filled.one(index),
            )
            for index, row in enumerate(probabilities)
        ]

    def _find_clusters(self, xyz: FloatArray) -> NDArray[np.int64]:
        """Nearest clusters of windows, (n,) or (n, nprobe); costs a run of the encoder."""
        embedding = self._encoder.run_windows(to_network(xyz, self.settings.encoder_stream))[0]
        return nearest_cluster(embedding, self._centroids, self.settings.nprobe)

    def _impute(
        self, xyz: FloatArray, present: NDArray[np.bool_]
    ) -> tuple[Filled, list[int | None]]:
        """Complete windows; also return the nearest cluster of each, None where none was asked."""
        if self.settings.imputer == "knn":
            return self._ask_clusters(xyz, present)
        if self.settings.imputer == "restore":
            filled = self._restorer.fill(xyz, present)
        elif self.settings.imputer == "linear":
            filled = fill_linear(xyz, present, self._bank)
        elif self.settings.imputer == "mean":
            filled = fill_mean(xyz, present, self._bank)
        else:
            filled = fill_none(xyz, present)
        return filled, [None] * len(xyz)

    def _ask_clusters(
        self, xyz: FloatArray, present: NDArray[np.bool_]
    ) -> tuple[Filled, list[int | None]]:
        """Complete the windows that have gaps; the others cost nothing."""
        filled = fill_none(xyz, present)
        cluster: list[int | None] = [None] * len(xyz)
        rows = np.flatnonzero((filled.source == CellSource.UNFILLED).any(axis=(1, 2, 3)))
        if len(rows):
            found = self._find_clusters(xyz[rows])
            completed = self._knn.fill(xyz[rows], present[rows], found)
            filled.xyz[rows], filled.source[rows] = completed.xyz, completed.source
            for row, own in zip(rows, found.reshape(len(rows), -1), strict=True):
                cluster[row] = int(own[0])
        return filled, cluster


def _softmax(logits: FloatArray) -> FloatArray:
    """Probabilities over the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True), dtype=np.float32)
