"""Skeletons, networks and bundles so small that a test makes them in no time, without torch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from iospstl_core.bundle import BundleSettings, write_bundle
from iospstl_core.imputation.bank import build_bank
from iospstl_core.skeleton import NTU_25
from tests.core.networks import restorer_network

CLASSES = ("hand up", "hand down", "stand")
N_FRAMES = 50
FPS = 30.0


def raised_hand(n_frames, height_m, start=0):
    """A standing person two metres away whose right hand is `height_m` above the shoulders."""
    xyz = np.tile(np.array(NTU_25.rest_m, dtype=np.float32), (n_frames, 1, 1))
    for joint in ("WristRight", "HandRight", "HandTipRight", "ThumbRight"):
        xyz[:, NTU_25.index(joint), 1] = height_m
    sway = 0.02 * np.sin(np.arange(start, start + n_frames) / 5.0)
    xyz[..., 0] += sway[:, None].astype(np.float32)
    return xyz + np.array([0.1, 0.3, 2.0], dtype=np.float32)


def tiny_networks(n_persons=1):
    """Two ONNX models: a mean as embedding; the class is the height of the right hand."""
    shape = ["n", 3, N_FRAMES, NTU_25.n_joints, n_persons]
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3 * NTU_25.n_joints, 8)).astype(np.float32)
    logits = np.zeros((3 * NTU_25.n_joints, 3), dtype=np.float32)
    hand_y = NTU_25.n_joints + NTU_25.index("HandRight")
    logits[hand_y, :2] = 10.0, -10.0
    features = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 4], keepdims=0),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    head = [helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"])]
    tensors = [numpy_helper.from_array(weights, "weights")]
    head_tensors = [
        numpy_helper.from_array(logits, "head"),
        numpy_helper.from_array(np.array([0, 0, 1], dtype=np.float32), "bias"),
    ]
    encoder = _network(shape, features, tensors, {"embedding": 8})
    outputs = {"logits": 3, "embedding": 8}
    return encoder, _network(shape, features + head, tensors + head_tensors, outputs)


def _network(shape, nodes, tensors, outputs):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
            for name, size in outputs.items()
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_bundle(folder, n_persons=1, **changes):
    """Write a bundle of the tiny networks; the bank holds both kinds of raised hands."""
    heights = [0.4, 0.3, -0.6, -0.5]
    donors = np.stack([raised_hand(N_FRAMES, height) for height in heights])[:, :, None]
    donors = donors - np.array([0.1, 0.3, 2.0], dtype=np.float32)
    xyz = np.full((len(heights), N_FRAMES, n_persons, NTU_25.n_joints, 3), np.nan, np.float32)
    xyz[:, :, :1] = donors
    encoder, classifier = tiny_networks(n_persons)
    settings = {
        "layout": NTU_25.name,
        "n_frames": N_FRAMES,
        "n_persons": n_persons,
        "window_s": 2.0,
        "classes": CLASSES,
        "imputer": "knn",
        "n_neighbors": 2,
        **changes,
    }
    bank = build_bank(xyz, np.array([0, 0, 1, 1]), 2)
    centroids = np.random.default_rng(1).normal(size=(2, 8))
    restorer = None
    if settings["imputer"] == "restore":
        restorer = restorer_network(NTU_25.joints, NTU_25.rest_m, N_FRAMES)
    networks = encoder, classifier, centroids, bank, restorer
    write_bundle(folder, BundleSettings(**settings), *networks)
    return folder
