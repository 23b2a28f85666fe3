"""Furniture meshes to hide people behind: generated ones, and the user's own from files.

Every mesh is in metres, y up, stands on y = 0 and is centred in x and z.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError

if TYPE_CHECKING:
    import trimesh
    from embreex.rtcore import EmbreeDevice
    from embreex.rtcore_scene import EmbreeScene

MESH_SUFFIXES = (".obj", ".stl", ".ply", ".glb")
N_SIDES = 16
"""Of a round pillar."""
MIN_SIZE_M = 0.05
MAX_SIZE_M = 10.0
"""A mesh whose largest side lies outside these two is taken to be in another unit."""

FloatArray = NDArray[np.float64]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""(low corner, high corner) of an upright box, metres."""

_BOX_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
_BOX_FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5)),  # x low, x high
        *((0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6)),  # y low, y high
        *((0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),  # z low, z high
    ]
)

_NEXT = (np.arange(N_SIDES) + 1) % N_SIDES
_FAN = np.stack([np.zeros(N_SIDES - 2), np.arange(1, N_SIDES - 1), np.arange(2, N_SIDES)], axis=1)
_PRISM_FACES = np.concatenate(
    [
        np.stack([np.arange(N_SIDES), np.arange(N_SIDES) + N_SIDES, _NEXT], axis=1),
        np.stack([_NEXT, np.arange(N_SIDES) + N_SIDES, _NEXT + N_SIDES], axis=1),
        _FAN,  # underside
        _FAN[:, ::-1] + N_SIDES,
    ]
).astype(np.int64)


@dataclass(frozen=True)
class Obstacle:
    """Triangles that hide what is behind them.

    Attributes
    ----------
    vertices : ndarray of shape (n_vertices, 3), float
        Metres, in the object's own coordinates.
    faces : ndarray of shape (n_faces, 3), int
    """

    vertices: FloatArray
    faces: NDArray[np.int64]

    @cached_property
    def bounds(self) -> FloatArray:
        """Low and high corner of the bounding box, shape (2, 3)."""
        return np.array([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @cached_property
    def size_m(self) -> tuple[float, float, float]:
        """Sides of the bounding box."""
        x, y, z = (self.bounds[1] - self.bounds[0]).tolist()
        return x, y, z

    @cached_property
    def scene(self) -> EmbreeScene:
        """Search tree of the triangles, built once in a process."""
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        scene = EmbreeScene(_device())
        vertices = self.vertices.astype(np.float32)
        TriangleMesh(scene, vertices=vertices, indices=self.faces.astype(np.int32))
        return scene

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave the search tree behind: it lives in its process only."""
        return {"vertices": self.vertices, "faces": self.faces}


@cache
def _device() -> EmbreeDevice:
    """Return Embree itself: to start it takes longer than to build a search tree."""
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


def make_furniture(kind: str, rng: np.random.Generator) -> Obstacle:
    """Generate one piece of furniture with a size drawn from common sizes of its kind.

    Parameters
    ----------
    kind : str
        One of `FURNITURE_KINDS`.
    rng : numpy.random.Generator
        Draws the size and the details, such as a table's front panel or a shelf's back.

    Returns
    -------
    Obstacle
        Metres, y up, standing on y = 0, centred in x and z.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"kind: expected one of {', '.join(_BUILDERS)}, got '{kind}'")
    return _BUILDERS[kind](rng)


def load_meshes(folder: Path) -> dict[str, Obstacle]:
    """Read every OBJ, STL, PLY and GLB file of a folder, without its subfolders.

    Parameters
    ----------
    folder : Path
        Files in metres with y up. The parts of a GLB scene become one mesh.

    Returns
    -------
    dict of str to Obstacle
        File name -> mesh moved to stand on y = 0, centred in x and z; sorted by file name.

    Raises
    ------
    InputError
        If the folder or the files in it are missing, or a file can not be read, has no
        triangles, or has a size that can not be in metres.
    """
    if not folder.is_dir():
        raise InputError(
            f"meshes: expected a folder of mesh files, got '{folder}', which is no folder; "
            "give an existing folder, or no folder to use generated furniture"
        )
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES)
    if not paths:
        raise InputError(
            f"meshes: expected {', '.join(MESH_SUFFIXES)} files in '{folder}', found none; "
            "put meshes there, or give no folder to use generated furniture"
        )
    meshes = {path.name: _read_mesh(path) for path in paths}
    return {name: _stand_on_floor(mesh.vertices, mesh.faces) for name, mesh in meshes.items()}


def _read_mesh(path: Path) -> trimesh.Trimesh:
    """Read one file as one mesh in its own coordinates, and check that it can be furniture."""
    import trimesh

    try:
        mesh: trimesh.Trimesh = trimesh.load_scene(path).to_mesh()
    except Exception as error:  # each format's parser raises its own classes
        raise InputError(
            f"mesh '{path}': expected a readable {path.suffix} file, got {error!r}; "
            "export the mesh again or remove the file"
        ) from error
    if len(mesh.faces) == 0:
        raise InputError(
            f"mesh '{path}': expected triangles, got none; export the surface as triangles, or "
            "remove the file"
        )
    largest_m = float(mesh.extents.max())
    if not MIN_SIZE_M <= largest_m <= MAX_SIZE_M:
        raise InputError(
            f"mesh '{path}': expected a largest side of {MIN_SIZE_M} m to {MAX_SIZE_M} m, got "
            f"{largest_m:.4g}; the file is probably not in metres, scale it before export"
        )
    return mesh


def _stand_on_floor(vertices: FloatArray, faces: NDArray[np.int64]) -> Obstacle:
    """Move the lowest point to y = 0 and the middle of the bounding box to x = z = 0."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    base = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return Obstacle(np.asarray(vertices - base), np.asarray(faces))


def _from_boxes(boxes: Sequence[Box]) -> Obstacle:
    """Join upright boxes into one object and stand it on the floor."""
    corners = np.asarray(boxes, dtype=np.float64)  # (n, 2, 3)
    low, sides = corners[:, :1], corners[:, 1:] - corners[:, :1]
    vertices = (low + sides * _BOX_CORNERS).reshape(-1, 3)
    faces = _BOX_FACES + len(_BOX_CORNERS) * np.arange(len(boxes))[:, None, None]
    return _stand_on_floor(vertices, faces.reshape(-1, 3))


def _legs(width: float, height: float, depth: float, side: float) -> list[Box]:
    """Return four square legs under a (width, depth) rectangle that starts at x = z = 0."""
    return [
        ((x, 0.0, z), (x + side, height, z + side))
        for x in (0.0, width - side)
        for z in (0.0, depth - side)
    ]


def _make_table(rng: np.random.Generator) -> Obstacle:
    """Desk, dining or standing-height table; every second one has a panel below its top."""
    width, depth = rng.uniform(0.8, 1.8), rng.uniform(0.5, 0.9)
    height, thickness = rng.uniform(0.68, 1.05), rng.uniform(0.025, 0.05)
    boxes = _legs(width, height, depth, side=rng.uniform(0.04, 0.08))
    boxes.append(((0.0, height - thickness, 0.0), (width, height, depth)))
    if rng.random() < 0.5:
        panel_low = height * rng.uniform(0.1, 0.6)
        boxes.append(((0.0, panel_low, 0.0), (width, height, 0.02)))
    return _from_boxes(boxes)


def _make_chair(rng: np.random.Generator) -> Obstacle:
    """Four legs, a seat and a closed back."""
    width, depth = rng.uniform(0.40, 0.55), rng.uniform(0.40, 0.55)
    seat, back = rng.uniform(0.42, 0.50), rng.uniform(0.80, 1.10)
    boxes = _legs(width, seat, depth, side=rng.uniform(0.03, 0.05))
    boxes.append(((0.0, seat - 0.04, 0.0), (width, seat, depth)))
    boxes.append(((0.0, seat, 0.0), (width, back, 0.04)))
    return _from_boxes(boxes)


def _make_shelf(rng: np.random.Generator) -> Obstacle:
    """Two sides and three to six boards; partly filled, every second one with a closed back."""
    width, depth, height = rng.uniform(0.4, 1.0), rng.uniform(0.25, 0.40), rng.uniform(0.8, 2.0)
    board, n_boards = 0.025, int(rng.integers(3, 7))
    levels = np.linspace(0.05, height - board, n_boards).tolist()
    boxes: list[Box] = [((0.0, y, 0.0), (width, y + board, depth)) for y in levels]
    boxes += [((x, 0.0, 0.0), (x + board, height, depth)) for x in (0.0, width - board)]
    for low, high in itertools.pairwise(levels):  # books
        filled = rng.uniform(0.3, 1.0)
        boxes.append(((0.0, low, 0.02), (width * filled, low + 0.8 * (high - low), depth - 0.05)))
    if rng.random() < 0.5:
        boxes.append(((0.0, 0.0, 0.0), (width, height, 0.01)))
    return _from_boxes(boxes)


def _make_sofa(rng: np.random.Generator) -> Obstacle:
    """Seat, back and two arms, closed to the floor."""
    width, depth = rng.uniform(1.2, 2.2), rng.uniform(0.75, 0.95)
    seat, arm, back = rng.uniform(0.38, 0.45), rng.uniform(0.55, 0.65), rng.uniform(0.70, 0.95)
    side = rng.uniform(0.12, 0.22)
    return _from_boxes(
        [
            ((0.0, 0.0, 0.0), (width, seat, depth)),
            ((0.0, 0.0, 0.0), (width, back, side)),
            ((0.0, 0.0, 0.0), (side, arm, depth)),
            ((width - side, 0.0, 0.0), (width, arm, depth)),
        ]
    )


def _make_cabinet(rng: np.random.Generator) -> Obstacle:
    """Return a closed box, from a drawer unit to a wardrobe."""
    width, depth, height = rng.uniform(0.4, 1.2), rng.uniform(0.35, 0.60), rng.uniform(0.6, 1.9)
    return _from_boxes([((0.0, 0.0, 0.0), (width, height, depth))])


def _make_pillar(rng: np.random.Generator) -> Obstacle:
    """Round or square, to the ceiling."""
    height, width = rng.uniform(2.4, 3.0), rng.uniform(0.15, 0.40)
    if rng.random() < 0.5:
        return _from_boxes([((0.0, 0.0, 0.0), (width, height, width))])
    angle = np.arange(N_SIDES) * 2 * np.pi / N_SIDES
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * width / 2
    low, high = (np.insert(ring, 1, level, axis=1) for level in (0.0, height))
    return _stand_on_floor(np.concatenate([low, high]), _PRISM_FACES)


_BUILDERS: dict[str, Callable[[np.random.Generator], Obstacle]] = {
    "table": _make_table,
    "chair": _make_chair,
    "shelf": _make_shelf,
    "sofa": _make_sofa,
    "cabinet": _make_cabinet,
    "pillar": _make_pillar,
}

FURNITURE_KINDS = tuple(_BUILDERS)
