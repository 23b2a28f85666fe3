"""The layer that the restorer and the mixer with mask tokens are made of.

Mixing time and features in turn follows MLP-Mixer (Tolstikhin et al., 2021) and its use for human
motion in siMLPe (Guo et al., 2023).
"""

from __future__ import annotations

from torch import Tensor, nn


class MixerLayer(nn.Module):
    """Every feature over all frames, then every frame over its features."""

    def __init__(self, width: int, n_frames: int) -> None:
        super().__init__()
        self.frame_norm = nn.LayerNorm(width)
        self.over_frames = _two_layers(n_frames)
        self.feature_norm = nn.LayerNorm(width)
        self.over_features = _two_layers(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (n, n_frames, width) mixed."""
        x = x + self.over_frames(self.frame_norm(x).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.over_features(self.feature_norm(x))
        return mixed


def _two_layers(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
