"""Time the classifier of each preset in ONNX Runtime as on a robot: one window, one person.

    python benchmarks/encoder_speed.py --json encoders.json
    python benchmarks/encoder_speed.py --bundles runs/nw-ucla/bundle

The networks of presets have random weights, which cost what trained ones cost. A third of what
they see is hidden. They are timed in turn, call by call, so that other work on the machine meets
all of them alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from iospstl_core.bundle import open_bundle
from iospstl_core.normalize import N_FRAMES
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from iospstl_train.config import load_config, preset_names
from iospstl_train.export import Classifier
from iospstl_train.training.model import make_model
from iospstl_train.training.onnx_file import to_onnx

FloatArray = NDArray[np.float32]
Row = dict[str, Any]

_HIDDEN_FRAC = 0.35
_N_WARM_UP = 20
_PERSONS_AXIS = 4
_CPU = ("CPUExecutionProvider",)
MS, MB = 1e3, 1e6


def main() -> int:
    """Time what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="*", default=one_a_network())
    parser.add_argument("--bundles", nargs="*", type=Path, default=[], help="trained ones, too")
    parser.add_argument("--persons", type=int, default=1, help="in every window")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--windows", type=int, default=500, help="timed of each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = {str(path): open_bundle(path).classifier_path for path in options.bundles}
        weights = dict.fromkeys(paths)
        for name in options.presets:
            paths[name] = Path(folder) / f"{len(paths)}.onnx"
            weights[name] = write_classifier(paths[name], name, options.classes)
        x = draw_window(options.persons)
        seconds = time_in_turn(paths, x, options.windows, options.threads)
        rows = [describe(name, paths[name], weights[name], seconds[name]) for name in paths]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "threads": options.threads,
        "persons": options.persons,
        "windows": options.windows,
    }
    print(", ".join(f"{key}: {value}" for key, value in machine.items()) + "\n")
    print(format_table(rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))
    return 0


def one_a_network() -> list[str]:
    """Return the presets whose encoders differ: methods of a paper share theirs."""
    return [name for name in preset_names() if "/" not in name]


def write_classifier(path: Path, preset: str, n_classes: int) -> int:
    """Write the classifier of a preset with random weights; return its encoder's parameters."""
    torch.manual_seed(0)
    encoder = make_model(load_config(preset)).encoder.eval()
    x = torch.from_numpy(draw_window(2))
    with torch.inference_mode():
        size = encoder(x).shape[1]
    classifier = Classifier(encoder, nn.Linear(size, n_classes))  # type: ignore[arg-type]
    free = {_PERSONS_AXIS: "m"} if encoder.skip_absent else None
    path.write_bytes(to_onnx(classifier, {"x": x}, ["logits", "embedding"], free))
    return sum(weight.numel() for weight in encoder.parameters())


def draw_window(n_persons: int) -> FloatArray:
    """Return one window (1, 3, t, v, n_persons) of which a third is hidden."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, N_FRAMES, NTU_25.n_joints, n_persons)).astype(np.float32)
    x *= rng.random((1, 1, *x.shape[2:])) > _HIDDEN_FRAC
    return x


def time_in_turn(
    paths: dict[str, Path], x: FloatArray, n_windows: int, n_threads: int
) -> dict[str, FloatArray]:
    """Return seconds (n_windows,) of every network."""
    models = {name: OnnxModel(path, _CPU, n_threads=n_threads) for name, path in paths.items()}
    inputs = {name: _fitting(model, x) for name, model in models.items()}
    seconds = {name: np.zeros(n_windows, dtype=np.float32) for name in models}
    for index in range(-_N_WARM_UP, n_windows):
        for name, model in models.items():
            began = time.perf_counter()
            model.run_windows(inputs[name])
            if index >= 0:
                seconds[name][index] = time.perf_counter() - began
    return seconds


def _fitting(model: OnnxModel, x: FloatArray) -> FloatArray:
    """Return the window with a second, absent person where a network wants two."""
    if model.takes_any_persons or x.shape[_PERSONS_AXIS] > 1:
        return x
    return np.concatenate([x, np.zeros_like(x)], axis=_PERSONS_AXIS)


def describe(name: str, path: Path, n_weights: int | None, seconds: FloatArray) -> Row:
    """Return what the table says about a network."""
    return {
        "name": name,
        "n_weights": n_weights,
        "file_mb": path.stat().st_size / MB,
        "median_ms": float(np.median(seconds)) * MS,
        "p95_ms": float(np.percentile(seconds, 95)) * MS,
    }


def format_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table."""
    lines = [
        "| network | encoder's parameters | file, MB | median, ms | 95 %, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        weights = "-" if row["n_weights"] is None else f"{row['n_weights']:,}"
        lines.append(
            f"| {row['name']} | {weights} | {row['file_mb']:.2f} | {row['median_ms']:.2f} | "
            f"{row['p95_ms']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
