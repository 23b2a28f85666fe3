"""Fixtures without torch: a bundle whose networks numpy can follow."""

from types import SimpleNamespace

import numpy as np
import pytest

from iospstl_core.bundle import BundleSettings, open_bundle, write_bundle
from iospstl_core.imputation.bank import build_bank
from iospstl_core.normalize import normalize
from iospstl_core.skeleton import NTU_25
from tests.core.networks import (
    N_CLASSES,
    N_FEATURES,
    linear_network,
    restorer_network,
    weights_of,
)
from tests.core.people import REST, everybody, hide_cells, walking_people

N_FRAMES, N_PERSONS, N_CLUSTERS = 8, 2, 3


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory):
    """Return a maker of bundles; what it makes carries the bundle and all that is in it."""
    pytest.importorskip("onnx")

    def make(**changes):
        rng = np.random.default_rng(0)
        settings = {
            "layout": "ntu-25",
            "n_frames": N_FRAMES,
            "n_persons": N_PERSONS,
            "window_s": 2.0,
            "classes": ("sit", "stand", "fall"),
            "imputer": "knn",
            "n_neighbors": 3,
            **changes,
        }
        donors = np.stack([made_window(rng, 0.2).xyz for _ in range(30)])
        cluster = rng.permutation(np.repeat(np.arange(N_CLUSTERS), 10))
        shape = donors.shape[1:]
        made = SimpleNamespace(
            encoder=weights_of(shape, N_FEATURES, seed=1),
            classifier=weights_of(shape, N_CLASSES, seed=2),
            centroids=0.3 * rng.normal(size=(N_CLUSTERS, N_FEATURES)).astype(np.float32),
            donors=donors,
            donor_cluster=cluster,
        )
        restorer = None
        if settings["imputer"] == "restore":
            restorer = restorer_network(NTU_25.joints, REST, N_FRAMES)
        folder = tmp_path_factory.mktemp("bundles") / "tiny"
        write_bundle(
            folder,
            BundleSettings(**settings),
            linear_network(embedding=made.encoder),
            linear_network(logits=made.classifier, embedding=made.encoder),
            made.centroids,
            build_bank(donors, cluster, N_CLUSTERS),
            restorer,
        )
        made.bundle = open_bundle(folder)
        return made

    return make


@pytest.fixture(scope="session")
def windows():
    """Seven normalised windows: hidden cells everywhere, some with an absent second person."""
    rng = np.random.default_rng(7)
    return [made_window(rng, 0.4, is_alone=index % 2 == 0) for index in range(7)]


def made_window(rng, hidden_frac, is_alone=False):
    xyz = hide_cells(walking_people(rng, 12, N_PERSONS), rng, hidden_frac)
    present = everybody(xyz)
    if is_alone:
        present[:, 1], xyz[:, 1] = False, np.nan
    return normalize(xyz, present, N_FRAMES)
