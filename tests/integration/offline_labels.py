"""What a bundle says of the test sequences, by the code that the robot runs."""

import numpy as np

from iospstl_core.bundle import open_bundle
from iospstl_core.normalize import normalize
from iospstl_core.pipeline import Recognizer
from iospstl_core.store import find_occlusion, hide, open_store


def label_with(bundle, root):
    """Labels of all test sequences by the code that the robot runs."""
    store = open_store(root / "synthetic")
    occlusion = find_occlusion(store, "realistic")
    recognizer = Recognizer(open_bundle(bundle), ["CPUExecutionProvider"])
    labels = {}
    for index in np.flatnonzero(store.split("xsub")[1]):
        xyz, present = store.sequence(index)
        window = normalize(hide(xyz, occlusion.hidden[store.frames(index)]), present)
        labels[store.names[index]] = recognizer.recognize([window])[0].label
    return labels


def name_of(root, name):
    store = open_store(root / "synthetic")
    return store.class_names[store.label[store.names.index(name)]]
