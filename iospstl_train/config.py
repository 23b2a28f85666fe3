"""Typed configuration: defaults in dataclasses, YAML files that hold only differences.

Order of precedence, last wins: defaults, preset, ``--config FILE``, ``--set SECTION.KEY=VALUE``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from iospstl_core.errors import InputError
from iospstl_core.files import find_installed
from iospstl_train.methods.aimclr import AimClrSettings
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.contrast import ContrastSettings
from iospstl_train.methods.crossclr import CrossClrSettings
from iospstl_train.methods.mask_views import MaskViewSettings
from iospstl_train.methods.opstl import OpstlSettings
from iospstl_train.models.mask_mixer import MixerSettings
from iospstl_train.models.restorer import RestorerSettings
from iospstl_train.models.stgcn import EncoderSettings
from iospstl_train.occlusion.cells import CellSettings
from iospstl_train.occlusion.dropout import DropoutSettings
from iospstl_train.occlusion.parts import PartSettings
from iospstl_train.occlusion.placement import RealisticSettings
from iospstl_train.occlusion.sensor import SensorSettings
from iospstl_train.occlusion.tabletop import TabletopSettings
from iospstl_train.occlusion.time_block import TimeSettings
from iospstl_train.settings import ImputationSettings, LinearSettings, TrainingSettings


@dataclass(frozen=True)
class Config:
    """Everything that can be set."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    mixer: MixerSettings = field(default_factory=MixerSettings)
    opstl: OpstlSettings = field(default_factory=OpstlSettings)
    mask_views: MaskViewSettings = field(default_factory=MaskViewSettings)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    crossclr: CrossClrSettings = field(default_factory=CrossClrSettings)
    aimclr: AimClrSettings = field(default_factory=AimClrSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    linear: LinearSettings = field(default_factory=LinearSettings)
    imputation: ImputationSettings = field(default_factory=ImputationSettings)
    restorer: RestorerSettings = field(default_factory=RestorerSettings)
    realistic: RealisticSettings = field(default_factory=RealisticSettings)
    random: CellSettings = field(default_factory=CellSettings)
    parts: PartSettings = field(default_factory=PartSettings)
    time: TimeSettings = field(default_factory=TimeSettings)
    tabletop: TabletopSettings = field(default_factory=TabletopSettings)
    dropout: DropoutSettings = field(default_factory=DropoutSettings)
    sensor: SensorSettings = field(default_factory=SensorSettings)


def preset_names() -> list[str]:
    """Return the names of the built-in presets."""
    return sorted(_preset_paths())


def _preset_paths() -> dict[str, Path]:
    """Return the files of the presets: what others published, and our own."""
    published = find_installed(Path("config") / "paper")
    if published is None:
        raise InputError(
            "preset: expected share/iospstl_ros/config/paper beside this installation, got none; "
            "install iospstl_ros again"
        )
    paths = {f"paper/{path.stem}": path for path in published.glob("*.yaml")}
    paths["paper"] = paths["paper/opstl"]
    own = Path(__file__).parent / "presets"
    return paths | {path.stem: path for path in own.glob("*.yaml")}


def _merge_preset(config: Config, name: str) -> Config:
    """Return the configuration with a preset over it, and what that one extends under both."""
    paths = _preset_paths()
    if name not in paths:
        raise InputError(f"preset: expected one of {', '.join(sorted(paths))}, got '{name}'")
    data = _parse_yaml(_read_text(paths[name]), f"preset {name}")
    extended = data.pop("extends", None)
    if extended is not None:
        config = _merge_preset(config, extended)
    return _merge(config, data, f"preset {name}")


def load_config(
    preset: str | None = None, path: Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Return a configuration.

    Parameters
    ----------
    preset : str, optional
        Name of a built-in preset.
    path : Path, optional
        YAML file with differences.
    overrides : sequence of str
        ``section.key=value``, the value in YAML.

    Raises
    ------
    InputError
        For an unknown section or key (names the nearest) or a value of the wrong type or range.
    """
    config = Config()
    if preset is not None:
        config = _merge_preset(config, preset)
    if path is not None:
        config = _merge(config, _parse_yaml(_read_text(path), str(path)), str(path))
    return change_config(config, overrides)


def change_config(config: Config, overrides: Sequence[str]) -> Config:
    """Return a configuration with some values changed, given as ``section.key=value``."""
    return _merge(config, _parse_overrides(overrides), "--set")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable YAML file, got: {error}") from error


def _parse_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"{source}: expected YAML, got: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(data, dict | None):
        raise InputError(f"{source}: expected sections with keys, got {type(data).__name__}")
    return data or {}


def _parse_overrides(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """All overrides as sections with keys: values that depend on each other change together."""
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        section, dot, key = name.partition(".")
        if not separator or not dot:
            raise InputError(f"--set: expected SECTION.KEY=VALUE, got '{text}'")
        parsed = _parse_yaml(f"value: {value}", f"--set {text}")["value"]
        changes.setdefault(section, {})[key] = parsed
    return changes


def _merge(config: Config, changes: Mapping[str, Any], source: str) -> Config:
    """Return the configuration with some values changed and everything validated."""
    data = asdict(config)
    _check_keys(changes, data, source, "section")
    for section, values in changes.items():
        if not isinstance(values, Mapping):
            raise InputError(f"{source}: {section}: expected keys and values, got '{values}'")
        _check_keys(values, data[section], f"{source}: {section}", "key")
        data[section].update(values)
    try:
        return TypeAdapter(Config).validate_python(data)
    except ValidationError as error:
        raise InputError(f"{source}: {_describe(error)}") from error


def _check_keys(got: Mapping[str, Any], known: Mapping[str, Any], where: str, kind: str) -> None:
    for key in got:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
            raise InputError(f"{where}: unknown {kind} '{key}'; {hint}")


def _describe(error: ValidationError) -> str:
    """All faults of a configuration in one sentence."""
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "value_error":  # of a section's own check: names key and value
            faults.append(f"{where}.{fault['msg'].removeprefix('Value error, ')}")
        else:
            faults.append(f"{where}: {fault['msg'].lower()}, got {fault['input']!r}")
    return "; ".join(faults)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the resolved configuration, ready for JSON or YAML."""
    return {
        item.name: {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(getattr(config, item.name)).items()
        }
        for item in fields(config)
    }


def config_from_dict(data: Mapping[str, Any], source: str) -> Config:
    """Return the configuration that `config_to_dict` described."""
    return _merge(Config(), data, source)
