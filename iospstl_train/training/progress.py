"""Where a run is: all of it that is neither weights nor the optimizer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Progress:
    """Position and metrics of a run.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    step : int
        Finished steps of the epoch under way.
    seconds : float
        That they took.
    totals : dict of str to Tensor
        Sums over them of the losses and their parts.
    rows : list of str
        Metrics of the finished epochs.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, Tensor] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.step:
            return f"step {self.step} of epoch {self.epoch + 1}"
        return f"epoch {self.epoch}" if self.epoch else "no step"

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Count a step and add up its losses, where they are: nobody waits for them."""
        for name, value in parts.items():
            before = self.totals.get(name)
            self.totals[name] = value.detach() if before is None else before + value.detach()
        self.step += 1

    def finish_epoch(self, row: str) -> None:
        """Go to the start of the next epoch."""
        self.epoch += 1
        self.step, self.seconds, self.totals = 0, 0.0, {}
        self.rows.append(row)

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {**vars(self), "totals": dict(self.totals), "rows": list(self.rows)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Progress:
        """Return the progress of a checkpoint, its sums on the device."""
        totals = {name: value.to(device) for name, value in state["totals"].items()}
        numbers = (int(state["epoch"]), int(state["step"]), float(state["seconds"]))
        return cls(*numbers, totals, list(state["rows"]))
