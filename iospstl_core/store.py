"""The store, read: a folder of memory-mapped arrays with all sequences of a dataset.

``ROOT/DATASET/`` holds ``manifest.json``, ``xyz.npy`` (all frames one after another),
``present.npy``, ``offset.npy``, one array a field, and ``names.json``; ``tracking.npy`` where the
source says which joints a Kinect tracked. Its ``occlusion/NAME/``
holds ``hidden.npy``: which observed cells a camera would not have seen. Coordinates are never
changed, so that what was hidden can be compared with the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.files import read_json
from iospstl_core.skeleton import SkeletonLayout, layout_from_mapping
from iospstl_core.splits import Split, parse_split

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

STORE_VERSION = 1
FIELDS = ("label", "subject", "view", "setup")
OPTIONAL_FIELDS = ("part",)
_KEYS = ("dataset", "layout", "class_names", "n_persons", "fps", "splits", "files")


@dataclass(frozen=True)
class Store:
    """An opened store; frames stay on disk until they are read.

    Attributes
    ----------
    folder : Path
    dataset : str
    layout : SkeletonLayout
        Layout of the source.
    class_names : tuple of str
    n_persons : int
    fps : float
    splits : mapping of str to str
        Split expressions by name; the first is the default.
    xyz : ndarray of shape (total_frames, n_persons, n_joints, 3), float32
        Metres, camera frame; NaN where not observed or absent.
    present : ndarray of shape (total_frames, n_persons), bool
    offset : ndarray of shape (n_sequences + 1,), int64
    fields : mapping of str to ndarray of shape (n_sequences,), int64
        label, subject, view and setup; part where only that says who trains.
    names : tuple of str
    tracking : ndarray of shape (total_frames, n_persons, n_joints), int8, optional
        0 not tracked, 1 inferred, 2 tracked; None where the source does not say.
    camera_frame : bool
        False where the source moved or turned the bodies: where the camera stood is lost.
    """

    folder: Path
    dataset: str
    layout: SkeletonLayout
    class_names: tuple[str, ...]
    n_persons: int
    fps: float
    splits: Mapping[str, str]
    xyz: FloatArray
    present: BoolArray
    offset: NDArray[np.int64]
    fields: Mapping[str, NDArray[np.int64]]
    names: tuple[str, ...]
    tracking: NDArray[np.int8] | None = None
    camera_frame: bool = True

    def __len__(self) -> int:
        return len(self.names)

    @property
    def label(self) -> NDArray[np.int64]:
        """Class index of each sequence."""
        return self.fields["label"]

    def frames(self, index: int) -> slice:
        """Return where the frames of one sequence lie."""
        return slice(int(self.offset[index]), int(self.offset[index + 1]))

    def sequence(self, index: int) -> tuple[FloatArray, BoolArray]:
        """Return copies of xyz (n_frames, n_persons, n_joints, 3) and present of one sequence."""
        rows = self.frames(index)
        return np.array(self.xyz[rows]), np.array(self.present[rows])

    @property
    def default_split(self) -> str:
        """Name of the split where none is named: the first."""
        return next(iter(self.splits))

    def split(self, name: str | None = None) -> tuple[BoolArray, BoolArray]:
        """Return which sequences train and which test, by a split's name or as of the default."""
        name = name or self.default_split
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise InputError(f"split: {self.dataset} has {known}, got '{name}'")
        split: Split = parse_split(self.splits[name])
        return split.train(self.fields), split.test(self.fields)

    def describe_split(self, name: str) -> str:
        """Return the sizes of a split, or why these sequences cannot be split so."""
        try:
            is_train, is_test = self.split(name)
        except InputError as error:
            return f"cannot be used: {error}"
        return f"{is_train.sum()} train / {is_test.sum()} test"


@dataclass(frozen=True)
class Occlusion:
    """Masks over a store.

    Attributes
    ----------
    name : str
    hidden : ndarray of shape (total_frames, n_persons, n_joints), bool
        True where an observed joint is hidden from the camera.
    manifest : mapping
        Kind, settings, seed, objects and rates.
    """

    name: str
    hidden: BoolArray
    manifest: Mapping[str, Any]


def open_store(folder: Path) -> Store:
    """Open a store; raise InputError if its files do not fit its manifest."""
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format_version") != STORE_VERSION:
        raise InputError(
            f"{folder}: expected store format version {STORE_VERSION}, got "
            f"{manifest.get('format_version')}; prepare it again"
        )
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise InputError(
            f"{folder}: expected the manifest of a store, got one without {', '.join(missing)}; "
            "prepare it again"
        )
    for name, expected in manifest["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected["size"]:
            raise InputError(
                f"{path}: expected {expected['size']} bytes, got {size}; prepare the store again"
            )
    return Store(
        folder=folder,
        dataset=manifest["dataset"],
        layout=layout_from_mapping(manifest["layout"], str(folder / "manifest.json")),
        class_names=tuple(manifest["class_names"]),
        n_persons=int(manifest["n_persons"]),
        fps=float(manifest["fps"]),
        splits=manifest["splits"],
        xyz=np.load(folder / "xyz.npy", mmap_mode="r", allow_pickle=False),
        present=np.load(folder / "present.npy", mmap_mode="r", allow_pickle=False),
        offset=np.load(folder / "offset.npy", allow_pickle=False),
        fields=_load_fields(folder),
        names=tuple(read_json(folder / "names.json")["names"]),
        tracking=_load_tracking(folder),
        camera_frame=bool(manifest.get("camera_frame", True)),
    )


def _load_fields(folder: Path) -> dict[str, NDArray[np.int64]]:
    optional = [name for name in OPTIONAL_FIELDS if (folder / f"{name}.npy").is_file()]
    names = (*FIELDS, *optional)
    return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}


def _load_tracking(folder: Path) -> NDArray[np.int8] | None:
    path = folder / "tracking.npy"
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None


def find_occlusion(store: Store, name: str) -> Occlusion:
    """Open a store's occlusion by name; raise InputError listing those that exist."""
    folder = store.folder / "occlusion" / name
    if not (folder / "manifest.json").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/manifest.json"))
        raise InputError(
            f"occlusion: {store.dataset} has {', '.join(known) or 'none yet'}, got '{name}'; run: "
            f"iospstl-train occlude --dataset {store.dataset} --root {store.folder.parent} "
            f"--kind realistic --name {name}"
        )
    try:
        hidden = np.load(folder / "hidden.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / 'hidden.npy'}: expected masks, got: {error}; occlude the store again"
        ) from error
    if hidden.shape != store.xyz.shape[:-1]:
        raise InputError(
            f"{folder}: expected masks for {store.xyz.shape[:-1]} cells, got {hidden.shape}; the "
            "store was prepared again since: occlude it again"
        )
    return Occlusion(name, hidden, read_json(folder / "manifest.json"))


def hide(xyz: FloatArray, hidden: BoolArray) -> FloatArray:
    """Return a copy of xyz (n_frames, n_persons, n_joints, 3) with hidden joints set to NaN."""
    return np.where(hidden[..., None], np.float32(np.nan), xyz)
