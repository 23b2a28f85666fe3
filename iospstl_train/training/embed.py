"""Embeddings of whole data sets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_core.streams import to_network
from iospstl_train.training.processes import gather_from_all, n_processes, process_index

FloatArray = NDArray[np.float32]


@torch.inference_mode()
def embed(
    encoder: nn.Module, xyz: FloatArray, stream: str = "joint", batch_size: int = 256
) -> FloatArray:
    """Return embeddings (n, n_features) of windows (n, n_frames, n_persons, n_joints, 3).

    Where several processes run together each embeds some of the batches, and all get all.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    starts = range(0, len(xyz), batch_size)[process_index() :: n_processes()]
    own = {}
    for start in starts:
        x = torch.from_numpy(to_network(xyz[start : start + batch_size], stream)).to(device)
        own[start] = encoder(x).cpu().numpy()
    batches = {start: part for parts in gather_from_all(own) for start, part in parts.items()}
    return np.concatenate([batches[start] for start in sorted(batches)])
