"""One encoder for each stream of the same joints, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.models.stgcn import StgcnEncoder


class StreamEncoders(nn.Module):
    """Encoders of the streams of joint positions; their embeddings stand side by side.

    Takes windows of the joint stream and makes the others itself.

    Parameters
    ----------
    encoders : mapping of str to StgcnEncoder or MaskMixer
        By the name of their stream, as of `make_stream`.
    embedding_size : int
        Of each.
    """

    def __init__(
        self, encoders: Mapping[str, StgcnEncoder | MaskMixer], embedding_size: int
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.part_sizes = (embedding_size,) * len(encoders)
        self.skip_absent = all(encoder.skip_absent for encoder in encoders.values())

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (n, sum of part_sizes) of x (n, 3, t, v, m), 0 where not observed."""
        streams = self.encoders.items()
        return torch.cat([encoder(make_stream(x, name)) for name, encoder in streams], dim=1)


def make_stream(x: Tensor, name: str) -> Tensor:
    """Return a stream of joints x (n, 3, t, v, m), which are 0 where not observed.

    "joint" is x itself; "motion" the way of each joint to the next frame, 0 in the last one and
    where either frame does not show the joint: what appears has not moved there from the center.
    """
    if name == "joint":
        return x
    if name != "motion":
        raise ValueError(f"name: expected joint or motion, got '{name}'")
    observed = (x != 0).any(dim=1, keepdim=True)
    both = observed[:, :, 1:] & observed[:, :, :-1]
    motion = (x[:, :, 1:] - x[:, :, :-1]) * both
    return torch.cat([motion, torch.zeros_like(x[:, :, :1])], dim=2)
