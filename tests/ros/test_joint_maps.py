"""Joint maps: what the YAML says is what comes out; what is wrong is refused with its place."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from iospstl_core import files
from iospstl_core.errors import InputError
from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.joint_maps import (
    joint_map_folder,
    joint_map_from_mapping,
    joint_map_to_mapping,
    load_joint_map,
)

NAMES = ("coco-17", "k4abt-32", "nuitrack", "openpose-18", "ros4hri", "zed-18", "zed-34", "zed-38")

SMALL = {
    "name": "small",
    "axes": "kinect",
    "unit": "m",
    "joints": ["nose", "ear l", "ear r", None, "hip l", "hip r"],
    "ntu_25": {
        "Head": {"mean_seen": ["ear l", "ear r"], "else": "nose"},
        "HipLeft": "hip l",
        "SpineBase": {"mean": ["hip l", "hip r"]},
        "SpineMid": {"mean": ["ntu.SpineBase", "ntu.Head"]},
        "Neck": "ntu.SpineMid",
    },
}


def changed(**changes):
    data = copy.deepcopy(SMALL)
    for path, value in changes.items():
        *parents, key = path.split("__")
        inner = data
        for parent in parents:
            inner = inner[parent]
        inner[key] = value
    return data


def joint(result, name):
    return result[..., NTU_25.index(name), :]


POINTS = np.array(
    [[0, 0, 1], [2, 0, 1], [4, 0, 3], [9, 9, 9], [1, -2, 0], [3, -4, 0]], dtype=float
)


def test_every_rule_by_hand():
    small = joint_map_from_mapping(SMALL, "small")
    result = small.to_models(POINTS, np.ones(6, dtype=bool))
    assert result.shape == (25, 3)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(joint(result, "HipLeft"), [1, -2, 0])
    np.testing.assert_array_equal(joint(result, "Head"), [3, 0, 2])
    np.testing.assert_array_equal(joint(result, "SpineBase"), [2, -3, 0])
    np.testing.assert_array_equal(joint(result, "SpineMid"), [2.5, -1.5, 1])
    np.testing.assert_array_equal(joint(result, "Neck"), [2.5, -1.5, 1])
    given = [name in SMALL["ntu_25"] for name in NTU_25.joints]
    np.testing.assert_array_equal(~np.isnan(result[:, 0]), given)
    np.testing.assert_array_equal(small.structural, ~np.array(given))


@pytest.mark.parametrize(
    ("hidden", "head", "base"),
    [
        ((), [3, 0, 2], [2, -3, 0]),
        ((1,), [4, 0, 3], [2, -3, 0]),
        ((1, 2), [0, 0, 1], [2, -3, 0]),
        ((0, 1, 2), None, [2, -3, 0]),
        ((4,), [3, 0, 2], None),
        ((5,), [3, 0, 2], None),
    ],
)
def test_means_of_what_is_seen(hidden, head, base):
    observed = np.ones(6, dtype=bool)
    observed[list(hidden)] = False
    points = POINTS.copy()
    points[list(hidden)] = np.nan
    small = joint_map_from_mapping(SMALL, "small")
    result = small.to_models(points, observed)
    for name, expected in (("Head", head), ("SpineBase", base)):
        np.testing.assert_array_equal(
            joint(result, name), [np.nan] * 3 if expected is None else expected
        )
    both = head is not None and base is not None
    assert np.isfinite(joint(result, "SpineMid")).all() == both
    assert np.isfinite(joint(result, "Neck")).all() == both
    np.testing.assert_array_equal(small.seen(observed), np.isfinite(result[:, 0]))


def test_several_people_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(3)
    for name in NAMES:
        ours = load_joint_map(name)
        points = rng.normal(size=(6, ours.n_source, 3))
        observed = rng.random((6, ours.n_source)) > 0.3
        together = ours.to_models(points, observed, "camera_optical_frame")
        for person in range(6):
            alone = ours.to_models(points[person], observed[person], "camera_optical_frame")
            np.testing.assert_array_equal(alone, together[person])


def test_unit_and_axes():
    data = changed(unit="mm", axes="ros")
    result = joint_map_from_mapping(data, "x").to_models(1000 * POINTS, np.ones(6, dtype=bool))
    np.testing.assert_allclose(joint(result, "HipLeft"), [-2, 0, 1])  # left, up, away


@pytest.mark.parametrize(
    ("frame_id", "axes"),
    [
        ("camera_depth_optical_frame", "optical"),
        ("head_optical", "optical"),
        ("base_link", "ros"),
        ("optical_bench", "ros"),
        ("", "ros"),
    ],
)
def test_axes_follow_the_frame_where_the_map_says_so(frame_id, axes):
    assert joint_map_from_mapping(changed(axes="frame"), "x").axes_of(frame_id) == axes
    assert joint_map_from_mapping(changed(axes="kinect"), "x").axes_of(frame_id) == "kinect"


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name, tmp_path):
    ours = load_joint_map(name)
    assert ours.name == name
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(joint_map_to_mapping(ours)))
    assert load_joint_map(str(path)) == ours
    with_message = changed(message={"points": "points", "confidence": "c"})
    again = joint_map_from_mapping(with_message, "x")
    assert joint_map_from_mapping(joint_map_to_mapping(again), "x") == again


@pytest.mark.parametrize(
    ("name", "n_missing"),
    [
        ("k4abt-32", 0),
        ("zed-34", 0),
        ("zed-38", 0),
        ("zed-18", 8),
        ("coco-17", 8),
        ("nuitrack", 6),
    ],
)
def test_structural_misses_of_the_sources(name, n_missing):
    assert load_joint_map(name).structural.sum() == n_missing


def test_left_and_right_are_nowhere_exchanged():
    for name in NAMES:
        for target, rule in load_joint_map(name).rules.items():
            for source in rule.names:
                side = "left" if "left" in source.lower() or source.startswith("l_") else ""
                if "right" in source.lower() or (source.startswith("r_") and source != "r_head"):
                    side = "right"
                if target.endswith(("Left", "Right")):
                    assert target.lower().endswith(side), (name, target, source)
                    assert side


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "expected a mapping"),
        ([SMALL], "expected a mapping"),
        ({}, "name: missing"),
        (changed(axis="ros"), "unknown key 'axis'; did you mean 'axes'?"),
        (changed(axes="optcal"), "axes: expected one of kinect, optical, ros.*'optical'"),
        (changed(axes=["ros"]), "axes: expected one of"),
        (changed(unit="cm"), "unit: expected one of m, mm, got 'cm'"),
        (changed(name=7), "name: expected a text, got 7"),
        (changed(joints=[]), "joints: expected a list of names"),
        (changed(joints="nose"), "joints: expected a list of names"),
        (changed(joints=["nose", "nose"]), "each name and number once"),
        (changed(joints={"nose": 1, "chin": 1}), "each name and number once"),
        (changed(joints={"nose": -1}), "nose: expected a number from 0 to 999, got -1"),
        (changed(joints={"nose": True}), "nose: expected a number"),
        (changed(joints={"nose": 1.0}), "nose: expected a number"),
        (changed(joints=["ntu.Head"]), "do not begin with 'ntu.'"),
        (changed(joints=[f"joint {number}" for number in range(1001)]), "at most 1000"),
        (changed(ntu_25={}), "ntu_25: expected a mapping"),
        (changed(ntu_25__Haed="nose"), "unknown joint of ntu-25 'Haed'; did you mean 'Head'?"),
        (changed(ntu_25__HipLeft="hipl"), "HipLeft: unknown joint 'hipl'; did you mean 'hip l'?"),
        (changed(ntu_25__HipLeft="ntu.KneeLeft"), "HipLeft: unknown joint 'ntu.KneeLeft'"),
        (changed(ntu_25__Head={"mean": ["nose"], "else": "noze"}), "'noze'; did you mean 'nose'?"),
        (changed(ntu_25__Head={"maen": ["nose"]}), "Head: expected a joint, or {mean"),
        (
            changed(ntu_25__Head={"mean": ["nose"], "mean_seen": ["nose"]}),
            "Head: expected a joint",
        ),
        (changed(ntu_25__Head={"mean": []}), "Head: expected a joint"),
        (changed(ntu_25__Head={"mean": "nose"}), "Head: expected a joint"),
        (changed(ntu_25__Head=["nose"]), "Head: expected a joint"),
        (changed(ntu_25__Head=None), "Head: expected a joint"),
        (changed(ntu_25__Head={"mean": ["nose", 3]}), "Head: expected a joint"),
        (
            changed(ntu_25__SpineBase="ntu.Neck"),
            "SpineMid, Neck: expected no references in a circle",
        ),
        (changed(ntu_25__Head="ntu.Head"), "expected no references in a circle"),
        (changed(message=["points"]), "message: expected a mapping"),
        (changed(message={"point": "x"}), "message: points: missing"),
        (changed(message={"points": "p", "persosn": "x"}), "did you mean 'persons'?"),
        (changed(message={"points": "__class__"}), "points: expected fields like center.pose"),
        (changed(message={"points": "a..b"}), "points: expected fields like center.pose"),
        (changed(message={"points": ""}), "points: expected fields like center.pose"),
        (changed(message={"points": "p", "name": 3}), "name: expected fields like center.pose"),
        (changed(message={"points": "p", "first_index": "1"}), "first_index: expected 0 to 1000"),
        (
            changed(message={"points": "p", "missing": "never"}),
            "missing: expected one of nan, zero",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(data, expected):
    with pytest.raises(InputError, match=f"^my map.yaml: .*{expected}".replace("{", r"\{")):
        joint_map_from_mapping(data, "my map.yaml")


def test_all_faults_come_in_one_message():
    data = changed(axes="up", unit="mile", ntu_25__Haed="nose", colour="red")
    with pytest.raises(InputError) as caught:
        joint_map_from_mapping(data, "map")
    assert all(part in str(caught.value) for part in ("axes", "unit", "Haed", "colour"))


def test_references_may_come_in_any_order():
    data = changed(ntu_25=dict(reversed(SMALL["ntu_25"].items())))
    reordered = joint_map_from_mapping(data, "x").to_models(POINTS, np.ones(6, dtype=bool))
    plain = joint_map_from_mapping(SMALL, "x").to_models(POINTS, np.ones(6, dtype=bool))
    np.testing.assert_array_equal(reordered, plain)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [", "expected a readable YAML file"),
        ("!!python/object/apply:os.getcwd []", "expected a readable YAML file"),
        ("[" * 20_000, "expected a readable YAML file"),
        ("a: b\n" * 20_000, "expected at most 65536 bytes"),
        ("\x00", "expected a readable YAML file"),
        ("just text", "expected a mapping"),
    ],
)
def test_files_that_are_no_map(text, expected, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"map.yaml: {expected}"):
        load_joint_map(str(path))


def test_a_bomb_of_aliases_costs_nothing(tmp_path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "ntu_25: {Head: *a59}", "name: *a59", "joints: *a59"]))
    with pytest.raises(InputError, match="unknown key 'a0'"):
        load_joint_map(str(path))


def test_names_that_do_not_exist():
    with pytest.raises(
        InputError, match=r"one of coco-17, .*got 'k4abt'; did you mean 'k4abt-32'"
    ):
        load_joint_map("k4abt")
    with pytest.raises(InputError, match=r"no/such\.yaml: expected a readable YAML file"):
        load_joint_map("no/such.yaml")


def test_maps_are_found_wherever_we_are_installed(monkeypatch, tmp_path):
    maps = joint_map_folder()
    module = "iospstl_core/files.py"
    for code, share in (
        (tmp_path / "venv/lib/python3.12/site-packages", tmp_path / "venv/share/iospstl_ros"),
        (
            tmp_path / "ws/install/iospstl_ros/lib/python3.12/site-packages",
            tmp_path / "ws/install/iospstl_ros/share/iospstl_ros",
        ),
        (
            tmp_path / "usr/local/lib/python3.12/dist-packages",
            tmp_path / "usr/local/share/iospstl_ros",
        ),
        (tmp_path / "source", tmp_path / "source"),
    ):
        monkeypatch.setattr(files, "__file__", str(code / module))
        with pytest.raises(InputError, match="install iospstl_ros again"):
            joint_map_folder()
        shutil.copytree(maps, share / "config" / "joint_maps")
        assert joint_map_folder() == Path(share / "config" / "joint_maps").resolve()
        assert load_joint_map("coco-17").name == "coco-17"
