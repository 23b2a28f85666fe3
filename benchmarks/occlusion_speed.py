"""Time the rays that realistic occlusion casts, and whole sequences, on one core.

    OMP_NUM_THREADS=1 python benchmarks/occlusion_speed.py --json speed.json
    OMP_NUM_THREADS=1 python benchmarks/occlusion_speed.py --meshes FOLDER

``rays``: the joints of one sequence before one object, a search tree that is there already.
``sequences``: everything that happens to a sequence: objects are drawn, generated and placed,
their search trees built, rays cast, and all of it again until the share of hidden joints is as
wanted. Sequences are generated: adults who walk before the camera, as long as those of NTU RGB+D
(80 frames of 25 joints) or Northwestern-UCLA (40 frames of 20). A ray is one segment from the
camera to a joint, tested against one object. Seconds are those of the processor, so that other
programs on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from iospstl_core.skeleton import NTU_25
from iospstl_train.occlusion import realistic
from iospstl_train.occlusion.furniture import (
    FURNITURE_KINDS,
    Obstacle,
    load_meshes,
    make_furniture,
)
from iospstl_train.occlusion.placement import PlacedObject, RealisticSettings

Row = dict[str, Any]

SIZES = {"NTU RGB+D": (80, 25), "Northwestern-UCLA": (40, 20)}
"""Frames and joints of a sequence."""
STANDING_M = (0.0, 0.5, 3.0)
MIN_SECONDS = 0.2
"""A measurement repeats its work at least so long."""


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--meshes", type=Path, help="folder of meshes instead of furniture")
    parser.add_argument("--sequences", type=int, default=200, help="of each size")
    parser.add_argument("--repeats", type=int, default=7, help="of which the median is shown")
    options = parser.parse_args()
    if options.quick:
        options.sequences, options.repeats = 5, 2
    meshes = load_meshes(options.meshes) if options.meshes else None
    results: Row = {"machine": describe_machine()}
    print(", ".join(f"{key}: {value}" for key, value in results["machine"].items()) + "\n")
    with threadpool_limits(1):
        results["rays"] = time_rays(meshes, options.repeats)
        print(format_table(results["rays"]) + "\n")
        results["sequences"] = [
            time_sequences(size, meshes, options.sequences, options.repeats) for size in SIZES
        ]
        print(format_table(results["sequences"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def describe_machine() -> Row:
    """Versions and processor."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "embreex": version("embreex"),
    }


def make_sequence(n_frames: int, n_joints: int, seed: int) -> NDArray[np.float32]:
    """Return somebody who walks aside, (n_frames, 1, n_joints, 3)."""
    rng = np.random.default_rng(seed)
    body = np.array(NTU_25.rest_m)[:n_joints] + np.array(STANDING_M)
    path = np.linspace(-0.5, 0.5, n_frames)[:, None, None] * np.array([1.0, 0.0, 0.3])
    noise = rng.normal(scale=0.02, size=(n_frames, n_joints, 3))
    return (body + path + noise)[:, None].astype(np.float32)


def time_rays(meshes: Mapping[str, Obstacle] | None, repeats: int) -> list[Row]:
    """Cast the rays of one sequence of NTU's size at each object."""
    rng = np.random.default_rng(0)
    made = meshes or {kind: make_furniture(kind, rng) for kind in FURNITURE_KINDS}
    joints = make_sequence(*SIZES["NTU RGB+D"], seed=0).reshape(-1, 3).astype(np.float64)
    rows = []
    for name, mesh in made.items():
        placed = PlacedObject(name, mesh.size_m, (0.1, -0.9, 1.7), 0.4)
        hidden = realistic.find_hidden(joints, mesh, placed)

        def cast(mesh: Obstacle = mesh, placed: PlacedObject = placed) -> None:
            realistic.find_hidden(joints, mesh, placed)

        rates = [len(joints) / _seconds(cast) for _ in range(repeats)]
        rows.append(
            {
                "object": name,
                "triangles": len(mesh.faces),
                "hidden, %": round(100 * float(hidden.mean()), 1),
                **_spread(rates),
            }
        )
    return rows


def time_sequences(size: str, meshes: Mapping[str, Obstacle] | None, n: int, repeats: int) -> Row:
    """Occlude whole sequences and count the rays that it took."""
    sequences = [make_sequence(*SIZES[size], seed) for seed in range(n)]
    present = np.ones(sequences[0].shape[:2], dtype=np.bool_)
    feet = [NTU_25.index(name) for name in realistic.FEET]
    settings = RealisticSettings()

    def occlude() -> None:
        for seed, xyz in enumerate(sequences):
            rng = np.random.default_rng(seed)
            realistic.hide_behind_furniture(xyz, present, rng, meshes, settings, feet)

    n_rays = _count_rays(occlude)
    seconds = [_seconds(occlude) for _ in range(repeats)]
    return {
        "sequences like": size,
        "joints of one": sequences[0].size // 3,
        "rays of one": round(n_rays / n),
        "ms for one": round(1000 * statistics.median(seconds) / n, 2),
        **_spread([n_rays / one for one in seconds]),
    }


def _count_rays(work: Callable[[], None]) -> int:
    """Return how many rays are cast."""
    cast, counts = realistic.find_hidden, []

    def counted(joints: Any, mesh: Obstacle, placed: PlacedObject) -> Any:
        counts.append(len(joints))
        return cast(joints, mesh, placed)

    realistic.find_hidden = counted
    try:
        work()
    finally:
        realistic.find_hidden = cast
    return sum(counts)


def _seconds(work: Callable[[], None]) -> float:
    """Return processor seconds of one execution, over at least `MIN_SECONDS`."""
    count, began = 0, time.process_time()
    while (passed := time.process_time() - began) < MIN_SECONDS:
        work()
        count += 1
    return passed / count


def _spread(rates: list[float]) -> Row:
    return {
        "million rays/s": round(statistics.median(rates) / 1e6, 2),
        "lowest": round(min(rates) / 1e6, 2),
        "highest": round(max(rates) / 1e6, 2),
    }


def format_table(rows: list[Row]) -> str:
    """Rows with the same keys as Markdown."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
