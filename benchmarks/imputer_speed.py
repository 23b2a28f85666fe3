"""Time the KNN imputer against scikit-learn's, and one window at a time as on a robot.

    python benchmarks/imputer_speed.py --json speed.json
    OMP_NUM_THREADS=1 python benchmarks/imputer_speed.py --only live

``batch``: a cluster of training sequences, each filled from all of them, by `ClusterKnnImputer`
and by ``KNNImputer`` of scikit-learn, in turn and with the same number of threads. Both fill
everything, absent persons too; the results are compared. ``live``: windows that come one by one,
against a bank on disk of the size of NTU RGB+D 60. Sequences are generated: smooth motion, a box
before each person that stands still, and a second person who is absent from most.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import sklearn
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from sklearn.impute import KNNImputer
from threadpoolctl import threadpool_limits

from iospstl_core.imputation.bank import FILES, ImputationBank, build_bank, open_bank
from iospstl_core.imputation.knn import ClusterKnnImputer

FloatArray = NDArray[np.float32]
Row = dict[str, Any]

SHAPE = (50, 2, 25, 3)
N_NEIGHBORS = 5
TOLERANCE_M = 1e-5
MS = 1e3
MB = 1e6


def main() -> int:
    """Run what was asked for and print tables; exit status 1 if results differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--only", choices=("batch", "live"), help="one half of it")
    parser.add_argument("--sizes", type=int, nargs="+", default=[670, 2000], help="of clusters")
    parser.add_argument("--receivers", type=int, help="fill so many random sequences; all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clusters", type=int, default=60, help="of the bank for live windows")
    parser.add_argument("--windows", type=int, default=1000, help="of each live measurement")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.clusters, options.windows = [40, 60], 6, 40
    faiss.omp_set_num_threads(options.threads)
    results: Row = {"machine": describe_machine(options.threads)}
    print(", ".join(f"{key}: {value}" for key, value in results["machine"].items()) + "\n")
    with threadpool_limits(options.threads):
        if options.only != "live":
            results["batch"] = [run_batch(size, options.receivers) for size in options.sizes]
            print(format_table(results["batch"]) + "\n")
        if options.only != "batch":
            results["live"] = run_live(options.clusters, options.windows, options.quick)
            print(format_table(results["live"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    off = max((row["largest difference, m"] for row in results.get("batch", [])), default=0.0)
    return int(off > TOLERANCE_M)


def describe_machine(n_threads: int) -> Row:
    """Versions and processor."""
    load = os.getloadavg()[0]
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}",
        "threads": n_threads,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "faiss": faiss.__version__,
    }


def make_sequences(
    rng: np.random.Generator, n: int, movement: int = 0, absent_frac: float = 0.8
) -> FloatArray:
    """Return variants of one movement with hidden joints, (n, *SHAPE), in metres."""
    same = np.random.default_rng(movement)
    joints = same.normal(size=(2, 25, 3)) * (0.25, 0.5, 0.15)
    joints[1] += (0.8, 0, 0.3)
    amplitude = same.normal(size=(3, 1, 2, 25, 3)) * 0.08
    phase = same.uniform(0, 2 * np.pi, amplitude.shape)
    pose = joints * (1 + 0.1 * rng.normal(size=(n, 2, 25, 3)))
    pose += rng.normal(0, 0.05, pose.shape)
    xyz = np.repeat(pose[:, None].astype(np.float32), SHAPE[0], axis=1)
    frame = np.linspace(0, 2 * np.pi, SHAPE[0], dtype=np.float32)[:, None, None, None]
    for k in range(3):  # slower and wider, faster and smaller
        own = (phase[k] + rng.normal(0, 0.4, (n, 1, 2, 25, 3))).astype(np.float32)
        wide = (amplitude[k] * (1 + 0.3 * rng.normal(size=own.shape)) / (k + 1)).astype(np.float32)
        xyz += wide * np.sin((k + 1) * frame + own)
    xyz += rng.normal(0, 0.005, xyz.shape).astype(np.float32)
    middle = pose.mean(axis=2)[:, None, :, None, :2] + rng.normal(0, 0.3, (n, 1, 2, 1, 2))
    half = rng.uniform((0.15, 0.25), (0.4, 0.8), (n, 1, 2, 1, 2))
    xyz[(np.abs(xyz[..., :2] - middle) < half).all(axis=-1)] = np.nan
    xyz[rng.random(n) < absent_frac, :, 1] = np.nan
    return xyz


# One cluster at once


def run_batch(size: int, n_receivers: int | None) -> Row:
    """Fill sequences of a cluster from all of them both ways."""
    rng = np.random.default_rng(0)
    donors = make_sequences(rng, size)
    rows = np.sort(rng.permutation(size)[:n_receivers])
    bank = build_bank(donors, np.zeros(size, dtype=np.int64), 1, np.float32)
    xyz, cluster = donors[rows], np.zeros(len(rows), dtype=np.int64)
    everybody = np.ones(xyz.shape[:3], dtype=bool)
    there = np.repeat(~np.isnan(xyz).all(axis=(1, 3, 4))[:, None], SHAPE[0], axis=1)

    def fill(present: NDArray[np.bool_] = everybody) -> FloatArray:
        return ClusterKnnImputer(bank, N_NEIGHBORS).fill(xyz, present, cluster).xyz

    ours_s, ours_cpu_s, ours = best_time(fill, 5)
    there_s, _, _ = best_time(lambda: fill(there), 5)
    flat = donors.reshape(size, -1).astype(np.float64)
    other = KNNImputer(n_neighbors=N_NEIGHBORS, weights="distance", keep_empty_features=True)
    theirs_s, theirs_cpu_s, theirs = best_time(lambda: other.fit(flat).transform(flat[rows]), 1)
    again_s, again_cpu_s, _ = best_time(fill, 5)  # others may use the machine, too
    ours_s, ours_cpu_s = min(ours_s, again_s), min(ours_cpu_s, again_cpu_s)
    return {
        "donors": size,
        "sequences filled": len(rows),
        "hidden of who is there, %": round(100 * float(np.isnan(xyz[:, :, 0, :, 0]).mean()), 1),
        "ours, s": round(ours_s, 3),
        "ours, absent left alone, s": round(there_s, 3),
        "scikit-learn, s": round(theirs_s, 1),
        "times faster": round(theirs_s / ours_s, 1),
        "processor s, ours": round(ours_cpu_s, 3),
        "processor s, scikit-learn": round(theirs_cpu_s, 1),
        "times less processor": round(theirs_cpu_s / ours_cpu_s, 1),
        "largest difference, m": float(f"{difference(ours, theirs, donors):.1e}"),
        **peak_memory(fill, donors.nbytes),
    }


def best_time(run: Callable[[], Any], n: int) -> tuple[float, float, Any]:
    """Shortest wall and processor times of some runs, and what the last one returned."""
    wall, processor = [], []
    for _ in range(n):
        start = time.perf_counter(), time.process_time()
        result = run()
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return min(wall), min(processor), result


def difference(ours: FloatArray, theirs: NDArray[np.float64], donors: FloatArray) -> float:
    """Largest difference over the columns that any donor has; the others are 0 in scikit-learn."""
    known = ~np.isnan(donors).all(axis=0)
    return float(np.abs(ours - theirs.reshape(ours.shape))[:, known].max())


def peak_memory(run: Callable[[], Any], data_bytes: int) -> Row:
    """Largest growth of memory while it runs, with and without the result, over the data."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    result = run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return {
        "memory / data": round(peak / data_bytes, 2),
        "memory without the result / data": round((peak - result.nbytes) / data_bytes, 2),
    }


# One window at a time


def run_live(n_clusters: int, n_windows: int, quick: bool) -> list[Row]:
    """Time single windows against banks on disk."""
    n_donors = 40 if quick else 670
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in (np.float16, np.float32):
            path = Path(folder) / np.dtype(dtype).name
            path.mkdir()
            bank = write_bank(path, n_clusters, n_donors, dtype)
            for n_persons in (1, 2):
                rows += time_windows(bank, n_persons, n_windows)
            for file in path.iterdir():
                file.unlink()
    return rows


def write_bank(folder: Path, n_clusters: int, n_donors: int, dtype: Any) -> ImputationBank:
    """Write a bank cluster by cluster and open it; every donor has both persons."""
    rng = np.random.default_rng(1)
    total = n_clusters * n_donors
    n_bytes = -(-int(np.prod(SHAPE[:-1])) // 8)
    donors = open_memmap(folder / "donors.npy", "w+", dtype, (total, *SHAPE))
    observed = open_memmap(folder / "observed.npy", "w+", np.uint8, (total, n_bytes))
    for index in range(n_clusters):
        own = make_sequences(rng, n_donors, index, absent_frac=0)
        part = build_bank(own, np.zeros(n_donors, dtype=np.int64), 1, dtype)
        rows = slice(index * n_donors, (index + 1) * n_donors)
        donors[rows], observed[rows] = part.donors, part.observed
    np.save(folder / "offsets.npy", np.arange(n_clusters + 1) * n_donors)
    np.save(folder / "mean.npy", part.mean)
    return open_bank(folder)


def time_windows(bank: ImputationBank, n_persons: int, n_windows: int) -> Iterator[Row]:
    """Time windows of one or two persons in all the ways that they come."""
    rng = np.random.default_rng(2)
    for name in FILES:
        np.asarray(getattr(bank, name)).max()  # into the page cache
    turns = np.repeat(rng.integers(0, bank.n_clusters, n_windows // 10), 10)
    every = np.arange(n_windows // 5) % bank.n_clusters
    cases: list[tuple[str, NDArray[Any], dict[str, Any]]] = [
        ("warm", np.zeros(n_windows, dtype=np.int64), {}),
        ("cold", every, {"max_open_clusters": 1}),
        ("stream, 8 open", turns, {}),
        (
            "stream, all open",
            np.concatenate([np.arange(bank.n_clusters)] * 3 + [turns]),
            {"max_open_clusters": bank.n_clusters},
        ),
        ("stream, 8 open, max_donors=200", turns, {"max_donors": 200}),
        ("warm, nprobe=2", np.tile(np.arange(2), (n_windows // 2, 1)), {"nprobe": 2}),
    ]
    for name, clusters, settings in cases:
        yield {
            "bank": str(bank.donors.dtype),
            "persons": n_persons,
            "windows": name,
            **time_stream(
                bank, n_persons, clusters, len(turns) if "all" in name else None, settings
            ),
        }


def time_stream(
    bank: ImputationBank,
    n_persons: int,
    clusters: NDArray[np.int64],
    n_last: int | None,
    settings: dict[str, Any],
) -> Row:
    """Fill windows of some clusters one by one; the last ones count, or all but the first ten."""
    rng = np.random.default_rng(3)
    windows = make_sequences(rng, 50, int(clusters.flat[0]), absent_frac=0)
    present = np.ones((1, *SHAPE[:2]), dtype=bool)
    present[:, :, n_persons:] = False
    windows[:, :, n_persons:] = np.nan
    imputer = ClusterKnnImputer(bank, N_NEIGHBORS, **settings)
    wall, processor = [], []
    gc.collect()
    for number, cluster in enumerate(clusters):
        window = windows[number % 50][None]
        start = time.perf_counter(), time.thread_time()
        imputer.fill(window, present, cluster[None])
        wall.append(time.perf_counter() - start[0])
        processor.append(time.thread_time() - start[1])
    first = len(wall) - n_last if n_last else min(10, len(wall) // 2)
    opened = min(len(np.unique(clusters, axis=0)), imputer.max_open_clusters)
    return {
        "median, ms": round(MS * float(np.median(wall[first:])), 2),
        "p99, ms": round(MS * float(np.percentile(wall[first:], 99)), 2),
        "median, processor ms": round(MS * float(np.median(processor[first:])), 2),
        "p99, processor ms": round(MS * float(np.percentile(processor[first:], 99)), 2),
        "MB an open cluster": round(imputer.open_bytes / opened / MB, 1),
    }


def format_table(rows: list[Row]) -> str:
    """Markdown, one line a row."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
