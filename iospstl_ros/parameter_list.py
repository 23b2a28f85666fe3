"""What the recogniser can be told, as text for those without ``ros2 param``."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from typing import Any

from iospstl_core.errors import InputError
from iospstl_ros.adapters import MAKERS, make_adapter
from iospstl_ros.adapters.adapter import AdapterSettings
from iospstl_ros.settings import RecognizerParameters

_WIDTH = 99
_INDENT = "    "
_TYPES = {bool: "bool", int: "int", float: "float", str: "text", tuple: "list of text"}


def list_parameters() -> str:
    """Return every parameter with type, default, range, whether it is read-only, and meaning."""
    paragraphs = [
        "Set one with --ros-args -p NAME:=VALUE, or in a file with --params-file. A float needs\n"
        "its decimal point: 5.0, not 5. Those that are read-only are fixed from the start; the\n"
        "others may be changed at any time (ros2 param set /recognizer NAME VALUE)."
    ]
    for item in fields(RecognizerParameters):
        facts = [_TYPES[type(item.default)], f"default {_write(item.default)}"]
        if item.metadata["limits"] is not None:
            low, high = item.metadata["limits"]
            facts.append(f"{low:g} to {high:g}")
        if item.metadata["read_only"]:
            facts.append("read-only")
        title = f"{item.name}: {', '.join(facts)}"
        paragraphs.append(f"{title}\n{_indented(item.metadata['description'])}")
    return "\n\n".join(paragraphs) + "\n"


def list_adapters() -> str:
    """Return every adapter with the messages that it reads."""
    lines = []
    for name in MAKERS:
        try:
            adapter = make_adapter(AdapterSettings(name))
        except InputError as error:  # it has to be told more
            lines.append(f"{name}\n{_indented(str(error))}")
            continue
        lines += [name, f"{_INDENT}skeletons: {adapter.message_type}"]
        lines.append(f"{_INDENT}messages: {adapter.install}")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _write(value: Any) -> str:
    """Return a value as YAML would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_write(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
