"""What a run shows of itself besides its progress: TensorBoard events, and its embeddings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from iospstl_core.skeleton import NTU_25
from iospstl_train.config import Config
from iospstl_train.evaluation.probe import effective_rank, neighbor_accuracy
from iospstl_train.methods.method import Method
from iospstl_train.training.batches import PretrainData
from iospstl_train.training.embed import embed_here
from iospstl_train.training.run_folder import read_metrics

MAX_PROBED = 1024
"""Training windows that are embedded to look at rank and neighbors."""
COLLAPSED = 0.04
"""Embeddings whose rank is below this share of their features have collapsed: untrained encoders
reach 0.13 and trained ones 0.35 on Northwestern-UCLA."""


class Monitor:
    """Writes TensorBoard events of a run, from the epochs on that its metrics already hold.

    Every `probe_epochs` epochs, and after the last one, it embeds some training windows: the rank
    of their embeddings tells a collapse, and neighbors of known class tell whether the training is
    worth its time.

    Parameters
    ----------
    folder : Path
        Run folder.
    data : PretrainData
        Its labels, if there are any, serve the neighbors only.
    config : Config
    device : torch.device
    """

    def __init__(
        self, folder: Path, data: PretrainData, config: Config, device: torch.device
    ) -> None:
        self._folder = folder
        self._settings = config.training
        spread = np.linspace(0, len(data.xyz) - 1, MAX_PROBED)
        self._probed = np.unique(spread.astype(np.int64))
        self._data = data
        self._device = device
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
        model: Method,
    ) -> dict[str, float]:
        """Show a finished epoch (from 1 on); return what its row in the metrics shall hold."""
        row = dict(means)
        every = self._settings.probe_epochs
        if every and (epoch % every == 0 or epoch == self._settings.epochs):
            row.update(self._look_at_embeddings(epoch, model))
        shown = {**row, "samples_per_s": n_samples / seconds, **self._memory()}
        for name, value in shown.items():
            self._writer.add_scalar(name, value, epoch)
        for name, share in zip(NTU_25.joints, model.drawn_masks.take(), strict=True):
            self._writer.add_scalar(f"masked/{name}", share, epoch)
        self._writer.flush()
        return row

    def _memory(self) -> dict[str, float]:
        """Most memory of the device that was in use, where the device tells."""
        if self._device.type != "cuda":
            return {}
        return {"peak_memory_gb": torch.cuda.max_memory_allocated(self._device) / 1e9}

    def _look_at_embeddings(self, epoch: int, model: Method) -> dict[str, float]:
        """Rank of the embeddings, and how well one half of them labels the other."""
        xyz = self._data.xyz[self._probed]
        features = embed_here(model.encoder, xyz, self._settings.stream)
        found = {"embedding_rank": effective_rank(features)}
        if not found["embedding_rank"] >= COLLAPSED * min(features.shape):
            self._warn_of_collapse(epoch, found["embedding_rank"], features.shape[1], model)
        if self._data.label is not None and len(features) > 1:
            label: NDArray[np.int64] = self._data.label[self._probed]
            halves = [(features[start::2], label[start::2]) for start in (0, 1)]
            found["neighbor_accuracy"] = neighbor_accuracy(*halves)
        return found

    def _warn_of_collapse(self, epoch: int, rank: float, n_features: int, model: Method) -> None:
        tqdm.write(
            f"warning: {self._folder}: epoch {epoch}: the embeddings collapse, they fill "
            f"{rank:.1f} of {n_features} dimensions; {model.remedy}",
            file=sys.stderr,
        )
