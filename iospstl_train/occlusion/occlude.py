"""``iospstl-train occlude``: hide part of every sequence of a store, beside its coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.random_cells import hide_random_cells
from iospstl_core.skeleton import NTU_25, SkeletonLayout, joint_sources
from iospstl_core.store import Occlusion, Store, find_occlusion
from iospstl_train.data.store import write_occlusion
from iospstl_train.occlusion.furniture import load_meshes
from iospstl_train.occlusion.placement import PlacedObject, RealisticSettings
from iospstl_train.occlusion.realistic import hide_behind_furniture
from iospstl_train.parallel import map_in_order

BoolArray = NDArray[np.bool_]
KINDS = ("realistic", "random")
DEFAULT_FRACTION = 0.1

_FEET = ("AnkleLeft", "FootLeft", "AnkleRight", "FootRight")


def occlude(
    store: Store,
    name: str,
    kind: str,
    seed: int,
    settings: RealisticSettings,
    fraction: float = DEFAULT_FRACTION,
    meshes: Path | None = None,
    n_workers: int | None = None,
) -> Occlusion:
    """Hide joints of every sequence and store the masks.

    Parameters
    ----------
    store : Store
    name : str
        Name of the occlusion within the store; an older one of that name is replaced.
    kind : {"realistic", "random"}
        Furniture between camera and body, or a share of the observed cells.
    seed : int
        Each sequence draws from its own generator, so that results do not depend on the workers.
    settings : RealisticSettings
        Of the realistic kind.
    fraction : float
        Share of cells of the random kind.
    meshes : Path, optional
        Folder of OBJ, STL, PLY or GLB files instead of generated furniture.
    n_workers : int, optional
        Processes; all cores if left out.
    """
    if kind == "random":
        work = partial(_hide_random, store, seed, fraction)
        described: dict[str, Any] = {"fraction": fraction}
    else:
        loaded = load_meshes(meshes) if meshes is not None else None
        work = partial(_hide_realistic, store, seed, settings, loaded)
        described = {"settings": asdict(settings), "meshes": sorted(loaded) if loaded else None}
    manifest: dict[str, Any] = {"kind": kind, "seed": seed, **described, "sequences": []}

    def masks() -> Iterator[BoolArray]:
        hidden_cells = np.zeros((store.n_persons, store.layout.n_joints))
        observed_cells = np.zeros_like(hidden_cells)
        results = map_in_order(work, range(len(store)), f"occlude {name}", n_workers)
        for index, (hidden, objects) in enumerate(results):
            observed = ~np.isnan(store.sequence(index)[0][..., 0])
            share = float(hidden.sum() / max(observed.sum(), 1))
            described_objects = [asdict(item) for item in objects]
            manifest["sequences"].append({"hidden_frac": share, "objects": described_objects})
            hidden_cells += hidden.sum(axis=0)
            observed_cells += observed.sum(axis=0)
            yield hidden
        manifest["hidden_frac"] = float(hidden_cells.sum() / max(observed_cells.sum(), 1))
        per_joint = hidden_cells.sum(axis=0) / np.maximum(observed_cells.sum(axis=0), 1)
        manifest["hidden_frac_by_joint"] = dict(
            zip(store.layout.joints, per_joint.round(4).tolist(), strict=True)
        )

    write_occlusion(store, name, masks(), manifest)
    return find_occlusion(store, name)


def find_or_make_occlusion(
    store: Store,
    name: str,
    settings: RealisticSettings,
    seed: int | None = None,
    fraction: float | None = None,
    meshes: Path | None = None,
) -> Occlusion:
    """Return an occlusion of a store; make it if it is missing and named like a kind.

    Parameters
    ----------
    store, name, settings, meshes
        As of `occlude`.
    seed, fraction : optional
        0 and `DEFAULT_FRACTION` where it is made.

    Raises
    ------
    InputError
        If it is missing and not named like a kind, or was made with another seed or fraction.
    """
    if fraction is not None and not 0 <= fraction < 1:
        raise InputError(f"--fraction: expected 0 <= fraction < 1, got {fraction}")
    try:
        found = find_occlusion(store, name)
    except InputError:
        if name not in KINDS:
            raise
        share = DEFAULT_FRACTION if fraction is None else fraction
        return occlude(store, name, name, seed or 0, settings, share, meshes)
    for key, wanted in (("seed", seed), ("fraction", fraction)):
        if wanted is not None and found.manifest.get(key) != wanted:
            raise InputError(
                f"occlusion {name}: expected the {key} {wanted}, got {found.manifest.get(key)} in "
                "the one that is there; make another one with: iospstl-train occlude --name NAME"
            )
    return found


def _hide_random(
    store: Store, seed: int, fraction: float, index: int
) -> tuple[BoolArray, list[PlacedObject]]:
    xyz, _ = store.sequence(index)
    return hide_random_cells(~np.isnan(xyz[..., 0]), fraction, _generator(seed, index)), []


def _hide_realistic(
    store: Store,
    seed: int,
    settings: RealisticSettings,
    meshes: dict[str, trimesh.Trimesh] | None,
    index: int,
) -> tuple[BoolArray, list[PlacedObject]]:
    xyz, present = store.sequence(index)
    feet = _foot_joints(store.layout)
    return hide_behind_furniture(xyz, present, _generator(seed, index), meshes, settings, feet)


def _foot_joints(layout: SkeletonLayout) -> list[int]:
    """Ankles and feet of any layout, by their common names."""
    sources = joint_sources(layout, NTU_25)
    found = [int(sources[NTU_25.index(name)]) for name in _FEET]
    return [joint for joint in found if joint >= 0]


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, index]))
