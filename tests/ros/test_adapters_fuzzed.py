"""Messages with anything in any place: a sound frame comes out, or an InputError."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from iospstl_core.errors import InputError
from iospstl_ros.adapters import make_adapter
from iospstl_ros.adapters.adapter import AdapterSettings
from iospstl_ros.adapters.joint_maps import joint_map_to_mapping, load_joint_map
from tests.ros import source_messages as source

N_ROUNDS = 600
NOT_FROM_HERE = object()
GONE = object()

PEOPLE = {3: source.raised_hand(), 7: source.raised_hand(-0.8)}
JUNK = (
    *(None, True, 0, 1, -1, 3, 10**6, 2**31, 2**32, -(2**63), 10**400, np.int64(2**40)),
    *(0.0, -1.0, 1e5, 1e308, -1e308, math.nan, math.inf, -math.inf, np.float32(1e30), 1j),
    *("", "3", "a", "\x00", "x" * 10_000, b"abc", [], [None], [1, "a"], [[1, 2, 3]], {}, {"x": 1}),
    *((), [math.nan] * 3, [1e308] * 3, [10**400] * 3, ["1", "2", "3"], list(range(2000))),
    *(np.zeros(3), np.zeros((3, 3)), np.array("x"), np.array([None]), np.nan, range(10**9)),
    *(SimpleNamespace(), SimpleNamespace(x=None, y="a", z=[]), NOT_FROM_HERE, GONE),
)


def plain(message):
    """A copy of a message of any kind that can be damaged: ROS's own check what they are given."""
    if isinstance(message, SimpleNamespace):
        return SimpleNamespace(**{name: plain(value) for name, value in vars(message).items()})
    if hasattr(message, "get_fields_and_field_types"):
        return SimpleNamespace(
            **{
                name: plain(getattr(message, name))
                for name in message.get_fields_and_field_types()
            }
        )
    if isinstance(message, list | tuple):
        return [plain(value) for value in message]
    return copy.copy(message)


def damage(message, rng):
    """Put junk in a random place of a message."""
    place = message
    while True:
        keys = list(vars(place)) if isinstance(place, SimpleNamespace) else list(range(len(place)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        is_object = isinstance(place, SimpleNamespace)
        inner = getattr(place, key) if is_object else place[key]
        if isinstance(inner, SimpleNamespace | list) and rng.random() < 0.85:
            place = inner
            continue
        kind = int(rng.integers(len(JUNK)))
        value = copy.deepcopy(JUNK[kind])
        if JUNK[kind] is GONE:
            delattr(place, key) if is_object else place.pop(key)
        elif is_object:
            setattr(place, key, value)
        elif rng.random() < 0.2:
            place.append(place[key])
        elif isinstance(place, list):
            place[key] = value
        return


def custom(message, tmp_path, base="k4abt-32"):
    data = joint_map_to_mapping(load_joint_map(base)) | {"message": message}
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(data))
    return make_adapter(AdapterSettings("custom", "", str(path), "my_msgs/msg/People"))


def by_name(name):
    return lambda tmp_path: make_adapter(AdapterSettings(name))


def custom_skeletons(tmp_path):
    form = {"persons": "skeletons", "id": "id", "points": "markers", "name": "name", "index": "id"}
    return custom({**form, "point": "center.pose.position"}, tmp_path)


def custom_poses(tmp_path):
    return custom({"points": "poses", "point": "position", "missing": "zero"}, tmp_path, "coco-17")


CASES = {
    "k4a_markers": (by_name("k4a_markers"), lambda: source.k4a_markers(PEOPLE)),
    "zed": (by_name("zed"), lambda: source.zed(PEOPLE)),
    "yolo": (by_name("yolo"), lambda: source.yolo(PEOPLE)),
    "hiros": (by_name("hiros"), lambda: source.hiros(PEOPLE)),
    "nuitrack": (by_name("nuitrack"), lambda: source.nuitrack(PEOPLE)),
    "ros4hri": (by_name("ros4hri"), lambda: source.ids_list(["abc", "xyz"])),
    "custom skeletons": (custom_skeletons, lambda: source.hiros(PEOPLE)),
    "custom poses": (custom_poses, lambda: source.pose_array(PEOPLE[3])),
}


def assert_sound(frame):
    assert type(frame.stamp_ns) is int
    assert isinstance(frame.frame_id, str)
    assert len(frame.persons) <= 100
    for person, xyz in frame.persons.items():
        assert type(person) is int
        assert 0 <= person < 2**32
        assert xyz.shape == (25, 3)
        assert xyz.dtype == np.float32
        missing = np.isnan(xyz)
        assert (missing.any(axis=1) == missing.all(axis=1)).all()
        assert missing[frame.structural].all()
        assert (np.abs(xyz[~missing]) <= 100.001).all()


@pytest.mark.parametrize("name", CASES)
def test_junk_in_a_message_costs_that_message_only(name, tmp_path):
    make, make_message = CASES[name]
    adapter, whole = make(tmp_path), plain(make_message())
    rng = np.random.default_rng(11)
    n_refused = 0
    for _ in range(N_ROUNDS):
        message = plain(whole)
        for _ in range(1 + rng.integers(2)):
            damage(message, rng)
        try:
            frame = adapter.read(message, 0.3)
        except InputError as error:
            n_refused += 1
            assert str(error).startswith(adapter.name + ": ")
            assert len(str(error)) < 1000
            continue
        if frame is not None:
            assert_sound(frame)
    assert n_refused > N_ROUNDS / 10
    frame = adapter.read(whole, 0.3)
    assert frame is None or len(frame.persons) in (1, 2)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: type(junk).__name__)
def test_junk_for_a_message_is_refused(name, junk, tmp_path):
    make, _ = CASES[name]
    with pytest.raises(InputError):
        make(tmp_path).read(junk, 0.3)


def test_junk_in_a_body_of_ros4hri():
    adapter = make_adapter(AdapterSettings("ros4hri"))
    rng = np.random.default_rng(5)
    adapter.read(source.ids_list(["abc"]), 0.3)
    bodies = adapter.read.__wrapped__.__self__
    bodies.find_transform = source.transforms({"abc": PEOPLE[3]})
    n_refused = 0
    for number in range(N_ROUNDS):
        body = source.skeleton_2d("abc", stamp_ns=source.STAMP_NS + number)
        damage(body.skeleton, rng)
        try:
            frame = adapter.read(body, 0.3)
        except InputError:
            n_refused += 1
            continue
        if frame is not None:
            assert_sound(frame)
    assert n_refused > N_ROUNDS / 10


def test_junk_on_tf():
    adapter = make_adapter(AdapterSettings("ros4hri"))
    bodies = adapter.read.__wrapped__.__self__
    adapter.read(source.ids_list(["abc"]), 0.3)
    for number, junk in enumerate(JUNK):
        header = source.header()
        found = SimpleNamespace(
            header=header,
            transform=SimpleNamespace(translation=SimpleNamespace(x=junk, y=0.0, z=1.0)),
        )
        bodies.find_transform = lambda target, link, found=found: found
        try:
            body = source.skeleton_2d("abc", stamp_ns=source.STAMP_NS + number)
            assert_sound(adapter.read(body, 0.3))
        except InputError:
            continue
