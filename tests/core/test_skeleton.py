"""Layouts: what is derived from joints and parents, and how layouts map to each other."""

import dataclasses

import numpy as np
import pytest

from iospstl_core.errors import InputError
from iospstl_core.skeleton import (
    KINECT_V1_20,
    LAYOUTS,
    NTU_25,
    SkeletonLayout,
    get_layout,
    joint_indices,
    joint_sources,
    layout_from_mapping,
    layout_to_mapping,
    map_joints,
    mark_unobserved,
)

ARM = {
    "name": "arms",
    "joints": ["Chest", "HandLeft", "HandRight", "ElbowLeft", "ElbowRight"],
    "parents": {
        "ElbowLeft": "Chest",
        "ElbowRight": "Chest",
        "HandLeft": "ElbowLeft",
        "HandRight": "ElbowRight",
    },
    "center": "Chest",
    "equivalents": {"Chest": "SpineShoulder"},
}
LAYOUTS_AND_ARMS = [*LAYOUTS.values(), layout_from_mapping(ARM, "arms.yaml")]
each_layout = pytest.mark.parametrize("layout", LAYOUTS_AND_ARMS, ids=lambda item: item.name)


def test_degrees_of_ntu_are_those_that_the_paper_samples_from():
    paper = [3, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 1, 4, 1, 2, 1, 2]
    assert NTU_25.degrees.tolist() == paper


def test_degrees_of_a_layout_by_hand():
    assert layout_from_mapping(ARM, "arms.yaml").degrees.tolist() == [2, 1, 1, 2, 2]


@each_layout
def test_bones_are_a_tree(layout):
    assert len(layout.bones) == layout.n_joints - 1
    for joint in range(layout.n_joints):
        steps = 0
        while layout.parents[joint] != joint:
            joint, steps = layout.parents[joint], steps + 1  # noqa: PLW2901
            assert steps < layout.n_joints


@each_layout
def test_bones_join_the_same_side(layout):
    for child, parent in layout.bones:
        names = layout.joints[child], layout.joints[parent]
        assert not ("Left" in names[0] and "Right" in names[1])
        assert not ("Right" in names[0] and "Left" in names[1])


@each_layout
def test_flipping_twice_changes_nothing_and_keeps_the_bones(layout):
    flip = layout.flip_order
    assert flip[flip].tolist() == list(range(layout.n_joints))
    assert {(flip[child], flip[parent]) for child, parent in layout.bones} == set(layout.bones)


@each_layout
def test_flipping_exchanges_left_and_right_only(layout):
    for joint, other in zip(layout.joints, layout.flip_order, strict=True):
        swap = {"Left": "Right", "Right": "Left"}
        side = next((side for side in swap if joint.endswith(side)), None)
        expected = joint if side is None else joint.removesuffix(side) + swap[side]
        assert layout.joints[other] == expected


def test_a_joint_without_its_other_side_cannot_be_flipped():
    layout = SkeletonLayout("half", ("Chest", "HandLeft"), (0, 0), 0)
    with pytest.raises(InputError, match="layout half: no joint 'HandRight'"):
        _ = layout.flip_order


def test_the_resting_pose_is_a_symmetric_person_around_the_centre():
    rest = np.array(NTU_25.rest_m)
    assert rest.shape == (25, 3)
    assert not rest[NTU_25.center].any()
    np.testing.assert_allclose(rest[NTU_25.flip_order], rest * [-1, 1, 1], atol=1e-9)
    lengths = [np.linalg.norm(rest[child] - rest[parent]) for child, parent in NTU_25.bones]
    assert 0.02 < min(lengths) < max(lengths) < 0.5


@pytest.mark.parametrize(
    ("joint", "message"),
    [
        ("WristLeftt", "layout ntu-25: no joint 'WristLeftt'; did you mean 'WristLeft'?"),
        ("headd", "layout ntu-25: no joint 'headd'; did you mean 'Head'?"),
    ],
)
def test_an_unknown_joint_names_the_nearest_one(joint, message):
    with pytest.raises(InputError) as caught:
        NTU_25.index(joint)
    assert str(caught.value) == message


def test_a_joint_like_no_other_gets_no_hint():
    with pytest.raises(InputError) as caught:
        joint_indices(NTU_25, ["Head", "xyzzy"])
    assert str(caught.value) == "layout ntu-25: no joint 'xyzzy'"


def test_an_unknown_layout_lists_the_known_ones():
    assert get_layout("kinect-v1-20") is KINECT_V1_20
    with pytest.raises(InputError, match="expected one of ntu-25, kinect-v1-20, got 'coco'"):
        get_layout("coco")


def test_kinect_v1_maps_to_ntu_by_name():
    positions = np.arange(2 * 20 * 3, dtype=np.float32).reshape(2, 20, 3)
    mapped, structural = map_joints(positions, KINECT_V1_20, NTU_25)
    assert mapped.shape == (2, 25, 3)
    assert mapped.dtype == np.float32
    missing = {NTU_25.joints[joint] for joint in np.flatnonzero(structural)}
    assert missing == {"Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}
    assert np.isnan(mapped[:, structural]).all()
    renamed = {
        "SpineBase": "HipCenter",
        "SpineMid": "Spine",
        "SpineShoulder": "ShoulderCenter",
    }
    for joint in np.flatnonzero(~structural):
        name = NTU_25.joints[joint]
        source = KINECT_V1_20.index(renamed.get(name, name))
        np.testing.assert_array_equal(mapped[:, joint], positions[:, source])


def test_ntu_maps_to_kinect_v1_completely():
    sources = joint_sources(NTU_25, KINECT_V1_20)
    assert (sources >= 0).all()
    assert NTU_25.joints[sources[KINECT_V1_20.center]] == "SpineShoulder"


@each_layout
def test_a_layout_maps_to_itself_as_a_copy(layout):
    positions = np.random.default_rng(0).normal(size=(4, 2, layout.n_joints, 3))
    positions = positions.astype(np.float32)
    positions[1, 0, 2] = np.nan
    mapped, structural = map_joints(positions, layout, layout)
    assert not structural.any()
    np.testing.assert_array_equal(mapped, positions)
    assert not np.shares_memory(mapped, positions)


@each_layout
def test_a_layout_survives_its_mapping(layout):
    mapping = layout_to_mapping(layout)
    read = layout_from_mapping(mapping, "file")
    assert read == dataclasses.replace(layout, rest_m=())  # the resting pose stays in the code
    assert layout_to_mapping(read) == mapping


def test_a_mapping_is_what_yaml_and_json_can_hold():
    yaml = pytest.importorskip("yaml")
    for layout in LAYOUTS_AND_ARMS:
        mapping = layout_to_mapping(layout)
        assert yaml.safe_load(yaml.safe_dump(mapping)) == mapping


def test_the_centre_of_a_mapping_is_its_first_joint_unless_named():
    bare = {key: value for key, value in ARM.items() if key not in ("center", "equivalents")}
    assert layout_from_mapping(bare, "arms.yaml").center == 0
    assert layout_from_mapping({**bare, "center": "HandRight"}, "arms.yaml").center == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": None}, r"arms.yaml: .*missing \['joints'\]"),
        ({"name": None, "parents": None}, r"arms.yaml: .*missing \['name', 'parents'\]"),
        ({"joints": ["Chest", "Chest"]}, r"arms.yaml: joints: .*unique names, got \['Chest'\]"),
        ({"parents": {"ElbowLeft": "Chets"}}, "no joint 'Chets'; did you mean 'Chest'?"),
        ({"parents": {"ElbwLeft": "Chest"}}, "no joint 'ElbwLeft'; did you mean 'ElbowLeft'?"),
        ({"center": "Breast"}, "no joint 'Breast'"),
        ({"equivalents": {"Chets": "SpineMid"}}, "no joint 'Chets'; did you mean 'Chest'?"),
        (
            {"parents": {"ElbowLeft": "HandLeft", "HandLeft": "ElbowLeft"}},
            "arms.yaml: parents: the bones from 'HandLeft' on run in a circle",
        ),
    ],
)
def test_a_faulty_mapping_is_refused(change, message):
    data = {key: value for key, value in {**ARM, **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        layout_from_mapping(data, "arms.yaml")


@pytest.mark.parametrize("zero_is_missing", [False, True])
def test_a_joint_that_misses_a_coordinate_is_missing(zero_is_missing):
    nan = np.nan
    given = np.array(
        [[1, 2, 3], [nan, 2, 3], [1, nan, 3], [1, 2, nan], [0, 0, 0], [0, 0, 1]], dtype=np.float32
    )
    marked = mark_unobserved(given, zero_is_missing=zero_is_missing)
    missing = [False, True, True, True, zero_is_missing, False]
    assert np.isnan(marked).all(axis=1).tolist() == missing
    kept = ~np.array(missing)
    np.testing.assert_array_equal(marked[kept], given[kept])
    assert marked.dtype == np.float32
    assert not np.isnan(given[1, 1])
