"""Building a donor bank from more windows than fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray
from tqdm import tqdm

from iospstl_core.imputation.bank import ImputationBank, build_bank, open_bank

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

MAX_ROWS = 512
"""Windows read at once; 50 frames of two persons take about 0.2 MB of working memory each."""


def build_bank_on_disk(
    folder: Path,
    xyz: FloatArray,
    cluster: IntArray,
    n_clusters: int,
    dtype: DTypeLike = np.float16,
    max_rows: int = MAX_ROWS,
) -> ImputationBank:
    """Write what `build_bank` and then `save_bank` would, and open it.

    The files are the same bit for bit. Windows are read once, in order, and put in their place.

    Parameters
    ----------
    folder : Path
        An existing folder, whose bank is replaced.
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Training windows only; NaN where not observed or absent. May be memory-mapped.
    cluster : ndarray of shape (n_windows,), int
        Cluster of each window.
    n_clusters : int
        Number of clusters; some may be empty.
    dtype : {float16, float32}
        Precision of the donors.
    max_rows : int
        Windows held in memory at most.

    Raises
    ------
    ValueError
        If there are not as many clusters as windows, or the precision is another one.
    """
    if len(xyz) != len(cluster):
        raise ValueError(
            f"cluster: expected one for each of {len(xyz)} windows, got {len(cluster)}"
        )
    order = np.argsort(cluster, kind="stable")
    place = np.zeros_like(order)
    place[order] = np.arange(len(order))
    files = _make_files(folder, xyz, dtype)
    total = np.zeros(xyz.shape[1:])
    count = np.zeros(xyz.shape[1:], dtype=np.int64)
    for start in tqdm(range(0, len(xyz), max_rows), desc="bank"):
        rows = slice(start, start + max_rows)
        part = np.asarray(xyz[rows])
        donors = _as_donors(part, dtype)
        for name, file in files.items():
            file[place[rows]] = getattr(donors, name)
        for window in part:  # one by one, as a sum over all of them adds
            seen = ~np.isnan(window)
            np.add(total, window, out=total, where=seen)
            count += seen
    offsets = np.searchsorted(cluster[order], np.arange(n_clusters + 1)).astype(np.int64)
    with np.errstate(invalid="ignore"):  # NaN where nobody has a cell
        mean = (total / count).astype(np.float32)
    np.save(folder / "offsets.npy", offsets, allow_pickle=False)
    np.save(folder / "mean.npy", mean, allow_pickle=False)
    return open_bank(folder)


def _as_donors(xyz: FloatArray, dtype: DTypeLike) -> ImputationBank:
    """Return windows as a bank of one cluster, in their order."""
    return build_bank(xyz, np.zeros(len(xyz), dtype=np.int64), 1, dtype)


def _make_files(folder: Path, xyz: FloatArray, dtype: DTypeLike) -> dict[str, NDArray[Any]]:
    """Make the files of all donors, whose types a bank of one window tells."""
    one = _as_donors(np.asarray(xyz[:1]), dtype)
    return {
        name: open_memmap(folder / f"{name}.npy", "w+", array.dtype, (len(xyz), *array.shape[1:]))
        for name, array in (("donors", one.donors), ("observed", one.observed))
    }
