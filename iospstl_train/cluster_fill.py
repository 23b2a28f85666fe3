"""Cluster-wise imputation over processes or machines, and over arrays larger than memory.

Clusters know nothing of each other, so every task completes windows of one cluster. joblib runs
the tasks, and its caller chooses where: ``with joblib.parallel_config(backend="dask")`` after
making a ``dask.distributed.Client``, or ``backend="ray"`` after
``ray.util.joblib.register_ray()``; processes of this machine otherwise.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from iospstl_core.files import new_folder
from iospstl_core.imputation import knn
from iospstl_core.imputation.bank import FILES, ImputationBank, open_bank
from iospstl_core.imputation.fill import Filled
from iospstl_core.imputation.knn import N_NEIGHBORS, ClusterKnnImputer

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Array = NDArray[Any]
Clusters = tuple[int, ...]

MAX_ROWS = 2 * knn.MAX_ROWS
"""Windows of a task; whole rounds of the imputer, so that its results stay the same bytes."""


@dataclass(frozen=True)
class _Settings:
    n_neighbors: int
    max_donors: int | None
    device: str | None


@dataclass(frozen=True)
class _Task:
    """Windows of the same cluster or clusters, as a worker gets them."""

    bank: ImputationBank | Path  # folder of a bank on disk, or the clusters' donors alone
    xyz: Array | Path  # file of all windows, or the task's windows alone
    present: Array | Path
    rows: IntArray  # (n,), among all windows
    cluster: IntArray  # (n,) or (n, nprobe)
    out: Path | None  # folder of the files to write to; None sends the result back
    settings: _Settings


def fill_clusters(
    bank: ImputationBank,
    xyz: FloatArray,
    present: BoolArray,
    cluster: IntArray,
    n_neighbors: int = N_NEIGHBORS,
    n_workers: int = 1,
    out: Path | None = None,
    *,
    device: str | None = None,
    max_donors: int | None = None,
    max_rows: int = MAX_ROWS,
    shared_disk: bool = True,
) -> Filled:
    """Complete windows cluster by cluster, as ``ClusterKnnImputer(bank).fill`` would all at once.

    The result is that of an imputer with one BLAS thread bit for bit as long as `max_rows` stays a
    multiple of the windows that the imputer compares at once, and to within 1e-5 m otherwise. It
    does not depend on `n_workers` or the backend.

    Parameters
    ----------
    bank : ImputationBank
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
        Body frame, metres; NaN where not observed. May be memory-mapped.
    present : ndarray of shape (n_windows, n_frames, n_persons), bool
        May be memory-mapped.
    cluster : ndarray of shape (n_windows,) or (n_windows, nprobe), int
        Cluster or clusters of each window; the donors of several are pooled.
    n_neighbors : int
        Donors averaged for each cell.
    n_workers : int
        Processes with one BLAS thread each; -1 for as many as there are cores. Dask uses all of
        its workers whatever this says.
    out : Path, optional
        Folder to write ``xyz.npy`` and ``source.npy`` into, in place of what is there. The result
        is then memory-mapped, and memory holds no more than the tasks in progress.
    device : str, optional
        Torch device of `fill_with_torch`; NumPy computes if left out.
    max_donors : int, optional
        Donors used of each cluster, at even steps in the order of the bank. Default: all.
    max_rows : int
        Windows of a task at most.
    shared_disk : bool
        False for workers on machines that cannot open this machine's files: arrays travel even
        where they are memory-mapped.

    Raises
    ------
    ValueError
        If the arrays do not fit each other or the bank, or `max_rows` < 1.
    InputError
        If the device cannot be used.
    """
    _check(bank, xyz, present, cluster, max_rows)
    settings = _Settings(n_neighbors, max_donors, device)
    nothing = _fill(bank, xyz[:0], present[:0], cluster[:0], settings)
    with nullcontext() if out is None else new_folder(out) as folder:
        results = _make_results(nothing, len(xyz), folder)
        tasks = (
            _Task(
                _packed_bank(bank, clusters, shared_disk),
                _packed(xyz, rows, shared_disk),
                _packed(present, rows, shared_disk),
                rows,
                cluster[rows],
                folder.resolve() if folder and shared_disk else None,
                settings,
            )
            for clusters, rows in _parts(bank, cluster, max_rows)
        )
        with tqdm(desc="impute", total=len(xyz), unit="seq") as bar:
            for rows, filled in _in_parallel(tasks, n_workers):
                _put(results, rows, filled)
                bar.update(len(rows))
    if out is not None:
        results = {name: np.load(out / f"{name}.npy", mmap_mode="r") for name in results}
    return Filled(**results)


def _check(
    bank: ImputationBank, xyz: FloatArray, present: BoolArray, cluster: IntArray, max_rows: int
) -> None:
    """Refuse what would fail in a worker, or not at all."""
    if not len(xyz) == len(present) == len(cluster):
        raise ValueError(
            "expected as many clusters and presences as windows, got "
            f"{len(cluster)} and {len(present)} for {len(xyz)}"
        )
    if len(cluster) and not 0 <= int(cluster.min()) <= int(cluster.max()) < bank.n_clusters:
        raise ValueError(
            f"cluster: expected 0 to {bank.n_clusters - 1} as in the bank, "
            f"got {cluster.min()} to {cluster.max()}"
        )
    if max_rows < 1:
        raise ValueError(f"max_rows: expected at least 1, got {max_rows}")


def group_windows(cluster: IntArray) -> list[tuple[Clusters, IntArray]]:
    """Return the windows (rows, ascending) of each set of clusters that some window has.

    `cluster` is (n_windows,) or (n_windows, nprobe); the order within a row does not matter.
    """
    if not len(cluster):
        return []
    pools = np.sort(cluster.reshape(len(cluster), -1), axis=1)
    names, group = np.unique(pools, axis=0, return_inverse=True)
    return [
        (tuple(int(index) for index in np.unique(name)), np.flatnonzero(group.ravel() == number))
        for number, name in enumerate(names)
    ]


def _parts(
    bank: ImputationBank, cluster: IntArray, max_rows: int
) -> list[tuple[Clusters, IntArray]]:
    """Clusters and rows of each task, the most work first, so that no worker ends long after."""
    parts = [
        (clusters, rows[start : start + max_rows])
        for clusters, rows in group_windows(cluster)
        for start in range(0, len(rows), max_rows)
    ]
    n_donors = np.diff(bank.offsets)
    return sorted(parts, key=lambda part: -len(part[1]) * int(n_donors[list(part[0])].sum()))


def _in_parallel(
    tasks: Iterable[_Task], n_workers: int
) -> Iterator[tuple[IntArray, Filled | None]]:
    """Yield what the tasks return, as they end."""
    calls = (delayed(_run)(task) for task in tasks)
    try:
        parallel = Parallel(n_workers, return_as="generator_unordered", batch_size=1)
    except ValueError:  # Ray's backend hands over everything at the end
        parallel = Parallel(n_workers, batch_size=1)
    with threadpool_limits(1):  # here too: threads of this process share its limit
        yield from parallel(calls)


def _run(task: _Task) -> tuple[IntArray, Filled | None]:
    """Complete the windows of a task, in a worker."""
    with threadpool_limits(1):
        bank = open_bank(task.bank) if isinstance(task.bank, Path) else task.bank
        xyz, present = (_unpacked(array, task.rows) for array in (task.xyz, task.present))
        filled = _fill(bank, xyz, present, task.cluster, task.settings)
    if task.out is None:
        return task.rows, filled
    files = {name: open_memmap(task.out / f"{name}.npy", mode="r+") for name in _named(filled)}
    _put(files, task.rows, filled)
    return task.rows, None


def _fill(
    bank: ImputationBank,
    xyz: FloatArray,
    present: BoolArray,
    cluster: IntArray,
    settings: _Settings,
) -> Filled:
    n_neighbors, max_donors, device = astuple(settings)
    if device is None:
        nprobe = 1 if cluster.ndim == 1 else cluster.shape[1]
        imputer = ClusterKnnImputer(
            bank, n_neighbors, max_open_clusters=1, nprobe=nprobe, max_donors=max_donors
        )
        return imputer.fill(xyz, present, cluster)
    from iospstl_train.torch_knn import fill_with_torch  # slow to import: only who needs it

    return fill_with_torch(bank, xyz, present, cluster, n_neighbors, device, max_donors=max_donors)


def _named(filled: Filled) -> dict[str, Array]:
    """Return the arrays of a result that are there, by name."""
    named = {field.name: getattr(filled, field.name) for field in fields(filled)}
    return {name: array for name, array in named.items() if array is not None}


def _make_results(nothing: Filled, n_windows: int, folder: Path | None) -> dict[str, Array]:
    """Make the arrays of the result from one of no windows, in memory or in a folder."""
    results: dict[str, Array] = {}
    for name, array in _named(nothing).items():
        shape = (n_windows, *array.shape[1:])
        if folder is None:
            results[name] = np.zeros(shape, array.dtype)
        else:
            results[name] = open_memmap(folder / f"{name}.npy", "w+", array.dtype, shape)
    return results


def _put(results: Mapping[str, Array], rows: IntArray, filled: Filled | None) -> None:
    """Put what a task sent back in its place; nothing if the worker has written it."""
    if filled is not None:
        for name, array in _named(filled).items():
            results[name][rows] = array


def _file_of(array: Array) -> Path | None:
    """Return the ``.npy`` file that a whole memory-mapped array is, None for any other."""
    base: object = array.base  # of a part of the file it is the array of the whole
    if not isinstance(array, np.memmap) or not isinstance(base, mmap.mmap) or array.mode == "c":
        return None
    path = Path(array.filename or "").resolve()
    return path if path.suffix == ".npy" else None


def _packed(array: Array, rows: IntArray, shared_disk: bool) -> Array | Path:
    """Return what a worker needs to have some rows of an array: the file's path, or the rows."""
    path = _file_of(array) if shared_disk else None
    return np.asarray(array[rows]) if path is None else path


def _unpacked(packed: Array | Path, rows: IntArray) -> Array:
    return np.load(packed, mmap_mode="r")[rows] if isinstance(packed, Path) else packed


def _packed_bank(
    bank: ImputationBank, clusters: Clusters, shared_disk: bool
) -> ImputationBank | Path:
    """Return what a worker needs to have some clusters: the bank's folder, or their donors."""
    paths = [_file_of(getattr(bank, name)) for name in FILES]
    folder = paths[0].parent if paths[0] else None
    if shared_disk and folder and paths == [folder / f"{name}.npy" for name in FILES]:
        return folder
    rows = [slice(*bank.offsets[index : index + 2]) for index in clusters]
    sizes = np.zeros(bank.n_clusters, dtype=np.int64)
    sizes[list(clusters)] = np.diff(bank.offsets)[list(clusters)]
    return ImputationBank(
        donors=np.concatenate([bank.donors[own] for own in rows]),
        observed=np.concatenate([bank.observed[own] for own in rows]),
        offsets=np.append(0, np.cumsum(sizes)),
        mean=np.asarray(bank.mean),
    )
