"""The bundle: a folder with all that a robot needs, checked byte by byte when it is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import BundleError, InputError
from iospstl_core.files import describe_files, new_folder, read_json, sha256_of, write_json
from iospstl_core.imputation.bank import FILES, ImputationBank, open_bank, save_bank
from iospstl_core.rejection import Rejection, open_rejection, save_rejection
from iospstl_core.streams import STREAMS

FORMAT_VERSION = 3
MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
CLASSIFIER = "classifier.onnx"
CENTROIDS = "centroids.npy"
BANK = "bank"
RESTORER = "restorer.onnx"
REJECTION = "rejection.npz"
EXAMPLES = "examples.npz"
IMPUTERS = ("none", "mean", "linear", "knn", "restore")


@dataclass(frozen=True)
class BundleSettings:
    """What the live path must do as training did.

    Attributes
    ----------
    layout : str
        Layout of the models.
    n_frames, n_persons : int
        Shape of a window.
    window_s : float
        Longest stretch of time that a window covers.
    classes : tuple of str
        Class names by index.
    encoder_stream, classifier_stream : {"joint", "motion", "bone"}
        What each network takes.
    imputer : {"none", "mean", "linear", "knn", "restore"}
        Rule that completes a window before it is classified.
    n_neighbors : int
        Donors averaged for each cell.
    nprobe : int
        Nearest clusters whose donors are pooled.
    max_donors : int, optional
        Donors used of each cluster; all if None.
    temperature : float
        What logits are divided by, so that their softmax is how often the label is right.
    training : mapping
        Provenance: dataset, split, occlusion, seed, versions, accuracies.
    """

    layout: str
    n_frames: int
    n_persons: int
    window_s: float
    classes: tuple[str, ...]
    imputer: str
    n_neighbors: int
    encoder_stream: str = "joint"
    classifier_stream: str = "joint"
    nprobe: int = 1
    max_donors: int | None = None
    temperature: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; donors stay on disk until a cluster is read.

    Without a `rejection`, all movement counts as known.
    """

    folder: Path
    settings: BundleSettings
    centroids: NDArray[np.float32]
    bank: ImputationBank
    rejection: Rejection | None = None

    @property
    def encoder_path(self) -> Path:
        """Stage 1: window -> embedding."""
        return self.folder / ENCODER

    @property
    def classifier_path(self) -> Path:
        """Stage 2: completed window -> logits and embedding."""
        return self.folder / CLASSIFIER

    @property
    def restorer_path(self) -> Path:
        """Network of the imputer "restore"; there only if that is the bundle's imputer."""
        return self.folder / RESTORER

    @property
    def examples_path(self) -> Path:
        """Embeddings that classifier and rejection were fitted on; not needed by a robot."""
        return self.folder / EXAMPLES


def write_bundle(
    folder: Path,
    settings: BundleSettings,
    encoder_onnx: bytes,
    classifier_onnx: bytes,
    centroids: NDArray[np.float32],
    bank: ImputationBank,
    restorer_onnx: bytes | None = None,
    rejection: Rejection | None = None,
    examples: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle; it appears under its name only when it is complete.

    `examples` are plain arrays that go along for `iospstl-train classes --keep`.

    Raises
    ------
    ValueError
        If the imputer is "restore" and there is no restorer.
    """
    if (settings.imputer == "restore") != (restorer_onnx is not None):
        raise ValueError("restorer_onnx: belongs to the imputer 'restore', and only to that one")
    with new_folder(folder) as partial:
        (partial / ENCODER).write_bytes(encoder_onnx)
        (partial / CLASSIFIER).write_bytes(classifier_onnx)
        if restorer_onnx is not None:
            (partial / RESTORER).write_bytes(restorer_onnx)
        np.save(partial / CENTROIDS, centroids.astype(np.float32), allow_pickle=False)
        (partial / BANK).mkdir()
        save_bank(bank, partial / BANK)
        if rejection is not None:
            save_rejection(rejection, partial / REJECTION)
        if examples is not None:
            np.savez(partial / EXAMPLES, **dict(examples))
        manifest = {
            "format": "iospstl-bundle",
            "format_version": FORMAT_VERSION,
            **asdict(settings),
            "files": describe_files(partial),
        }
        write_json(partial / MANIFEST, manifest)


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle after checking its version and the size and hash of every file.

    Raises
    ------
    BundleError
        If anything is missing, of another version, or differs by a byte; names the file and the
        remedy.
    """
    settings = _read_settings(folder)
    centroids = np.load(folder / CENTROIDS, allow_pickle=False)
    if settings.nprobe > len(centroids):
        raise BundleError(
            f"{folder / MANIFEST}: nprobe: expected at most {len(centroids)}, the number of "
            f"clusters, got {settings.nprobe}; export it again with 'iospstl-train export'"
        )
    path = folder / REJECTION
    n_classes = len(settings.classes)
    return Bundle(
        folder=folder,
        settings=settings,
        centroids=centroids,
        bank=open_bank(folder / BANK),
        rejection=open_rejection(path, n_classes) if path.is_file() else None,
    )


def _read_settings(folder: Path) -> BundleSettings:
    """Check the folder against its manifest and return the manifest's settings."""
    remedy = "export it again with 'iospstl-train export' or copy it again"
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: expected a bundle, got no {MANIFEST} in it; {remedy}")
    try:
        manifest = read_json(path)
    except InputError as error:
        raise BundleError(f"{error}; {remedy}") from error
    version = manifest.get("format_version")
    if manifest.get("format") != "iospstl-bundle" or version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: expected bundle format version {FORMAT_VERSION}, got {version}; export it "
            "again with this release, or install the release that wrote it"
        )
    _check_files(folder, manifest.get("files"), manifest.get("imputer"), remedy)
    try:
        values = {item.name: manifest[item.name] for item in fields(BundleSettings)}
    except KeyError as error:
        raise BundleError(f"{path}: expected the key {error}, got none; {remedy}") from error
    _check_values(path, values, remedy)
    return BundleSettings(**{**values, "classes": tuple(values["classes"])})


def _check_values(path: Path, values: Mapping[str, Any], remedy: str) -> None:
    choices = {"imputer": IMPUTERS, "encoder_stream": STREAMS, "classifier_stream": STREAMS}
    for key, known in choices.items():
        if values[key] not in known:
            raise BundleError(
                f"{path}: {key}: expected one of {', '.join(known)}, got {values[key]!r}; {remedy}"
            )
    for key in ("n_neighbors", "nprobe", "max_donors"):
        is_all = key == "max_donors" and values[key] is None
        if not is_all and (not isinstance(values[key], int) or values[key] < 1):
            raise BundleError(
                f"{path}: {key}: expected a whole number from 1 on, got {values[key]!r}; {remedy}"
            )
    temperature = values["temperature"]
    if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise BundleError(
            f"{path}: temperature: expected a number above 0, got {temperature!r}; {remedy}"
        )


def _check_files(folder: Path, files: Any, imputer: Any, remedy: str) -> None:
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST}: expected files, got {files!r}; {remedy}")
    required = {ENCODER, CLASSIFIER, CENTROIDS, *(f"{BANK}/{name}.npy" for name in FILES)}
    if imputer == "restore":
        required.add(RESTORER)
    if (folder / REJECTION).is_file():
        required.add(REJECTION)
    if not required <= files.keys():
        missing = ", ".join(sorted(required - files.keys()))
        raise BundleError(f"{folder / MANIFEST}: expected entries for {missing}; {remedy}")
    for name, expected in files.items():
        if not isinstance(expected, dict) or not {"size", "sha256"} <= expected.keys():
            raise BundleError(
                f"{folder / MANIFEST}: {name}: expected size and sha256, got {expected}; {remedy}"
            )
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: listed in the bundle's manifest, but missing; {remedy}")
        size = path.stat().st_size
        if size != expected["size"]:
            raise BundleError(f"{path}: expected {expected['size']} bytes, got {size}; {remedy}")
        if sha256_of(path) != expected["sha256"]:
            raise BundleError(f"{path}: its content differs from the manifest's sha256; {remedy}")
