"""The adapter: what is written is read, however it lies in memory; what is wrong is refused."""

from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from iospstl_core.errors import InputError
from iospstl_core.skeleton import KINECT_V1_20, NTU_25
from iospstl_ros.adapters import pointcloud
from iospstl_ros.adapters.pointcloud import read_skeletons, write_skeletons

HEADER = Header(stamp=Time(sec=1_795_000_000, nanosec=123_456_789), frame_id="camera")
FORMATS = {"x": "f4", "y": "f4", "z": "f4", "confidence": "f4", "person": "u4", "rgb": "u4"}


def people(layout=NTU_25, ids=(7, 2**32 - 1, 0), seed=0):
    rng = np.random.default_rng(seed)
    persons = {}
    for person in ids:
        xyz = rng.normal(size=(layout.n_joints, 3)).astype(np.float32)
        xyz[rng.random(layout.n_joints) < 0.3] = np.nan
        persons[person] = xyz
    return persons


def make_cloud(persons, offsets, point_step, row_padding=0, order="<", **values):
    """A cloud with any fields at any offsets, in either byte order, rows padded."""
    n_joints = len(next(iter(persons.values())))
    dtype = np.dtype(
        {
            "names": list(offsets),
            "formats": [order + FORMATS[name] for name in offsets],
            "offsets": list(offsets.values()),
            "itemsize": point_step,
        }
    )
    rows = []
    for person, xyz in persons.items():
        table = np.zeros(n_joints, dtype=dtype)
        table["x"], table["y"], table["z"] = xyz.T
        for name, value in {"person": person, **values}.items():
            if name in offsets:
                table[name] = value
        rows.append(table.tobytes() + b"\xee" * row_padding)
    datatype = {"f4": PointField.FLOAT32, "u4": PointField.UINT32}
    return PointCloud2(
        header=HEADER,
        height=len(persons),
        width=n_joints,
        fields=[
            PointField(name=name, offset=offset, datatype=datatype[FORMATS[name]], count=1)
            for name, offset in offsets.items()
        ],
        is_bigendian=order == ">",
        point_step=point_step,
        row_step=point_step * n_joints + row_padding,
        data=b"".join(rows),
        is_dense=False,
    )


PLAIN = {"x": 0, "y": 4, "z": 8, "person": 12}


def assert_same_people(found, expected):
    assert list(found) == list(expected)
    for person, xyz in expected.items():
        np.testing.assert_array_equal(found[person], xyz)
        assert found[person].dtype == np.float32


def test_what_is_written_is_read_bit_for_bit():
    persons = people()
    frame = read_skeletons(write_skeletons(HEADER, persons, NTU_25), NTU_25)
    assert_same_people(frame.persons, persons)
    assert frame.stamp_ns == 1_795_000_000_123_456_789
    assert frame.frame_id == "camera"


def test_other_layouts_are_mapped_by_joint_name():
    persons = people(KINECT_V1_20)
    frame = read_skeletons(write_skeletons(HEADER, persons, KINECT_V1_20), KINECT_V1_20)
    found, expected = frame.persons[7], persons[7]
    assert found.shape == (25, 3)
    for ours, theirs in (("SpineBase", "HipCenter"), ("SpineShoulder", "ShoulderCenter")):
        joint = KINECT_V1_20.index(theirs)
        np.testing.assert_array_equal(found[NTU_25.index(ours)], expected[joint])
    for structural in ("Neck", "ThumbLeft", "HandTipRight"):
        assert np.isnan(found[NTU_25.index(structural)]).all()


@pytest.mark.parametrize(
    ("offsets", "point_step", "row_padding", "order"),
    [
        (PLAIN, 16, 0, "<"),
        (PLAIN, 16, 0, ">"),
        (PLAIN, 16, 24, "<"),
        ({"person": 0, "z": 4, "y": 8, "x": 12}, 16, 0, "<"),
        ({"rgb": 0, "x": 5, "y": 9, "z": 13, "person": 21, "confidence": 29}, 37, 0, "<"),
        ({"rgb": 0, "x": 5, "y": 9, "z": 13, "person": 21, "confidence": 29}, 37, 3, ">"),
    ],
)
def test_any_place_in_memory_reads_the_same(offsets, point_step, row_padding, order):
    persons = people()
    cloud = make_cloud(persons, offsets, point_step, row_padding, order, confidence=1.0)
    before = bytes(cloud.data)
    assert_same_people(read_skeletons(cloud, NTU_25, 0.5).persons, persons)
    assert bytes(cloud.data) == before


def test_low_or_unknown_confidence_is_not_observed():
    persons = people(ids=(1,))
    joints = np.arange(25)
    confidence = np.where(joints == 3, np.nan, np.where(joints % 2, 0.5, 0.2))
    cloud = make_cloud(persons, {**PLAIN, "confidence": 16}, 20, confidence=confidence)
    expected = persons[1].copy()
    expected[(joints % 2 == 0) | (joints == 3)] = np.nan
    np.testing.assert_array_equal(read_skeletons(cloud, NTU_25, 0.5).persons[1], expected)


def test_a_joint_is_observed_with_all_coordinates_or_not_at_all():
    xyz = np.ones((25, 3), dtype=np.float32)
    xyz[4, 1], xyz[5, 2], xyz[6, 0] = np.nan, np.inf, -np.inf
    frame = read_skeletons(write_skeletons(HEADER, {1: xyz}, NTU_25), NTU_25)
    missing = np.isnan(frame.persons[1])
    assert missing[[4, 5, 6]].all()
    assert missing.sum() == 9


def test_joints_are_written_with_their_confidence():
    xyz = np.ones((25, 3), dtype=np.float32)
    confidence = np.linspace(0, 1, 25, dtype=np.float32)
    cloud = write_skeletons(HEADER, {5: xyz, 2: xyz}, NTU_25, {2: 1 - confidence, 5: confidence})
    for least in (0.1, 0.5, 0.9):
        found = read_skeletons(cloud, NTU_25, min_confidence=least).persons
        np.testing.assert_array_equal(np.isfinite(found[5][:, 0]), confidence >= least)
        np.testing.assert_array_equal(np.isfinite(found[2][:, 0]), 1 - confidence >= least)


def test_without_confidence_what_is_known_has_1_and_the_rest_0():
    persons = people(ids=(1,))
    cloud = write_skeletons(HEADER, persons, NTU_25)
    table = np.frombuffer(bytes(cloud.data), dtype=np.float32).reshape(25, -1)
    known = ~np.isnan(persons[1][:, 0])
    assert [field.name for field in cloud.fields][3] == "confidence"
    np.testing.assert_array_equal(table[:, 3], known.astype(np.float32))


@pytest.mark.parametrize(("height", "width"), [(0, 25), (0, 0), (3, 0)])
def test_a_cloud_without_points_is_a_frame_without_people(height, width):
    frame = read_skeletons(PointCloud2(header=HEADER, height=height, width=width), NTU_25)
    assert frame.persons == {}


def _set(name, value):
    return lambda cloud: setattr(cloud, name, value)


def _set_field(index, name, value):
    return lambda cloud: setattr(cloud.fields[index], name, value)


def _second_row_as_first(cloud):
    cloud.data[cloud.row_step :] = cloud.data[: cloud.row_step]


def _mixed_row(cloud):
    cloud.data[12] ^= 1


def _far_away(cloud):
    cloud.data[:4] = array("B", np.array([1820], dtype="<f4").tobytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("width", 20), r"width: expected 25 joints \(ntu-25\), got 20"),
        (_set("point_step", 8), "field z: expected its end within point_step 8"),
        (_set("point_step", 0), "expected its end within point_step 0"),
        (_set("row_step", 10), "row_step: expected at least 400"),
        (_set("height", 3), "data: expected at least 1200 bytes, got 800"),
        (_set("data", b""), "data: expected at least 800 bytes, got 0"),
        (_set("fields", []), "missing x y z person"),
        (_set_field(3, "name", "id"), "missing person"),
        (_set_field(1, "name", "x"), "field x: expected once, got 2 times"),
        (_set_field(0, "datatype", PointField.FLOAT64), r"field x: expected one float32"),
        (_set_field(3, "datatype", PointField.INT32), r"field person: expected one uint32"),
        (_set_field(2, "count", 3), "field z: expected one float32 .* got 3"),
        (_set_field(2, "count", 0), "field z: expected one float32 .* got 0"),
        (_set_field(2, "offset", 2**32 - 1), "field z: expected its end within"),
        (_second_row_as_first, r"expected one row for each id, got more: \[1\]"),
        (_mixed_row, r"person: expected one id in row 0, got \[0, 1\]"),
        (_far_away, r"person 1, SpineBase: expected metres within 100, got x = 1820"),
    ],
)
def test_a_malformed_cloud_is_refused_with_its_fault(damage, message):
    persons = {1: np.ones((25, 3), np.float32), 2: np.ones((25, 3), np.float32)}
    cloud = make_cloud(persons, PLAIN, 16)
    assert len(read_skeletons(cloud, NTU_25).persons) == 2
    damage(cloud)
    with pytest.raises(InputError, match=message):
        read_skeletons(cloud, NTU_25)


def test_all_faults_of_a_shape_come_in_one_message():
    cloud = make_cloud(people(), PLAIN, 16)
    cloud.width, cloud.data = 24, b""
    with pytest.raises(InputError, match=r"width: .*; data: "):
        read_skeletons(cloud, NTU_25)


def test_no_damage_raises_anything_but_an_input_error():
    rng = np.random.default_rng(3)
    n_refused = 0
    for _ in range(1500):
        cloud = make_cloud(people(ids=(1, 2)), PLAIN, 16, confidence=1.0)
        damage_at_random(cloud, rng)
        try:
            frame = read_skeletons(cloud, NTU_25, 0.5)
        except InputError:
            n_refused += 1
        else:
            assert all(xyz.shape == (25, 3) for xyz in frame.persons.values())
    assert 500 < n_refused < 1500


def damage_at_random(cloud, rng):
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(6)
        number = int(rng.choice([0, 1, 2, 3, 7, 16, 25, 100, 2**31, 2**32 - 1]))
        field = cloud.fields[rng.integers(4)] if len(cloud.fields) == 4 else PointField()
        if kind == 0:
            setattr(cloud, str(rng.choice(["width", "height", "point_step", "row_step"])), number)
        elif kind == 1:
            setattr(field, str(rng.choice(["offset", "count"])), number)
        elif kind == 2:
            field.datatype = int(rng.integers(256))
        elif kind == 3:
            field.name = str(rng.choice(["", "x", "person", "confidence", "ä"]))
        elif kind == 4:
            cloud.data = bytes(cloud.data)[: rng.integers(len(cloud.data) + 1)]
        else:
            cloud.data = rng.bytes(len(cloud.data))
    cloud.is_bigendian = bool(rng.integers(2))


def test_sensor_msgs_py_reads_the_same(monkeypatch):
    pytest.importorskip("sensor_msgs_py", reason="sensor_msgs_py comes with a system's ROS 2 only")
    assert pointcloud.uses_sensor_msgs_py()
    rng = np.random.default_rng(4)
    for _ in range(300):
        cloud = make_cloud(people(ids=(1, 2)), PLAIN, 16)
        if rng.random() < 0.5:
            damage_at_random(cloud, rng)
        results = []
        for is_used in (True, False):
            with monkeypatch.context() as patch:
                if not is_used:
                    patch.setattr(pointcloud, "_sensor_msgs_py", None)
                try:
                    results.append(read_skeletons(cloud, NTU_25, 0.5).persons)
                except InputError as error:
                    results.append(str(error))
        if isinstance(results[0], str):
            assert results[0] == results[1]
        else:
            assert_same_people(*results)
