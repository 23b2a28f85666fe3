"""Views for the restorer: training windows, moved about, with part of what is seen hidden again.

Nothing that the sensor did not see is ever a target, so gap-free recordings are not needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iospstl_train.models.restorer import RestorerSettings

_MAX_PLAIN_FRACTION = 0.6
_HALF_WIDTH_M = (0.1, 0.8)
_FLOATING = 0.2
"""Share of curtains that end above the floor, as the top of a table or a shelf does."""
_FLOATING_DEPTH_M = (0.2, 1.0)
_TINY = 1e-6
_MIN_VISIBLE = 20
"""Cells that must stay visible: one frame of a body."""


@dataclass(frozen=True)
class Views:
    """A batch for the restorer.

    Attributes
    ----------
    xyz : Tensor of shape (n, t, v, 3)
        Truth where observed; 0 elsewhere.
    visible, target : Tensor of shape (n, t, v), bool
        What the network may see, and what it has to find.
    """

    xyz: Tensor
    visible: Tensor
    target: Tensor


def draw_views(
    xyz: Tensor,
    observed: Tensor,
    rows: Tensor,
    flip_order: Tensor,
    settings: RestorerSettings,
    generator: torch.Generator,
) -> Views:
    """Return views of some training windows.

    Parameters
    ----------
    xyz : Tensor of shape (n_windows, t, v, 3)
        All training windows; 0 where not observed.
    observed : Tensor of shape (n_windows, t, v), bool
        Also the pool of masks: what one window hides is hidden from another one.
    rows : Tensor of shape (n,), int64
        The windows to return views of; those that would show next to nothing are left out.
    flip_order : Tensor of shape (v,), int64
        Joint indices with left and right exchanged.
    settings : RestorerSettings
        As of `adapt_masks`.
    generator : torch.Generator
        Source of all randomness.
    """
    moved, seen = _move(xyz[rows], observed[rows], flip_order, settings, generator)
    hidden = _draw_masks(moved, seen, observed, flip_order, settings, generator)
    visible, target = seen & ~hidden, seen & hidden
    useful = visible.flatten(1).sum(1) >= _MIN_VISIBLE
    return Views(moved[useful], visible[useful], target[useful])


def _move(
    xyz: Tensor,
    observed: Tensor,
    flip_order: Tensor,
    settings: RestorerSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Mirror half of the windows; turn and scale each by its own draw."""
    n = len(xyz)
    mirrored = torch.rand((n, 1, 1), generator=generator) < 0.5
    sign = torch.tensor([-1.0, 1.0, 1.0])
    xyz = torch.where(mirrored[..., None], xyz[:, :, flip_order] * sign, xyz)
    observed = torch.where(mirrored, observed[:, :, flip_order], observed)
    yaw = _uniform((n,), generator) * math.radians(settings.max_yaw_deg)
    cos, sin = yaw.cos(), yaw.sin()
    zero, one = torch.zeros(n), torch.ones(n)
    turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1)
    scale = 1 + settings.max_scale * _uniform((n, 1, 1), generator)
    return torch.einsum("ntvx,nyx->ntvy", xyz, turn.view(n, 3, 3) * scale), observed


def _draw_masks(
    xyz: Tensor,
    seen: Tensor,
    observed: Tensor,
    flip_order: Tensor,
    settings: RestorerSettings,
    generator: torch.Generator,
) -> Tensor:
    """Return a mask (n, t, v) for each window, True where hidden."""
    plain, curtains = settings.plain_masks, settings.curtain_masks
    kind = torch.rand((len(xyz), 1, 1), generator=generator)
    hidden = _own_masks(observed, len(xyz), flip_order, generator)
    hidden = torch.where(kind < plain + curtains, _curtains(xyz, seen, generator), hidden)
    share = _MAX_PLAIN_FRACTION * torch.rand((len(xyz), 1, 1), generator=generator)
    joints = torch.rand((len(xyz), 1, xyz.shape[2]), generator=generator) < share
    hidden = torch.where(kind < plain, joints, hidden)
    cells = torch.rand(hidden.shape, generator=generator) < share
    return torch.where(kind < plain / 2, cells, hidden)


def adapt_masks(settings: RestorerSettings, observed: Tensor) -> RestorerSettings:
    """Return the settings with the shares of masks that suit a training set (n, t, v).

    Curtains are drawn as far as what is hidden hangs together in time. Where nothing is hidden
    there are no masks to take over, and plain ones stand in for them.
    """
    curtains = settings.curtain_masks * persistence(observed)
    plain = 1 - curtains if observed.all() else settings.plain_masks
    return replace(settings, curtain_masks=curtains, plain_masks=plain)


def persistence(observed: Tensor) -> float:
    """Return how much what is hidden hangs together in time.

    1 where a hidden joint stays hidden, or nothing is hidden at all; 0 where cells are hidden
    independently of each other, whatever their share.
    """
    hidden = ~observed
    share = float(hidden.float().mean())
    if share == 0:
        return 1.0
    stays = float((hidden[:, 1:] & hidden[:, :-1]).sum() / hidden[:, :-1].sum().clamp(min=1))
    return min(max((stays - share) / max(1 - share, _TINY), 0.0), 1.0)


def _own_masks(observed: Tensor, n: int, flip_order: Tensor, generator: torch.Generator) -> Tensor:
    """Return what n training windows hide; some backwards in time, some mirrored."""
    hidden = ~observed[torch.randint(len(observed), (n,), generator=generator)]
    backwards, mirrored = (torch.rand((2, n), generator=generator) < 0.5).unbind()
    return turn_masks(hidden, backwards, mirrored, flip_order)


def turn_masks(hidden: Tensor, backwards: Tensor, mirrored: Tensor, flip_order: Tensor) -> Tensor:
    """Return masks (n, t, v), those marked (n,) backwards in time, or with sides exchanged."""
    hidden = torch.where(backwards[:, None, None], hidden.flip(1), hidden)
    return torch.where(mirrored[:, None, None], hidden[:, :, flip_order], hidden)


def _curtains(xyz: Tensor, seen: Tensor, generator: torch.Generator) -> Tensor:
    """Hide what an upright rectangle covers that stands in front of a place where a joint was.

    Unlike masks of other recordings, these depend on the movement, as furniture does: a joint
    disappears because of where it goes.
    """
    n = len(xyz)
    view = math.pi * _uniform((n, 1, 1), generator)
    across = xyz[..., 0] * view.cos() + xyz[..., 2] * view.sin()
    height = xyz[..., 1]
    weight = seen.flatten(1).float() + _TINY  # a window that shows nothing hides nothing anyway
    anchors = torch.multinomial(weight, 2, replacement=True, generator=generator)
    middle = across.flatten(1).gather(1, anchors[:, :1])[..., None]
    top = height.flatten(1).gather(1, anchors[:, 1:])[..., None]
    half_width = _between(*_HALF_WIDTH_M, n, generator)
    floating = torch.rand((n, 1, 1), generator=generator) < _FLOATING
    depth = _between(*_FLOATING_DEPTH_M, n, generator)
    below = floating & (height < top - depth)
    return ((across - middle).abs() < half_width) & (height < top) & ~below


def _between(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    """Draw a number for each window, (n, 1, 1)."""
    return low + (high - low) * torch.rand((n, 1, 1), generator=generator)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1
