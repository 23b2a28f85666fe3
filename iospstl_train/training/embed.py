"""Embeddings of whole data sets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_core.streams import to_network
from iospstl_train.training.processes import gather_from_all, n_processes, process_index

FloatArray = NDArray[np.float32]

_BATCH = 256


def embed(
    encoder: nn.Module, xyz: FloatArray, stream: str = "joint", batch_size: int = _BATCH
) -> FloatArray:
    """Return embeddings (n, n_features) of windows (n, n_frames, n_persons, n_joints, 3).

    Where several processes run together each embeds some of the batches, and all get all.
    """
    starts = range(0, len(xyz), batch_size)
    own = {
        start: embed_here(encoder, xyz[start : start + batch_size], stream, batch_size)
        for start in starts[process_index() :: n_processes()]
    }
    batches = {start: part for parts in gather_from_all(own) for start, part in parts.items()}
    return np.concatenate([batches[start] for start in starts])


@torch.inference_mode()
def embed_here(
    encoder: nn.Module, xyz: FloatArray, stream: str = "joint", batch_size: int = _BATCH
) -> FloatArray:
    """Return what `embed` does, computed by this process alone."""
    encoder.eval()
    device = next(encoder.parameters()).device
    batches = [
        encoder(torch.from_numpy(to_network(xyz[start : start + batch_size], stream)).to(device))
        for start in range(0, len(xyz), batch_size)
    ]
    return torch.cat(batches).cpu().numpy()
