"""Writes copies of the same recordings in the formats in which people have NTU RGB+D."""

from __future__ import annotations

import pickle  # noqa: TID251 - what other projects write
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.skeleton import NTU_25
from iospstl_train.data.ntu_names import parse_name

NAMES = (
    *("S001C001P001R001A001", "S001C001P003R001A060", "S001C002P001R001A001"),
    *("S001C002P003R001A002", "S001C003P001R001A060", "S001C003P003R001A007"),
)
CENTER = 20


def make_sequences(names: Sequence[str] = NAMES) -> dict[str, NDArray[np.float32]]:
    """Return (n_frames, 2, 25, 3) by name; where the second person is absent it is NaN."""
    rng = np.random.default_rng(5)
    sequences = {}
    for index, name in enumerate(names):
        n_frames = 20 + 3 * index
        xyz = np.tile(np.array(NTU_25.rest_m) + np.array([0, 0.1, 3]), (n_frames, 2, 1, 1))
        xyz[:, 1, :, 0] += 1.2
        xyz += np.cumsum(rng.normal(0, 0.01, xyz.shape), axis=0)
        if not name.endswith("A060"):
            xyz[:, 1] = np.nan
        sequences[name] = xyz.astype(np.float32)
    return sequences


def labels_of(names: Sequence[str]) -> list[int]:
    return [parse_name(name).label for name in names]


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def pyskl_content(sequences: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    annotations = []
    for name, xyz in sequences.items():
        n_persons = 2 if np.isfinite(xyz[:, 1]).any() else 1
        keypoint = np.nan_to_num(xyz[:, :n_persons]).transpose(1, 0, 2, 3).astype(np.float16)
        annotations.append(
            {
                "frame_dir": name,
                "label": parse_name(name).label,
                "keypoint": keypoint,
                "total_frames": len(xyz),
            }
        )
    train = [name for name in sequences if parse_name(name).subject == 1]
    test = [name for name in sequences if parse_name(name).subject != 1]
    return {"split": {"xsub_train": train, "xsub_val": test}, "annotations": annotations}


def padded(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3, 300, 25, 2) with zeros after the last frame."""
    array = np.zeros((3, 300, 25, 2), np.float32)
    array[:, : len(xyz)] = xyz.transpose(3, 0, 2, 1)
    return array


def write_arrays(
    folder: Path,
    sequences: dict[str, NDArray[np.float32]],
    suffix: str = "data",
    protocol: int = 4,
) -> Path:
    """Write train and val arrays with labels, as ST-GCN does; `suffix` is data or data_nan."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        names = [
            name for name in sequences if (parse_name(name).subject == 1) == (part == "train")
        ]
        rows = [padded(sequences[name]) for name in names]
        if suffix == "data":
            rows = [np.nan_to_num(row) for row in rows]
        np.save(folder / f"{part}_{suffix}.npy", np.stack(rows))
        content = ([f"{name}.skeleton" for name in names], labels_of(names))
        write_pickle(folder / f"{part}_label.pkl", content, protocol)
    return folder


def positions(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3, 50, 25, 2) relative to the centre of each person; absent is 0."""
    at = np.linspace(0, len(xyz) - 1, 50).round().astype(int)
    return np.nan_to_num(xyz - xyz[:, :, CENTER : CENTER + 1])[at].transpose(3, 0, 2, 1)


def write_positions(folder: Path, sequences: dict[str, NDArray[np.float32]]) -> Path:
    """Write position, motion and labels as CrosSCLR and AimCLR do."""
    write_arrays(folder, sequences)
    for part in ("train", "val"):
        names, labels = pickle.loads((folder / f"{part}_label.pkl").read_bytes())
        rows = np.stack([positions(sequences[name.removesuffix(".skeleton")]) for name in names])
        motion = np.zeros_like(rows)
        motion[:, :, :-1] = rows[:, :, 1:] - rows[:, :, :-1]
        np.save(folder / f"{part}_position.npy", rows)
        np.save(folder / f"{part}_motion.npy", motion)
        np.save(folder / f"{part}_label.npy", np.array(labels)[:, None])
        (folder / f"{part}_data.npy").unlink()
    return folder


def ctr_gcn_arrays(
    sequences: dict[str, NDArray[np.float32]], n_classes: int = 60, n_frames: int = 300
) -> dict[str, NDArray[Any]]:
    """Return the arrays of CTR-GCN: joint 2 of the first person at its begin is the origin."""
    arrays = {}
    for part in ("train", "test"):
        names = [n for n in sequences if (parse_name(n).subject == 1) == (part == "train")]
        x = np.zeros((len(names), n_frames, 150), np.float32)
        for row, name in enumerate(names):
            xyz = np.nan_to_num(sequences[name] - sequences[name][0, 0, 1])
            x[row, : len(xyz)] = xyz.reshape(len(xyz), 150)
        arrays[f"x_{part}"] = x
        arrays[f"y_{part}"] = np.eye(n_classes)[labels_of(names)]
    return arrays
