"""The recogniser's settings without a node: from its parameter file, and from words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from iospstl_core.errors import InputError
from iospstl_ros.settings import RecognizerParameters

NODE = "recognizer"

_SECTIONS = ("/**", NODE, f"/{NODE}", f"/**/{NODE}", f"/*/{NODE}")
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "qos_overrides")


def read_params_file(path: Path) -> dict[str, Any]:
    """Return the recogniser's parameters in a file that its node reads too.

    Raises
    ------
    InputError
        If the file cannot be read or has none for a node of that name.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: expected a YAML file of parameters, got: {text}") from error
    sections = content if isinstance(content, dict) else {}
    found: dict[str, Any] = {}
    for name in sections.keys() & set(_SECTIONS):
        section = sections[name].get("ros__parameters") if sections[name] else None
        if not isinstance(section, dict):
            raise InputError(f"{path}: {name}: expected a section ros__parameters")
        found |= section
    if not sections.keys() & set(_SECTIONS):
        raise InputError(
            f"{path}: expected a section '/**' or '{NODE}', got {', '.join(map(str, sections))}"
        )
    return {name: value for name, value in found.items() if name not in _OF_EVERY_NODE}


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Return what ``name=value`` words set; a value is YAML, except where a setting is a text."""
    known = {item.name: item.default for item in fields(RecognizerParameters)}
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set: expected name=value, got '{text}'")
        is_text = isinstance(known.get(name), str)
        try:
            found[name] = value if is_text else yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"{name}: expected a value, got '{value}'") from error
    return found


def make_settings(values: Mapping[str, Any]) -> RecognizerParameters:
    """Return settings from plain values, checked as the node checks its parameters.

    Raises
    ------
    InputError
        If a name is unknown (names the nearest), or a value is of another type or out of range.
    """
    known = {item.name: item for item in fields(RecognizerParameters)}
    checked = {}
    for name, value in values.items():
        if name not in known:
            nearest = get_close_matches(name, known, 1)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise InputError(f"{name}: the recogniser has no such parameter{hint}")
        checked[name] = _check(name, value, known[name].default, known[name].metadata["limits"])
    return RecognizerParameters(**checked)


def _check(name: str, value: Any, default: Any, limits: tuple[float, float] | None) -> Any:
    """Return a value in the type of the default."""
    if isinstance(default, tuple):
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InputError(f"{name}: expected a list of text, got {value!r}")
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise InputError(f"{name}: expected {type(default).__name__}, got {value!r}")
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise InputError(f"{name}: expected {limits[0]:g} to {limits[1]:g}, got {value!r}")
    return value
