"""Embeddings of whole data sets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from iospstl_core.streams import to_network
from iospstl_train.models.stgcn import StgcnEncoder

FloatArray = NDArray[np.float32]


@torch.inference_mode()
def embed(
    encoder: StgcnEncoder, xyz: FloatArray, stream: str = "joint", batch_size: int = 256
) -> FloatArray:
    """Return embeddings (n, n_features) of windows (n, n_frames, n_persons, n_joints, 3)."""
    encoder.eval()
    device = encoder.graph.device
    batches = [
        encoder(torch.from_numpy(to_network(xyz[start : start + batch_size], stream)).to(device))
        for start in range(0, len(xyz), batch_size)
    ]
    return torch.cat(batches).cpu().numpy()
