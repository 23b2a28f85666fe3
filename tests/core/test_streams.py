"""The border to a network: shapes, the three streams by hand, and no NaN."""

import numpy as np
import pytest

from iospstl_core.skeleton import KINECT_V1_20, NTU_25, SkeletonLayout
from iospstl_core.streams import STREAMS, to_network

CHAIN = SkeletonLayout("chain", ("Hip", "Knee", "Foot"), (0, 0, 1), 0)


def windows(n_windows=2, n_frames=4, n_persons=2, n_joints=25, hidden_frac=0.0):
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(n_windows, n_frames, n_persons, n_joints, 3)).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < hidden_frac] = np.nan
    return xyz


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("layout", [NTU_25, KINECT_V1_20], ids=lambda layout: layout.name)
def test_a_network_gets_contiguous_channels_first(stream, layout):
    xyz = windows(3, 7, 2, layout.n_joints, hidden_frac=0.3)
    before = xyz.copy()
    x = to_network(xyz, stream, layout)
    assert x.shape == (3, 3, 7, layout.n_joints, 2)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(xyz, before)
    assert not np.shares_memory(x, xyz)


def test_positions_keep_their_place_and_nan_becomes_zero():
    xyz = windows(hidden_frac=0.3)
    x = to_network(xyz)
    for n, t, m, v, c in np.ndindex(xyz.shape):
        value = xyz[n, t, m, v, c]
        assert x[n, c, t, v, m] == (0 if np.isnan(value) else value)


def test_motion_by_hand():
    xyz = np.zeros((1, 4, 1, 25, 3), dtype=np.float32)
    xyz[0, :, 0, 2, 1] = 1.0, 4.0, 2.0, 2.5
    xyz[0, :, 0, 3, 1] = 1.0, np.nan, 2.0, 2.5
    x = to_network(xyz, "motion")
    assert x[0, 1, :, 2, 0].tolist() == [3.0, -2.0, 0.5, 0.0]
    assert x[0, 1, :, 3, 0].tolist() == [0.0, 0.0, 0.5, 0.0]
    assert np.abs(x).sum() == 6.0


def test_bones_by_hand():
    xyz = np.zeros((2, 1, 1, 3, 3), dtype=np.float32)
    xyz[0, 0, 0] = [[1, 2, 3], [1, 1, 1], [5, 0, 4]]
    xyz[1, 0, 0] = [[1, 2, 3], [np.nan] * 3, [5, 0, 4]]
    x = to_network(xyz, "bone", CHAIN)
    assert x[0, :, 0, :, 0].T.tolist() == [[0, 0, 0], [0, -1, -2], [4, -1, 3]]
    assert not x[1].any()


@pytest.mark.parametrize("stream", ["motion", "bone"])
def test_differences_do_not_see_where_the_body_is(stream):
    xyz = windows(hidden_frac=0.2)
    np.testing.assert_allclose(to_network(xyz + 5, stream), to_network(xyz, stream), atol=2e-6)


@pytest.mark.parametrize("stream", STREAMS)
def test_windows_do_not_see_each_other(stream):
    xyz = windows(3, hidden_frac=0.2)
    alone = np.concatenate([to_network(xyz[k : k + 1], stream) for k in range(3)])
    np.testing.assert_array_equal(to_network(xyz, stream), alone)


def test_a_window_of_one_frame_has_no_motion():
    assert not to_network(windows(n_frames=1), "motion").any()


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError, match="expected one of joint, motion, bone, got 'velocity'"):
        to_network(windows(), "velocity")
