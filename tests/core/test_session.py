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


def person_network(n_persons):
    """An ONNX model whose output is the mean of each person's x, averaged over who is there."""
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    nodes = [
        node("ReduceMean", ["x"], ["own"], axes=[2, 3], keepdims=0),  # (n, 3, m)
        node("Abs", ["x"], ["size"]),
        node("ReduceMax", ["size"], ["largest"], axes=[1, 2, 3], keepdims=0),  # (n, m)
        node("Sign", ["largest"], ["there"]),
        node("Unsqueeze", ["there", "one"], ["weight"]),
        node("Mul", ["own", "weight"], ["kept"]),
        node("ReduceSum", ["kept", "two"], ["total"], keepdims=0),
        node("ReduceSum", ["there", "one"], ["count"], keepdims=1),
        node("Max", ["count", "least"], ["divisor"]),
        node("Div", ["total", "divisor"], ["mean"]),
        node("Neg", ["mean"], ["minus"]),
    ]
    constants = {"one": np.int64([1]), "two": np.int64([2]), "least": np.float32([1])}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "persons",
        [info("x", TensorProto.FLOAT, ["n", 3, 4, 5, n_persons])],
        [info(name, TensorProto.FLOAT, ["n", 3]) for name in ("mean", "minus")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture
def open_person_network(tmp_path):
    """Return an opener of such a model; its runs are noted in `shapes`."""
    pytest.importorskip("onnx")

    class Noted(OnnxModel):
        def run(self, x, **others):
            self.shapes.append(x.shape)
            assert x.flags.c_contiguous
            return super().run(x, **others)

    def open_network(n_persons):
        (tmp_path / "persons.onnx").write_bytes(person_network(n_persons))
        model = Noted(tmp_path / "persons.onnx", [CPU])
        model.shapes = []
        return model

    return open_network


def some_people():
    """Windows with the first person, nobody, both, the second person, and both again."""
    x = np.random.default_rng(4).normal(size=(5, 3, 4, 5, 2)).astype(np.float32)
    x[0, ..., 1] = x[1] = x[3, ..., 0] = 0
    return x


def test_absent_persons_cost_nothing_and_change_nothing(open_person_network):
    model, x = open_person_network("m"), some_people()
    assert model.takes_any_persons
    expected = model.run(x)
    model.shapes.clear()
    found = model.run_windows(x)
    assert model.shapes == [(3, 3, 4, 5, 1), (2, 3, 4, 5, 2)]
    assert len(found) == 2
    for outputs, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(outputs, others, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[0][0], x[0, ..., 0].mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(found[0][1], 0)


def test_windows_that_show_everybody_go_in_one_piece(open_person_network):
    model, x = open_person_network("m"), some_people()[[2, 4]]
    np.testing.assert_array_equal(model.run_windows(x)[0], model.run(x)[0])
    assert model.shapes == [x.shape, x.shape]


def test_a_network_that_counts_absent_persons_gets_them(open_person_network):
    model, x = open_person_network(2), some_people()
    assert not model.takes_any_persons
    model.run_windows(x)
    assert model.shapes == [x.shape]
