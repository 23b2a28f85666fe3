"""From trained networks to a bundle, checked against the networks it came from."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iospstl_core.bundle import BundleSettings, write_bundle
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import Store
from iospstl_core.streams import to_network
from iospstl_train.data.windows import WindowSet
from iospstl_train.imputing import Clusters
from iospstl_train.models.encoder import Encoder
from iospstl_train.settings import ImputationSettings
from iospstl_train.training.onnx_file import to_onnx

FloatArray = NDArray[np.float32]

_WINDOW_STEP_S = 0.5
_PERSONS_AXIS = 4

TOLERANCE = 1e-3
"""Largest difference between ONNX and torch that is taken for rounding."""


class Classifier(nn.Module):
    """Encoder and linear classifier in one network: window -> (logits, embedding)."""

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, n_classes) and embedding (n, d) of x (n, 3, t, v, m)."""
        embedding = self.encoder(x)
        return self.head(embedding), embedding


def export_bundle(
    folder: Path,
    settings: BundleSettings,
    encoder: Encoder,
    classifier: Classifier,
    clusters: Clusters,
    sample: FloatArray,
    restorer: Path | None = None,
) -> dict[str, float]:
    """Compare networks in ONNX with torch, then write them as a bundle.

    Parameters
    ----------
    folder : Path
    settings : BundleSettings
    encoder : Encoder
        Stage 1.
    classifier : Classifier
        Stage 2 and its linear classifier.
    clusters : Clusters
    sample : ndarray of shape (n, n_frames, n_persons, n_joints, 3), float32
        Windows to compare on.
    restorer : Path, optional
        Network of the imputer "restore", already in ONNX.

    Returns
    -------
    dict
        Largest absolute difference of embeddings and logits.

    Raises
    ------
    RuntimeError
        If a difference is larger than rounding explains; then nothing is written.
    """
    skip_absent = encoder.skip_absent and classifier.encoder.skip_absent
    free = {_PERSONS_AXIS: "m"} if skip_absent else None  # see `OnnxModel.run_windows`
    networks: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    for name, network, stream in (
        ("encoder", encoder, settings.encoder_stream),
        ("classifier", classifier, settings.classifier_stream),
    ):
        x = to_network(sample, stream)
        outputs = ["embedding"] if name == "encoder" else ["logits", "embedding"]
        networks[name] = to_onnx(network, {"x": torch.from_numpy(x[:2])}, outputs, free)
        with torch.inference_mode():
            result = network(torch.from_numpy(x))
        expected = (result if name == "encoder" else result[0]).numpy()
        differences[name] = float(np.abs(_run_onnx(networks[name], x) - expected).max())
        if differences[name] > TOLERANCE * max(float(np.abs(expected).max()), 1):
            raise RuntimeError(f"{folder}: ONNX and torch differ by {differences}")
    write_bundle(
        folder,
        settings,
        networks["encoder"],
        networks["classifier"],
        np.asarray(clusters.centroids),
        clusters.bank,
        restorer.read_bytes() if restorer is not None else None,
    )
    return differences


def _run_onnx(network: bytes, x: FloatArray) -> FloatArray:
    """Return the first output of a network that is not yet in a bundle."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(network)
        return OnnxModel(path, ["CPUExecutionProvider"]).run_windows(x)[0]


def describe_differences(folder: Path, differences: dict[str, float]) -> str:
    """Return one sentence on how far a bundle's networks are from torch's."""
    shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    return f"{folder}: largest difference between ONNX and torch: {shown}"


def make_bundle_settings(
    store: Store,
    windows: WindowSet,
    imputer: str,
    imputation: ImputationSettings,
    training: dict[str, Any],
    stream: str,
) -> BundleSettings:
    """Return the settings of a bundle for the windows of a store."""
    return BundleSettings(
        layout=NTU_25.name,
        n_frames=windows.xyz.shape[1],
        n_persons=windows.xyz.shape[2],
        window_s=usual_duration_s(store),
        classes=windows.class_names,
        imputer=imputer,
        n_neighbors=imputation.n_neighbors,
        nprobe=imputation.nprobe,
        max_donors=imputation.max_donors or None,
        encoder_stream=stream,
        classifier_stream=stream,
        training=training,
    )


def usual_duration_s(store: Store) -> float:
    """Return a window length for live use: the median of all sequences, in half seconds.

    Longer windows hold more of what was before an action, shorter ones less of the action.
    """
    durations = np.diff(store.offset) / store.fps
    return max(math.ceil(float(np.median(durations)) / _WINDOW_STEP_S), 1) * _WINDOW_STEP_S
