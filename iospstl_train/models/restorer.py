"""The network of the restoring imputer: an all-MLP mixer over the frames of one person.

What it predicts, and the way back to the observed values, are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iospstl_train.models.mixer_layer import MixerLayer
from iospstl_train.ranges import AboveZero, Fraction, NotNegative, Positive, Share

_SCALE = 4.0
"""Brings metres around the body to the size that layers like."""
_ERROR_M = 0.1
"""Expected error of an untrained network."""
_FAITH = 3.0
"""Untrained gate, before the sigmoid: the residual of observed frames goes on nearly whole."""
_DOUBT = -3.0
"""Untrained share of the plain line in time, before the sigmoid."""
_SMOOTH_FRAMES = 1.0
"""Standard deviation of the Gaussian that smooths positions before they meet the sides."""
_MARGIN_FRAMES = 3
_N_OUTPUTS = 6
_N_FEATURES = 11


@dataclass(frozen=True)
class RestorerSettings:
    """The restoring imputer and its training.

    Attributes
    ----------
    width : int
        Features a frame.
    n_layers : int
        Pairs of mixing over frames and over features.
    steps, batch_size : int
        Batches of windows that it sees, and their size.
    learning_rate, weight_decay : float
        Of AdamW; linear warm-up, then cosine to 0.
    max_yaw_deg : float
        Windows are turned about the vertical by up to this much either way.
    max_scale : float
        Bodies grow or shrink by up to this share.
    curtain_masks : float
        Share of masks that hide what is behind an upright rectangle, seen from somewhere, if all
        that is hidden stays hidden for long; less where hidden cells are scattered over time.
    plain_masks : float
        Share of masks that hide single cells or whole joints at random. The rest of the masks are
        the training set's own: what one window hides is hidden from another one.
    follow_body : bool
        False leaves out the path and the shape of the body: an ablation.
    keep_sides : bool
        False lets a filled gap end wherever the network says: an ablation.
    held_out : float
        Share of the training windows that calibrate the expected error and train nothing.
    """

    width: Positive = 128
    n_layers: Positive = 4
    steps: Positive = 5000
    batch_size: Positive = 16
    learning_rate: AboveZero = 2e-3
    weight_decay: NotNegative = 0.01
    max_yaw_deg: NotNegative = 60.0
    max_scale: Fraction = 0.1
    curtain_masks: Share = 0.5
    plain_masks: Share = 0.1
    follow_body: bool = True
    keep_sides: bool = True
    held_out: Fraction = 0.1


class Restorer(nn.Module):
    """Complete one person's windows and say how far off each joint will be.

    Parameters
    ----------
    n_frames : int
    rest_m : Tensor of shape (n_joints, 3)
        Mean shape of the training set.
    settings : RestorerSettings
    """

    rest_m: Tensor
    error_factor: Tensor
    kernel: Tensor

    def __init__(self, n_frames: int, rest_m: Tensor, settings: RestorerSettings) -> None:
        super().__init__()
        n_joints, width = len(rest_m), settings.width
        self.settings = settings
        self.register_buffer("rest_m", rest_m)
        self.register_buffer("error_factor", torch.ones(()))  # measured after training
        frames = torch.arange(-_MARGIN_FRAMES, _MARGIN_FRAMES + 1)
        kernel = torch.exp(-((frames / _SMOOTH_FRAMES) ** 2) / 2)
        self.register_buffer("kernel", kernel / kernel.sum())
        self.enter = nn.Linear(n_joints * _N_FEATURES + 6, width)
        layers = (_idle_layer(width, n_frames) for _ in range(settings.n_layers))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, n_joints * _N_OUTPUTS)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        x: Tensor,
        observed: Tensor,
        near: Tensor,
        path: Tensor,
        shape: Tensor,
        line: Tensor,
        before: Tensor,
        after: Tensor,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return positions (n, t, v, 3) and expected errors in metres (n, t, v).

        The inputs are those of `iospstl_core.imputation.restore.network_inputs`. Cells that are
        observed get positions too; whoever fills windows keeps what was observed.
        """
        if not self.settings.follow_body:
            path, shape = torch.zeros_like(path), self.rest_m.expand_as(shape)
        seen = observed[..., None]
        base = path[:, :, None] + shape[:, None]
        between = _Between(before, after, weight)
        offset = between((x - base) * seen)
        strangeness = line - base - offset
        joints = torch.cat([_SCALE * offset, _SCALE * strangeness, seen, near[..., None]], dim=-1)
        out = self.leave(self.norm(self.layers(self._enter(joints, path, shape))))
        out = out.reshape(*observed.shape, _N_OUTPUTS)
        guess = self._smooth(base + out[..., :3])
        error_m = out[..., 3].exp() * _ERROR_M * self.error_factor
        if not self.settings.keep_sides:
            return guess, error_m
        residual = between((x - guess) * seen)
        filled = guess + torch.sigmoid(out[..., 4:5] + _FAITH) * residual
        plain = torch.sigmoid(out[..., 5:] + _DOUBT) * (near[..., None] > 0)
        return filled + plain * (line - filled), error_m

    def _smooth(self, values: Tensor) -> Tensor:
        """Average over neighbouring frames: bodies have mass, (n, t, v, 3)."""
        margin = _MARGIN_FRAMES
        first, last = values[:, :1], values[:, -1:]
        padded = torch.cat([first] * margin + [values] + [last] * margin, dim=1)
        n_frames = values.shape[1]
        parts = [self.kernel[i] * padded[:, i : i + n_frames] for i in range(2 * margin + 1)]
        return torch.stack(parts).sum(dim=0)

    def _enter(self, joints: Tensor, path: Tensor, shape: Tensor) -> Tensor:
        """Describe each frame by its joints, the build and the movement of the body, (n, t, d)."""
        build = (2 * (shape - self.rest_m))[:, None].expand(*joints.shape[:-1], 3)
        joints = torch.cat([joints, build], dim=-1)
        step = 10 * torch.cat([path[:, 1:] - path[:, :-1], torch.zeros_like(path[:, :1])], dim=1)
        body = torch.cat([step, path - path.mean(dim=1, keepdim=True)], dim=-1)
        entered: Tensor = self.enter(torch.cat([joints.flatten(2), body], dim=-1))
        return entered


def _idle_layer(width: int, n_frames: int) -> MixerLayer:
    """Return a layer that passes on what it gets until it is trained, but for its biases."""
    layer = MixerLayer(width, n_frames)
    for last in (layer.over_frames[2], layer.over_features[2]):
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    return layer


class _Between:
    """Lines between observed frames, as `iospstl_core.imputation.gaps.interpolate` draws them."""

    def __init__(self, before: Tensor, after: Tensor, weight: Tensor) -> None:
        self.before = before[..., None].expand(-1, -1, -1, 3)
        self.after = after[..., None].expand(-1, -1, -1, 3)
        self.weight = weight[..., None]

    def __call__(self, values: Tensor) -> Tensor:  # (n, t, v, 3), 0 where not observed
        start, end = values.gather(1, self.before), values.gather(1, self.after)
        return start + self.weight * (end - start)
