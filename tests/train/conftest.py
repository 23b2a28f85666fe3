"""A store of generated recordings, occluded and normalised once for all tests; do not change."""

import pytest
import torch

from iospstl_train.data.windows import load_windows
from iospstl_train.occlusion.occlude import occlude
from iospstl_train.training import pretrain as pretrain_module
from iospstl_train.training.pretrain import PretrainData, pretrain
from tests.train.ended_runs import CONFIG
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


@pytest.fixture(scope="session")
def train_data(windows):
    train = windows.is_train
    return PretrainData(windows.xyz[train], windows.hidden_frac()[train])


@pytest.fixture(scope="session")
def finished_run(train_data, tmp_path_factory):
    """A run of `tests.train.ended_runs.CONFIG`."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    pretrain(train_data, CONFIG, folder)
    return folder


@pytest.fixture
def counts_steps(monkeypatch):
    """Steps are those of the training: none is tried before it."""
    monkeypatch.setattr(pretrain_module, "_tell_needs", lambda *_: None)
