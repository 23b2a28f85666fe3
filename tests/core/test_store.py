"""Opening a store that was written by hand; the writer belongs to training."""

import json

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, layout_to_mapping
from iospstl_core.store import find_occlusion, hide, open_store

LENGTHS = (3, 1, 4)
SHAPE = (sum(LENGTHS), 2, 20, 3)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "xyz": rng.normal(size=SHAPE).astype(np.float32),
        "present": rng.random(SHAPE[:2]) < 0.5,
        "offset": np.cumsum([0, *LENGTHS]),
        "label": np.array([0, 1, 1]),
        "subject": np.array([1, 2, 3]),
        "view": np.array([1, 1, 2]),
        "setup": np.array([0, 0, 0]),
    }
    arrays["xyz"][2, 1] = np.nan
    folder = tmp_path / "made"
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "names.json").write_text(json.dumps({"names": ["a", "b", "c"]}))
    manifest = {
        "format_version": 1,
        "dataset": "made",
        "layout": layout_to_mapping(KINECT_V1_20),
        "class_names": ["sit", "stand"],
        "n_persons": 2,
        "fps": 30,
        "splits": {
            "views": "train: view in 1; test: view in 2",
            "subjects": "train: subject in 3; test: subject not in 3",
        },
        "files": {path.name: {"size": path.stat().st_size} for path in folder.iterdir()},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_sequence_is_its_own_frames_and_a_copy(folder):
    store = open_store(folder)
    assert len(store) == 3
    assert store.names == ("a", "b", "c")
    assert store.class_names == ("sit", "stand")
    assert store.label.tolist() == [0, 1, 1]
    assert store.layout.bones == KINECT_V1_20.bones
    assert isinstance(store.xyz, np.memmap)
    whole, start = np.load(folder / "xyz.npy"), 0
    for index, length in enumerate(LENGTHS):
        xyz, present = store.sequence(index)
        np.testing.assert_array_equal(xyz, whole[start : start + length])
        np.testing.assert_array_equal(present, store.present[start : start + length])
        xyz[:] = 0
        start += length
    np.testing.assert_array_equal(np.load(folder / "xyz.npy"), whole)


def test_a_split_is_found_by_name_and_the_first_is_the_default(folder):
    store = open_store(folder)
    for name in (None, "views"):
        train, test = store.split(name)
        assert train.tolist() == [True, True, False]
        assert test.tolist() == [False, False, True]
    assert store.split("subjects")[0].tolist() == [False, False, True]
    with pytest.raises(InputError, match="split: made has views, subjects, got 'view'"):
        store.split("view")


def test_another_format_version_is_refused(folder):
    edit(folder, format_version=2)
    with pytest.raises(InputError, match="expected store format version 1, got 2; prepare it"):
        open_store(folder)


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_file_is_named(folder, damage):
    path = folder / "offset.npy"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"offset.npy: expected \d+ bytes, got .*; prepare the"):
        open_store(folder)


def occlude(folder, name, hidden):
    target = folder / "occlusion" / name
    target.mkdir(parents=True)
    np.save(target / "hidden.npy", hidden)
    (target / "manifest.json").write_text('{"kind": "by hand"}')


def test_an_occlusion_is_found_by_name(folder):
    hidden = np.random.default_rng(1).random(SHAPE[:-1]) < 0.5
    occlude(folder, "legs", hidden)
    occlusion = find_occlusion(open_store(folder), "legs")
    np.testing.assert_array_equal(occlusion.hidden, hidden)
    assert occlusion.manifest["kind"] == "by hand"


def test_an_unknown_occlusion_names_the_known_ones_and_the_command(folder):
    store = open_store(folder)
    command = r"run: iospstl-train occlude --dataset made --root .* --kind realistic --name legs"
    with pytest.raises(InputError, match="occlusion: made has none yet, got 'legs'; " + command):
        find_occlusion(store, "legs")
    occlude(folder, "arms", np.zeros(SHAPE[:-1], dtype=bool))
    with pytest.raises(InputError, match="occlusion: made has arms, got 'legs'"):
        find_occlusion(store, "legs")


def test_masks_of_another_store_are_refused(folder):
    occlude(folder, "legs", np.zeros((7, 2, 20), dtype=bool))
    with pytest.raises(InputError, match=r"\(8, 2, 20\) cells, got \(7, 2, 20\).*again"):
        find_occlusion(open_store(folder), "legs")


def test_hiding_leaves_the_rest_and_the_input_alone():
    rng = np.random.default_rng(2)
    xyz, hidden = rng.normal(size=SHAPE).astype(np.float32), rng.random(SHAPE[:-1]) < 0.5
    before = xyz.copy()
    result = hide(xyz, hidden)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(result).all(axis=-1), hidden)
    np.testing.assert_array_equal(result[~hidden], xyz[~hidden])
    np.testing.assert_array_equal(xyz, before)
