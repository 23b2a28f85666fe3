from __future__ import annotations

import dataclasses
import pickle  # noqa: TID251 (what worker processes are sent)
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh

from iospstl_core.errors import InputError
from iospstl_core.random_cells import hide_random_cells
from iospstl_core.skeleton import NTU_25, joint_indices
from iospstl_train.occlusion.furniture import (
    FURNITURE_KINDS,
    Obstacle,
    load_meshes,
    make_furniture,
)
from iospstl_train.occlusion.placement import estimate_floor, have_contact, move_to_object
from iospstl_train.occlusion.realistic import (
    PlacedObject,
    RealisticSettings,
    find_hidden,
    hide_behind_furniture,
)
from tests.reference.moller_trumbore import is_hidden

SETTINGS = RealisticSettings()
FEET = joint_indices(NTU_25, ("AnkleLeft", "FootLeft", "AnkleRight", "FootRight"))
STANDING_M = np.array([0.0, 0.5, 2.8])  # centre of a standing adult before a camera at 0.95 m


def make_bodies(n_frames: int = 6, n_persons: int = 1) -> np.ndarray:
    """Adults standing side by side, swaying by some centimetres."""
    rng = np.random.default_rng(3)
    rest = np.array(NTU_25.rest_m) + STANDING_M
    aside = 0.8 * np.arange(n_persons)[:, None, None] * np.array([1.0, 0.0, 0.0])
    noise = rng.normal(scale=0.02, size=(n_frames, n_persons, NTU_25.n_joints, 3))
    return (rest + aside + noise).astype(np.float32)


def hide(
    xyz: np.ndarray, seed: int = 0, settings: RealisticSettings = SETTINGS
) -> tuple[np.ndarray, list[PlacedObject]]:
    present = np.ones(xyz.shape[:2], dtype=bool)
    return hide_behind_furniture(xyz, present, np.random.default_rng(seed), None, settings, FEET)


def make_box(*size_m: float) -> Obstacle:
    """Return a box that stands on the floor."""
    box = trimesh.creation.box(size_m)
    return Obstacle(box.vertices + np.array([0.0, size_m[1] / 2, 0.0]), box.faces)


def place_box(depth_m: float, yaw_rad: float = 0.0) -> tuple[Obstacle, PlacedObject]:
    """Return a box 1 m wide, 1 m high and 0.2 m deep, from 0.5 m below the camera to 0.5 above."""
    return make_box(1.0, 1.0, 0.2), PlacedObject(
        "box", (1.0, 1.0, 0.2), (0.0, -0.5, depth_m), yaw_rad
    )


# --- rays


@pytest.mark.parametrize(
    ("joint", "expected"),
    [
        ((0.0, 0.0, 4.0), True),
        ((1.0, -1.0, 4.0), True),
        ((1.2, 0.0, 4.0), False),  # beside: the box's near edge ends at 0.5 / 1.9 of the depth
        ((0.0, 1.2, 4.0), False),  # above
        ((0.0, 0.0, 1.5), False),  # before
        ((0.0, 0.0, 2.0), True),  # inside
        ((0.0, 0.0, -4.0), False),  # behind the camera
    ],
)
def test_a_box_hides_what_is_behind_it(joint: tuple[float, ...], expected: bool) -> None:
    box, placed = place_box(depth_m=2.0)
    assert find_hidden(np.array([joint]), box, placed).tolist() == [expected]


def test_a_turned_box_shows_its_narrow_side() -> None:
    joint = np.array([[0.6, 0.0, 4.0]])
    assert find_hidden(joint, *place_box(2.0)).all()
    assert not find_hidden(joint, *place_box(2.0, yaw_rad=np.pi / 2)).any()


def test_yaw_turns_from_z_towards_x() -> None:
    placed = PlacedObject("any", (1.0, 1.0, 1.0), (1.0, -1.0, 2.0), 0.5)
    point = np.array([[1.0 + np.sin(0.5), 0.0, 2.0 + np.cos(0.5)]])
    assert move_to_object(point, placed) == pytest.approx(np.array([[0.0, 1.0, 1.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_hidden_joints_equal_the_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-0.6, 0.6, size=(40, 3))
    mesh = Obstacle(vertices, rng.integers(0, 40, size=(12, 3)))
    placed = PlacedObject("any", (1.2, 1.2, 1.2), (0.1, -0.2, 2.0), 0.7)
    joints = rng.uniform((-1.0, -1.0, 1.0), (1.0, 1.0, 4.0), size=(150, 3))
    cos, sin = np.cos(placed.yaw_rad), np.sin(placed.yaw_rad)
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    triangles = (vertices @ turn.T + np.array(placed.position_m))[mesh.faces].tolist()
    expected = [is_hidden(joint, triangles) for joint in joints.tolist()]
    assert 10 < sum(expected) < 140
    assert find_hidden(joints, mesh, placed).tolist() == expected


# --- realistic occlusion


def test_a_static_body_is_hidden_alike_in_all_frames() -> None:
    hidden, _ = hide(np.repeat(make_bodies(1), 8, axis=0))
    assert hidden.any()
    assert (hidden == hidden[0]).all()


def test_same_generator_same_result() -> None:
    xyz = make_bodies()
    hidden, objects = hide(xyz, seed=4)
    again, same_objects = hide(xyz, seed=4)
    assert (hidden == again).all()
    assert objects == same_objects
    assert objects != hide(xyz, seed=5)[1]


def test_the_hidden_share_is_as_wanted_and_varies() -> None:
    shares = [hide(make_bodies(), seed)[0].mean() for seed in range(25)]
    assert 0.05 <= min(shares) < 0.2
    assert 0.4 < max(shares) <= 0.7


def test_objects_stand_on_the_floor_before_the_body() -> None:
    xyz = make_bodies(n_persons=2)
    floor_m = estimate_floor(xyz, np.isfinite(xyz).all(-1), FEET, SETTINGS)
    for seed in range(15):
        _, objects = hide(xyz, seed)
        assert 1 <= len(objects) <= 2
        for placed in objects:
            assert placed.position_m[1] == floor_m
            assert 0.0 < placed.position_m[2] < xyz[..., 2].min()
            moved = move_to_object(xyz.reshape(-1, 3), placed)
            half = np.array(placed.size_m) / 2
            assert (np.abs(moved - (0, half[1], 0)) > half).any(axis=-1).all()


def test_an_object_that_can_reach_into_the_body_does_not() -> None:
    bench = {"bench": make_box(0.3, 1.0, 2.4)}
    xyz = make_bodies() - np.float32((0.0, 0.0, 0.8))  # 2 m off: a bench end on reaches it
    present = np.ones(xyz.shape[:2], dtype=bool)
    for seed in range(15):
        rng = np.random.default_rng(seed)
        _, objects = hide_behind_furniture(xyz, present, rng, bench, SETTINGS, FEET)
        for placed in objects:
            moved = move_to_object(xyz.reshape(-1, 3), placed)
            assert (np.abs(moved - (0.0, 0.5, 0.0)) > (0.15, 0.5, 1.2)).any(axis=-1).all()


def test_unobserved_joints_and_absent_persons_are_never_hidden() -> None:
    xyz = make_bodies(n_persons=2)
    xyz[:, :, NTU_25.index("KneeLeft")] = np.nan
    present = np.ones(xyz.shape[:2], dtype=bool)
    present[:, 1] = False  # though its coordinates are numbers
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hidden, _ = hide_behind_furniture(xyz, present, rng, None, SETTINGS, FEET)
        assert hidden[:, 0].any()
        assert not hidden[:, 1].any()
        assert not hidden[:, :, NTU_25.index("KneeLeft")].any()


def test_absent_persons_do_not_change_the_others() -> None:
    xyz = make_bodies()
    padded = np.concatenate([xyz, np.full_like(xyz, np.nan)], axis=1)
    present = np.array([[True, False]] * len(xyz))
    rng = np.random.default_rng(0)
    hidden, objects = hide_behind_furniture(padded, present, rng, None, SETTINGS, FEET)
    alone, same_objects = hide(xyz, seed=0)
    assert objects == same_objects
    assert (hidden[:, :1] == alone).all()


def test_nothing_observed_hides_nothing() -> None:
    hidden, objects = hide(np.full((4, 1, 25, 3), np.nan, dtype=np.float32))
    assert not hidden.any()
    assert objects == []


def test_the_nearest_miss_is_kept_when_no_draw_fits() -> None:
    wanted = dataclasses.replace(SETTINGS, hidden_frac=(0.9, 0.9), n_tries=4)
    tries = [hide(make_bodies(), 6, dataclasses.replace(wanted, n_tries=n)) for n in (1, 2, 3, 4)]
    misses = [abs(hidden.mean() - 0.9) for hidden, _ in tries]
    assert misses == sorted(misses, reverse=True)
    assert misses[-1] < misses[0]


def test_a_draw_that_hides_everything_is_not_used() -> None:
    wall = make_box(9.0, 9.0, 9.0)
    xyz = make_bodies()
    present = np.ones(xyz.shape[:2], dtype=bool)
    wanted = dataclasses.replace(SETTINGS, n_tries=3, overlap=0.0)
    hidden, objects = hide_behind_furniture(
        xyz, present, np.random.default_rng(0), {"wall": wall}, wanted
    )
    assert not hidden.any()
    assert objects == []


def test_given_meshes_are_used_and_survive_pickling() -> None:
    meshes = {"screen": make_furniture("cabinet", np.random.default_rng(2))}
    xyz = make_bodies()
    present = np.ones(xyz.shape[:2], dtype=bool)
    results = [
        hide_behind_furniture(xyz, present, np.random.default_rng(1), given, SETTINGS, FEET)
        for given in (meshes, pickle.loads(pickle.dumps(meshes)))
    ]
    assert {placed.kind for placed in results[0][1]} == {"screen"}
    assert results[0][1] == results[1][1]
    assert (results[0][0] == results[1][0]).all()


def test_objects_do_not_overlap() -> None:
    wanted = dataclasses.replace(SETTINGS, n_objects=(2, 2))
    drawn = [hide(make_bodies(), seed, wanted)[1] for seed in range(15)]
    pairs = [objects for objects in drawn if len(objects) == 2]
    assert len(pairs) > 5
    assert not any(have_contact(first, second) for first, second in pairs)


@pytest.mark.parametrize(("gap_m", "expected"), [(-0.01, True), (0.01, False)])
@pytest.mark.parametrize("yaw_rad", [0.0, 0.4])
def test_contact_of_two_squares_turned_alike(gap_m: float, expected: bool, yaw_rad: float) -> None:
    step_m = 1.0 + gap_m
    first = PlacedObject("a", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), yaw_rad)
    aside = (step_m * float(np.cos(yaw_rad)), 0.0, -step_m * float(np.sin(yaw_rad)))
    assert have_contact(first, dataclasses.replace(first, position_m=aside)) is expected


def test_rotation_and_displacement_stay_in_their_ranges() -> None:
    wanted = dataclasses.replace(
        SETTINGS, n_objects=(1, 1), yaw_deg=(30.0, 60.0), depth_frac=(0.5, 0.5), overlap=0.0
    )
    xyz = make_bodies()
    nearest_m = np.percentile(xyz[..., 2], 1)
    for seed in range(15):
        (placed,) = hide(xyz, seed, wanted)[1]
        assert 30 <= np.degrees(placed.yaw_rad) <= 60
        assert placed.position_m[2] == pytest.approx(nearest_m / 2, abs=0.05)
        assert placed.position_m[0] == pytest.approx(0.0, abs=0.05)


# --- floor


def test_floor_is_below_the_feet_of_most_frames() -> None:
    xyz = make_bodies(n_frames=20)
    xyz[:, :, FEET, 1] = -0.8
    xyz[7, 0, FEET[0], 1] = -2.0  # noise
    floor_m = estimate_floor(xyz, np.isfinite(xyz).all(-1), FEET, SETTINGS)
    assert floor_m == pytest.approx(-0.85)


@pytest.mark.parametrize(("lowest_m", "expected_m"), [(-0.4, -0.9), (-1.2, -1.2)])
def test_floor_without_feet_is_the_default_or_the_lowest_joint(
    lowest_m: float, expected_m: float
) -> None:
    xyz = make_bodies()
    xyz[..., 1] = np.maximum(xyz[..., 1], lowest_m)
    xyz[:, :, NTU_25.index("KneeLeft"), 1] = lowest_m
    xyz[:, :, FEET] = np.nan
    floor_m = estimate_floor(xyz, np.isfinite(xyz).all(-1), FEET, SETTINGS)
    assert floor_m == pytest.approx(expected_m)


# --- wrong arguments


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_objects": (2, 1)}, "n_objects: expected 1 <= low <= high <= 10, got (2, 1)"),
        ({"n_objects": (0, 1)}, "n_objects: expected 1 <= low"),
        ({"depth_frac": (0.2, 1.2)}, "depth_frac: expected 0.0 <= low <= high <= 1.0"),
        ({"hidden_frac": (-0.1, 0.5)}, "hidden_frac: expected 0.0 <= low <= high <= 1.0"),
        ({"n_tries": 0}, "n_tries: expected at least 1, got 0"),
        ({"yaw_deg": (-200.0, 0.0)}, "yaw_deg: expected -180.0 <= low <= high <= 180.0"),
        ({"overlap": -1.0}, "overlap, gap_m: expected at least 0, got -1.0, 0.2"),
        ({"floor_percentile": 101.0}, "floor_percentile: expected 0 to 100, got 101.0"),
    ],
)
def test_impossible_settings_raise(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(SETTINGS, **setting)


def test_centred_sequences_raise() -> None:
    with pytest.raises(InputError, match=r"median z of -?0\.0\d m; occlude the recording before"):
        hide(make_bodies() - STANDING_M.astype(np.float32))


def test_wrong_shape_of_present_and_no_meshes_raise() -> None:
    xyz, rng = make_bodies(), np.random.default_rng(0)
    present = np.ones(xyz.shape[:2], dtype=bool)
    with pytest.raises(ValueError, match=re.escape("present: expected shape (6, 1), got (1, 6)")):
        hide_behind_furniture(xyz, present.T, rng, None, SETTINGS)
    with pytest.raises(ValueError, match="meshes: expected at least one, or None"):
        hide_behind_furniture(xyz, present, rng, {}, SETTINGS)


# --- furniture


@pytest.mark.parametrize("kind", FURNITURE_KINDS)
def test_furniture_stands_on_the_floor_in_a_real_size(kind: str) -> None:
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(20):
        mesh = make_furniture(kind, rng)
        low, high = mesh.bounds
        assert low[1] == pytest.approx(0.0)
        assert (low + high)[[0, 2]] == pytest.approx(0.0)
        assert min(mesh.size_m) >= 0.14
        assert max(mesh.size_m) <= 3.0
        closed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert closed.is_volume  # and its triangles face outwards
        sizes.add(mesh.size_m)
    assert len(sizes) == 20


def test_unknown_furniture_raises() -> None:
    with pytest.raises(ValueError, match=r"kind: expected one of table, .*, pillar, got 'bed'"):
        make_furniture("bed", np.random.default_rng(0))


def test_all_four_formats_are_read(tmp_path: Path) -> None:
    box = trimesh.creation.box((0.4, 0.8, 1.2))
    box.apply_translation((5.0, 3.0, -2.0))
    names = ["b.GLB", "b.obj", "b.ply", "b.stl"]
    for name in names:
        box.export(tmp_path / name, file_type=name[2:].lower())
    (tmp_path / "notes.txt").write_text("no mesh")
    meshes = load_meshes(tmp_path)
    assert list(meshes) == names
    for mesh in meshes.values():
        assert len(mesh.faces) == 12
        assert mesh.bounds == pytest.approx(np.array([(-0.2, 0.0, -0.6), (0.2, 0.8, 0.6)]))


def test_parts_of_a_scene_keep_their_places(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for height_m in (0.0, 1.0):
        place = trimesh.transformations.translation_matrix((0.0, height_m, 0.0))
        scene.add_geometry(trimesh.creation.box((0.2, 0.2, 0.2)), transform=place)
    scene.export(tmp_path / "two.glb")
    mesh = load_meshes(tmp_path)["two.glb"]
    assert len(mesh.faces) == 24
    assert mesh.size_m == pytest.approx((0.2, 1.2, 0.2))


def test_missing_folder_and_empty_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meshes: expected a folder .* got '.*nowhere'"):
        load_meshes(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"expected \.obj, \.stl, \.ply, \.glb files in .* none"):
        load_meshes(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ply", "garbage", r"mesh '.*a\.ply': expected a readable \.ply file, got ValueError"),
        ("a.glb", "garbage", r"mesh '.*a\.glb': expected a readable \.glb file, got ValueError"),
        ("a.obj", "v 0 0 0\nv 1 0 0\n", r"mesh '.*a\.obj': expected triangles, got none; export"),
        ("a.stl", "", r"mesh '.*a\.stl': expected triangles, got none; export"),
    ],
)
def test_unusable_files_raise(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_meshes(tmp_path)


@pytest.mark.parametrize(("side", "got"), [(0.04, "0.04"), (750.0, "750")])
def test_sizes_that_are_not_metres_raise(tmp_path: Path, side: float, got: str) -> None:
    trimesh.creation.box((side, side, side)).export(tmp_path / "box.stl")
    message = rf"box\.stl': expected a largest side of 0\.05 m to 10\.0 m, got {got}; .* metres"
    with pytest.raises(InputError, match=message):
        load_meshes(tmp_path)


# --- random cells


@pytest.mark.parametrize(("fraction", "n_hidden"), [(0.0, 0), (0.1, 8), (0.5, 40), (0.99, 79)])
def test_random_cells_hide_an_exact_share_of_the_observed(fraction: float, n_hidden: int) -> None:
    observed = np.zeros((10, 2, 5), dtype=bool)
    observed[:8] = True  # 80 cells
    hidden = hide_random_cells(observed, fraction, np.random.default_rng(0))
    assert hidden.sum() == n_hidden
    assert not hidden[8:].any()


def test_random_cells_are_equally_likely_and_repeatable() -> None:
    observed = np.ones((10, 2, 5), dtype=bool)
    draws = [hide_random_cells(observed, 0.3, np.random.default_rng(s)) for s in range(400)]
    assert np.abs(np.mean(draws, axis=0) - 0.3).max() < 0.1
    assert (draws[7] == hide_random_cells(observed, 0.3, np.random.default_rng(7))).all()


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_random_fractions_outside_the_range_raise(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction: expected at least 0 and less than 1, got"):
        hide_random_cells(np.ones((2, 1, 3), dtype=bool), fraction, np.random.default_rng(0))
