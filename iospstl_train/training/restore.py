"""Training of the restoring imputer: hide again what was seen, and learn to put it back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from iospstl_core.bundle import RESTORER
from iospstl_core.errors import InputError
from iospstl_core.files import new_file, read_json, write_json
from iospstl_core.imputation.restore import (
    METADATA_KEY,
    RestorerFacts,
    network_inputs,
)
from iospstl_train.data.windows import WindowSet
from iospstl_train.methods.hide_again import adapt_masks, draw_views
from iospstl_train.models.restorer import Restorer, RestorerSettings
from iospstl_train.training.checkpoint import (
    checkpoint_paths,
    read_checkpoint,
    restore_state,
    save_checkpoint,
)
from iospstl_train.training.failures import find_bad
from iospstl_train.training.join import find_device
from iospstl_train.training.onnx_file import to_onnx
from iospstl_train.training.restorer_data import RestorerData, hold_out, training_persons
from iospstl_train.training.restorer_error import calibrate, restoring_loss
from iospstl_train.training.run_folder import (
    clean_folder,
    command_line,
    locked,
    package_versions,
)
from iospstl_train.training.stopping import Interrupted, StopRequest, stop_requests

FloatArray = NDArray[np.float32]

OUTPUTS = ["xyz", "error_m"]

_CHECKPOINT = "restorer.pt"
_RUN_FILE = "restorer.json"
_CHECKPOINT_STEPS = 250
_KEEP = 2
_WARMUP_STEPS = 100
_MAX_GRADIENT = 1.0


def train_restorer(
    windows: WindowSet,
    settings: RestorerSettings,
    folder: Path,
    seed: int = 1,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Train on what the training windows show and return the path of the ONNX file.

    An interrupted training goes on after its last checkpoint when it is called again; a finished
    one returns at once.

    Parameters
    ----------
    windows : WindowSet
        Occluded; neither their truth nor their test windows are looked at.
    settings : RestorerSettings
    folder : Path
        Gets ``restorer.json`` (settings, command, versions, calibration), ``restorer.pt`` and
        ``restorer.onnx``.
    seed : int
        Of weights, order, movements and masks.
    device : str
        A torch device.
    provenance : mapping, optional
        What the data are, for ``restorer.json``.

    Raises
    ------
    InputError
        If the folder holds a training with other settings or data or another process works in it,
        the device does not exist, the training windows show nothing, a loss is no number, or the
        disk is full.
    Interrupted
        After SIGTERM, SIGINT or SIGUSR1, when the training is saved.
    """
    described = {
        "settings": asdict(settings),
        "seed": seed,
        "provenance": dict(provenance or {}),
        "command": command_line(),
        "versions": package_versions(),
    }
    torch_device = find_device(device)
    with locked(folder):
        clean_folder(folder)
        _claim(folder, json.loads(json.dumps(described)))
        if not (folder / RESTORER).is_file():
            _train(windows, settings, folder, described, torch_device)
    return folder / RESTORER


def _train(
    windows: WindowSet,
    settings: RestorerSettings,
    folder: Path,
    described: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Train, calibrate and export in a folder that is this training's."""
    seed = described["seed"]
    data = training_persons(windows, folder)
    settings = adapt_masks(settings, data.observed)
    torch.manual_seed(seed)
    model = Restorer(windows.xyz.shape[1], data.rest_m, settings).to(device)
    train, held_out = hold_out(len(data.xyz), settings.held_out, seed)
    with stop_requests() as request:
        _fit(model, data, train, settings, folder, seed, request)
    model.eval().cpu()
    error_mm, coverage = calibrate(model, data, held_out, settings, seed)
    write_json(folder / _RUN_FILE, {**described, "held_out_mm": error_mm, "coverage": coverage})
    _export(model, data, coverage, folder / RESTORER)


def _claim(folder: Path, described: Mapping[str, Any]) -> None:
    """Write what this training is into a new folder, or compare it with what is there."""
    path = folder / _RUN_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, described)
        return
    before = read_json(path)
    for key in ("settings", "seed", "provenance"):
        if before.get(key) != described[key]:
            raise InputError(
                f"{folder}: holds an imputer that was trained with another {key}; repeat the "
                f"settings of {path} or choose another folder"
            )


def _fit(
    model: Restorer,
    data: RestorerData,
    train: Tensor,
    settings: RestorerSettings,
    folder: Path,
    seed: int,
    request: StopRequest,
) -> None:
    """Run all steps that are still to be done, with a checkpoint now and then."""
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    generator = torch.Generator().manual_seed(seed)
    start = _resume(folder, model, optimizer, generator)
    losses: dict[int, Tensor] = {}
    model.train()
    progress = tqdm(range(start, settings.steps), f"{folder.name}: restorer", unit="step")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, settings)
        rows = train[torch.randint(len(train), (settings.batch_size,), generator=generator)]
        views = draw_views(data.xyz, data.observed, rows, data.flip_order, settings, generator)
        if not views.target.any():
            continue
        loss, error_m = restoring_loss(model, views)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT)
        optimizer.step()
        losses[step + 1] = loss.detach()
        is_due = (step + 1) % _CHECKPOINT_STEPS == 0 or step + 1 == settings.steps
        if is_due or request.number is not None:
            _check_finite(losses, folder)
            progress.set_postfix(error_mm=f"{1000 * error_m.item():.0f}")
            _save(folder, step + 1, model, optimizer, generator)
        if request.number is not None:
            raise Interrupted(request.number, f"{folder}: saved after step {step + 1}")


def _resume(
    folder: Path,
    model: Restorer,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Put the newest checkpoint in place, if there is one; return its finished steps."""
    path = folder / _CHECKPOINT
    if not checkpoint_paths(path):
        return 0
    state = read_checkpoint(path, repair=True)
    restore_state(path, state, model, optimizer)
    generator.set_state(state["generator"])
    return int(state["epoch"])


def _save(
    folder: Path,
    step: int,
    model: Restorer,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    state = {
        "epoch": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    save_checkpoint(folder / _CHECKPOINT, state, _KEEP)


def _check_finite(losses: dict[int, Tensor], folder: Path) -> None:
    """Look at the losses of the last steps, by step; forget them."""
    steps, values = list(losses), torch.stack(list(losses.values())).tolist()
    losses.clear()
    bad = find_bad(values)
    if bad is not None:
        raise InputError(
            f"{folder}: the loss is {values[bad]} in step {steps[bad]}; the checkpoint before it "
            "is kept; lower restorer.learning_rate"
        )


def _learning_rate(step: int, settings: RestorerSettings) -> float:
    """Return the rate of a step: linear warm-up, and cosine to 0 at the end."""
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    return settings.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def _export(model: Restorer, data: RestorerData, coverage: dict[str, float], path: Path) -> None:
    """Write the network with all that the robot must know of it into one file."""
    example = data.xyz[:2].clone()
    example[~data.observed[:2]] = math.nan
    inputs = network_inputs(example.numpy(), data.rest_m.numpy())
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    network = onnx.load_from_string(to_onnx(model, tensors, OUTPUTS))
    facts = RestorerFacts(data.joints, data.rest_m.numpy(), coverage)
    entry = network.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, facts.to_json()
    with new_file(path) as partial:
        partial.write_bytes(network.SerializeToString())
