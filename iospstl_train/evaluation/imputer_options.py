"""What a table of imputers is asked for, and whether it can be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError
from iospstl_core.files import sha256_of
from iospstl_core.store import Occlusion, Store, find_occlusion
from iospstl_train.config import Config
from iospstl_train.evaluation.imputer_rows import ROWS, BaselineSettings
from iospstl_train.occlusion.kinds import KINDS
from iospstl_train.training.pretrain import find_device

STAGE_1 = ("clean", "none")
"""Rows of accuracy that complete nothing."""


@dataclass(frozen=True)
class TableOptions:
    """What a table is about.

    Attributes
    ----------
    store : Store
    occlusion : str
        Name of an occlusion of the store; one that is called like a kind is made if missing.
    out : Path
        Gets the table, a folder of results and, for each seed, the pre-trainings: those of
        ``iospstl-train pipeline --out OUT/seed-S`` with the same settings are taken over.
    config : Config
    settings : BaselineSettings
    rows : tuple of str
        Imputers, out of `iospstl_train.evaluation.imputer_rows.ROWS`.
    accuracy_rows : tuple of str
        Rows whose completed windows an encoder is pre-trained on; also "clean" and "none".
    seeds : tuple of int
    split : str, optional
        The store's first if left out.
    severity : float, optional
        Of an occlusion that is made, as its kind counts it.
    severities : tuple of float, optional
        Points of the curves: each is an occlusion of the store, NAME-SEVERITY, made if missing.
        `RATES` for a random occlusion if left out; for others the windows' own hidden shares.
    device : str
    again : tuple of str
        Rows of which everything is made again, pre-training of stage 2 included: for a row
        whose code has changed.
    """

    store: Store
    occlusion: str
    out: Path
    config: Config
    settings: BaselineSettings = field(default_factory=BaselineSettings)
    rows: tuple[str, ...] = tuple(ROWS)
    accuracy_rows: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1,)
    split: str | None = None
    severity: float | None = None
    severities: tuple[float, ...] | None = None
    device: str = "cpu"
    again: tuple[str, ...] = ()


def check_options(options: TableOptions) -> None:
    """Raise InputError where a table cannot be made as it was asked for."""
    unknown = [name for name in (*options.rows, *options.again) if name not in ROWS]
    if unknown or not options.rows:
        raise InputError(
            f"rows: expected some of {', '.join(ROWS)}, got {', '.join(unknown) or 'none'}"
        )
    allowed = (*STAGE_1, *options.rows)
    unknown = [name for name in options.accuracy_rows if name not in allowed]
    if unknown:
        raise InputError(
            f"accuracy rows: expected some of {', '.join(allowed)}, got {', '.join(unknown)}; "
            "add them to --rows"
        )
    for name in options.rows:
        ROWS[name].check()
    find_device(options.device)
    options.store.split(options.split)
    if options.occlusion not in KINDS:
        find_occlusion(options.store, options.occlusion)


def describe_data(options: TableOptions, occlusion: Occlusion) -> dict[str, Any]:
    """Return what windows a table is made from; the same words as in the pipeline."""
    mask = options.store.folder / "occlusion" / occlusion.name / "hidden.npy"
    return {
        "dataset": options.store.dataset,
        "split": options.split or options.store.default_split,
        "occlusion": occlusion.name,
        "mask_sha256": sha256_of(mask),
    }
