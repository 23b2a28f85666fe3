"""A window that shows everything is not imputed: it costs the classifier alone."""

import numpy as np
import pytest

from iospstl_core.imputation.fill import CellSource
from iospstl_core.pipeline import Recognizer
from iospstl_core.session import OnnxModel
from tests.core.conftest import made_window

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def whole():
    """Three windows without gaps; in the first one the second person is absent."""
    rng = np.random.default_rng(9)
    return [made_window(rng, 0.0, is_alone=index == 0) for index in range(3)]


@pytest.fixture
def ran(monkeypatch):
    """Names of the files whose networks run, and the number of windows, in order."""
    found = []
    start, run = OnnxModel.__init__, OnnxModel.run

    def named_start(self, path, *rest):
        self.name = path.name
        start(self, path, *rest)

    def noted_run(self, x, **others):
        found.append((self.name, len(x)))
        return run(self, x, **others)

    monkeypatch.setattr(OnnxModel, "__init__", named_start)
    monkeypatch.setattr(OnnxModel, "run", noted_run)
    return found


@pytest.mark.parametrize("imputer", ["knn", "restore"])
def test_only_the_classifier_runs(make_bundle, whole, ran, imputer):
    results = Recognizer(make_bundle(imputer=imputer).bundle, CPU).recognize(whole)
    assert ran == [("classifier.onnx", 3)]
    for window, result in zip(whole, results, strict=True):
        np.testing.assert_array_equal(result.filled.xyz, window.xyz)
        assert set(np.unique(result.filled.source)) <= {CellSource.OBSERVED, CellSource.ABSENT}
        assert result.cluster is None


def test_of_a_batch_only_those_with_gaps_ask_for_a_cluster(make_bundle, whole, windows, ran):
    recognizer = Recognizer(make_bundle().bundle, CPU)
    mixed = [whole[0], windows[0], whole[1], windows[1], windows[2]]
    results = recognizer.recognize(mixed)
    assert ran == [("encoder.onnx", 3), ("classifier.onnx", 5)]
    assert [result.cluster is None for result in results] == [True, False, True, False, False]
    for window, result in zip(mixed, results, strict=True):
        (alone,) = recognizer.recognize([window])
        np.testing.assert_array_equal(result.filled.source, alone.filled.source)
        np.testing.assert_allclose(result.filled.xyz, alone.filled.xyz, rtol=0, atol=1e-6)
        np.testing.assert_allclose(result.probabilities, alone.probabilities, atol=1e-6)
        assert result.cluster == alone.cluster


def test_a_recognizer_tells_how_long_its_stages_took(make_bundle, windows):
    recognizer = Recognizer(make_bundle().bundle, CPU)
    assert recognizer.seconds == {}
    recognizer.recognize(windows)
    assert list(recognizer.seconds) == ["impute", "classify"]
    assert all(0 < seconds < 5 for seconds in recognizer.seconds.values())
