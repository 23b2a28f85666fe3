import json
import os
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20
from iospstl_core.store import FIELDS, find_occlusion, hide, open_store
from iospstl_train.config import Config
from iospstl_train.data.prepare import PrepareReport
from iospstl_train.data.recording import Recording
from iospstl_train.data.store import find_store, write_occlusion, write_store
from iospstl_train.data.synthetic import SyntheticSettings, make_recording
from iospstl_train.occlusion.cells import CellSettings
from iospstl_train.occlusion.occlude import occlude

MANIFEST = {
    "dataset": "mine",
    "class_names": ["wave", "sit"],
    "n_persons": 2,
    "fps": 25.0,
    "splits": {
        "first": "train: view in 1; test: view in 2",
        "other": "train: subject in 3; test: subject in 4",
    },
    "steps": [{"step": "prepare"}],
}


def make_recordings(n=3, seed=0):
    rng = np.random.default_rng(seed)
    recordings = []
    for index in range(n):
        length = 2 + 3 * index
        xyz = rng.normal(size=(length, 2, 20, 3)).astype(np.float32)
        xyz[:, 1] = np.nan
        present = np.zeros((length, 2), dtype=bool)
        present[:, 0] = True
        name = f"take {index}"
        recordings.append(
            Recording(name, xyz, present, index % 2, 3 + index, 1 + index % 2, index)
        )
    return recordings


def list_all(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def mine(tmp_path):
    write_store(tmp_path / "mine", MANIFEST, KINECT_V1_20, iter(make_recordings()))
    return tmp_path / "mine"


def test_round_trip(mine):
    store = open_store(mine)
    recordings = make_recordings()
    assert len(store) == 3
    assert (store.dataset, store.fps, store.n_persons) == ("mine", 25.0, 2)
    assert store.layout.joints == KINECT_V1_20.joints
    assert store.layout.parents == KINECT_V1_20.parents
    assert store.class_names == ("wave", "sit")
    assert store.names == ("take 0", "take 1", "take 2")
    assert store.offset.tolist() == [0, 2, 7, 15]
    for index, recording in enumerate(recordings):
        xyz, present = store.sequence(index)
        np.testing.assert_array_equal(xyz, recording.xyz)
        np.testing.assert_array_equal(present, recording.present)
        assert xyz.dtype == np.float32
    for name in FIELDS:
        assert store.fields[name].tolist() == [getattr(item, name) for item in recordings]
    assert store.label.tolist() == [0, 1, 0]


def test_tracking_states_are_kept(tmp_path, mine):
    assert open_store(mine).tracking is None
    assert not (mine / "tracking.npy").exists()
    rng = np.random.default_rng(1)
    recordings = [
        replace(item, tracking=rng.integers(0, 3, item.xyz.shape[:-1]).astype(np.int8))
        for item in make_recordings()
    ]
    write_store(tmp_path / "tracked", MANIFEST, KINECT_V1_20, iter(recordings))
    tracking = open_store(tmp_path / "tracked").tracking
    np.testing.assert_array_equal(tracking, np.concatenate([r.tracking for r in recordings]))


def test_memory_of_writing_does_not_grow_with_the_dataset(tmp_path):
    """40 MB of frames are written; a few are held."""
    (long,) = make_recordings(1)
    long = replace(
        long,
        xyz=np.zeros((1000, 2, 20, 3), np.float32),
        present=np.ones((1000, 2), np.bool_),
    )
    copies = (replace(long, xyz=long.xyz.copy()) for _ in range(84))
    tracemalloc.start()
    write_store(tmp_path / "mine", MANIFEST, KINECT_V1_20, copies)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert open_store(tmp_path / "mine").xyz.nbytes > 40e6
    assert peak < 4e6


def test_sequence_is_a_copy_and_the_file_read_only(mine):
    store = open_store(mine)
    xyz, present = store.sequence(0)
    xyz[:] = 0
    present[:] = False
    assert store.sequence(0)[1].any()
    with pytest.raises(ValueError, match="read-only"):
        store.xyz[0] = 0


def test_first_split_is_the_default(mine):
    store = open_store(mine)
    is_train, is_test = store.split()
    assert (is_train.tolist(), is_test.tolist()) == ([True, False, True], [False, True, False])
    assert store.split("other")[0].tolist() == [True, False, False]
    with pytest.raises(InputError, match="split: mine has first, other, got 'xsub'"):
        store.split("xsub")


def test_same_recordings_same_bytes(mine, tmp_path):
    write_store(tmp_path / "again", MANIFEST, KINECT_V1_20, iter(make_recordings()))
    for path in mine.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_interrupted_write_leaves_the_old_store(mine, tmp_path):
    def cut_short():
        yield make_recordings()[0]
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in mine.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        write_store(mine, MANIFEST, KINECT_V1_20, cut_short())
    assert {path: path.read_bytes() for path in mine.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_interrupted_first_write_leaves_nothing(tmp_path):
    def fail():
        raise InputError("the file is cut")
        yield

    with pytest.raises(InputError, match="the file is cut"):
        write_store(tmp_path / "mine", MANIFEST, KINECT_V1_20, fail())
    assert list(tmp_path.iterdir()) == []


def test_store_needs_a_sequence(tmp_path):
    with pytest.raises(InputError, match="expected at least one sequence to store, got none"):
        write_store(tmp_path / "mine", MANIFEST, KINECT_V1_20, iter(()))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_no_store_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="thesis: holds something else than a store"):
        write_store(tmp_path / "thesis", MANIFEST, KINECT_V1_20, iter(make_recordings()))
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["xyz.npy", "present.npy", "offset.npy", "label.npy", "names.json"]
)
def test_truncated_file_is_named(mine, name):
    os.truncate(mine / name, (mine / name).stat().st_size - 1)
    with pytest.raises(
        InputError, match=rf"{name}: expected \d+ bytes, got \d+; prepare the store"
    ):
        open_store(mine)


def test_missing_file_is_named(mine):
    (mine / "view.npy").unlink()
    with pytest.raises(InputError, match=r"view.npy: expected \d+ bytes, got None"):
        open_store(mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "expected store format version 1, got 2; prepare it again"),
        ({"splits": None}, "expected the manifest of a store, got one without splits"),
    ],
)
def test_manifest_that_does_not_fit(mine, change, message):
    path = mine / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | change
    manifest = {key: value for key, value in manifest.items() if value is not None}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        open_store(mine)


def test_cut_manifest_is_named(mine):
    os.truncate(mine / "manifest.json", 40)
    with pytest.raises(InputError, match=r"manifest.json: expected a readable JSON file"):
        open_store(mine)


def draw_masks(store, seed=0):
    rng = np.random.default_rng(seed)
    for index in range(len(store)):
        yield rng.random(store.sequence(index)[0].shape[:-1]) < 0.3


def test_occlusion_round_trip(mine):
    store = open_store(mine)
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    manifest = {"kind": "random", "seed": 5}
    write_occlusion(store, "dice", draw_masks(store), manifest)
    occlusion = find_occlusion(store, "dice")
    assert occlusion.name == "dice"
    assert occlusion.manifest["seed"] == 5
    for index, mask in enumerate(draw_masks(store)):
        np.testing.assert_array_equal(occlusion.hidden[store.frames(index)], mask)
    after = {path.name: path.read_bytes() for path in mine.iterdir() if path.is_file()}
    assert after == before  # coordinates are never changed


def test_interrupted_occlusion_leaves_the_old_one(mine):
    store = open_store(mine)
    write_occlusion(store, "dice", draw_masks(store), {"kind": "random"})

    def cut_short():
        yield next(draw_masks(store, seed=1))
        raise KeyboardInterrupt

    before = list_all(mine)
    with pytest.raises(KeyboardInterrupt):
        write_occlusion(store, "dice", cut_short(), {"kind": "random"})
    assert list_all(mine) == before
    first = next(draw_masks(store))
    np.testing.assert_array_equal(find_occlusion(store, "dice").hidden[:2], first)


@pytest.mark.parametrize("name", ["", "..", "../../mine", "a/b"])
def test_occlusion_stays_in_its_store(mine, name):
    store = open_store(mine)
    before = list_all(mine)
    with pytest.raises(InputError, match="--name: expected a name without folders"):
        write_occlusion(store, name, draw_masks(store), {"kind": "random"})
    assert list_all(mine) == before


def test_preparing_again_drops_the_masks(mine):
    store = open_store(mine)
    write_occlusion(store, "dice", draw_masks(store), {"kind": "random"})
    write_store(mine, MANIFEST, KINECT_V1_20, iter(make_recordings(seed=1)))
    with pytest.raises(InputError, match="occlusion: mine has none yet, got 'dice'"):
        find_occlusion(open_store(mine), "dice")


def test_masks_of_another_store_are_refused(mine, tmp_path):
    store = open_store(mine)
    write_occlusion(store, "dice", draw_masks(store), {"kind": "random"})
    longer = tmp_path / "longer"
    write_store(longer, MANIFEST, KINECT_V1_20, iter(make_recordings(n=4)))
    shutil.copytree(mine / "occlusion", longer / "occlusion")
    with pytest.raises(
        InputError, match=r"expected masks for \(26, 2, 20\) cells, got \(15, 2, 20"
    ):
        find_occlusion(open_store(longer), "dice")


def test_damaged_masks_are_named(mine):
    store = open_store(mine)
    write_occlusion(store, "dice", draw_masks(store), {"kind": "random"})
    path = mine / "occlusion" / "dice" / "hidden.npy"
    os.truncate(path, 200)
    with pytest.raises(InputError, match=r"hidden.npy: expected masks, got: .*occlude the store"):
        find_occlusion(store, "dice")


def test_unknown_occlusion_lists_the_known_and_the_command(mine):
    store = open_store(mine)
    write_occlusion(store, "dice", draw_masks(store), {"kind": "random"})
    with pytest.raises(InputError) as caught:
        find_occlusion(store, "sofa")
    assert str(caught.value).startswith("occlusion: mine has dice, got 'sofa'; run: ")
    assert "iospstl-train occlude --dataset mine --root " in str(caught.value)


def test_hide_changes_only_what_is_hidden():
    xyz = np.ones((3, 1, 4, 3), dtype=np.float32)
    hidden = np.zeros((3, 1, 4), dtype=bool)
    hidden[1, 0, 2] = True
    out = hide(xyz, hidden)
    assert np.isnan(out[1, 0, 2]).all()
    assert np.isnan(out).sum() == 3
    assert not np.isnan(xyz).any()
    assert out.dtype == np.float32


def test_workers_do_not_change_masks(store):
    settings = Config().realistic
    first = occlude(store, "one", "realistic", 4, settings, n_workers=1)
    second = occlude(store, "two", "realistic", 4, settings, n_workers=2)
    other = occlude(store, "three", "realistic", 5, settings, n_workers=2)
    np.testing.assert_array_equal(first.hidden, second.hidden)
    assert (first.hidden != other.hidden).any()
    assert first.manifest["hidden_frac"] == pytest.approx(
        first.hidden.sum() / (~np.isnan(store.xyz[..., 0])).sum()
    )
    assert len(first.manifest["sequences"]) == len(store)


def test_random_masks_hide_the_wanted_share(store):
    occlusion = occlude(store, "dice", "random", 1, CellSettings(0.25), n_workers=1)
    observed = ~np.isnan(store.xyz[..., 0])
    assert not (occlusion.hidden & ~observed).any()
    assert occlusion.hidden.sum() / observed.sum() == pytest.approx(0.25, abs=1e-3)


def test_prepared_recordings_are_the_generated_ones(store):
    settings = SyntheticSettings(n_subjects=3, n_views=1)
    for index in (0, 17, 41):
        expected = make_recording(index, settings)
        xyz, present = store.sequence(index)
        np.testing.assert_array_equal(xyz, expected.xyz)
        np.testing.assert_array_equal(present, expected.present)
        assert store.names[index] == expected.name


def test_store_is_found_by_name(store):
    assert find_store("synthetic", store.folder.parent).names == store.names


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("ntu60", ("nturgbd_skeletons_s001_to_s017.zip", "ROSE", "rose1.ntu.edu.sg")),
        ("ntu120", ("nturgbd_skeletons_s018_to_s032.zip", "ROSE", "rose1.ntu.edu.sg")),
        ("nw-ucla", ("all_sqe", "its authors")),
        ("npz", ("neutral archive",)),
        ("synthetic", ("it is generated",)),
    ],
)
def test_missing_store_names_the_download_and_the_command(tmp_path, dataset, words):
    with pytest.raises(InputError) as caught:
        find_store(dataset, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{dataset}: no prepared store at {tmp_path / dataset}.")
    assert f"Then run: iospstl-train prepare --dataset {dataset}" in message
    assert message.endswith(f"--root {tmp_path}")
    for word in words:
        assert word in message
    assert "\n" not in message


def test_unknown_dataset_names_the_nearest(mine, tmp_path):
    with pytest.raises(InputError, match=r"got 'ntu-60'; did you mean 'ntu60'\?$"):
        find_store("ntu-60", tmp_path)
    with pytest.raises(
        InputError, match=r"expected one of mine, .*got 'mien'; did you mean 'mine'"
    ):
        find_store("mien", tmp_path)
    with pytest.raises(InputError, match=r"got 'qqq'$"):
        find_store("qqq", tmp_path)


def test_split_that_leaves_a_side_empty_is_described(store):
    """A part of a dataset can be prepared, whatever its other splits need."""
    assert store.describe_split("xsub") == "28 train / 14 test"
    assert store.describe_split("xview").startswith("cannot be used: split 'train: view in 2,3;")
    with pytest.raises(InputError, match="expected sequences on both sides"):
        store.split("xview")
    report = PrepareReport(42, [("a", "no body"), ("b", "no body")])
    lines = report.lines(store.folder)
    assert lines[1] == "left out 2: no body"
    assert lines[2] == "split xsub: 28 train / 14 test"
    assert lines[3].startswith("split xview: cannot be used: ")
