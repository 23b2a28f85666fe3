"""The restoring imputer around a network that numpy can follow."""

import json

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.imputation import restore
from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.body_path import follow_body
from iospstl_core.imputation.fill import CellSource, Filled, confidence_of
from iospstl_core.imputation.restore import RestoreImputer, RestorerFacts, network_inputs
from iospstl_core.normalize import estimate_body_frame, normalize, to_body_frame
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25
from tests.core.networks import lean_of, restorer_network
from tests.core.people import REST, everybody, hide_cells, turned, walking_people

CPU = ("CPUExecutionProvider",)
N_FRAMES = 10
OBSERVED, ABSENT, UNFILLED = CellSource.OBSERVED, CellSource.ABSENT, CellSource.UNFILLED
RESTORED, BANK, JOINT = CellSource.RESTORED, CellSource.BANK_MEAN, CellSource.JOINT_MEAN
UNKNOWN = ("HandTipLeft", "ThumbLeft")
JOINTS = tuple(joint for joint in NTU_25.joints if joint not in UNKNOWN)
KNOWN = np.array([NTU_25.index(joint) for joint in JOINTS])
HAND_TIP, THUMB = (NTU_25.index(joint) for joint in UNKNOWN)
REST_M = REST[KNOWN].astype(np.float32)


@pytest.fixture(scope="module")
def write_model(tmp_path_factory):
    pytest.importorskip("onnx")

    def write(**changes):
        path = tmp_path_factory.mktemp("restorers") / "restorer.onnx"
        path.write_bytes(restorer_network(JOINTS, REST_M, N_FRAMES, **changes))
        return OnnxModel(path, CPU)

    return write


@pytest.fixture(scope="module")
def model(write_model):
    return write_model()


def make_imputer(model, n_persons=2):
    """An imputer whose bank knows of the left thumb in one frame only, and no left hand tip."""
    donors = np.zeros((3, N_FRAMES, n_persons, 25, 3), np.float32) + np.float32([1, 2, 3])
    donors[..., HAND_TIP, :] = np.nan
    donors[:, 1:, :, THUMB] = np.nan
    return RestoreImputer(model, build_bank(donors, np.zeros(3, dtype=int), 1))


@pytest.fixture
def imputer(model):
    return make_imputer(model)


def people(n=4, n_persons=2, seed=0, hidden_frac=0.4):
    """Windows with hidden cells; the second person of every other one is absent."""
    rng = np.random.default_rng(seed)
    xyz = np.stack([walking_people(rng, N_FRAMES, n_persons) for _ in range(n)])
    xyz = hide_cells(xyz, rng, hidden_frac)
    xyz[..., [HAND_TIP, THUMB], :] = np.nan
    present = everybody(xyz)
    present[1::2, :, 1:] = False
    xyz[~present] = np.nan
    return xyz, present


def positions_by_hand(own):
    """What the network says of one person (n_frames, n_joints, 3) in the own frame."""
    observed = ~np.isnan(own[..., 0])
    path, shape = follow_body(np.nan_to_num(own)[None], observed[None], REST_M)
    return path[0][:, None] + shape[0] + lean_of(N_FRAMES, len(KNOWN))


def errors_by_hand(own):
    """Expected error of every cell of one person."""
    error_m = np.full(own.shape[:2], 0.3)
    for frame, joint in np.ndindex(*error_m.shape):
        seen = np.flatnonzero(~np.isnan(own[:, joint, 0]))
        if len(seen):
            error_m[frame, joint] -= 0.2 * np.exp(-np.abs(seen - frame).min() / 5)
    return error_m


def assert_same(found, expected, atol):
    np.testing.assert_array_equal(found.source, expected.source)
    np.testing.assert_allclose(found.xyz, expected.xyz, rtol=0, atol=atol)
    np.testing.assert_allclose(found.error_m, expected.error_m, rtol=0, atol=1e-6)


def test_one_person_is_completed_as_by_hand_in_the_frame_of_the_window(model):
    xyz, present = people(n_persons=1)
    xyz = (xyz - np.float32([0.3, 0.2, 2.5])).astype(np.float32)
    filled = make_imputer(model, n_persons=1).fill(xyz, present)
    for row in range(len(xyz)):
        own, restored = xyz[row, :, 0][:, KNOWN], filled.source[row, :, 0][:, KNOWN] == RESTORED
        found = filled.xyz[row, :, 0][:, KNOWN]
        np.testing.assert_allclose(
            found[restored], positions_by_hand(own)[restored], rtol=0, atol=1e-5
        )
        np.testing.assert_allclose(
            filled.error_m[row, :, 0][:, KNOWN][restored], errors_by_hand(own)[restored], atol=1e-6
        )
        assert restored.sum() > 50


def test_each_of_two_is_completed_as_by_hand_in_a_frame_of_their_own(imputer):
    xyz, present = people(n=1)
    filled = imputer.fill(xyz, present)
    for person in range(2):
        frame = estimate_body_frame(xyz[0, :, person : person + 1])
        own = to_body_frame(xyz[0, :, person], frame)[:, KNOWN]
        completed = to_body_frame(filled.xyz[0, :, person], frame)[:, KNOWN]
        restored = filled.source[0, :, person][:, KNOWN] == RESTORED
        expected = positions_by_hand(own)
        np.testing.assert_allclose(completed[restored], expected[restored], rtol=0, atol=1e-5)


def test_what_was_observed_stays_and_the_absent_stay_absent(imputer):
    xyz, present = people()
    before = xyz.copy()
    filled = imputer.fill(xyz, present)
    np.testing.assert_array_equal(xyz, before)
    seen = ~np.isnan(xyz[..., 0])
    assert filled.xyz.dtype == filled.error_m.dtype == np.float32
    assert filled.xyz[seen].tobytes() == xyz[seen].tobytes()
    np.testing.assert_array_equal(filled.source == OBSERVED, seen)
    np.testing.assert_array_equal((filled.source == ABSENT).any(axis=-1), ~present)
    assert np.isnan(filled.xyz[~present]).all()


def test_joints_that_the_network_lacks_are_those_of_the_bank(imputer):
    xyz, present = people()
    filled = imputer.fill(xyz, present)
    thumbs, source = filled.xyz[..., THUMB, :], filled.source[..., THUMB]
    assert (source[:, 0][present[:, 0]] == BANK).all()
    assert (source[:, 1:][present[:, 1:]] == JOINT).all()
    np.testing.assert_array_equal(
        thumbs[present], np.tile(np.float32([1, 2, 3]), (present.sum(), 1))
    )
    assert (filled.source[..., HAND_TIP][present] == UNFILLED).all()
    assert np.isnan(filled.xyz[..., HAND_TIP, :]).all()
    others = np.setdiff1d(np.arange(25), [THUMB, HAND_TIP])
    assert set(np.unique(filled.source[present][:, others])) == {OBSERVED, RESTORED}


def test_a_person_of_whom_nothing_shows_is_that_of_the_bank(imputer):
    xyz, present = people()
    xyz[0, :, 1] = np.nan
    filled = imputer.fill(xyz, present)
    assert (filled.source[0, :, 1][:, KNOWN] == BANK).all()
    assert np.isnan(filled.error_m[0, :, 1]).all()
    xyz[:] = np.nan
    nobody = imputer.fill(xyz, present)
    assert RESTORED not in nobody.source
    assert np.isnan(nobody.error_m).all()


def test_a_person_of_whom_only_an_unknown_joint_shows_is_that_of_the_bank(imputer):
    xyz, present = people(n=1)
    xyz[0, :, 0] = np.nan
    xyz[0, 3, 0, THUMB] = 0.5
    filled = imputer.fill(xyz, present)
    assert (filled.source[0, :, 0][:, KNOWN] == BANK).all()
    assert filled.source[0, 3, 0, THUMB] == OBSERVED


def test_the_expected_error_is_known_where_the_network_filled(imputer):
    filled = imputer.fill(*people())
    assert (filled.error_m[filled.source == OBSERVED] == 0).all()
    assert (filled.error_m[filled.source == RESTORED] > 0.09).all()
    rest = ~np.isin(filled.source, (OBSERVED, RESTORED))
    assert np.isnan(filled.error_m[rest]).all()
    assert rest.any()


def test_a_batch_gives_what_single_windows_give(imputer, monkeypatch):
    """More persons than go through the network at once."""
    monkeypatch.setattr(restore, "_BATCH", 4)
    xyz, present = people(n=9)
    whole = imputer.fill(xyz, present)
    for row in range(len(xyz)):
        single = imputer.fill(xyz[row : row + 1], present[row : row + 1])
        assert_same(single.one(0), whole.one(row), atol=1e-6)


def test_one_person_does_not_move_the_other(imputer):
    xyz, present = people(n=1)
    moved = xyz.copy()
    moved[0, :, 1] = turned(xyz[0, :, 1], 2.0, shift_m=(1, 0.5, -1))
    moved[0, 4:, 1, 3:9] = np.nan
    before, after = imputer.fill(xyz, present), imputer.fill(moved, present)
    np.testing.assert_array_equal(after.xyz[:, :, 0], before.xyz[:, :, 0])
    np.testing.assert_array_equal(after.error_m[:, :, 0], before.error_m[:, :, 0])
    changed = after.source[:, :, 1] == RESTORED
    assert np.abs(after.xyz[:, :, 1] - before.xyz[:, :, 1])[changed].max() > 0.5


@pytest.mark.parametrize("angle_rad", [0.7, -2.5, 3.1])
def test_a_turned_window_is_completed_turned(imputer, angle_rad):
    xyz, present = people()
    shift_m = (0.4, -0.2, 1.0)
    before = imputer.fill(xyz, present)
    after = imputer.fill(turned(xyz, angle_rad, shift_m), present)
    restored = before.source == RESTORED
    expected = turned(before.xyz, angle_rad, shift_m)
    np.testing.assert_allclose(after.xyz[restored], expected[restored], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(after.source, before.source)
    np.testing.assert_allclose(after.error_m, before.error_m, atol=1e-6)


def test_persons_are_completed_alike_in_any_column(imputer):
    xyz, present = people()
    before, after = imputer.fill(xyz, present), imputer.fill(xyz[:, :, ::-1], present[:, :, ::-1])
    np.testing.assert_allclose(after.xyz[:, :, ::-1], before.xyz, rtol=0, atol=1e-6)


def test_nothing_after_the_last_frame_of_a_window_enters(imputer):
    """Also not after the windows that follow it in the same recording were completed."""
    rng = np.random.default_rng(5)
    recording = hide_cells(walking_people(rng, 60, 2), rng, 0.4)
    other = recording.copy()
    other[30:] += 1
    windows = []
    for frames in (recording, other):
        cuts = [normalize(frames[:stop], everybody(frames[:stop]), N_FRAMES) for stop in (60, 30)]
        filled = [imputer.fill(cut.xyz[None], cut.present[None]) for cut in cuts]
        windows.append(filled[1])
    assert windows[0].xyz.tobytes() == windows[1].xyz.tobytes()
    assert windows[0].error_m.tobytes() == windows[1].error_m.tobytes()


def test_frames_without_the_person_stay_empty_and_the_others_are_completed(imputer):
    xyz, present = people(n=1)
    present[0, 6:, 0], xyz[0, 6:, 0] = False, np.nan
    filled = imputer.fill(xyz, present)
    assert (filled.source[0, 6:, 0] == ABSENT).all()
    assert np.isnan(filled.error_m[0, 6:, 0]).all()
    assert (filled.source[0, :6, 0] == RESTORED).any()
    assert np.isfinite(filled.xyz[0, :6, 0][:, KNOWN]).all()


def test_no_windows_are_no_fault(imputer):
    xyz, present = people()
    filled = imputer.fill(xyz[:0], present[:0])
    assert filled.xyz.shape == (0, *xyz.shape[1:])
    assert filled.error_m.shape == filled.source.shape


def test_the_network_sees_trust_that_falls_with_the_distance():
    xyz = np.full((1, 8, 2, 3), np.nan, dtype=np.float32)
    xyz[0, 2, 0] = 1
    inputs = network_inputs(xyz, np.zeros((2, 3), np.float32))
    expected = np.exp(-np.array([2, 1, 0, 1, 2, 3, 4, 5]) / 5)
    np.testing.assert_allclose(inputs["near"][0, :, 0], expected, rtol=1e-6)
    assert (inputs["near"][0, :, 1] == 0).all()
    assert inputs["observed"].sum() == 1
    assert (inputs["before"][0, :, 0] == 2).all()
    assert (inputs["after"][0, :, 0] == 2).all()
    np.testing.assert_array_equal(inputs["x"], np.nan_to_num(xyz))
    assert (inputs["line"][0, :, 0] == 1).all()
    assert (inputs["line"][0, :, 1] == 0).all()
    assert all(
        values.dtype in (np.float32, np.int64) and np.isfinite(values).all()
        for values in inputs.values()
    )


# What the file says of itself.


def test_facts_come_back(write_model):
    facts = RestorerFacts(JOINTS, REST_M, {"1.0": 0.6321})
    found = restore.read_facts(write_model(metadata={"iospstl_restorer": facts.to_json()}))
    assert (found.joints, found.coverage) == (JOINTS, {"1.0": 0.6321})
    np.testing.assert_allclose(found.rest_m, REST_M, atol=1e-5)


def facts_text(**changes):
    facts = {"joints": JOINTS, "rest_m": REST_M.tolist(), "coverage": {}, **changes}
    return json.dumps({name: value for name, value in facts.items() if value is not None})


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"other": facts_text()},
        {"iospstl_restorer": "no JSON"},
        {"iospstl_restorer": "[]"},
        {"iospstl_restorer": facts_text(joints=None)},
        {"iospstl_restorer": facts_text(rest_m=None)},
        {"iospstl_restorer": facts_text(coverage=None)},
        {"iospstl_restorer": facts_text(coverage=3)},
        {"iospstl_restorer": facts_text(rest_m=REST_M[1:].tolist())},
        {"iospstl_restorer": facts_text(joints=("Tail", *JOINTS[1:]))},
        {"iospstl_restorer": facts_text(rest_m="far")},
    ],
)
def test_another_kind_of_network_is_refused_with_a_remedy(write_model, metadata):
    with pytest.raises(InputError, match=r"restorer: expected .*metadata.*; export the bundle"):
        make_imputer(write_model(metadata=metadata))


# Confidence.


def test_confidence_by_hand():
    source = np.array([OBSERVED, RESTORED, RESTORED, BANK, ABSENT, UNFILLED], dtype=np.uint8)
    error_m = np.float32([0, 0.1, 0.3, np.nan, np.nan, np.nan])
    xyz = np.zeros((6, 3), np.float32)
    found = confidence_of(Filled(xyz, source, error_m))
    np.testing.assert_allclose(found, [1, 0.5, 0.25, 0, 0, 0], rtol=1e-6)
    assert found.dtype == np.float32
    without = confidence_of(Filled(xyz, source))
    assert without.tolist() == [1, 0, 0, 0, 0, 0]


def test_confidence_of_a_completed_window(imputer):
    filled = imputer.fill(*people())
    found = confidence_of(filled)
    assert found.shape == filled.source.shape
    assert (found[filled.source == OBSERVED] == 1).all()
    restored = found[filled.source == RESTORED]
    assert ((restored > 0) & (restored < 1)).all()
    assert (found[~np.isin(filled.source, (OBSERVED, RESTORED))] == 0).all()
