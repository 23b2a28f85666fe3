"""ONNX networks so small that numpy does the same in one line: products with a tensor."""

import numpy as np

N_FEATURES = 6
N_CLASSES = 3


def weights_of(window_shape, n_outputs, seed):
    """Random weights (3, n_frames, n_joints, n_persons, n_outputs) for windows of a shape."""
    n_frames, n_persons, n_joints, _ = window_shape
    shape = (3, n_frames, n_joints, n_persons, n_outputs)
    weights = np.random.default_rng(seed).normal(size=shape)
    return (weights / np.sqrt(weights[..., 0].size)).astype(np.float32)


def linear_network(**outputs):
    """Return an ONNX model whose named outputs are products of its input with their weights."""
    import onnx  # not a requirement of the robot
    from onnx import TensorProto, helper, numpy_helper

    first = next(iter(outputs.values()))
    nodes = [helper.make_node("Flatten", ["x"], ["flat"], axis=1)]
    for name in outputs:
        nodes.append(helper.make_node("MatMul", ["flat", f"{name}_weights"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *first.shape[:-1]])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", weights.shape[-1]])
            for name, weights in outputs.items()
        ],
        [
            numpy_helper.from_array(weights.reshape(-1, weights.shape[-1]), f"{name}_weights")
            for name, weights in outputs.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
