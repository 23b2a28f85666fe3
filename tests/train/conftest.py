"""A store of generated recordings, occluded and normalised once for all tests; do not change."""

import pytest
import torch

from iospstl_train.data.windows import load_windows
from iospstl_train.occlusion.occlude import occlude
from tests.train.tiny_training import prepare_synthetic, tiny_config

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return prepare_synthetic(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="session")
def occlusion(store):
    return occlude(store, "realistic", "realistic", 0, tiny_config().realistic, n_workers=1)


@pytest.fixture(scope="session")
def windows(store, occlusion):
    return load_windows(store, occlusion)
