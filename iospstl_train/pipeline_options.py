"""What one run of the pipeline is about, and that a folder holds runs of one kind only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError
from iospstl_core.files import read_json, sha256_of, write_json
from iospstl_core.store import Occlusion, Store, find_occlusion
from iospstl_train.config import Config, config_from_dict, config_to_dict
from iospstl_train.imputing import METHODS
from iospstl_train.occlusion.kinds import KINDS
from iospstl_train.training.pretrain import find_device

ROWS = ("clean", *METHODS)


@dataclass(frozen=True)
class PipelineOptions:
    """What one run of the pipeline is about.

    Attributes
    ----------
    store : Store
    occlusion : str
        Name of an occlusion of the store; one that is called like a kind is made if missing.
    out : Path
        Run folder.
    config : Config
    split : str, optional
        Name of a split of the store; its first if left out.
    rows : tuple of str
        Rows of the table, out of `ROWS`; "none" is always there, it is stage 1.
    bundle_row : str
        Imputer whose stage-2 network goes into the bundle.
    seed : int
        Of training. Occlusion has its own.
    occlusion_seed : int, optional
    severity : float, optional
        Of an occlusion that is made, as its kind counts it.
    source : Path, optional
        What such an occlusion draws from: a folder of meshes, a recording.
    device : str
    """

    store: Store
    occlusion: str
    out: Path
    config: Config
    split: str | None = None
    rows: tuple[str, ...] = ROWS
    bundle_row: str = "restore"
    seed: int = 1
    occlusion_seed: int | None = None
    severity: float | None = None
    source: Path | None = None
    device: str = "cpu"


def check_options(options: PipelineOptions) -> None:
    """Raise InputError if an option is wrong, before anything is done."""
    unknown = [name for name in (*options.rows, options.bundle_row) if name not in ROWS]
    if unknown:
        raise InputError(f"rows: expected some of {', '.join(ROWS)}, got {', '.join(unknown)}")
    exportable = [name for name in options.rows if name not in ("clean", "random", "none")]
    if options.bundle_row not in exportable:
        raise InputError(
            f"bundle row: expected one of the rows {', '.join(exportable)}, "
            f"got '{options.bundle_row}'"
        )
    find_device(options.device)
    options.store.split(options.split)
    if options.occlusion not in KINDS:
        find_occlusion(options.store, options.occlusion)


def make_provenance(options: PipelineOptions, occlusion: Occlusion) -> dict[str, Any]:
    """Return what the data of a run are."""
    split = options.split or options.store.default_split
    mask = options.store.folder / "occlusion" / occlusion.name / "hidden.npy"
    return {
        "dataset": options.store.dataset,
        "split": split,
        "occlusion": occlusion.name,
        "mask_sha256": sha256_of(mask),
    }


def claim_folder(options: PipelineOptions, provenance: Mapping[str, Any]) -> None:
    """Write the options into a new run folder, or compare them with those that are there."""
    described = {
        **provenance,
        "config": config_to_dict(options.config),
        "seed": options.seed,
        "n_sequences": len(options.store),
    }
    path = options.out / "pipeline.json"
    if path.is_file():
        before = read_json(path)
        known = config_from_dict(before.get("config", {}), str(path))
        before["config"] = _as_json(config_to_dict(known))  # an older release had fewer settings
        changed = [key for key in described if before.get(key) != _as_json(described[key])]
        if changed:
            raise InputError(
                f"{options.out}: holds a run with another {', '.join(changed)}; repeat its "
                "options to go on with it, or choose another --out"
            )
    write_json(path, described)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
