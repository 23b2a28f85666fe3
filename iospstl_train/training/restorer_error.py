"""How far the restoring imputer is off, how far it says that it is, and the loss of both."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from iospstl_core.errors import InputError
from iospstl_core.imputation.restore import network_inputs
from iospstl_train.methods.hide_again import Views, draw_views
from iospstl_train.models.restorer import Restorer, RestorerSettings
from iospstl_train.training.restorer_data import RestorerData

COVERAGE_FACTORS = (0.5, 1.0, 2.0, 3.0)

_ERROR_WEIGHT = 0.3
_UNIT_PER_M = 10.0
"""Positions are learned in decimetres, so that both terms of the loss are of one size."""
_CALIBRATION_ROUNDS = 8
_MIN_CALIBRATION_CELLS = 100
_BATCH = 64


def restoring_loss(model: Restorer, views: Views) -> tuple[Tensor, Tensor]:
    """Return the loss, and the mean error over the cells to find, in metres.

    The distance itself is minimised, whose mean is what imputers are compared by. The expected
    error is fitted as the mean of an exponential distribution of it, without pulling positions.
    """
    distance, expected = restoring_errors(model, views)
    unlikely = distance.detach() / expected + expected.log()
    loss = _UNIT_PER_M * distance.mean() + _ERROR_WEIGHT * unlikely.mean()
    return loss, distance.mean().detach()


def restoring_errors(model: Restorer, views: Views) -> tuple[Tensor, Tensor]:
    """Return true and expected error of every cell to find, in metres, (n_cells,)."""
    seen = torch.where(views.visible[..., None], views.xyz, math.nan).numpy()
    device = model.rest_m.device
    inputs = {
        name: torch.from_numpy(value).to(device)
        for name, value in network_inputs(seen, model.rest_m.cpu().numpy()).items()
    }
    target = views.target.to(device)
    xyz, expected = model(**inputs)
    distance = torch.linalg.vector_norm(xyz[target] - views.xyz.to(device)[target], dim=-1)
    return distance, expected[target]


@torch.inference_mode()
def calibrate(
    model: Restorer, data: RestorerData, rows: Tensor, settings: RestorerSettings, seed: int
) -> tuple[float, dict[str, float]]:
    """Scale the expected error to the true one on held-out windows; return what it then covers.

    The masks are those that the training set itself has, if it has enough of them.
    """
    own_masks = replace(settings, curtain_masks=0.0, plain_masks=0.0)
    distance, expected = _held_out_errors(model, data, rows, own_masks, seed)
    if data.observed.all() or len(distance) < _MIN_CALIBRATION_CELLS:
        distance, expected = _held_out_errors(model, data, rows, settings, seed)
    if not len(distance):
        raise InputError("restorer: the training windows show too little to learn from")
    model.error_factor.copy_(distance.mean() / expected.mean())
    ratio = distance / (expected * model.error_factor)
    coverage = {str(f): round(float((ratio <= f).float().mean()), 4) for f in COVERAGE_FACTORS}
    return float(distance.mean()) * 1000, coverage


def _held_out_errors(
    model: Restorer, data: RestorerData, rows: Tensor, settings: RestorerSettings, seed: int
) -> tuple[Tensor, Tensor]:
    """Return true and expected errors of what is hidden in views of some rows, (n_cells,)."""
    generator = torch.Generator().manual_seed(seed + 1)
    pool = data.xyz, data.observed
    batches = [
        restoring_errors(model, draw_views(*pool, part, data.flip_order, settings, generator))
        for _ in range(_CALIBRATION_ROUNDS)
        for part in torch.split(rows, _BATCH)
    ]
    distance, expected = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return distance, expected
