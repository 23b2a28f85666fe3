"""Skeleton clouds that are wrong in every way that we can think of, and in ways that we cannot."""

from types import SimpleNamespace

import numpy as np
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from iospstl_core.skeleton import NTU_25
from iospstl_ros.adapters.pointcloud import write_skeletons
from tests.ros.tiny import raised_hand

SIZES = ("height", "width", "point_step", "row_step")
NUMBERS = (0, 1, 2, 3, 7, 16, 20, 25, 100, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
ODD_NUMBERS = (-1, -25, 2**63, 2**200, 1.5, float("nan"), float("inf"))
ODD_VALUES = (None, "", "ä\ud800", b"\0" * 7, [], [1, None], {}, object(), True, 3 + 4j)
NAMES = ("", "x", "y", "z", "person", "confidence", "ä", "x" * 1000)


def good_cloud(rng, stamp_ns=0, n_persons=2):
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
    heights = rng.uniform(-0.6, 0.4, n_persons)
    persons = {index: raised_hand(1, height)[0] for index, height in enumerate(heights)}
    return write_skeletons(header, persons, NTU_25)


def loosen(cloud):
    """Return a copy whose fields take values of any type, as other libraries' messages do."""
    stamp = SimpleNamespace(sec=cloud.header.stamp.sec, nanosec=cloud.header.stamp.nanosec)
    fields = [
        SimpleNamespace(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count)
        for f in cloud.fields
    ]
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id=cloud.header.frame_id),
        height=cloud.height,
        width=cloud.width,
        fields=fields,
        is_bigendian=cloud.is_bigendian,
        point_step=cloud.point_step,
        row_step=cloud.row_step,
        data=bytes(cloud.data),
        is_dense=cloud.is_dense,
    )


def pick(rng, values):
    return values[rng.integers(len(values))]


def random_data(cloud, rng):
    cloud.data = rng.bytes(len(cloud.data))


def odd_numbers(cloud, rng):
    """NaN, infinities and what no camera sees, anywhere."""
    words = np.frombuffer(bytes(cloud.data), dtype="<f4").copy()
    places = rng.integers(len(words), size=rng.integers(1, 40))
    odd = np.float32([np.nan, np.inf, -np.inf, 1e-40, -0.0, 1e38, -1e38, 101.0])
    if rng.integers(2):  # in coordinates and confidence only, and none that is too far away
        places, odd = places[places % len(cloud.fields) < 4], odd[:5]
    words[places] = rng.choice(odd, size=len(places))
    cloud.data = words.tobytes()


def wrong_sizes(cloud, rng):
    for _ in range(rng.integers(1, 4)):
        setattr(cloud, pick(rng, SIZES), pick(rng, NUMBERS))


def wrong_length(cloud, rng):
    data = bytes(cloud.data)
    cloud.data = data[: rng.integers(len(data))] if rng.integers(2) else data + rng.bytes(9)


def wrong_fields(cloud, rng):
    for _ in range(rng.integers(1, 4)):
        field = pick(rng, cloud.fields)
        kind = rng.integers(5)
        if kind == 0:
            field.name = pick(rng, NAMES)
        elif kind == 1:
            field.datatype = int(rng.integers(256))
        elif kind == 2:
            setattr(field, pick(rng, ("offset", "count")), pick(rng, NUMBERS))
        elif kind == 3:
            fields = list(cloud.fields)
            del fields[rng.integers(len(fields))]
            cloud.fields = fields or [field]
        else:
            cloud.is_bigendian = not cloud.is_bigendian


def wrong_stamp(cloud, rng):
    cloud.header.stamp.nanosec = pick(rng, (10**9, 2**32 - 1, 999_999_999, 0))
    cloud.header.stamp.sec = pick(rng, (0, -1, -(2**31), 2**31 - 1))


def negative_sizes(cloud, rng):
    setattr(cloud, pick(rng, SIZES), pick(rng, ODD_NUMBERS))


def wrong_types(cloud, rng):
    owners = cloud, cloud.header, cloud.header.stamp, pick(rng, cloud.fields)
    for owner in (pick(rng, owners) for _ in range(rng.integers(1, 3))):
        setattr(owner, pick(rng, sorted(vars(owner))), pick(rng, ODD_VALUES))


def missing_parts(cloud, rng):
    owners = cloud, cloud.header, cloud.header.stamp, pick(rng, cloud.fields)
    owner = pick(rng, owners)
    delattr(owner, pick(rng, sorted(vars(owner))))


TYPED = {
    "random bytes as data": random_data,
    "NaN, infinities, far away": odd_numbers,
    "wrong and huge sizes": wrong_sizes,
    "too little or too much data": wrong_length,
    "wrong fields": wrong_fields,
    "wrong stamps": wrong_stamp,
}
"""Damage that a message of ROS can carry."""

LOOSE = {
    "negative and broken sizes": negative_sizes,
    "values of other types": wrong_types,
    "missing parts, also of the header": missing_parts,
}
"""Damage that only messages of other libraries can carry."""


def damaged(kind, rng, stamp_ns=0):
    """Return a cloud with one kind of damage."""
    cloud = good_cloud(rng, stamp_ns)
    if kind in LOOSE:
        cloud = loosen(cloud)
    {**TYPED, **LOOSE}[kind](cloud, rng)
    return cloud


def damaged_bytes(rng, stamp_ns=0):
    """Return a serialized cloud with bytes that are lost, changed, or made up."""
    data = bytearray(serialize_message(good_cloud(rng, stamp_ns)))
    kind = rng.integers(4)
    if kind == 0:
        return rng.bytes(rng.integers(600))
    if kind == 1:
        return bytes(data[: rng.integers(len(data))])
    if kind == 2:
        return bytes(data[:4]) + rng.bytes(rng.integers(len(data)))
    for place in rng.integers(min(len(data), 260), size=rng.integers(1, 9)):
        data[place] = rng.integers(256)
    return bytes(data)


def any_cloud():
    """Hypothesis' strategy for objects that look like clouds, more or less."""
    from hypothesis import strategies as st

    numbers = st.one_of(
        st.sampled_from(NUMBERS), st.integers(), st.integers(0, 60), st.floats(), st.none()
    )
    texts = st.one_of(st.sampled_from(NAMES), st.text(max_size=5), st.none(), st.binary())
    field = st.builds(
        SimpleNamespace,
        name=texts,
        offset=numbers,
        datatype=st.one_of(st.sampled_from((6, 7)), numbers),
        count=st.one_of(st.just(1), numbers),
    )
    right = [
        SimpleNamespace(
            name=name, offset=4 * index, datatype=6 if name == "person" else 7, count=1
        )
        for index, name in enumerate(("x", "y", "z", "confidence", "person"))
    ]
    stamp = st.builds(SimpleNamespace, sec=numbers, nanosec=numbers)
    header = st.one_of(
        st.builds(SimpleNamespace, stamp=stamp, frame_id=texts),
        st.just(Header(frame_id="camera")),
        st.none(),
        st.just(SimpleNamespace()),
    )
    return st.builds(
        SimpleNamespace,
        header=header,
        height=st.one_of(st.just(1), numbers),
        width=st.one_of(st.just(25), numbers),
        fields=st.one_of(st.just(right), st.lists(field, max_size=7), texts),
        is_bigendian=st.one_of(st.booleans(), texts),
        point_step=st.one_of(st.just(20), numbers),
        row_step=st.one_of(st.just(500), numbers),
        data=st.one_of(
            st.binary(max_size=50),
            st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).bytes(500)),
            st.lists(numbers, max_size=3),
            texts,
        ),
        is_dense=st.booleans(),
    )
