"""``iospstl-train table imputers``: what each imputer gets wrong, costs and is worth.

Every result is kept as soon as it is computed (`imputer_cells`): an interrupted table goes on, and
a new row computes only what is its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from iospstl_train.config import config_to_dict
from iospstl_train.data.windows import WindowSet, load_windows
from iospstl_train.evaluation.imputer_cells import CellStore, Values
from iospstl_train.evaluation.imputer_curves import (
    MIN_SEQUENCES,
    RATES,
    error_by_share,
    hide_test_windows,
)
from iospstl_train.evaluation.imputer_metrics import compare, hidden_share, measure_errors, take
from iospstl_train.evaluation.imputer_models import TableModels
from iospstl_train.evaluation.imputer_options import (
    STAGE_1,
    TableOptions,
    check_options,
    describe_data,
)
from iospstl_train.evaluation.imputer_pictures import (
    choose_examples,
    draw_examples,
    vary_occlusion,
)
from iospstl_train.evaluation.imputer_rows import ROWS
from iospstl_train.evaluation.linear import evaluate_encoder
from iospstl_train.evaluation.probe import neighbor_accuracy
from iospstl_train.occlusion.occlude import find_or_make_occlusion, make_series
from iospstl_train.training.embed import embed

FloatArray = NDArray[np.float32]

PICTURE_ROWS = ("linear", "knn", "restore")
_MB = 1e6


@dataclass(frozen=True)
class TableResults:
    """Values of every row, seed by seed.

    Attributes
    ----------
    made_by : mapping
        Data, masks and configuration.
    kind : str
        Of the occlusion.
    n_test : int
        Windows that were measured.
    measures : mapping
        Row -> seed -> values as of `measure_errors`, with "ms" and "mb"; a single seed None where
        it makes no difference.
    curves : mapping
        Row -> hidden share of the windows -> seed -> hidden-joint error in mm.
    accuracy : mapping
        Row -> seed -> "accuracy" and "knn_accuracy".
    """

    made_by: Mapping[str, Any]
    kind: str
    n_test: int
    measures: Mapping[str, Mapping[int | None, Values]]
    curves: Mapping[str, Mapping[float, Mapping[int | None, float]]]
    accuracy: Mapping[str, Mapping[int | None, Values]]


class ImputerTable:
    """Computes what is missing of a table.

    Parameters
    ----------
    options : TableOptions
    say : callable
        Gets a line for everything that is computed.

    Raises
    ------
    InputError
        For unknown rows, an occlusion that does not exist, a row that cannot run here, or a folder
        with results of something else.
    """

    def __init__(self, options: TableOptions, say: Callable[[str], None]) -> None:
        check_options(options)
        occlusion = find_or_make_occlusion(
            options.store, options.occlusion, options.config, severity=options.severity
        )
        self.options = options
        self.kind = str(occlusion.manifest.get("kind", "unknown"))
        severities = options.severities
        if severities is None:
            severities = RATES if self.kind == "random" else ()
        series = make_series(options.store, occlusion, severities)
        self.series = dict(zip(severities, series, strict=True))
        self.models = TableModels(options, occlusion, say)
        made_by = {
            **self.models.provenance,
            "n_sequences": len(options.store),
            "config": config_to_dict(options.config),
        }
        self.cells = CellStore(options.out / "cells", made_by, say)
        self.cells.claim()
        self._measures: dict[str, dict[int | None, Values]] = {}
        self._curves: dict[str, dict[float, dict[int | None, float]]] = {}
        self._accuracy: dict[str, dict[int | None, Values]] = {}
        for name in options.again:
            self._forget(name)

    def run(self) -> Iterator[TableResults]:
        """Compute everything; yield what there is after the errors of each seed, and all."""
        for seed in self.options.seeds:
            for name in self.options.rows:
                self._add_errors(name, seed)
            for severity in self.series:
                self._add_severity(severity, seed)
            yield self.results()
            for name in self.options.accuracy_rows:
                self._add_accuracy(name, seed)
            if seed == self.options.seeds[0]:
                self._draw_examples(self.options.out / "examples.png")
            self.models.forget_seed()
        yield self.results()

    def results(self) -> TableResults:
        """Return what there is so far."""
        return TableResults(
            self.cells.made_by,
            self.kind,
            len(self.models.test.names),
            self._measures,
            self._curves,
            self._accuracy,
        )

    def _find_or_make(
        self, kind: str, name: str, seed: int, make: Callable[[], Values], **data: str
    ) -> tuple[int | None, Values]:
        """One result of a row, and its seed or None; data are what it alone depends on."""
        row_seed = seed if ROWS[name].varies else None
        described = {**ROWS[name].describe(self.options.settings), **data}
        return row_seed, self.cells.find_or_make(f"{kind}/{name}", row_seed, described, make)

    def _add_errors(self, name: str, seed: int) -> None:
        row_seed, values = self._find_or_make(
            "errors", name, seed, lambda: self._measure(name, seed)
        )
        self._measures.setdefault(name, {})[row_seed] = values
        if not self.series and self.kind != "random":
            for group in values["by_share"]:
                if group["n_sequences"] >= MIN_SEQUENCES:
                    self._add_point(name, group["hidden_frac"], row_seed, group["error_mm"])

    def _measure(self, name: str, seed: int) -> Values:
        models, test = self.models, self.models.test
        fitted = models.fit(name, seed)
        assigned = models.assigned(name, seed)[models.windows.is_test]
        with _single_thread():
            began = time.perf_counter()
            filled = fitted.fill(test, assigned)
            seconds = time.perf_counter() - began
        return {
            **measure_errors(test, filled),
            "ms": 1000 * seconds / len(test.names),
            "mb": fitted.size_bytes / _MB,
            "sources": filled.counts(),
            "by_share": error_by_share(test, compare(test, filled)),
        }

    def _add_severity(self, severity: float, seed: int) -> None:
        """Add the errors of every row under another occlusion of the test windows."""
        occlusion = self.series[severity]
        loaded: list[WindowSet] = []

        def measure(name: str) -> Values:
            if not loaded:
                split = self.options.split
                loaded.append(hide_test_windows(self.options.store, split, occlusion))
            assigned = self.models.assign(name, seed, loaded[0])
            filled = self.models.fit(name, seed).fill(loaded[0], assigned)
            share = float(hidden_share(loaded[0]).mean())
            return {**measure_errors(loaded[0], filled), "hidden_frac": share}

        mask = describe_data(self.options, occlusion)["mask_sha256"]
        for name in self.options.rows:
            row_seed, values = self._find_or_make(
                f"severity-{severity:g}", name, seed, partial(measure, name), mask_sha256=mask
            )
            if values["error"] is not None:
                self._add_point(name, values["hidden_frac"], row_seed, values["error"])

    def _add_point(self, name: str, share: float, seed: int | None, error_mm: float) -> None:
        self._curves.setdefault(name, {}).setdefault(share, {})[seed] = error_mm

    def _add_accuracy(self, name: str, seed: int) -> None:
        described = {} if name in STAGE_1 else ROWS[name].describe(self.options.settings)
        values = self.cells.find_or_make(
            f"accuracy/{name}", seed, described, lambda: self._evaluate(name, seed)
        )
        self._accuracy.setdefault(name, {})[seed] = values

    def _evaluate(self, name: str, seed: int) -> Values:
        """Pre-train on the completed training windows and recognise the test windows."""
        models, options = self.models, self.options
        if name == "none":
            completed = models.windows
            encoder = models.stage1(seed).encoder
        elif name == "clean":
            completed = load_windows(options.store, None, options.split)
            encoder = models.pretrain("stage1-clean", name, completed, completed, seed)
        else:
            filled = models.fit(name, seed).fill(models.windows, models.assigned(name, seed))
            completed = WindowSet(**{**vars(models.windows), "xyz": filled.xyz})
            encoder = models.pretrain(f"stage2-{name}", name, completed, models.windows, seed)
        linear = evaluate_encoder(encoder, completed, options.config, seed)
        features = embed(encoder, completed.xyz, options.config.training.stream)
        return {"accuracy": linear.accuracy, "knn_accuracy": probe_accuracy(features, completed)}

    def _draw_examples(self, path: Path) -> None:
        """Draw what linear interpolation, the paper's rule and ours make of five windows."""
        names = [name for name in PICTURE_ROWS if name in self.options.rows]
        seed, models = self.options.seeds[0], self.models
        described = {name: ROWS[name].describe(self.options.settings) for name in names}
        rows = choose_examples(models.windows)
        if not len(rows) or (path.is_file() and self.cells.find("examples", seed, described)):
            return
        examples, kinds = vary_occlusion(take(models.windows, rows))
        completed = {
            name: models.fit(name, seed).fill(examples, models.assign(name, seed, examples)).xyz
            for name in names
        }
        draw_examples(path, examples, completed, kinds)
        self.cells.forget("examples", seed)
        shown: Values = {"sequences": list(examples.names)}
        self.cells.find_or_make("examples", seed, described, lambda: shown)

    def _forget(self, name: str) -> None:
        """Delete what was kept of a row: results, its own models, and encoders of stage 2."""
        kinds = ("errors", "accuracy", *(f"severity-{one:g}" for one in self.series))
        for seed in (None, *self.options.seeds):
            for kind in kinds:
                self.cells.forget(f"{kind}/{name}", seed)
            self.cells.forget("examples", seed)
        for seed in self.options.seeds:
            for folder in (f"stage2-{name}", f"rows/{name}"):
                path = self.options.out / f"seed-{seed}" / folder
                shutil.rmtree(path, ignore_errors=True)


def probe_accuracy(features: FloatArray, windows: WindowSet) -> float:
    """Return the share of test windows that their nearest training windows recognise.

    Parameters
    ----------
    features : ndarray of shape (n, n_features), float32
    windows : WindowSet
    """
    train, test = windows.is_train, windows.is_test
    return neighbor_accuracy(
        (features[train], windows.label[train]), (features[test], windows.label[test])
    )


@contextmanager
def _single_thread() -> Iterator[None]:
    """Let NumPy, PyTorch and Faiss compute on one thread."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)
