"""``iospstl-train occlude``: hide part of every sequence of a store, beside its coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from iospstl_core.errors import InputError
from iospstl_core.store import Occlusion, Store, find_occlusion
from iospstl_train.data.store import write_occlusion
from iospstl_train.occlusion.kind import Kind, Masked, SkeletonSequence, Source
from iospstl_train.occlusion.kinds import KINDS
from iospstl_train.occlusion.report import Tally
from iospstl_train.parallel import map_in_order

if TYPE_CHECKING:
    from iospstl_train.config import Config

__all__ = ["KINDS", "find_or_make_occlusion", "make_series", "occlude"]

BoolArray = NDArray[np.bool_]


def occlude(
    store: Store,
    name: str,
    kind: str,
    seed: int,
    settings: Any,
    source: Path | None = None,
    n_workers: int | None = None,
) -> Occlusion:
    """Hide joints of every sequence, store the masks, and a report beside them.

    Parameters
    ----------
    store : Store
    name : str
        Name of the occlusion within the store; an older one of that name is replaced.
    kind : str
        Out of `KINDS`.
    seed : int
        Each sequence draws from its own generator, so that results do not depend on the workers.
    settings : dataclass
        Of the kind, such as ``config.realistic``.
    source : Path, optional
        What the kind draws from: a folder of meshes, a recording.
    n_workers : int, optional
        Processes; all cores if left out.

    Returns
    -------
    occlusion : Occlusion
        Its folder also has ``report.md`` and ``sequences.csv``.

    Raises
    ------
    InputError
        If the kind cannot be used with this store or source.
    """
    opened = _open_source(store, kind, settings, source, None)
    return _occlude(store, name, kind, seed, settings, opened, n_workers)


def find_or_make_occlusion(
    store: Store,
    name: str,
    config: Config,
    seed: int | None = None,
    severity: float | None = None,
    source: Path | None = None,
) -> Occlusion:
    """Return an occlusion of a store; make it if it is missing and named like a kind.

    Parameters
    ----------
    store, name, source
        As of `occlude`.
    config : Config
        Its section named like the kind has the settings.
    seed, severity : optional
        0 and that of the settings where it is made.

    Raises
    ------
    InputError
        If it is missing and not named like a kind, or was made with another seed or severity.
    """
    if name in KINDS and severity is not None:
        KINDS[name].with_severity(getattr(config, name), severity)  # refuse it in any case
    try:
        found = find_occlusion(store, name)
    except InputError:
        if name not in KINDS:
            raise
        settings = getattr(config, name)
        if severity is not None:
            settings = KINDS[name].with_severity(settings, severity)
        return occlude(store, name, name, seed or 0, settings, source)
    advice = "make another one with: iospstl-train occlude --name NAME"
    if seed is not None and found.manifest.get("seed") != seed:
        raise InputError(
            f"occlusion {name}: expected the seed {seed}, got {found.manifest.get('seed')} in the "
            f"one that is there; {advice}"
        )
    if severity is not None:
        kind, settings = _read_settings(found)
        if KINDS[kind].with_severity(settings, severity) != settings:
            raise InputError(
                f"occlusion {name}: expected the severity {severity:g}, got "
                f"{KINDS[kind].severity} {getattr(settings, KINDS[kind].severity)} in the one "
                f"that is there; {advice}"
            )
    return found


def make_series(
    store: Store, base: Occlusion, severities: Sequence[float], n_workers: int | None = None
) -> list[Occlusion]:
    """Return an occlusion for each severity, called BASE-SEVERITY; make those that are missing.

    Parameters
    ----------
    store : Store
    base : Occlusion
        Gives kind, seed and all other settings.
    severities : sequence of float
        What they mean depends on the kind (`Kind.severity_text`).
    n_workers : int, optional
        Processes; all cores if left out.

    Raises
    ------
    InputError
        If the kind has no such severity; or if `base` was made from files that are needed again,
        or one of that name is there that differs from `base` in more than its severity.
    """
    kind, settings = _read_settings(base)
    wanted = [KINDS[kind].with_severity(settings, severity) for severity in severities]
    made = []
    for severity, changed in zip(severities, wanted, strict=True):
        name = series_name(base.name, severity)
        if (store.folder / "occlusion" / name / "manifest.json").is_file():
            found = find_occlusion(store, name)
            _check_same(found, base, kind, changed)
        else:
            opened = _open_source(store, kind, changed, None, dict(base.manifest))
            seed = int(base.manifest["seed"])
            found = _occlude(store, name, kind, seed, changed, opened, n_workers)
        made.append(found)
    return made


def series_name(name: str, severity: float) -> str:
    """Return what the member of a series is called."""
    return f"{name}-{severity:g}"


def _check_same(found: Occlusion, base: Occlusion, kind: str, settings: Any) -> None:
    """Refuse a member of a series that is of another series."""
    there, its_settings = _read_settings(found)
    if (there, its_settings, found.manifest["seed"]) != (kind, settings, base.manifest["seed"]):
        raise InputError(
            f"occlusion {found.name}: expected kind, seed and settings of '{base.name}' but for "
            f"the severity, got another {there} occlusion, seed {found.manifest['seed']}; remove "
            "its folder, or give the series another --name"
        )


def _read_settings(occlusion: Occlusion) -> tuple[str, Any]:
    """Return kind and settings that an occlusion was made with, also by release 0.4."""
    manifest = occlusion.manifest
    kind = str(manifest.get("kind"))
    if kind not in KINDS:
        raise InputError(
            f"occlusion {occlusion.name}: expected one of the kinds {', '.join(KINDS)}, got "
            f"'{kind}', which has no severity"
        )
    described = manifest.get("settings") or {"fraction": manifest["fraction"]}
    return kind, TypeAdapter(KINDS[kind].settings).validate_python(described)


def _open_source(
    store: Store, kind: str, settings: Any, path: Path | None, earlier: dict[str, Any] | None
) -> Source:
    """Read what a kind draws from; refuse stores and files that it has no use for."""
    found = KINDS[kind]
    if found.needs_camera and not store.camera_frame:
        raise InputError(
            f"{store.folder}: expected camera coordinates for the kind '{kind}', got bodies that "
            "were moved or turned; prepare raw files, *_data.npy or *_3danno.pkl, or choose "
            "another kind"
        )
    if path is not None and found.source_option is None:
        options = [f"{item.source_option} for {name}" for name, item in KINDS.items()]
        known = ", ".join(option for option in options if not option.startswith("None"))
        raise InputError(f"{kind}: draws from no files, got '{path}'; there are {known}")
    if found.open_source is None:
        return Source(None, {})
    return found.open_source(path, earlier, store, settings)


def _occlude(
    store: Store,
    name: str,
    kind: str,
    seed: int,
    settings: Any,
    source: Source,
    n_workers: int | None,
) -> Occlusion:
    tally = Tally(store)
    manifest: dict[str, Any] = {
        **{"kind": kind, "seed": seed, "settings": asdict(settings), **source.described},
        **{"notes": list(source.notes), "sequences": []},
    }
    work = partial(_hide, store, KINDS[kind], seed, settings, source.content)

    def masks() -> Iterator[BoolArray]:
        results = map_in_order(work, range(len(store)), f"occlude {name}", n_workers)
        for index, (hidden, drawn) in enumerate(results):
            sequence = _sequence(store, index)
            tally.add(hidden, sequence.observed, sequence.present)
            manifest["sequences"].append({"hidden_frac": tally.last_hidden_frac, **drawn})
            yield hidden
        manifest["hidden_frac"] = tally.hidden_frac
        manifest["hidden_frac_by_joint"] = tally.by_joint()

    write_occlusion(store, name, masks(), manifest)
    title = f"{store.dataset}: {name} ({kind}, seed {seed})"
    tally.write(store.folder / "occlusion" / name, title)
    return find_occlusion(store, name)


def _hide(store: Store, kind: Kind, seed: int, settings: Any, content: Any, index: int) -> Masked:
    """Hide joints of one sequence, only where they were observed."""
    sequence = _sequence(store, index)
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    hidden, drawn = kind.hide(sequence, settings, content, rng)
    return Masked(hidden & sequence.observed, drawn)


def _sequence(store: Store, index: int) -> SkeletonSequence:
    return SkeletonSequence(*store.sequence(index), store.layout, store.fps)
