"""Fixtures without torch: a tiny real bundle, a store, and a ROS domain for each test."""

import importlib.util
import itertools
import os

import numpy as np
import pytest

from iospstl_core.skeleton import NTU_25, joint_indices
from iospstl_core.store import open_store
from iospstl_train.data.recording import Recording
from iospstl_train.data.store import write_occlusion, write_store
from tests.ros.processes import Processes
from tests.ros.recordings import write_recording
from tests.ros.tiny import CLASSES, FPS, make_bundle, raised_hand

_DOMAINS = itertools.count(13 * os.getpid())


class ModuleWithoutRos(pytest.Module):
    """Stands for a test module that cannot be imported here."""

    def collect(self):
        pytest.skip("rclpy is not installed here", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if importlib.util.find_spec("rclpy") is None:
        return ModuleWithoutRos.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def pair_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "pair", n_persons=2)


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A bag of people; do not change."""
    return write_recording(tmp_path_factory.mktemp("bags") / "recording")


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory):
    """A store of six sequences of one person, every class twice, and the occlusion `legs`."""
    heights = {"hand up": 0.4, "hand down": -0.6, "stand": 0.05}
    recordings = [
        Recording(
            name=f"{label} {round_}",
            label=CLASSES.index(label),
            subject=round_,
            view=0,
            setup=0,
            xyz=raised_hand(20 + round_, height, start=round_)[:, None],
            present=np.ones((20 + round_, 1), dtype=bool),
        )
        for round_ in (1, 2)
        for label, height in heights.items()
    ]
    manifest = {
        "dataset": "tiny",
        "class_names": list(CLASSES),
        "n_persons": 1,
        "fps": FPS,
        "splits": {"subjects": "train: subject in 1; test: subject in 2"},
    }
    folder = tmp_path_factory.mktemp("stores") / "tiny"
    write_store(folder, manifest, NTU_25, recordings)
    legs = joint_indices(NTU_25, ["KneeLeft", "AnkleLeft", "FootLeft", "FootRight"])
    masks = []
    for recording in recordings:
        mask = np.zeros(recording.xyz.shape[:-1], dtype=bool)
        mask[5:, :, legs] = True
        masks.append(mask)
    write_occlusion(open_store(folder), "legs", iter(masks), {"kind": "by hand"})
    return folder


@pytest.fixture
def domain(monkeypatch):
    """A ROS domain that no other test uses, reachable from this machine only."""
    number = str(1 + next(_DOMAINS) % 100)
    monkeypatch.setenv("ROS_DOMAIN_ID", number)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return number


@pytest.fixture
def ros(domain):
    """Run rclpy in this process, on a domain of its own."""
    import rclpy

    rclpy.init(domain_id=int(domain))
    yield
    rclpy.try_shutdown()


@pytest.fixture
def processes(tmp_path, domain):
    started = Processes(tmp_path)
    yield started
    started.close()


@pytest.fixture
def partner(ros):
    from tests.ros.partner import Partner

    node = Partner()
    yield node
    node.close()
