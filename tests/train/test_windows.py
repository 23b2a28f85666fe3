import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, NTU_25
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.data import windows as module
from iospstl_train.data.recording import Recording
from iospstl_train.data.store import write_occlusion, write_store
from iospstl_train.data.windows import WindowSet, load_windows

MISSING_IN_KINECT_V1 = {"Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}


@pytest.fixture(scope="module")
def kinect_store(tmp_path_factory):
    """Two sequences of 20 joints; the second person of the second comes late."""
    rng = np.random.default_rng(0)
    manifest = {"dataset": "mine", "class_names": ["a", "b"], "n_persons": 2, "fps": 30.0}
    manifest["splits"] = {"first": "train: view in 1; test: view in 2"}
    recordings = []
    for index in range(2):
        xyz = rng.normal(size=(60, 2, 20, 3)).astype(np.float32)
        present = np.ones((60, 2), dtype=bool)
        present[: 60 if index == 0 else 30, 1] = False
        xyz[~present] = np.nan
        recordings.append(Recording(f"take {index}", xyz, present, index, view=index + 1))
    folder = tmp_path_factory.mktemp("stores") / "mine"
    write_store(folder, manifest, KINECT_V1_20, recordings)
    return open_store(folder)


def source_frames(n_source, n_frames=50):
    """Frames before and after each sample, and the nearest one, written out once more."""
    position = np.linspace(0, n_source - 1, n_frames).round(6)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, n_source - 1)
    nearest = np.where(position - before > 0.5 + 1e-4, after, before)
    return before, after, nearest


def test_without_occlusion_all_is_truth(store):
    windows = load_windows(store)
    np.testing.assert_array_equal(windows.xyz, windows.truth)
    assert not windows.hidden.any()
    assert windows.hidden_frac().max() == 0


def test_what_is_seen_is_true(windows, store, occlusion):
    """Bit for bit where both source frames were seen; else within the step between them."""
    seen = ~np.isnan(windows.xyz[..., 0])
    assert 0.3 < seen.sum() / (~np.isnan(windows.truth[..., 0])).sum() < 0.95
    for index in range(len(store)):
        before, after, _ = source_frames(np.diff(store.offset)[index])
        hidden = occlusion.hidden[store.frames(index)]
        unmixed = seen[index] & ~hidden[before] & ~hidden[after]
        assert unmixed.any()
        xyz, truth = windows.xyz[index], windows.truth[index]
        np.testing.assert_array_equal(xyz[unmixed], truth[unmixed])
    mixed = np.linalg.norm(windows.xyz - windows.truth, axis=-1)[seen]
    assert mixed.max() < 0.2  # metres within half a frame


def test_hidden_is_what_the_nearest_frame_hides(windows, store, occlusion):
    assert windows.hidden.any()
    for index in range(len(store)):
        _, _, nearest = source_frames(np.diff(store.offset)[index])
        hidden = occlusion.hidden[store.frames(index)][nearest]
        np.testing.assert_array_equal(windows.hidden[index], hidden)
        _, present = store.sequence(index)
        np.testing.assert_array_equal(windows.present[index], present[nearest])


def test_hidden_joints_do_not_move_the_window(store, tmp_path):
    """Moving what is hidden by a kilometre changes nothing but the truth."""
    index = 3
    xyz, present = store.sequence(index)
    far = xyz.copy()
    hidden = np.zeros(xyz.shape[:-1], dtype=bool)
    hidden[5:30, 0, [NTU_25.index("SpineShoulder"), NTU_25.index("ShoulderLeft")]] = True
    far[hidden] += 1000
    manifest = {
        "dataset": "far",
        "class_names": list(store.class_names),
        "n_persons": 2,
        "fps": 30.0,
        "splits": {"all": "train: view in 1; test: view in 2"},
    }
    found = []
    for name, values in (("near", xyz), ("far", far)):
        recordings = [Recording(f"{name} {v}", values, present, 0, view=v) for v in (1, 2)]
        write_store(tmp_path / name, manifest, NTU_25, recordings)
        opened = open_store(tmp_path / name)
        write_occlusion(opened, "mine", iter([hidden, hidden]), {"kind": "random"})
        found.append(load_windows(opened, find_occlusion(opened, "mine")))
    np.testing.assert_array_equal(found[0].xyz, found[1].xyz)
    assert np.nanmax(np.abs(found[1].truth - found[0].truth)) > 500


def test_windows_carry_what_the_store_says(windows, store):
    assert windows.xyz.shape == (42, 50, 2, 25, 3)
    assert windows.names == store.names
    assert windows.class_names == store.class_names
    np.testing.assert_array_equal(windows.label, store.label)
    is_train, is_test = store.split("xsub")
    np.testing.assert_array_equal(windows.is_train, is_train)
    np.testing.assert_array_equal(windows.is_test, is_test)


def test_length_of_a_window_can_be_set(store):
    assert load_windows(store, n_frames=7).xyz.shape[1] == 7


def test_unknown_split_is_refused_before_the_work(store, monkeypatch):
    monkeypatch.setattr(module, "normalize", None)
    with pytest.raises(InputError, match="split: synthetic has xsub, xview, got 'xsup'"):
        load_windows(store, split="xsup")


def test_joints_that_a_source_lacks_are_structural(kinect_store):
    windows = load_windows(kinect_store)
    names = {NTU_25.joints[j] for j in np.flatnonzero(windows.structural)}
    assert names == MISSING_IN_KINECT_V1
    assert not windows.hidden.any()  # not hidden: nobody knows where they were
    share = windows.hidden_frac()
    np.testing.assert_array_equal(np.isnan(share), np.tile(windows.structural, (2, 1)))
    assert np.nanmax(share) == 0


def test_masks_are_in_the_joints_of_the_source(kinect_store):
    hand = KINECT_V1_20.index("HandLeft")
    hidden = np.zeros(kinect_store.xyz.shape[:-1], dtype=bool)
    hidden[:, 0, hand] = True
    masks = (hidden[kinect_store.frames(index)] for index in range(2))
    write_occlusion(kinect_store, "hand", masks, {"kind": "random"})
    windows = load_windows(kinect_store, find_occlusion(kinect_store, "hand"))
    where = np.argwhere(windows.hidden)
    assert set(where[:, 3]) == {NTU_25.index("HandLeft")}
    assert set(where[:, 2]) == {0}
    assert len(where) == 2 * 50
    share = windows.hidden_frac()[:, NTU_25.index("HandLeft")]
    assert share[0] == 1.0
    assert share[1] == pytest.approx(50 / (50 + windows.present[1, :, 1].sum()))


def test_hidden_share_by_hand():
    """Four frames, two persons, the second one there for two frames; joint 0 and 1 matter."""
    truth = np.zeros((1, 4, 2, 25, 3), dtype=np.float32)
    present = np.ones((1, 4, 2), dtype=bool)
    present[0, :2, 1] = False
    truth[~present] = np.nan
    xyz = truth.copy()
    xyz[0, 0, 0, 0] = xyz[0, 3, 1, 0] = np.nan
    xyz[0, :, :, 1] = np.nan
    truth[..., 24, :] = xyz[..., 24, :] = np.nan
    yes, no = np.array([True]), np.array([False])
    windows = WindowSet(xyz, truth, present, np.array([0]), yes, no, ("one",), ("a",))
    share = windows.hidden_frac()
    assert share.shape == (1, 25)
    assert share[0, :3].tolist() == pytest.approx([2 / 6, 1.0, 0.0])
    assert np.isnan(share[0, 24])
    assert windows.structural.nonzero()[0].tolist() == [24]
    assert windows.hidden.sum() == 2 + 6
