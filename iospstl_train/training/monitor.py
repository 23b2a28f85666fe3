"""What a run shows of itself besides its progress: TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from iospstl_train.config import Config
from iospstl_train.training.batches import PretrainData
from iospstl_train.training.run_folder import read_metrics


class Monitor:
    """Writes TensorBoard events of a run, from the epochs on that its metrics already hold.

    Parameters
    ----------
    folder : Path
    data : PretrainData
    config : Config
    device : torch.device
    """

    def __init__(
        self, folder: Path, data: PretrainData, config: Config, device: torch.device
    ) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=len(read_metrics(folder)) + 1)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def epoch(
        self,
        epoch: int,
        means: Mapping[str, float],
        seconds: float,
        n_samples: int,
        model: nn.Module,
    ) -> dict[str, Any]:
        """Show a finished epoch (from 1 on); return what its row in the metrics shall hold."""
        for name, value in means.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.add_scalar("samples_per_s", n_samples / seconds, epoch)
        self._writer.flush()
        return dict(means)
