"""NTU RGB+D as pyskl and MMAction2 publish it: one pickle, ``ntu60_3danno.pkl``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_core.skeleton_file import N_PERSONS
from iospstl_core.splits import parse_split
from iospstl_train.data.array_on_disk import ArrayOnDisk
from iospstl_train.data.ntu_arrays import (
    ArrayItem,
    Meaning,
    check_shape,
    named_items,
    read_array_item,
)
from iospstl_train.data.ntu_classes import NTU_CLASS_NAMES
from iospstl_train.data.ntu_names import N_CLASSES, SPLITS, published
from iospstl_train.data.published import shorten
from iospstl_train.data.source import Source

_KEYS = ("frame_dir", "label", "keypoint")
_MEANING = Meaning("MTVC", in_camera_frame=True, padded=True)


def open_pyskl(dataset: str, path: Path, content: Any) -> Source:
    """Describe the content of such a pickle.

    Parameters
    ----------
    dataset : {"ntu60", "ntu120"}
    path : Path
        The file, for messages.
    content
        What `read_pickle` returned: a mapping with ``annotations``, one mapping a sequence with
        ``frame_dir`` (its name), ``label`` and ``keypoint`` of shape (persons, frames, 25, 3) in
        metres in the camera frame, and ``split``, which lists the names of each side.

    Returns
    -------
    source : Source
        Its coordinates are read from the file one sequence at a time.

    Raises
    ------
    InputError
        If it is another pickle, one of 2D key points, or its parts contradict each other.
    """
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list) or not annotations:
        raise InputError(
            f"{path}: expected a pickle with 'split' and 'annotations' (*_3danno.pkl of pyskl), "
            f"got {_describe(content)}"
        )
    for index, annotation in enumerate(annotations):
        _check(path, index, annotation)
    columns = [[annotation[key] for annotation in annotations] for key in _KEYS]
    items = named_items(dataset, path, *columns)
    return Source(
        dataset=dataset,
        layout=NTU_25,
        class_names=NTU_CLASS_NAMES[: N_CLASSES[dataset]],
        n_persons=N_PERSONS,
        fps=30.0,
        splits=SPLITS[dataset],
        items=items,
        read=partial(read_array_item, meaning=_MEANING),
        published=partial(published, dataset),
        notes=_compare_splits(dataset, items, content.get("split")),
    )


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        return f"one with the keys {', '.join(map(str, list(content)[:5]))}"
    return f"a {type(content).__name__}"


def _check(path: Path, index: int, annotation: Any) -> None:
    if not isinstance(annotation, dict) or not annotation.keys() >= set(_KEYS):
        raise InputError(
            f"{path}: annotation {index}: expected {', '.join(_KEYS)}, got {_describe(annotation)}"
        )
    what, keypoint = f"annotation {index}", annotation["keypoint"]
    if "keypoint_score" in annotation or "img_shape" in annotation:
        raise InputError(
            f"{path}: {what}: expected 3D joints (*_3danno.pkl), got 2D key points of images "
            "(*_hrnet.pkl): their depth is not known; get the 3D file"
        )
    if not isinstance(keypoint, ArrayOnDisk | np.ndarray):
        raise InputError(f"{path}: {what}: keypoint: expected an array, got {_describe(keypoint)}")
    check_shape(path, f"{what}: keypoint", keypoint.shape, "MTVC")
    total = annotation.get("total_frames", keypoint.shape[1])
    if total != keypoint.shape[1]:
        raise InputError(
            f"{path}: {what}: expected total_frames ({total!r:.20}) frames, got "
            f"{keypoint.shape[1]}; download it again"
        )


def _compare_splits(dataset: str, items: list[ArrayItem], split: Any) -> tuple[str, ...]:
    """Say where the file's own lists differ from the splits of the dataset."""
    if not isinstance(split, dict):
        return ()
    fields = {
        name: np.array([getattr(item.numbers, name) for item in items])
        for name in ("subject", "view", "setup")
    }
    notes = []
    for name, expression in SPLITS[dataset].items():
        listed = split.get(f"{name}_train")
        if not isinstance(listed, list):
            continue
        conditions = parse_split(expression).train_conditions
        trains = np.logical_and.reduce([each.holds(fields) for each in conditions])
        ours = {item.name for item, train in zip(items, trains, strict=True) if train}
        here = {item.name for item in items}
        other = sorted(ours ^ (set(map(str, listed)) & here))
        if other:
            notes.append(
                f"the file lists {name}_train otherwise for {len(other)}: " + shorten(other)
            )
    return tuple(notes)
