"""Batches of training windows: resident on the device, or streamed to it ahead of their step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iospstl_core.errors import InputError
from iospstl_core.streams import to_network
from iospstl_train.data.windows import WindowSet
from iospstl_train.methods.mask_views import mask_pool
from iospstl_train.settings import TrainingSettings
from iospstl_train.training.memory import free_memory
from iospstl_train.training.processes import n_processes, process_index

FloatArray = NDArray[np.float32]

_CHUNK = 1024
_AHEAD = 2
_SHARE = 0.5
"""Of the free memory that training windows may take; the rest is for the networks."""


@dataclass(frozen=True)
class PretrainData:
    """Training windows of one run.

    Attributes
    ----------
    xyz : ndarray of shape (n, n_frames, n_persons, n_joints, 3), float32
        NaN where a network shall see a 0. May be memory-mapped.
    hidden_frac : ndarray of shape (n, n_joints), float32
        As of `iospstl_train.data.windows.WindowSet.hidden_frac`.
    hidden : ndarray of shape (n, n_frames, n_persons, n_joints), bool, optional
        What the sensor did not see, also where `xyz` has been completed since: the masks of
        encoders with mask tokens, which need it.
    label : ndarray of shape (n,), int64, optional
        Classes, for those who watch the training; it does not see them.
    """

    xyz: FloatArray
    hidden_frac: FloatArray
    hidden: NDArray[np.bool_] | None = None
    label: NDArray[np.int64] | None = None

    def mask_pool(self) -> Tensor:
        """Return what single persons have hidden, (n_masks, n_frames, n_joints)."""
        if self.hidden is None:
            raise ValueError("hidden: expected the masks of the training windows, got None")
        return mask_pool(torch.from_numpy(self.hidden))


def training_data(windows: WindowSet, occluded: WindowSet) -> PretrainData:
    """Return the training side of windows, which may be completed, with what was hidden."""
    train = windows.is_train
    return PretrainData(
        windows.xyz[train],
        occluded.hidden_frac()[train],
        occluded.unseen[train],
        windows.label[train],
    )


@dataclass(frozen=True)
class Batch:
    """What one step works on.

    Attributes
    ----------
    x : Tensor of shape (n_local, 3, t, v, m)
        Rows of this process, on the device.
    present : Tensor of shape (n_local, m), bool
        Whether any value of a person is not 0; on the CPU.
    hidden_frac : Tensor of shape (n, v)
        Of the whole batch of all processes, on the CPU, where all draws are made.
    rows : slice
        Rows of this process in the whole batch.
    """

    x: Tensor
    present: Tensor
    hidden_frac: Tensor
    rows: slice


class Batches:
    """Training windows as the batches of every epoch.

    Parameters
    ----------
    data : PretrainData
    settings : TrainingSettings
        Batches are those of all processes together, or all windows if there are fewer.
    device : torch.device

    Raises
    ------
    InputError
        If a batch cannot be divided evenly among the processes.
    """

    def __init__(
        self,
        data: PretrainData,
        settings: TrainingSettings,
        device: torch.device,
    ) -> None:
        self.batch_size = min(settings.batch_size, len(data.xyz))
        self.n_windows = len(data.xyz)
        self.n_samples = samples_an_epoch(self.n_windows, settings)
        self.n_steps = -(-self.n_samples // self.batch_size)
        self._xyz = data.xyz
        self._stream = settings.stream
        self._hidden_frac = torch.from_numpy(data.hidden_frac)
        self._device = device
        own_rows(self.batch_size)  # or an error
        self.is_resident = settings.data == "resident" or (
            settings.data == "auto" and fits(data.xyz, device)
        )
        if self.is_resident:
            self._x, self._present = self._load()

    def steps(self, order: Tensor, first: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield step and batch from a step on; the last one may be smaller.

        `order` (n_windows,) is on the CPU.
        """
        steps = range(first, self.n_steps)
        own = [self._own(order, step) for step in steps]
        parts = self._take(own) if self.is_resident else self._fetch(own)
        for step, (x, present) in zip(steps, parts, strict=True):
            frac = self._hidden_frac[self._of_step(order, step)]
            yield step, Batch(x, present, frac, own_rows(len(frac)))

    def _of_step(self, order: Tensor, step: int) -> Tensor:
        end = min((step + 1) * self.batch_size, self.n_samples)
        return order[step * self.batch_size : end]

    def _own(self, order: Tensor, step: int) -> Tensor:
        rows = self._of_step(order, step)
        return rows[own_rows(len(rows))]

    def _load(self) -> tuple[Tensor, Tensor]:
        """Bring all windows to the device, piece by piece: twice their size would be too much."""
        starts = range(0, self.n_windows, _CHUNK)
        pieces = ((start, self._prepare(slice(start, start + _CHUNK))) for start in starts)
        x, present = torch.zeros(0), torch.zeros(0)
        for start, (some, there) in pieces:
            if start == 0:
                x = torch.zeros(self.n_windows, *some.shape[1:], device=self._device)
                present = torch.zeros(self.n_windows, there.shape[1], dtype=torch.bool)
            x[start : start + _CHUNK] = some.to(self._device)
            present[start : start + _CHUNK] = there
        return x, present

    def _take(self, own: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches out of the device's memory; their rows go there once for all steps."""
        if own:
            on_device = torch.split(torch.cat(own).to(self._device), [len(rows) for rows in own])
            for rows, there in zip(own, on_device, strict=True):
                yield self._x[there], self._present[rows]

    def _fetch(self, own: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches that a thread prepared while the steps before them ran."""
        coming: deque[Future[tuple[Tensor, Tensor]]] = deque()
        with ThreadPoolExecutor(1, "batches") as pool:
            for index in range(len(own) + _AHEAD):
                if index < len(own):
                    coming.append(pool.submit(self._prepare, own[index].numpy()))
                if index >= _AHEAD:
                    x, present = coming.popleft().result()
                    yield x.to(self._device, non_blocking=True), present

    def _prepare(self, rows: slice | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return some windows as a network takes them, and which persons are there."""
        x = torch.from_numpy(to_network(self._xyz[rows], self._stream))
        present = (x != 0).any(dim=(1, 2, 3))
        return (x.pin_memory() if self._device.type == "cuda" else x), present


def samples_an_epoch(n_windows: int, settings: TrainingSettings) -> int:
    """Return how many of the windows the batches of an epoch hold."""
    batch_size = min(settings.batch_size, n_windows)
    rest = n_windows % batch_size
    kept = rest - rest % n_processes()
    is_kept = settings.last_batch == "keep" and kept > 1
    return n_windows - rest + (kept if is_kept else 0)


def own_rows(batch_size: int) -> slice:
    """Return the rows of this process in a batch of all processes."""
    n, index = n_processes(), process_index()
    if batch_size % n:
        raise InputError(
            f"training.batch_size: expected a multiple of the {n} processes, got {batch_size} "
            "(or there are no more windows); change the one or the other"
        )
    size = batch_size // n
    return slice(index * size, (index + 1) * size)


def fits(xyz: FloatArray, device: torch.device) -> bool:
    """Return whether windows should be resident: half of the free memory is enough for them."""
    if device.type == "cpu" and isinstance(xyz, np.memmap):
        return False
    n_copies = 1 if device.type == "cuda" else n_processes()
    free = free_memory(device)
    return free is None or xyz.nbytes * n_copies <= _SHARE * free
