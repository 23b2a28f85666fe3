"""Time and memory of bank building and imputation on a simulated data set as large as NTU-60.

    python benchmarks/imputer_scale.py --workers 2

Arrays are memory-mapped in a temporary folder that is deleted at the end: 3.2 GB by default.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from iospstl_core.imputation.fill import CellSource
from iospstl_core.skeleton import NTU_25
from iospstl_train.bank_on_disk import build_bank_on_disk
from iospstl_train.cluster_fill import fill_clusters

N_FRAMES, N_PERSONS, N_JOINTS = 50, 2, 25
N_HARMONICS = 6
ALONE_FRAC = 0.8
JOINT_HIDDEN_FRAC = 0.15
"""Joints hidden all the time; with the blocks below about 35 % of the cells are hidden."""
BLOCK_JOINT_FRAC = 0.5
"""Joints hidden during a block of frames."""
MAX_BLOCK_FRAMES = 46
BLOCK = 256
SAMPLE_S = 0.2

Array = NDArray[Any]


@dataclass
class Peak:
    """Highest resident memory of this process and all below it, in MiB."""

    total: float = 0.0
    anonymous: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One measured step."""

    name: str
    seconds: float
    peak: Peak


def main() -> None:
    """Print a table, and write JSON if asked to."""
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="imputer-scale-", dir=options.folder) as name:
        folder = Path(name)
        xyz, present, cluster = simulate(folder, options.sequences, options.clusters)
        hidden_frac = share_hidden(xyz, present)
        (folder / "bank").mkdir()
        with measure("bank") as bank_stages:
            bank = build_bank_on_disk(folder / "bank", xyz, cluster, options.clusters)
        with measure("imputation") as fill_stages:
            filled = fill_clusters(
                bank,
                xyz,
                present,
                cluster,
                n_workers=options.workers,
                device=options.device,
                out=folder / "imputed",
            )
        cells = count_sources(filled.source)
    stages = bank_stages + fill_stages
    print_table(stages, options, hidden_frac, cells)
    if options.json:
        found = {
            "sequences": options.sequences,
            "clusters": options.clusters,
            "workers": options.workers,
            "device": options.device,
            "hidden_frac": hidden_frac,
            "cells": cells,
            "stages": [asdict(stage) for stage in stages],
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=40091, help="default: as in NTU-60 xsub")
    parser.add_argument("--clusters", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--device", help="torch device; NumPy if left out")
    parser.add_argument("--folder", type=Path, help="where to simulate (default: temporary)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--quick", action="store_true", help="600 sequences of 6 clusters")
    options = parser.parse_args()
    if options.quick:
        options.sequences, options.clusters = 600, 6
    return options


def simulate(folder: Path, n_sequences: int, n_clusters: int) -> tuple[Array, Array, Array]:
    """Write windows and who is there, and return them memory-mapped, with their clusters."""
    rng = np.random.default_rng(0)
    shape = (n_sequences, N_FRAMES, N_PERSONS, N_JOINTS, 3)
    xyz = open_memmap(folder / "xyz.npy", "w+", np.float32, shape)
    present = open_memmap(folder / "present.npy", "w+", np.bool_, shape[:3])
    size = rng.uniform(0.5, 1.5, n_clusters)  # clusters of k-means are not equally large
    cluster = rng.choice(n_clusters, n_sequences, p=size / size.sum())
    actions = rng.normal(0, 0.15, (n_clusters, N_PERSONS, N_HARMONICS, N_JOINTS * 3))
    for start in tqdm(range(0, n_sequences, BLOCK), desc="simulate"):
        rows = slice(start, start + BLOCK)
        xyz[rows], present[rows] = make_windows(actions[cluster[rows]], rng)
    paths = (folder / "xyz.npy", folder / "present.npy")
    del xyz, present
    windows, there = (np.load(path, mmap_mode="r") for path in paths)
    return windows, there, cluster


def make_windows(action: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return smooth movements around the resting pose with cells hidden, and who is there.

    `action` (n, n_persons, n_harmonics, n_joints * 3) is the movement of the class in metres.
    """
    phase = np.linspace(0, np.pi, N_FRAMES)[:, None] * np.arange(N_HARMONICS)
    amount = rng.uniform(0.6, 1.4, (len(action), 1, 1, 1))
    own = rng.normal(0, 0.06, action.shape) / (1 + np.arange(N_HARMONICS))[:, None]
    moved = np.einsum("fh,nphc->nfpc", np.cos(phase), amount * action + own, optimize=True)
    xyz = moved.reshape(*moved.shape[:3], N_JOINTS, 3) + np.asarray(NTU_25.rest_m)
    present = np.ones(xyz.shape[:3], dtype=bool)
    present[rng.random(len(xyz)) < ALONE_FRAC, :, 1] = False
    xyz[~present] = np.nan
    xyz[draw_hidden(rng, len(xyz))] = np.nan
    return xyz.astype(np.float32), present


def draw_hidden(rng: np.random.Generator, n: int) -> Array:
    """Choose joints hidden in all frames and others in a block of frames, (n, F, P, J), bool."""
    one = (n, 1, N_PERSONS, 1)
    always = rng.random((n, 1, N_PERSONS, N_JOINTS)) < JOINT_HIDDEN_FRAC
    length = rng.integers(1, MAX_BLOCK_FRAMES + 1, one)
    start = (rng.random(one) * (N_FRAMES - length + 1)).astype(int)
    frame = np.arange(N_FRAMES)[:, None, None]
    in_block = (frame >= start) & (frame < start + length)
    return always | (in_block & (rng.random((n, 1, N_PERSONS, N_JOINTS)) < BLOCK_JOINT_FRAC))


def share_hidden(xyz: Array, present: Array) -> float:
    """Return the share of the cells of present persons that are not observed."""
    hidden = total = 0
    for start in range(0, len(xyz), BLOCK):
        rows = slice(start, start + BLOCK)
        hidden += int((np.isnan(xyz[rows][..., 0]) & present[rows][..., None]).sum())
        total += int(present[rows].sum()) * N_JOINTS
    return hidden / total


def count_sources(source: Array) -> dict[str, int]:
    """Return how many cells came from each source, without holding them all."""
    totals = np.zeros(len(CellSource), dtype=np.int64)
    for start in range(0, len(source), BLOCK):
        cells = source[start : start + BLOCK].ravel()
        totals += np.bincount(cells, minlength=len(CellSource))
    return {kind.name.lower(): int(totals[kind]) for kind in CellSource if totals[kind]}


@contextmanager
def measure(name: str) -> Iterator[list[Stage]]:
    """Yield a list that holds the stage when the block has ended."""
    stages: list[Stage] = []
    peak, done = Peak(), threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(peak, done))
    watcher.start()
    start = time.perf_counter()
    try:
        yield stages
    finally:
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    stages.append(Stage(name, seconds, peak))


def watch_memory(peak: Peak, done: threading.Event) -> None:
    """Sample the memory of the tree of processes until done; stays 0 where there is no /proc."""
    while not done.wait(SAMPLE_S):
        sizes = [resident_kib(pid) for pid in process_tree()]
        peak.total = max(peak.total, sum(size[0] for size in sizes) / 1024)
        peak.anonymous = max(peak.anonymous, sum(size[1] for size in sizes) / 1024)


def process_tree() -> list[Path]:
    """Return the /proc folders of this process and of all below it."""
    parents: dict[str, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[folder.name] = fields[1]
    own = Path("/proc/self").resolve().name
    tree = [own] if own in parents else []
    for pid in tree:  # grows meanwhile
        tree += [child for child, parent in parents.items() if parent == pid]
    return [Path("/proc", pid) for pid in tree]


def resident_kib(process: Path) -> tuple[int, int]:
    """Return all resident memory of a process and its own pages, without those of mapped files."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:  # it has ended
        return 0, 0
    sizes = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmR", "R"))
    }
    return int(sizes.get("VmRSS", 0)), int(sizes.get("RssAnon", 0))


def print_table(
    stages: list[Stage], options: argparse.Namespace, hidden_frac: float, cells: dict[str, int]
) -> None:
    """Print what was measured as Markdown."""
    print(
        f"{options.sequences} sequences, {options.clusters} clusters, {hidden_frac:.1%} hidden, "
        f"{options.workers} workers, {options.device or 'NumPy'}\n"
    )
    print("| step | seconds | peak memory, MiB | of it not mapped files, MiB |")
    print("| --- | --- | --- | --- |")
    for stage in stages:
        peak = stage.peak
        print(f"| {stage.name} | {stage.seconds:.1f} | {peak.total:.0f} | {peak.anonymous:.0f} |")
    print("\n" + ", ".join(f"{name} {count}" for name, count in cells.items()))


if __name__ == "__main__":
    main()
