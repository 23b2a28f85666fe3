"""The store, written: all sequences of a dataset, and masks beside them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.files import describe_files, new_folder, write_json
from iospstl_core.skeleton import SkeletonLayout, layout_to_mapping
from iospstl_core.store import FIELDS, OPTIONAL_FIELDS, STORE_VERSION, Store, open_store
from iospstl_train.data.growing_array import GrowingArray
from iospstl_train.data.recording import Recording

BoolArray = NDArray[np.bool_]

SOURCES_OF_DATA = {
    "ntu60": (
        "the skeleton archive nturgbd_skeletons_s001_to_s017.zip (5.8 GB) from the Rapid-Rich "
        "Object Search (ROSE) Lab, https://rose1.ntu.edu.sg/dataset/actionRecognition/ (free for "
        "research after registration); unpack it",
        "iospstl-train prepare --dataset ntu60 --data FOLDER_WITH_SKELETON_FILES",
    ),
    "ntu120": (
        "the skeleton archives nturgbd_skeletons_s001_to_s017.zip and "
        "nturgbd_skeletons_s018_to_s032.zip from the Rapid-Rich Object Search (ROSE) Lab, "
        "https://rose1.ntu.edu.sg/dataset/actionRecognition/ (free for research after "
        "registration); unpack both into one folder",
        "iospstl-train prepare --dataset ntu120 --data FOLDER_WITH_SKELETON_FILES",
    ),
    "nw-ucla": (
        "the skeletons of Northwestern-UCLA Multiview Action 3D (all_sqe, 1,484 JSON files) from "
        "its authors, https://wangjiangb.github.io/my_data.html",
        "iospstl-train prepare --dataset nw-ucla --data ALL_SQE_FOLDER_OR_ARCHIVE",
    ),
    "utd-mhad": (
        "the skeletons of UTD-MHAD (Skeleton.zip, 861 MATLAB files) from its authors, "
        "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
        "iospstl-train prepare --dataset utd-mhad --data SKELETON_FOLDER_OR_ARCHIVE",
    ),
    "npz": (
        "nothing: bring your own recordings as a neutral archive",
        "iospstl-train prepare --dataset npz --data FILE.npz --layout LAYOUT --split SPLIT",
    ),
    "synthetic": ("nothing: it is generated", "iospstl-train prepare --dataset synthetic"),
}
"""By dataset: what to get from whom, and the command that prepares it."""


def write_store(
    folder: Path,
    manifest: Mapping[str, Any],
    layout: SkeletonLayout,
    recordings: Iterable[Recording],
) -> int:
    """Write recordings, one at a time, into a new store; return their number.

    Parameters
    ----------
    folder : Path
        Replaced only when everything has been written.
    manifest : mapping
        dataset, class_names, n_persons, fps, splits, steps.
    layout : SkeletonLayout
    recordings : iterable of Recording
        Consumed once, never held in memory together.
    """
    if folder.exists() and not (folder / "offset.npy").is_file() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds something else than a store; choose another --name")
    with new_folder(folder) as partial:
        rows = _write_frames(partial, recordings, int(manifest["n_persons"]), layout.n_joints)
        if not rows:
            raise InputError(f"{folder}: expected at least one sequence to store, got none")
        np.save(partial / "offset.npy", np.cumsum([0, *(row[0] for row in rows)]).astype(np.int64))
        for column, name in enumerate((*FIELDS, *OPTIONAL_FIELDS), start=2):
            values = np.array([row[column] for row in rows], np.int64)
            if name in FIELDS or (values >= 0).all():
                np.save(partial / f"{name}.npy", values)
        write_json(partial / "names.json", {"names": [row[1] for row in rows]})
        files = describe_files(partial)
        content = {"format_version": STORE_VERSION, **manifest, "n_sequences": len(rows)}
        content |= {"layout": layout_to_mapping(layout), "files": files}
        write_json(partial / "manifest.json", content)
    return len(rows)


def _write_frames(
    folder: Path, recordings: Iterable[Recording], n_persons: int, n_joints: int
) -> list[tuple[Any, ...]]:
    """Append all frames to the store's arrays; return a row a sequence."""
    rows: list[tuple[Any, ...]] = []
    cells = (n_persons, n_joints)
    is_tracked = False
    with (
        GrowingArray(folder / "xyz.npy", np.float32, (*cells, 3)) as xyz,
        GrowingArray(folder / "present.npy", np.bool_, (n_persons,)) as present,
        GrowingArray(folder / "tracking.npy", np.int8, cells) as tracking,
    ):
        for item in recordings:
            xyz.append(item.xyz)
            present.append(item.present)
            if item.tracking is not None:
                is_tracked = True
                tracking.append(item.tracking)
            numbers = [getattr(item, name) for name in (*FIELDS, *OPTIONAL_FIELDS)]
            rows.append((len(item.xyz), item.name, *numbers))
        assert tracking.n_rows in (0, xyz.n_rows), "a source tells tracking always or never"
    if not is_tracked:
        (folder / "tracking.npy").unlink()
    return rows


def find_store(dataset: str, root: Path) -> Store:
    """Open the store of a dataset below `root`.

    Raises
    ------
    InputError
        If it is not there: says what to get from whom and which command prepares it.
    """
    folder = root / dataset
    if (folder / "manifest.json").is_file():
        return open_store(folder)
    prepared = sorted(path.parent.name for path in root.glob("*/manifest.json"))
    if dataset not in SOURCES_OF_DATA:
        known = sorted({*SOURCES_OF_DATA, *prepared})
        nearest = difflib.get_close_matches(dataset, known, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise InputError(f"dataset: expected one of {', '.join(known)}, got '{dataset}'{hint}")
    get, command = SOURCES_OF_DATA[dataset]
    raise InputError(
        f"{dataset}: no prepared store at {folder}. Get {get}. Then run: {command} --root {root}"
    )


def write_occlusion(
    store: Store, name: str, masks: Iterator[BoolArray], manifest: dict[str, Any]
) -> None:
    """Write one mask (n_frames, n_persons, n_joints) for each sequence, in order.

    `manifest` is written after the last mask, so that the caller can add to it meanwhile.
    """
    if not name or name == ".." or Path(name).name != name:
        raise InputError(f"--name: expected a name without folders, got '{name}'")
    with new_folder(store.folder / "occlusion" / name) as partial:
        shape = store.xyz.shape[:-1]
        hidden = open_memmap(partial / "hidden.npy", "w+", np.bool_, shape)
        for index, mask in enumerate(masks):
            hidden[store.frames(index)] = mask
        hidden.flush()
        write_json(partial / "manifest.json", {"format_version": STORE_VERSION, **manifest})
