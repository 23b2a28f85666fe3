"""The steps of a pre-training: from where a run is to its end, saved on the way."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from iospstl_core.errors import InputError
from iospstl_train.config import Config
from iospstl_train.methods.method import Method
from iospstl_train.settings import RATE_DROP, TrainingSettings
from iospstl_train.training.batches import Batch, Batches, PretrainData
from iospstl_train.training.checkpoint import save_checkpoint
from iospstl_train.training.failures import failures_named, find_bad
from iospstl_train.training.monitor import Monitor
from iospstl_train.training.positions import epoch_order, seed_dropout, step_generator
from iospstl_train.training.processes import Vote, process_index
from iospstl_train.training.progress import Progress
from iospstl_train.training.run_folder import CHECKPOINT, append_metrics
from iospstl_train.training.stopping import Interrupted, StopRequest


@dataclass(frozen=True)
class Training:
    """What all steps of a run share.

    Attributes
    ----------
    folder : Path
    config : Config
    seed : int
    data : PretrainData
    device : torch.device
    batches : Batches
    model : Method
        Its weights are saved.
    stepper : Module
        Computes the losses of a batch; its gradients are those of all processes.
    optimizer : Optimizer
    """

    folder: Path
    config: Config
    seed: int
    data: PretrainData
    device: torch.device
    batches: Batches
    model: Method
    stepper: nn.Module
    optimizer: torch.optim.Optimizer


def learning_rate(epoch: float, settings: TrainingSettings) -> float:
    """Return the rate at a time in epochs: a linear warm-up, then a cosine to 0 or one drop."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * epoch / settings.warmup_epochs
    if settings.schedule == "drop":
        return settings.learning_rate * (RATE_DROP if epoch >= settings.drop_epoch else 1.0)
    span = max(settings.epochs - settings.warmup_epochs, 1)
    return (
        settings.learning_rate
        * 0.5
        * (1 + math.cos(math.pi * (epoch - settings.warmup_epochs) / span))
    )


def steps_between_looks(device: torch.device) -> int:
    """Return after how many steps losses are looked at: a look waits for an accelerator."""
    return 1 if device.type == "cpu" else 50


class Loop:
    """Takes a run from where it is to its end.

    Owns the progress, what is shown of it, and when it is saved.

    Parameters
    ----------
    training : Training
    progress : Progress
    request : StopRequest
        Whether a signal asks for the end.
    """

    def __init__(self, training: Training, progress: Progress, request: StopRequest) -> None:
        self.training = training
        self.progress = progress
        self._request = request
        self._settings = training.config.training
        self._is_first = process_index() == 0
        self._vote = Vote()
        self._losses: list[Tensor] = []  # since the last look
        self._saved_at, self._saved = time.monotonic(), str(progress)
        self._began = time.perf_counter()

    def run(self) -> None:
        """Train to the end.

        Raises
        ------
        InputError
            If a loss is no number, or something cannot be written; earlier checkpoints stay.
        Interrupted
            After a signal, when everything is saved.
        """
        with failures_named(self.training.folder), self._monitor() as monitor, self._bar() as bar:
            while self.progress.epoch < self._settings.epochs:
                means = self._run_epoch(bar)
                self._finish_epoch(means, monitor)
                self._save()
                if self._vote.any_now(self._request.number is not None):
                    self._stop()

    def _run_epoch(self, bar: tqdm[Any]) -> dict[str, float]:
        """Take the steps of the epoch that are still to be taken; return its mean losses."""
        training, progress = self.training, self.progress
        n_steps = training.batches.n_steps
        order = epoch_order(training.seed, progress.epoch, training.batches.n_windows)
        self._began = time.perf_counter() - progress.seconds
        training.model.train()
        training.model.begin_epoch(progress.epoch)
        for step, batch in training.batches.steps(order, progress.step):
            self._losses.append(self._take_step(step, batch))
            bar.update(len(batch.hidden_frac))
            if len(self._losses) == steps_between_looks(training.device):
                self._look(bar)
            if progress.step < n_steps:
                self._save_or_stop(bar)
        self._look(bar)
        means = {name: float(total) / n_steps for name, total in progress.totals.items()}
        return means | {"rate": self._rate(n_steps)}

    def _rate(self, step: int) -> float:
        if self._settings.rate_by == "epoch":
            return learning_rate(self.progress.epoch, self._settings)
        epoch = self.progress.epoch + step / self.training.batches.n_steps
        return learning_rate(epoch, self._settings)

    def _take_step(self, step: int, batch: Batch) -> Tensor:
        """Train on one batch; return its loss, which may still be under way."""
        training, epoch = self.training, self.progress.epoch
        for group in training.optimizer.param_groups:
            group["lr"] = self._rate(step + 1)
        seed_dropout(training.seed, epoch, step, process_index())
        generator = step_generator(training.seed, epoch, step)
        parts: dict[str, Tensor] = training.stepper(batch.x, batch, generator)
        training.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        training.optimizer.step()
        self.progress.add(parts)
        return parts["loss"].detach()

    def _look(self, bar: tqdm[Any]) -> None:
        """Look at the losses since the last look: all must be numbers; show the newest."""
        if not self._losses:
            return
        losses = torch.stack(self._losses).tolist()
        first = self.progress.step - len(losses) + 1
        self._losses.clear()
        bad = find_bad(losses)
        if bad is not None:
            raise InputError(
                f"{self.training.folder}: the loss is {losses[bad]} in step {first + bad} of "
                f"epoch {self.progress.epoch + 1}; what was saved after {self._saved} is kept; "
                "lower training.learning_rate"
            )
        epoch = f"{self.progress.epoch + 1}/{self._settings.epochs}"
        bar.set_postfix(epoch=epoch, loss=f"{losses[-1]:.2f}", refresh=False)

    def _save_or_stop(self, bar: tqdm[Any]) -> None:
        """Save within an epoch if it is time to, or if a signal came to any process."""
        must_stop = self._vote.any_before(self._request.number is not None)
        is_due = time.monotonic() - self._saved_at >= 60 * self._settings.checkpoint_minutes
        if must_stop or (is_due and self._is_first):
            self._look(bar)
            self._save()
        if must_stop:
            self._stop()

    def _finish_epoch(self, means: Mapping[str, float], monitor: Monitor | None) -> None:
        """Write the row of an epoch and go on to the next one."""
        training, progress = self.training, self.progress
        seconds = time.perf_counter() - self._began
        n_samples = training.batches.n_samples
        row = ""
        if monitor is not None:
            epoch = progress.epoch + 1
            shown = monitor.epoch(epoch, means, seconds, n_samples, training.model)
            row = json.dumps({"epoch": epoch, **shown, "seconds": seconds})
            append_metrics(training.folder, row)
        progress.finish_epoch(row)

    def _save(self) -> None:
        if self._is_first:
            if self.progress.step:
                self.progress.seconds = time.perf_counter() - self._began
            state = {
                "model": self.training.model.state_dict(),
                "optimizer": self.training.optimizer.state_dict(),
                **self.progress.to_state(),
            }
            keep = self._settings.keep_checkpoints
            save_checkpoint(self.training.folder / CHECKPOINT, state, keep)
        self._saved_at, self._saved = time.monotonic(), str(self.progress)

    def _stop(self) -> None:
        number = self._request.number or signal.SIGTERM  # of another process
        raise Interrupted(number, f"{self.training.folder}: saved after {self.progress}")

    @contextmanager
    def _monitor(self) -> Iterator[Monitor | None]:
        """Yield what watches the run, in the first process only."""
        training = self.training
        if not self._is_first:
            yield None
            return
        with Monitor(training.folder, training.data, training.config, training.device) as monitor:
            yield monitor

    def _bar(self) -> tqdm[Any]:
        """Return the bar of the whole run: samples a second, time left, newest loss."""
        batches, progress = self.training.batches, self.progress
        done = progress.epoch * batches.n_samples + progress.step * batches.batch_size
        return tqdm(
            desc=self.training.folder.name,
            total=self._settings.epochs * batches.n_samples,
            initial=done,
            unit=" samples",
            unit_scale=True,
            disable=not self._is_first,
        )
