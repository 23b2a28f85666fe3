"""Bundles that are not trained at all: random networks embed well enough to fit classes on."""

import torch

from iospstl_train.evaluation.linear import evaluate_linear
from iospstl_train.export import Classifier, export_bundle, make_bundle_settings
from iospstl_train.imputing import fit_clusters
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.training.embed import embed
from tests.train.tiny_training import tiny_config

CONFIG = tiny_config("linear.epochs=2", "imputation.n_clusters=3")


def write_draft(folder, store, windows):
    """Write a bundle whose encoders are random and whose classifier was hardly fitted."""
    torch.manual_seed(0)
    encoder = StgcnEncoder(CONFIG.encoder).eval()
    features, labels, train = embed(encoder, windows.xyz), windows.label, windows.is_train
    result = evaluate_linear(
        *((features[train], labels[train]), (features[~train], labels[~train])),
        *(len(windows.class_names), CONFIG.linear),
    )
    settings = make_bundle_settings(
        store, windows, "linear", CONFIG.imputation, {"dataset": "made"}, "joint"
    )
    clusters = fit_clusters(windows, features, CONFIG.imputation)
    classifier = Classifier(encoder, result.classifier).eval()
    export_bundle(folder, settings, encoder, classifier, clusters, windows.xyz[:4])
    return folder
