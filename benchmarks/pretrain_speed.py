"""Time the pre-training step beside the plain version of the paper's.

    python benchmarks/pretrain_speed.py --json speed.json
    python benchmarks/pretrain_speed.py --leave-out
    python benchmarks/pretrain_speed.py --device cuda --precision bf16 --peak-tflops 989

Sequences are simulated, in the shape of NTU RGB+D 60 at the paper's constants: batches of 128
windows of 50 frames, 25 joints and 2 persons, of whom the second is absent from 82 % of the
sequences (`plain, two persons` and `paper, two persons`: from none). Each row runs in a process of
its own, so that peaks of memory do not mix; rows take turns, and ratios are those of one turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: threads share a busy machine

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from iospstl_core.normalize import N_FRAMES  # noqa: E402
from iospstl_train.cli_options import DEFAULT_PRESET  # noqa: E402
from iospstl_train.config import Config, load_config  # noqa: E402
from iospstl_train.methods import opstl  # noqa: E402
from iospstl_train.models import stgcn, temporal  # noqa: E402
from iospstl_train.training.memory import keep_freed_memory  # noqa: E402
from iospstl_train.training.model import make_model  # noqa: E402
from tests.reference import plain_pretraining as plain  # noqa: E402

Row = dict[str, Any]

MENDED = "mended"
"""The paper's sizes without the quirks of its code: no preset."""
PRESETS = ("plain", "paper", MENDED, "small", DEFAULT_PRESET)
NTU_60_SEQUENCES = 40_091
ABSENT_FRAC = 0.82  # 11 of 60 actions have two persons
N_JOINTS = 25
N_MASKS, HIDDEN_FRAC = 1000, 0.3
CURVES = {
    "batch": [32, 64, 256],
    "frames": [30, 100],
    "persons": [1],
    "projector": [512, 2048],
    "encoder": [0.5, 2.0],
}
PARTS = ("absent persons", "frequencies", "dropout", "memory", "loss", "projector", "optimizer")
BF16 = "bf16"
GB = 1e9


def main() -> int:
    """Run what was asked for and print tables."""
    options = parse_options()
    if options.child:
        print(json.dumps(run_child(json.loads(options.child))))
        return 0
    results: Row = {"machine": describe_machine(options)}
    print(", ".join(f"{key}: {value}" for key, value in results["machine"].items()) + "\n")
    if options.device == "cpu" and options.sequences is None:
        rows = [{"preset": name} for name in options.presets]
        if {"plain", "paper"} <= set(options.presets):
            rows += [{"preset": name, "absent": 0.0} for name in ("plain", "paper")]
        results["presets"] = take_turns(rows, options)
        print(format_table(results["presets"]) + "\n")
        if options.leave_out:
            settings = [{"preset": "paper"}, *({"preset": "paper", "without": p} for p in PARTS)]
            results["leave out"] = take_turns(settings, options)
            print(format_table(results["leave out"]) + "\n")
        if not options.no_curves:
            results["curves"] = run_curves(options)
            print(format_table(results["curves"]))
    else:
        results["epoch"] = [spawn({"epoch": True, **as_settings(options)})]
        print(format_table(results["epoch"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--steps", type=int, default=1, help="measured in each turn; default 1")
    parser.add_argument("--turns", type=int, default=2, help="of every row; default 2")
    parser.add_argument("--no-curves", action="store_true", help="presets only")
    parser.add_argument("--leave-out", action="store_true", help="what each part brings")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="other than cpu: an epoch on it")
    parser.add_argument("--precision", choices=("fp32", BF16), default="fp32")
    parser.add_argument(
        "--sequences", type=int, help=f"of an epoch; {NTU_60_SEQUENCES:,} on a device"
    )
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share of it")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def describe_machine(options: argparse.Namespace) -> Row:
    """Versions and processor."""
    device = options.device
    if device.startswith("cuda"):
        device = torch.cuda.get_device_name(device)
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "threads": options.threads,
        "torch": torch.__version__,
        "device": device,
    }


def as_settings(options: argparse.Namespace) -> Row:
    """Return what every child is told."""
    keys = ("steps", "threads", "device", "precision", "sequences", "peak_tflops", "quick")
    return {key: getattr(options, key) for key in keys}


def spawn(settings: Row) -> Row:
    """Run one row in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    row = dict(json.loads(done.stdout.splitlines()[-1]))
    print(row, file=sys.stderr, flush=True)
    return row


def take_turns(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    """Measure rows in turn; medians, and ratios to the first of the same kind in a turn."""
    turns = [
        [spawn({**as_settings(options), **row}) for row in rows] for _ in range(options.turns)
    ]
    table = []
    for index, row in enumerate(rows):
        base = next(i for i, first in enumerate(rows) if first.get("absent") == row.get("absent"))
        runs = [turn[index] for turn in turns]
        ratios = [turn[index]["samples/s"] / turn[base]["samples/s"] for turn in turns]
        medians = {
            key: round(statistics.median(run[key] for run in runs), 2)
            for key in ("samples/s", "s a step", "processor s a step", "peak GB")
        }
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        ratio = round(statistics.median(ratios), 2)
        table.append({"row": runs[0]["row"], **medians, "ratio": ratio, "ratios": spread})
    return table


def run_curves(options: argparse.Namespace) -> list[Row]:
    """Cost of the mended settings against one size at a time."""
    points = [{}, *({name: value} for name, values in CURVES.items() for value in values)]
    rows = []
    for point in points:
        row = spawn({**as_settings(options), "preset": MENDED, **point})
        name = ", ".join(f"{key} {value}" for key, value in point.items()) or MENDED
        rows.append({**row, "row": name})
    return rows


# In a process of its own


def run_child(settings: Row) -> Row:
    """Measure one row, or one epoch."""
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    if settings.get("epoch"):
        return run_epoch(settings)
    without = settings.get("without")
    step, n = make_plain(settings) if settings["preset"] == "plain" else make_ours(settings)
    step()  # warms up
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(settings["steps"]):
        step()
    seconds = (time.perf_counter() - began) / settings["steps"]
    name = settings["preset"] + (", two persons" if "absent" in settings else "")
    return {
        "row": f"{name} without {without}" if without else name,
        "samples/s": round(n / seconds, 2),
        "s a step": round(seconds, 2),
        "processor s a step": round((time.process_time() - began_cpu) / settings["steps"], 2),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB, 2),
    }


def make_plain(settings: Row) -> tuple[Any, int]:
    """Return the plain version's step and its batch size."""
    import random

    n = 8 if settings["quick"] else plain.BATCH_SIZE
    model = plain.PlainOpstl(projector_width=64 if settings["quick"] else 6144)
    optimizer = plain.make_optimizer(model)
    x, hidden_frac, _ = simulate(n, settings)
    rng = random.Random(1)
    hidden = (hidden_frac > 0.5).float()
    return lambda: plain.step(model, optimizer, x, plain.draw_step(x.shape[2], hidden, rng)), n


def make_ours(settings: Row) -> tuple[Any, int]:
    """Return our step and its batch size."""
    config = resize(
        load_config(None if settings["preset"] == MENDED else settings["preset"]), settings
    )
    without = settings.get("without")
    if without != "memory":
        keep_freed_memory()
    leave_out(without)
    n = config.training.batch_size
    x, hidden_frac, present = simulate(n, settings)
    if without == "absent persons":
        present = torch.ones_like(present)
    masks = torch.rand(N_MASKS, N_FRAMES, N_JOINTS) < HIDDEN_FRAC
    model = make_model(config, masks).train()
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.training.learning_rate,
        weight_decay=config.training.weight_decay,
        fused=without != "optimizer",
    )
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        parts = model(x, hidden_frac, generator, present)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()

    return step, n


def resize(config: Config, settings: Row) -> Config:
    """Return a configuration with sizes as asked for."""
    from dataclasses import replace

    projector = 64 if settings["quick"] else config.opstl.projector_width
    batch = 8 if settings["quick"] else config.training.batch_size
    factor = settings.get("encoder", 1.0)
    widths = tuple(int(width * factor) for width in config.encoder.widths)
    return replace(
        config,
        encoder=replace(config.encoder, widths=widths),
        opstl=replace(config.opstl, projector_width=settings.get("projector", projector)),
        training=replace(config.training, batch_size=settings.get("batch", batch)),
    )


def simulate(n: int, settings: Row, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Return windows (n, 3, t, v, m), hidden shares (n, v) and persons present (n, m)."""
    n_frames, n_persons = settings.get("frames", 50), settings.get("persons", 2)
    x = torch.randn(n, 3, n_frames, N_JOINTS, n_persons, device=device).mul_(0.3)
    present = torch.ones(n, n_persons, dtype=torch.bool)
    n_absent = round(settings.get("absent", ABSENT_FRAC) * n)
    present[:n_absent, 1:] = False
    x.mul_(present.to(x)[:, None, None, None])
    return x, torch.rand(n, N_JOINTS), present


def leave_out(part: str | None) -> None:
    """Put the usual way in place of one of our parts."""
    if part == "frequencies":
        temporal._SPECTRAL_WIDTH = sys.maxsize
    elif part == "dropout":
        stgcn.drop = lambda x, p: nn.functional.dropout(x, p, training=True)  # type: ignore[attr-defined]
    elif part == "loss":
        opstl.barlow_twins_parts = copy_matrix
    elif part == "projector":
        opstl.project_streams = lambda projector, embedded: [projector(z) for z in embedded]


def copy_matrix(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the parts of the loss from the whole correlation matrix."""
    standardized = [
        nn.functional.batch_norm(z, None, None, training=True) for z in (first, second)
    ]
    c = standardized[0].T @ standardized[1] / len(first)
    return (1 - c.diagonal()).square().sum(), plain.take_off_diagonal(c).square().sum()


def run_epoch(settings: Row) -> Row:
    """Train one epoch of simulated sequences that are resident on the device."""
    config, device = resize(load_config(), settings), torch.device(settings["device"])
    n = settings["sequences"] or NTU_60_SEQUENCES
    size = min(config.training.batch_size, n)
    if device.type == "cpu":
        keep_freed_memory()
    x, hidden_frac, present = simulate(n, settings, settings["device"])
    model = make_model(config).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(n, generator=generator)
    batches = order.split(size)[: n // size]

    def step(rows: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings["precision"] == BF16):
            parts = model(x[rows.to(device)], hidden_frac[rows], generator, present[rows])
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()

    for rows in batches[:2]:
        step(rows)
    with FlopCounterMode(display=False, custom_mapping=in_place_products()) as counter:
        step(batches[0])
    synchronize(device)
    began = time.perf_counter()
    for rows in batches:
        step(rows)
    synchronize(device)
    seconds = time.perf_counter() - began
    flops = counter.get_total_flops() * len(batches) / seconds
    peak = settings["peak_tflops"]
    return {
        "row": f"epoch of {n} in {settings['precision']}",
        "s": round(seconds, 2),
        "samples/s": round(len(batches) * size / seconds, 1),
        "TFLOP a step": round(counter.get_total_flops() / 1e12, 3),
        "TFLOP/s": round(flops / 1e12, 3),
        "share of peak, %": round(100 * flops / 1e12 / peak, 1) if peak else "-",
        "peak GB": round(peak_bytes(device) / GB, 2),
    }


def in_place_products() -> dict[Any, Any]:
    """Return how many operations the products have that the counter does not know."""

    def count(out: Any, a: Any, b: Any, *_: Any, **__: Any) -> int:
        batch = a[0] if len(a) == 3 else 1
        return int(2 * batch * a[-2] * a[-1] * b[-1])

    return {torch.ops.aten.addmm_: count, torch.ops.aten.baddbmm_: count}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: torch.device) -> int:
    """Return the largest amount of memory used so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def format_table(rows: list[Row]) -> str:
    """Markdown, one line a row."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
