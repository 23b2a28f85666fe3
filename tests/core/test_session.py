"""ONNX Runtime sessions: which provider runs, and who says so."""

import numpy as np
import onnxruntime as ort
import pytest

from iospstl_core.errors import InputError
from iospstl_core.imputation.restore import network_inputs
from iospstl_core.session import DEFAULT_PROVIDERS, OnnxModel
from tests.core.networks import lean_of, linear_network, restorer_network, weights_of

CPU = "CPUExecutionProvider"
SHAPE = (4, 1, 5, 3)


@pytest.fixture(scope="module")
def weights():
    return weights_of(SHAPE, 2, seed=0)


@pytest.fixture(scope="module")
def path(tmp_path_factory, weights):
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    path.write_bytes(linear_network(first=weights, second=-weights[..., :1]))
    return path


@pytest.fixture(scope="module")
def has_gpu(path):
    return OnnxModel(path).provider != CPU


def elsewhere():
    """A provider that ONNX Runtime knows and that this build of it does not have."""
    known = set(ort.get_all_providers()) - set(ort.get_available_providers())
    return sorted(known)[0]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_all_outputs_come_in_their_order(path, weights, n_threads):
    x = np.random.default_rng(1).normal(size=(3, 3, 4, 5, 1)).astype(np.float32)
    first, second = OnnxModel(path, [CPU], n_threads=n_threads).run(x)
    expected = np.einsum("nctvm,ctvmk->nk", x, weights)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    np.testing.assert_allclose(second, -expected[:, :1], atol=1e-5)
    assert first.dtype == np.float32


def test_the_cpu_says_that_it_is_the_cpu(path):
    assert OnnxModel(path, [CPU]).provider == CPU


@pytest.mark.parametrize("others", [[], [CPU]])
def test_the_cpu_steps_in_for_a_provider_that_is_not_there_and_says_so(path, others):
    assert OnnxModel(path, [elsewhere(), *others]).provider == CPU


def test_without_a_gpu_the_default_is_the_cpu_and_says_so(path, has_gpu):
    if has_gpu:
        pytest.skip("this machine has a GPU")
    assert OnnxModel(path, DEFAULT_PROVIDERS).provider == CPU


def test_nothing_is_written_when_the_cpu_steps_in(path, capfd):
    OnnxModel(path, [elsewhere(), *DEFAULT_PROVIDERS])
    assert capfd.readouterr() == ("", "")


def test_a_required_gpu_that_is_not_there_is_an_error_with_a_remedy(path, has_gpu):
    if has_gpu:
        pytest.skip("this machine has a GPU")
    message = (
        "require_gpu: expected one of CUDAExecutionProvider, CPUExecutionProvider to start, got "
        "CPUExecutionProvider; install CUDA and onnxruntime-gpu, or set require_gpu to false"
    )
    with pytest.raises(InputError) as caught:
        OnnxModel(path, require_gpu=True)
    assert str(caught.value) == message


@pytest.mark.parametrize("providers", [[elsewhere()], [CPU]])
def test_a_required_gpu_is_never_the_cpu(path, providers):
    with pytest.raises(InputError, match=r"require_gpu: expected one of .* got CPUExecution"):
        OnnxModel(path, providers, require_gpu=True)


def test_unknown_providers_are_named_beside_the_known_ones(path):
    with pytest.raises(InputError, match=r"providers: expected names out of .*, got Abacus, Gpu"):
        OnnxModel(path, ["Gpu", CPU, "Abacus"])
    with pytest.raises(InputError, match=f"expected names out of .*{CPU}.*, got cpu$"):
        OnnxModel(path, ["cpu"])


def test_inputs_go_by_their_names(tmp_path):
    pytest.importorskip("onnx")
    joints, rest_m = ("Head", "Neck"), np.zeros((2, 3), dtype=np.float32)
    path = tmp_path / "restorer.onnx"
    path.write_bytes(restorer_network(joints, rest_m, 4, metadata={"a": "1", "b": "zwei"}))
    model = OnnxModel(path, [CPU])
    xyz = np.random.default_rng(0).normal(size=(5, 4, 2, 3)).astype(np.float32)
    inputs = network_inputs(xyz, rest_m)
    found, error_m = model.run(**dict(reversed(inputs.items())))
    expected = inputs["path"][:, :, None] + inputs["shape"][:, None] + lean_of(4, 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(error_m, 0.3 - 0.2 * inputs["near"], atol=1e-6)
    assert model.metadata == {"a": "1", "b": "zwei"}


def test_a_file_without_metadata_has_none(path):
    assert OnnxModel(path, [CPU]).metadata == {}
