"""Results that are kept as soon as they are computed, each with what made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iospstl_core.errors import InputError
from iospstl_core.files import read_json, write_json

Values = dict[str, Any]


@dataclass(frozen=True)
class CellStore:
    """Small JSON files, one a result.

    Attributes
    ----------
    folder : Path
    made_by : mapping
        What all results depend on: data, masks, configuration.
    say : callable
        Gets a line for each result that is computed.
    """

    folder: Path
    made_by: Mapping[str, Any]
    say: Callable[[str], None]

    def claim(self) -> None:
        """Write what all results depend on, or compare it with what is there.

        Raises
        ------
        InputError
            If the folder holds results that were made by something else.
        """
        path = self.folder / "made_by.json"
        if path.is_file():
            before, now = read_json(path), as_json(self.made_by)
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                raise InputError(
                    f"{self.folder}: holds results of another {', '.join(changed)}; repeat their "
                    "options to go on with them, or choose another --out"
                )
        write_json(path, self.made_by)

    def find(self, name: str, seed: int | None, settings: Mapping[str, Any]) -> Values | None:
        """Return a result that was made with these settings, or None."""
        path = self._path(name, seed)
        if not path.is_file():
            return None
        cell = read_json(path)
        if cell.get("made_by") != self._made_by(seed, settings):
            return None
        values: Values = cell["values"]
        return values

    def find_or_make(
        self,
        name: str,
        seed: int | None,
        settings: Mapping[str, Any],
        make: Callable[[], Values],
    ) -> Values:
        """Return a result; compute and keep it if it is missing or was made with other settings.

        Parameters
        ----------
        name : str
            Such as ``errors/knn``.
        seed : int, optional
            None where the seed makes no difference.
        settings : mapping
            What this result depends on besides `made_by`.
        make : callable
            Computes values that JSON can hold.
        """
        found = self.find(name, seed, settings)
        if found is not None:
            return found
        values: Values = as_json(make())
        cell = {"made_by": self._made_by(seed, settings), "values": values}
        write_json(self._path(name, seed), cell)
        self.say(f"{self._label(name, seed)}: {_summarise(values)}")
        return values

    def forget(self, name: str, seed: int | None) -> None:
        """Delete a result, so that it is made again."""
        self._path(name, seed).unlink(missing_ok=True)

    def _made_by(self, seed: int | None, settings: Mapping[str, Any]) -> Any:
        return as_json({**self.made_by, "seed": seed, "settings": dict(settings)})

    def _path(self, name: str, seed: int | None) -> Path:
        return self.folder / f"{name}.{'any-seed' if seed is None else f'seed-{seed}'}.json"

    def _label(self, name: str, seed: int | None) -> str:
        return name.replace("/", " ") + ("" if seed is None else f", seed {seed}")


def as_json(value: Any) -> Any:
    """Return a value as JSON would give it back."""
    return json.loads(json.dumps(value))


def _summarise(values: Values) -> str:
    """Return the first few numbers of a result."""
    numbers = [(key, value) for key, value in values.items() if isinstance(value, float)]
    return ", ".join(f"{key} {value:.4g}" for key, value in numbers[:3]) or "done"
