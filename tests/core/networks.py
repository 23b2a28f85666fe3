"""ONNX networks so small that numpy does the same in one line: products with a tensor."""

import json

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


def lean_of(n_frames, n_joints, seed=3):
    """What `restorer_network` adds to path and shape, (n_frames, n_joints, 3), metres."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.05, (n_frames, n_joints, 3)).astype(np.float32)


def restorer_network(joints, rest_m, n_frames, metadata=None):
    """Return an ONNX model with the inputs, outputs and metadata of a trained restorer.

    Its positions are path + shape + `lean_of`; its expected error is 0.3 - 0.2 near.
    """
    import onnx  # not a requirement of the robot
    from onnx import TensorProto, helper, numpy_helper

    n_joints = len(joints)
    cell = ["n", n_frames, n_joints]
    floats = {
        **{"x": [*cell, 3], "line": [*cell, 3], "observed": cell, "near": cell},
        **{"path": ["n", n_frames, 3], "shape": ["n", n_joints, 3], "weight": cell},
    }
    value_info = helper.make_tensor_value_info
    constants = {
        "two": np.int64([2]),
        "one": np.int64([1]),
        "lean": lean_of(n_frames, n_joints),
        "slope": np.float32(0.2),
        "far": np.float32(0.3),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["path", "two"], ["paths"]),
        helper.make_node("Unsqueeze", ["shape", "one"], ["shapes"]),
        helper.make_node("Add", ["paths", "shapes"], ["base"]),
        helper.make_node("Add", ["base", "lean"], ["xyz"]),
        helper.make_node("Mul", ["near", "slope"], ["less"]),
        helper.make_node("Sub", ["far", "less"], ["error_m"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value_info(name, TensorProto.FLOAT, shape) for name, shape in floats.items()]
        + [value_info(name, TensorProto.INT64, cell) for name in ("before", "after")],
        [
            value_info("xyz", TensorProto.FLOAT, [*cell, 3]),
            value_info("error_m", TensorProto.FLOAT, cell),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"joints": list(joints), "rest_m": np.asarray(rest_m).tolist(), "coverage": {}}
    helper.set_model_props(
        model, {"iospstl_restorer": json.dumps(facts)} if metadata is None else metadata
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()
