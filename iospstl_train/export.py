"""From trained networks to a bundle, checked against the networks it came from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iospstl_core.bundle import BundleSettings, open_bundle, write_bundle
from iospstl_core.session import OnnxModel
from iospstl_core.streams import to_network
from iospstl_train.imputing import Clusters
from iospstl_train.models.stgcn import StgcnEncoder

FloatArray = NDArray[np.float32]

OPSET = 17
TOLERANCE = 1e-3
"""Largest difference between ONNX and torch that is taken for rounding."""


class Classifier(nn.Module):
    """Encoder and linear classifier in one network: window -> (logits, embedding)."""

    def __init__(self, encoder: StgcnEncoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, n_classes) and embedding (n, d) of x (n, 3, t, v, m)."""
        embedding = self.encoder(x)
        return self.head(embedding), embedding


def to_onnx(model: nn.Module, example: Tensor, outputs: list[str]) -> bytes:
    """Return a network as ONNX with the input ``x`` and a free batch size."""
    buffer = io.BytesIO()
    torch.onnx.export(
        model.eval().cpu(),
        (example,),
        buffer,  # type: ignore[arg-type]  # the stubs know paths only
        dynamo=False,
        opset_version=OPSET,
        input_names=["x"],
        output_names=outputs,
        dynamic_axes={name: {0: "n"} for name in ["x", *outputs]},
    )
    return buffer.getvalue()


def export_bundle(
    folder: Path,
    settings: BundleSettings,
    encoder: StgcnEncoder,
    classifier: Classifier,
    clusters: Clusters,
    sample: FloatArray,
) -> dict[str, float]:
    """Write a bundle and compare its networks with torch.

    Parameters
    ----------
    folder : Path
    settings : BundleSettings
    encoder : StgcnEncoder
        Stage 1.
    classifier : Classifier
        Stage 2 and its linear classifier.
    clusters : Clusters
    sample : ndarray of shape (n, n_frames, n_persons, n_joints, 3), float32
        Windows to compare on.

    Returns
    -------
    dict
        Largest absolute difference of embeddings and logits.

    Raises
    ------
    RuntimeError
        If a difference is larger than rounding explains.
    """
    x = to_network(sample, settings.encoder_stream)
    example = torch.from_numpy(x[:2])
    write_bundle(
        folder,
        settings,
        to_onnx(encoder, example, ["embedding"]),
        to_onnx(classifier, example, ["logits", "embedding"]),
        np.asarray(clusters.centroids),
        clusters.bank,
    )
    bundle = open_bundle(folder)
    with torch.inference_mode():
        expected = {
            "encoder": encoder(torch.from_numpy(x)).numpy(),
            "classifier": classifier(torch.from_numpy(x))[0].numpy(),
        }
    got = {
        "encoder": OnnxModel(bundle.encoder_path, ["CPUExecutionProvider"]).run(x)[0],
        "classifier": OnnxModel(bundle.classifier_path, ["CPUExecutionProvider"]).run(x)[0],
    }
    differences = {name: float(np.abs(got[name] - expected[name]).max()) for name in got}
    scale = max(float(np.abs(value).max()) for value in expected.values())
    if max(differences.values()) > TOLERANCE * max(scale, 1):
        raise RuntimeError(f"{folder}: ONNX and torch differ by {differences}")
    return differences


def describe_differences(folder: Path, differences: dict[str, float]) -> str:
    """Return one sentence on how far a bundle's networks are from torch's."""
    shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    return f"{folder}: largest difference between ONNX and torch: {shown}"
