"""Joint maps: which joint of a source is which of the models', as YAML data.

::

    name: my-camera
    axes: optical          # kinect, optical or ros; frame: as the name of the frame says
    unit: m                # or mm
    joints: [NOSE, EAR_L, EAR_R, null, HIP_L, HIP_R]  # by number, from 0; or NAME: number
    ntu_25:                # what is left out, the source never has
      HipLeft: HIP_L
      HipRight: HIP_R
      Head: {mean_seen: [EAR_L, EAR_R], else: NOSE}   # mean of those seen; else another one
      SpineBase: {mean: [HIP_L, HIP_R]}               # only when all are seen
      SpineMid: {mean: [ntu.SpineBase, ntu.Head]}     # ntu. is a joint of this list

A section ``message`` says where a `custom` message keeps all this; see `message_form`.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from iospstl_core.errors import InputError
from iospstl_core.files import find_installed
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.joint_map import (
    BY_FRAME,
    RESULT_PREFIX,
    UNITS_M,
    JointMap,
    JointRule,
    order_rules,
)
from iospstl_ros.adapters.message_form import form_faults
from iospstl_ros.frames import AXES

_KEYS = ("name", "axes", "unit", "joints", "ntu_25", "message")
_MEANS = ("mean", "mean_seen")
_MAX_BYTES = 64 * 1024
_MAX_JOINTS = 1000
_FOLDER = Path("config") / "joint_maps"


def load_joint_map(name_or_path: str) -> JointMap:
    """Return a map of ours by name, or one from a YAML file.

    Raises
    ------
    InputError
        If there is no such map, or it is not one; names the file, the key and the nearest name.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
    else:
        folder = joint_map_folder()
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        if name_or_path not in names:
            raise InputError(
                f"joint_map: expected a YAML file or one of {', '.join(names)}, got "
                f"'{name_or_path}'{_nearest(name_or_path, names)}"
            )
        path = folder / f"{name_or_path}.yaml"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        is_short = len(text) <= _MAX_BYTES
        data = yaml.safe_load(text) if is_short else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected a readable YAML file, got: {error}") from error
    if not is_short:
        raise InputError(f"{path}: expected at most {_MAX_BYTES} bytes, got more")
    return joint_map_from_mapping(data, str(path))


def joint_map_folder() -> Path:
    """Return the folder with the maps of ours: of the sources, or of whatever installed us."""
    folder = find_installed(_FOLDER)
    if folder is None:
        raise InputError(
            f"joint_map: expected share/iospstl_ros/{_FOLDER} in a folder above "
            f"{Path(__file__).parent}; install iospstl_ros again, or give a YAML file"
        )
    return folder


def joint_map_from_mapping(data: Any, source: str) -> JointMap:
    """Check a parsed map; raise InputError with all that is wrong and where it was found.

    Parameters
    ----------
    data : object
        As of the YAML file.
    source : str
        File name for error messages.
    """
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a mapping with name, axes, unit, joints and ntu_25")
    faults = _unknown(data, _KEYS, "key")
    faults += [f"{key}: missing" for key in _KEYS[:-1] if key not in data]
    name = data.get("name", "unnamed")
    if not (isinstance(name, str) and name):
        faults.append(f"name: expected a text, got {reprlib.repr(name)}")
    faults += _bad_choice(data, "axes", (*AXES, BY_FRAME))
    faults += _bad_choice(data, "unit", tuple(UNITS_M))
    message = data.get("message", {})
    if not isinstance(message, dict):
        faults.append(f"message: expected a mapping, got {reprlib.repr(message)}")
    elif message:
        faults += form_faults(message)
    index = _read_index(data.get("joints", []), faults)
    rules = _read_rules(data.get("ntu_25", {}), index, faults)
    if faults:
        raise InputError(f"{source}: " + "; ".join(faults))
    return JointMap(name, data["axes"], data["unit"], index, rules, message)


def joint_map_to_mapping(joint_map: JointMap) -> dict[str, Any]:
    """Return what `joint_map_from_mapping` reads, ready for YAML."""
    data: dict[str, Any] = {
        "name": joint_map.name,
        "axes": joint_map.axes,
        "unit": joint_map.unit,
        "joints": dict(joint_map.index),
        "ntu_25": {name: _rule_to_data(rule) for name, rule in joint_map.rules.items()},
    }
    if joint_map.message:
        data["message"] = dict(joint_map.message)
    return data


def _rule_to_data(rule: JointRule) -> str | dict[str, Any]:
    if len(rule.sources) == 1 and not rule.otherwise:
        return rule.sources[0]
    data: dict[str, Any] = {"mean" if rule.needs_all else "mean_seen": list(rule.sources)}
    if rule.otherwise:
        data["else"] = rule.otherwise
    return data


def _read_index(data: Any, faults: list[str]) -> dict[str, int]:
    """Return the number of each joint; note what is wrong."""
    if isinstance(data, list):
        pairs = [(name, number) for number, name in enumerate(data) if name is not None]
    elif isinstance(data, dict):
        pairs = list(data.items())
    else:
        pairs = []
    index: dict[str, int] = {}
    for name, number in pairs[: _MAX_JOINTS + 1]:
        if not isinstance(name, str) or not name or name.startswith(RESULT_PREFIX):
            faults.append(
                f"joints: expected names that do not begin with '{RESULT_PREFIX}', got "
                f"{reprlib.repr(name)}"
            )
        elif type(number) is not int or not 0 <= number < _MAX_JOINTS:
            faults.append(
                f"joints: {name}: expected a number from 0 to {_MAX_JOINTS - 1}, got "
                f"{reprlib.repr(number)}"
            )
        elif name in index or number in index.values():
            faults.append(f"joints: expected each name and number once, got {name} ({number}) too")
        else:
            index[name] = number
    if not index and not faults:
        faults.append("joints: expected a list of names, or a mapping of names to numbers")
    if len(pairs) > _MAX_JOINTS:
        faults.append(f"joints: expected at most {_MAX_JOINTS}, got {len(pairs)}")
    return index


def _read_rules(data: Any, index: Mapping[str, int], faults: list[str]) -> dict[str, JointRule]:
    """Return the rule of each joint of the models; note what is wrong."""
    if not isinstance(data, dict) or not data:
        faults.append("ntu_25: expected a mapping of joints of ntu-25 to those of the source")
        return {}
    faults += _unknown(data, NTU_25.joints, "joint of ntu-25", "ntu_25: ")
    known = (*index, *(RESULT_PREFIX + str(name) for name in data))
    rules = {}
    for name in NTU_25.joints:
        if name in data:
            rule = _read_rule(data[name])
            if rule is None:
                faults.append(
                    f"ntu_25: {name}: expected a joint, or {{mean: [A, B]}} or {{mean_seen: "
                    f"[A, B], else: C}}, got {reprlib.repr(data[name])}"
                )
            else:
                faults += _unknown(rule.names, known, "joint", f"ntu_25: {name}: ")
                rules[name] = rule
    if not faults:
        circle = order_rules(rules)[1]
        if circle:
            faults.append(f"ntu_25: {', '.join(circle)}: expected no references in a circle")
    return rules


def _read_rule(data: Any) -> JointRule | None:
    """Return a rule of proper form, its names unchecked."""
    if isinstance(data, str):
        return JointRule((data,))
    if not isinstance(data, dict) or not set(data) <= {*_MEANS, "else"}:
        return None
    means = [key for key in _MEANS if key in data]
    if len(means) != 1:
        return None
    sources, otherwise = data[means[0]], data.get("else", "")
    if not isinstance(sources, list) or not 1 <= len(sources) <= NTU_25.n_joints:
        return None
    if not all(isinstance(name, str) for name in (*sources, otherwise)):
        return None
    return JointRule(tuple(sources), means[0] == "mean", otherwise)


def _unknown(names: Iterable[Any], known: Iterable[str], what: str, where: str = "") -> list[str]:
    """Return a fault for each name that is not known, with the nearest one that is."""
    known = tuple(known)
    return [
        f"{where}unknown {what} {reprlib.repr(name)}{_nearest(name, known)}"
        for name in names
        if name not in known
    ]


def _nearest(name: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name[:100], known, n=1) if isinstance(name, str) else []
    return f"; did you mean '{close[0]}'?" if close else ""


def _bad_choice(data: Mapping[str, Any], key: str, known: tuple[str, ...]) -> list[str]:
    value = data.get(key, known[0])
    if isinstance(value, str) and value in known:
        return []
    return [
        f"{key}: expected one of {', '.join(known)}, got {reprlib.repr(value)}"
        f"{_nearest(value, known)}"
    ]
