"""An encoder to which a hidden joint is a mask token: an all-MLP mixer over time.

Tokens that stand for what is hidden follow masked autoencoders (He et al., 2022). The estimate
beside the token is this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iospstl_core.normalize import N_FRAMES
from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.models.mixer_layer import MixerLayer
from iospstl_train.ranges import Positive

_SCALE = 4.0
"""Brings metres around the body to the size that layers like."""
_DECAY = 0.5
"""Untrained, before the softplus: an observation counts 0.38 of the one a frame nearer."""
_FAR = 1e-6
"""Weight of observations at any distance: they count where nothing nearer was observed."""
_NEAR = 0.3
_N_FEATURES = 5


@dataclass(frozen=True)
class MixerSettings:
    """Shape of the encoder with mask tokens.

    Attributes
    ----------
    width : int
        Features a frame.
    n_layers : int
        Pairs of mixing over frames and over features.
    embedding : int
        Size of the embedding: means over the frames, then as many maxima.
    """

    width: Positive = 128
    n_layers: Positive = 3
    embedding: Positive = 512

    def __post_init__(self) -> None:
        if self.embedding % 2:
            raise ValueError(f"embedding: expected an even number, got {self.embedding}")


class MaskMixer(nn.Module):
    """Mixer from windows to embeddings.

    A cell (a joint in a frame) whose three values are 0 is hidden. It enters as a token: a learned
    vector of its joint, beside an estimate of its position from the frames that show the joint,
    and how near these are; a joint that is never shown is taken for where joints of its name
    rest. Person by person, so an absent one changes nothing.

    Parameters
    ----------
    settings : MixerSettings
    layout : SkeletonLayout
        Joints of the windows.

    Notes
    -----
    In the joint stream, zeros are what was not observed. In the motion stream a joint that does
    not move at all, and in the bone stream the root, are 0 too and taken for hidden.
    """

    skip_absent = True

    def __init__(self, settings: MixerSettings, layout: SkeletonLayout = NTU_25) -> None:
        super().__init__()
        self.rest_m = nn.Parameter(torch.zeros(layout.n_joints, 3))
        self.decay = nn.Parameter(torch.tensor(_DECAY))
        frame = torch.arange(N_FRAMES, dtype=torch.float32)
        self.apart: Tensor
        self.register_buffer("apart", (frame[:, None] - frame).abs(), persistent=False)
        self.enter = nn.Linear(layout.n_joints * _N_FEATURES, settings.width)
        self.layers = nn.Sequential(
            *(MixerLayer(settings.width, N_FRAMES) for _ in range(settings.n_layers))
        )
        self.norm = nn.LayerNorm(settings.width)
        self.leave = nn.Linear(settings.width, settings.embedding // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (n, embedding), the mean over the persons that are there.

        Parameters
        ----------
        x : Tensor of shape (n, 3, 50, v, m)
            0 where not observed; a person whose values are all 0 is absent.
        """
        n, c, t, v, m = x.shape
        persons = x.permute(0, 4, 2, 3, 1).reshape(n * m, t, v, c)
        is_there = (persons != 0).flatten(1).any(dim=1)
        if self.training:
            features = x.new_zeros(n * m, 2 * self.leave.out_features)
            features[is_there] = self._embed_persons(persons[is_there])
        else:
            features = self._embed_persons(persons)
        weight = is_there.view(n, m, 1).to(features.dtype)
        total = (features.view(n, m, -1) * weight).sum(dim=1)
        return total / weight.sum(dim=1).clamp(min=1)

    def _embed_persons(self, xyz: Tensor) -> Tensor:
        """Mean and maximum over frames, (n, embedding), of persons (n, t, v, 3)."""
        entered = self.enter(self._describe_cells(xyz).flatten(2))
        mixed = nn.functional.gelu(self.leave(self.norm(self.layers(entered))))
        return torch.cat([mixed.mean(dim=1), mixed.amax(dim=1)], dim=1)

    def _describe_cells(self, xyz: Tensor) -> Tensor:
        """Return position or its estimate, observed, and nearness of observations, (n, t, v, 5).

        `enter` turns "observed" into the token: its column for a joint is the learned vector.
        """
        n, t, v, _ = xyz.shape
        observed = (xyz != 0).any(dim=-1, keepdim=True).to(xyz.dtype)
        offset = (xyz - self.rest_m) * observed
        kernel = torch.exp(-self.apart * nn.functional.softplus(self.decay)) + _FAR
        both = torch.cat([offset, observed], dim=-1)
        sums = (kernel @ both.view(n, t, v * 4)).view(n, t, v, 4)
        weight = sums[..., 3:]
        estimate = sums[..., :3] / weight.clamp(min=_FAR / 2)  # 0 / (a little): never observed
        position = torch.where(observed > 0, offset, estimate)
        return torch.cat([_SCALE * position, observed, weight / (weight + _NEAR)], dim=-1)
