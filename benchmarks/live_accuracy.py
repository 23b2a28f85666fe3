"""How right the live recogniser is: test recordings streamed one after another, life in between.

    python benchmarks/live_accuracy.py
    python benchmarks/live_accuracy.py --dataset nw-ucla --bundle runs/nw-ucla/bundle \
        --occlusion realistic --other utd-mhad --other-without throw "sit to stand"

One person does every test action, with pauses and, where another store is given, with movement of
that store between: none of the bundle's classes. Positions are joined, so that the stream has no
jumps. Frames go through the node's own engine at the recordings' rate, with an inference every
tenth of a second of stream time; what comes out is compared with what was going on.

Without arguments it runs on generated recordings and trains a bundle for them if there is none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_core.store import Store, find_occlusion
from iospstl_ros.engine import Engine
from iospstl_ros.frames import SkeletonFrame
from iospstl_ros.settings import RecognizerParameters
from iospstl_train.cli import main as run_command
from iospstl_train.data.live import AFTER_S, NO_CLIP, Clip, Stream, join_clips, read_clip
from iospstl_train.data.store import find_store

PERSON = 1

Heard = tuple[float, str, bool]  # stream time, label, whether it is a class


@dataclass(frozen=True)
class Span:
    """What goes on in a stretch of the stream.

    Attributes
    ----------
    kind : {"action", "other", "pause"}
    label : str
        Class of an action.
    start_s, end_s : float
    """

    kind: str
    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Show:
    """The stream, and what goes on in it."""

    stream: Stream
    spans: tuple[Span, ...]
    fps: float


def main() -> int:
    """Stream, compare, and print a table with a row for each setting."""
    options = _parser().parse_args()
    try:
        _make_synthetic(options)
        show = _make_show(options)
        rows = []
        for name, changes in _settings(options):
            rows.append({"setting": name, **_run(options, changes, show)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    except InputError as error:
        print(f"live_accuracy: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2))
    print(_table(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", default="synthetic", help="prepared store")
    add("--root", type=Path, default=Path("runs/data"))
    add("--bundle", type=Path, default=Path("runs/bench-live/bundle"))
    add("--occlusion", default="realistic", help="occlusion of the store; none: everything seen")
    add("--other", help="prepared store with movement that is no class")
    add("--other-without", nargs="*", default=[], help="its classes that are classes here too")
    add("--limit", type=int, default=0, help="so many actions, spread evenly; 0: all")
    add("--seed", type=int, default=0, help="of the order")
    add("--rate", type=float, default=10.0, help="inferences a second of the stream")
    add("--set", nargs="*", default=[], metavar="NAME=VALUE", help="one more row: parameters")
    add("--only-set", action="store_true", help="just that row")
    add("--json", type=Path)
    return parser


def _make_synthetic(options: argparse.Namespace) -> None:
    if options.dataset != "synthetic" or options.bundle.exists():
        return
    root = ["--dataset", "synthetic", "--root", str(options.root)]
    if not (options.root / "synthetic").exists():
        run_command(["prepare", *root])
    run_command(["pipeline", *root, "--rows", "none,restore", "--out", str(options.bundle.parent)])


def _settings(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    if not options.only_set:
        yield "default", {}
        yield "no smoothing", {"smoothing": 0.0, "hysteresis": 0.0}
        yield "no unknown", {"score_threshold": 0.0}
        yield "neither", {"smoothing": 0.0, "hysteresis": 0.0, "score_threshold": 0.0}
    if options.set:
        pairs = [item.split("=", 1) for item in options.set]
        yield " ".join(options.set), {name: float(value) for name, value in pairs}


def _make_show(options: argparse.Namespace) -> Show:
    """All actions in random order with movement of the other store between, joined."""
    rng = np.random.default_rng(options.seed)
    store = find_store(options.dataset, options.root)
    test = np.flatnonzero(store.split(None)[1])
    if options.limit:
        test = test[np.linspace(0, len(test) - 1, options.limit).round().astype(int)]
    others = _other_clips(options, rng)
    clips: list[Clip] = []
    kinds: list[tuple[str, str]] = []
    for number, index in enumerate(rng.permutation(test)):
        if others:
            clips.append(others[number % len(others)])
            kinds.append(("other", ""))
        clips.append(_clip(store, int(index), options.occlusion))
        kinds.append(("action", store.class_names[int(store.label[index])]))
    stream = join_clips(clips, store.fps, rng)
    bounds = [0, *(np.flatnonzero(np.diff(stream.clip)) + 1), len(stream.clip)]
    spans = [
        Span(*_describe(int(stream.clip[start]), kinds), start / store.fps, end / store.fps)
        for start, end in pairwise(bounds)
    ]
    return Show(stream, tuple(spans), store.fps)


def _describe(clip: int, kinds: Sequence[tuple[str, str]]) -> tuple[str, str]:
    return ("pause", "") if clip == NO_CLIP else kinds[clip]


def _other_clips(options: argparse.Namespace, rng: np.random.Generator) -> list[Clip]:
    if options.other is None:
        return []
    store = find_store(options.other, options.root)
    unknown = set(options.other_without) - set(store.class_names)
    if unknown:
        raise InputError(
            f"--other-without: expected classes of {options.other} "
            f"({', '.join(store.class_names)}), got {', '.join(sorted(unknown))}"
        )
    chosen = [
        int(index)
        for index in np.flatnonzero(store.split(None)[1])
        if store.class_names[int(store.label[index])] not in options.other_without
    ]
    return [_clip(store, index, options.occlusion) for index in rng.permutation(chosen)]


def _clip(store: Store, index: int, occlusion: str) -> Clip:
    """Return a test sequence; of groups the first person."""
    clip = read_clip(
        store, index, None if occlusion == "none" else find_occlusion(store, occlusion)
    )
    there = clip.present[:, 0]
    return Clip(clip.xyz[there, :1], clip.present[there, :1])


def _run(options: argparse.Namespace, changes: dict[str, Any], show: Show) -> dict[str, Any]:
    """Stream everything through an engine and measure."""
    engine = Engine(replace(RecognizerParameters(bundle=str(options.bundle)), **changes))
    engine.adapter = replace(engine.adapter, read=lambda frame, _: frame)
    began_s = time.process_time()
    heard = _listen(engine, show, options.rate)
    minutes = show.spans[-1].end_s / 60
    return {
        **_measure(heard, show.spans),
        "window_s": engine.window_s,
        "processor seconds a minute": round((time.process_time() - began_s) / minutes, 2),
    }


def _listen(engine: Engine, show: Show, rate_hz: float) -> list[Heard]:
    """Return everything that is said of the first person of the stream."""
    heard: list[Heard] = []
    next_s = 0.0
    for number, xyz in enumerate(show.stream.xyz[:, 0]):
        stamp_s = number / show.fps
        engine.receive(SkeletonFrame(round(stamp_s * 1e9), "camera", {PERSON: xyz}))
        if stamp_s >= next_s:
            next_s = stamp_s + 1 / rate_hz - 1e-6
            for frame in engine.process(_raise):
                at_s = frame.arrival.stamp_ns * 1e-9
                heard += [(at_s, item.label, item.is_known) for item in frame.persons]
    return heard


def _raise(error: Exception) -> None:
    raise error


def _measure(heard: Sequence[Heard], spans: Sequence[Span]) -> dict[str, Any]:
    """Compare labels with what was going on."""
    times = np.array([stamp for stamp, _, _ in heard])

    def between(start_s: float, end_s: float) -> Sequence[Heard]:
        return heard[slice(*np.searchsorted(times, [start_s, end_s]))]

    actions = [span for span in spans if span.kind == "action"]
    inside = [between(span.start_s, span.end_s) for span in actions]
    late = [between((span.start_s + span.end_s) / 2, span.end_s + AFTER_S) for span in actions]
    votes = [Counter(label for _, label, known in part if known).most_common(1) for part in late]
    first_s = [_first_right(part, span) for part, span in zip(inside, actions, strict=True)]
    n_changes = sum(one[1] != other[1] for one, other in pairwise(heard))
    found = [seconds for seconds in first_s if seconds is not None]
    return {
        "actions": len(actions),
        "actions right, by vote": _mean(
            bool(vote) and vote[0][0] == span.label
            for vote, span in zip(votes, actions, strict=True)
        ),
        "actions right, at the end": _mean(
            bool(part) and part[-1][1] == span.label
            for part, span in zip(late, actions, strict=True)
        ),
        "windows right": _mean(_is_right(inside, actions)),
        "late windows right": _mean(_is_right(late, actions)),
        "late windows unknown": _mean(not known for part in late for _, _, known in part),
        **{
            f"{kind} unknown": _mean(
                not known
                for span in spans
                if span.kind == kind
                for _, _, known in between(span.start_s, span.end_s)
            )
            for kind in ("pause", "other")
        },
        "seconds to the first right label": round(float(np.median(found)), 2) if found else None,
        "actions with a right label": _mean(seconds is not None for seconds in first_s),
        "changes of label a minute": round(n_changes / (spans[-1].end_s / 60), 1),
    }


def _is_right(parts: Sequence[Sequence[Heard]], actions: Sequence[Span]) -> Iterator[bool]:
    for part, span in zip(parts, actions, strict=True):
        yield from (label == span.label for _, label, _ in part)


def _first_right(part: Sequence[Heard], span: Span) -> float | None:
    """Return the time from the start of an action to its first right label."""
    return next((stamp - span.start_s for stamp, label, _ in part if label == span.label), None)


def _mean(values: Iterable[bool]) -> float | None:
    listed = list(values)
    return round(sum(listed) / len(listed), 3) if listed else None


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, settings side by side."""
    lines = [
        "| | " + " | ".join(str(row["setting"]) for row in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    for key in rows[0]:
        if key != "setting":
            lines.append(f"| {key} | " + " | ".join(str(row[key]) for row in rows) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
