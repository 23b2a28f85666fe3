"""Pre-training: one loop for every stage, resumable at the end of each epoch."""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from iospstl_core.errors import InputError
from iospstl_core.files import read_json, write_json
from iospstl_core.streams import to_network
from iospstl_train.config import Config, TrainingSettings, config_from_dict, config_to_dict
from iospstl_train.methods.opstl import Opstl
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.training.checkpoint import load_checkpoint, save_checkpoint

FloatArray = NDArray[np.float32]

CHECKPOINT = "checkpoint.pt"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
_SECTIONS = ("encoder", "opstl", "augment", "training")
"""Sections that pre-training reads; a run may go on with others changed."""


@dataclass(frozen=True)
class PretrainData:
    """Training windows of one run.

    Attributes
    ----------
    xyz : ndarray of shape (n, n_frames, n_persons, n_joints, 3), float32
        NaN where a network shall see a 0.
    hidden_frac : ndarray of shape (n, n_joints), float32
        As of `iospstl_train.data.windows.WindowSet.hidden_frac`.
    """

    xyz: FloatArray
    hidden_frac: FloatArray


def learning_rate(epoch: float, settings: TrainingSettings) -> float:
    """Return the rate at a time in epochs: linear warm-up, then cosine to 0 at the end."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * epoch / settings.warmup_epochs
    span = max(settings.epochs - settings.warmup_epochs, 1)
    return (
        settings.learning_rate
        * 0.5
        * (1 + math.cos(math.pi * (epoch - settings.warmup_epochs) / span))
    )


def make_model(config: Config) -> Opstl:
    """Return the untrained model of a configuration."""
    encoder = StgcnEncoder(config.encoder)
    return Opstl(encoder, config.encoder.widths[-1], config.opstl, config.augment)


def pretrain(
    data: PretrainData,
    config: Config,
    folder: Path,
    seed: int = 1,
    device: str = "cpu",
    resume: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> StgcnEncoder:
    """Train an encoder without labels and leave a run folder behind.

    Parameters
    ----------
    data : PretrainData
    config : Config
    folder : Path
        Gets ``run.json`` (configuration, command, versions, seed, provenance), ``metrics.jsonl``,
        TensorBoard events and ``checkpoint.pt``.
    seed : int
        Of weights, order, augmentation, masks and dropout.
    device : str
        A torch device.
    resume : bool
        Go on after the last finished epoch; on the CPU the result is the one of an uninterrupted
        run, bit for bit.
    provenance : mapping, optional
        What the data are, for ``run.json``.

    Raises
    ------
    InputError
        If the folder holds another run, the device does not exist, or there are fewer than two
        samples a batch.
    """
    if min(len(data.xyz), config.training.batch_size) < 2:
        raise InputError(
            f"{folder}: expected batches of 2 training sequences at least, got {len(data.xyz)} "
            f"sequences and training.batch_size={config.training.batch_size}"
        )
    torch_device = find_device(device)
    x = torch.from_numpy(to_network(data.xyz, config.training.stream))
    hidden_frac = torch.from_numpy(data.hidden_frac)
    torch.manual_seed(seed)
    model = make_model(config).to(torch_device)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.training.learning_rate,
        weight_decay=config.training.weight_decay,
    )
    generator = torch.Generator().manual_seed(seed)
    described = describe_run(config, seed, provenance or {})
    start = _start_or_resume(folder, described, resume, model, optimizer, generator)
    metrics_path = folder / METRICS_FILE
    with SummaryWriter(str(folder)) as writer:
        progress = tqdm(range(start, config.training.epochs), folder.name, unit="epoch")
        for epoch in progress:
            began = time.perf_counter()
            means = _train_epoch(model, optimizer, x, hidden_frac, config, epoch, generator)
            _check_finite(means, epoch, folder)
            seconds = time.perf_counter() - began
            row = {"epoch": epoch + 1, **means, "seconds": seconds}
            with metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in means.items():
                writer.add_scalar(name, value, epoch + 1)
            writer.add_scalar("samples_per_s", len(x) / seconds, epoch + 1)
            progress.set_postfix(loss=f"{means['loss']:.2f}")
            save_checkpoint(folder / CHECKPOINT, epoch + 1, model, optimizer, generator)
    encoder: StgcnEncoder = model.encoder.eval()  # type: ignore[assignment]
    return encoder


def _train_epoch(
    model: Opstl,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    hidden_frac: Tensor,
    config: Config,
    epoch: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """Train on every sample but those of an incomplete last batch; return mean losses."""
    model.train()
    batch_size = min(config.training.batch_size, len(x))
    n_steps = len(x) // batch_size
    order = torch.randperm(len(x), generator=generator)
    device = model.degrees.device
    totals: dict[str, Tensor] = {}
    for step in range(n_steps):
        rate = learning_rate(epoch + (step + 1) / n_steps, config.training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = order[step * batch_size : (step + 1) * batch_size]
        parts = model(x[rows].to(device), hidden_frac[rows].to(device), generator)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()
        for name, value in parts.items():
            totals[name] = totals.get(name, torch.zeros((), device=device)) + value.detach()
    return {name: float(total) / n_steps for name, total in totals.items()} | {"rate": rate}


def _check_finite(means: Mapping[str, float], epoch: int, folder: Path) -> None:
    if not math.isfinite(means["loss"]):
        raise InputError(
            f"{folder}: the loss is {means['loss']} in epoch {epoch + 1}; the checkpoint of the "
            "epoch before is kept; lower training.learning_rate"
        )


def find_device(device: str) -> torch.device:
    """Return a torch device by name; raise InputError if this machine has none such."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device: expected a usable torch device, got '{device}': {reason}"
        ) from error


def describe_run(config: Config, seed: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``run.json`` holds."""
    return {
        "command": command_line(),
        "config": config_to_dict(config),
        "seed": seed,
        "provenance": dict(provenance),
        "versions": package_versions(),
    }


def command_line() -> str:
    """Return the command of this process without the folder of its program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def package_versions() -> dict[str, str]:
    """Return the versions that matter to a result."""
    found = {"python": platform.python_version()}
    for name in ("iospstl_ros", "torch", "numpy", "scikit-learn", "faiss-cpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _start_or_resume(
    folder: Path,
    described: Mapping[str, Any],
    resume: bool,
    model: Opstl,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Return the first epoch to train; refuse to overwrite or to mix runs."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / METRICS_FILE).unlink(missing_ok=True)
        write_json(folder / RUN_FILE, described)
        return 0
    if not resume:
        raise InputError(f"{folder}: holds a run already; give --resume or another --out")
    before = read_json(folder / RUN_FILE)
    now = json.loads(json.dumps(described))
    for key in ("seed", "provenance", *(f"config.{name}" for name in _SECTIONS)):
        if _value_at(before, key) != _value_at(now, key):
            raise InputError(
                f"{folder}: was started with another {key}; resume with the settings of "
                f"{folder / RUN_FILE} or choose another --out"
            )
    epoch = load_checkpoint(checkpoint, model, optimizer, generator)
    _drop_rows_after(folder / METRICS_FILE, epoch)
    return epoch


def _value_at(described: Mapping[str, Any], key: str) -> Any:
    """Return what stands under a key such as ``config.training``; None where nothing does."""
    value: Any = described
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _drop_rows_after(path: Path, epoch: int) -> None:
    """Remove metrics of an epoch whose checkpoint was never written."""
    rows = read_metrics(path.parent)
    path.write_text("".join(f"{row}\n" for row in rows[:epoch]), encoding="utf-8")


def training_seconds(folder: Path) -> float:
    """Return the time that the epochs of a run took, also over several sessions."""
    return float(sum(json.loads(row)["seconds"] for row in read_metrics(folder)))


def read_metrics(folder: Path) -> list[str]:
    """Return the finished epochs of a run as lines of JSON."""
    path = folder / METRICS_FILE
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def load_encoder(folder: Path) -> tuple[StgcnEncoder, Config]:
    """Return the trained encoder of a run folder, in eval mode, and its configuration."""
    if not (folder / CHECKPOINT).is_file():
        raise InputError(
            f"{folder}: expected a pre-training run with {CHECKPOINT}, got none; run: "
            "iospstl-train pretrain"
        )
    described = read_json(folder / RUN_FILE)
    config = config_from_dict(described["config"], str(folder / RUN_FILE))
    model = make_model(config)
    epoch = load_checkpoint(folder / CHECKPOINT, model)
    if epoch < config.training.epochs:
        raise InputError(
            f"{folder}: expected a finished run, got {epoch} of {config.training.epochs} epochs; "
            "finish it with --resume"
        )
    encoder: StgcnEncoder = model.encoder.eval()  # type: ignore[assignment]
    return encoder, config
