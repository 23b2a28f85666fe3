"""The first label is as fast as the others, and a bad bundle fails when it is loaded."""

import pytest

from iospstl_core.bundle import open_bundle
from iospstl_core.pipeline import Recognizer
from iospstl_core.session import OnnxModel
from iospstl_ros.results import warm_up
from tests.ros.tiny import make_bundle


@pytest.mark.parametrize(("imputer", "n_networks"), [("knn", 2), ("restore", 2), ("linear", 1)])
def test_every_network_has_run(tmp_path, monkeypatch, imputer, n_networks):
    ran, run = set(), OnnxModel.run

    def noted_run(self, x, **others):
        ran.add(id(self))
        return run(self, x, **others)

    monkeypatch.setattr(OnnxModel, "run", noted_run)
    folder = make_bundle(tmp_path / "bundle", n_persons=2, imputer=imputer)
    warm_up(Recognizer(open_bundle(folder), ["CPUExecutionProvider"]))
    assert len(ran) == n_networks
