"""The presets of papers: every published constant, spelled out once in a file and once here."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from iospstl_core.files import find_installed
from iospstl_train.config import Config, load_config, preset_names

ENCODER = {
    "widths": (16, 16, 16, 16, 32, 32, 32, 64, 64, 256),
    "strides": (1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
    "temporal_kernel": 9,
    "dropout": 0.5,
    "partition": "st-gcn",
    "skip_absent": False,
}
OPSTL = {
    "encoder": ENCODER,
    "opstl": {
        "projector_width": 6144,
        "offdiag_weight": 2e-4,
        "masked_joints": 9,
        "masked_frames": 10,
        "joint_mask": "adaptive",
        "joint_draw": "tickets",
        "frequency": "any",
        "follow_flip": False,
    },
    "augment": {
        "crop_ratio": 6,
        "shear": 1.0,
        "main_angle_deg": 30.0,
        "other_angle_deg": 1.0,
        "flip": "swap",
        "per_sample": False,
    },
    "training": {
        "method": "opstl",
        "encoder": "st-gcn",
        "stream": "joint",
        "epochs": 150,
        "warmup_epochs": 10,
        "rate_by": "epoch",
        "batch_size": 128,
        "last_batch": "keep",
        "learning_rate": 5e-3,
        "weight_decay": 1e-5,
    },
    "linear": {
        "epochs": 150,
        "batch_size": 128,
        "learning_rate": 0.01,
        "optimizer": "adam",
        "schedule": "cosine",
        "standardize": False,
    },
    "imputation": {
        "n_clusters": 0,
        "n_neighbors": 5,
        "nprobe": 1,
        "max_donors": 0,
        "max_iter": 100,
    },
}
PSTL = {
    **OPSTL,
    "opstl": {**OPSTL["opstl"], "masked_joints": 8},
    "training": {**OPSTL["training"], "method": "pstl"},
}
SKELETONCLR = {
    "encoder": ENCODER,
    "contrast": {
        "feature_size": 128,
        "queue_size": 32768,
        "momentum": 0.999,
        "temperature": 0.07,
        "key_start": "own",
    },
    "augment": {"crop_ratio": 6, "shear": 0.5, "per_sample": True},
    "training": {
        "method": "skeletonclr",
        "encoder": "st-gcn",
        "stream": "joint",
        "optimizer": "sgd",
        "schedule": "drop",
        "drop_epoch": 250,
        "epochs": 300,
        "warmup_epochs": 0,
        "rate_by": "epoch",
        "batch_size": 128,
        "last_batch": "drop",
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
    },
    "linear": {
        "epochs": 100,
        "batch_size": 128,
        "learning_rate": 3.0,
        "optimizer": "sgd",
        "schedule": "drop",
        "drop_epoch": 80,
        "standardize": False,
    },
}
CROSSCLR = {
    **SKELETONCLR,
    "crossclr": {
        "cross_epoch": 150,
        "neighbors": 1,
        "context": True,
        "keys_follow": "motion",
        "shared_head": True,
    },
    "training": {**SKELETONCLR["training"], "method": "crossclr"},
}
AIMCLR = {
    **SKELETONCLR,
    "aimclr": {
        "mining_epoch": 150,
        "neighbors": 1,
        "distribution_weight": 0.5,
        "chance": 0.5,
        "noise_m": 0.01,
        "blur_frames": 15,
        "blur_deviation": (0.1, 2.0),
        "blur": "sum",
        "attention_limit": 0.7,
        "attention_lambda": 1e-4,
    },
    "augment": {
        **SKELETONCLR["augment"],
        "flip": "swap",
        "main_angle_deg": 30.0,
        "other_angle_deg": 1.0,
    },
    "training": {**SKELETONCLR["training"], "method": "aimclr"},
}
PRESETS = {
    "paper": OPSTL,
    "paper/opstl": OPSTL,
    "paper/pstl": PSTL,
    "paper/skeletonclr": SKELETONCLR,
    "paper/crossclr": CROSSCLR,
    "paper/aimclr": AIMCLR,
}
WRITTEN = {"opstl": OPSTL, "skeletonclr": SKELETONCLR}
"""Files that extend no other one."""
QUIRKS = {
    "paper": {
        "encoder": ("partition", "skip_absent"),
        "opstl": ("joint_draw", "frequency", "follow_flip"),
        "augment": ("flip", "per_sample"),
        "training": ("rate_by", "last_batch"),
    },
    "paper/skeletonclr": {"contrast": ("key_start",)},
    "paper/crossclr": {"crossclr": ("keys_follow", "shared_head")},
    "paper/aimclr": {"aimclr": ("blur",), "augment": ("flip",)},
}
"""Settings of faults of the published code, which are mended by default."""


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_the_published_constants(name):
    config = asdict(load_config(name))
    for section, values in PRESETS[name].items():
        assert {key: config[section][key] for key in values} == values, section


def test_every_file_of_a_paper_is_tested():
    assert {name for name in preset_names() if name.startswith("paper")} == set(PRESETS)


@pytest.mark.parametrize("name", WRITTEN)
def test_files_spell_out_what_is_tested(name):
    """A default that changes some day does not change what was published."""
    path = find_installed(Path("config") / "paper") / f"{name}.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {section: set(values) for section, values in written.items()} == {
        section: set(values) for section, values in WRITTEN[name].items()
    }


def test_quirks_are_on_in_the_paper_and_off_by_default():
    default = asdict(Config())
    for name, quirks in QUIRKS.items():
        paper = asdict(load_config(name))
        for section, keys in quirks.items():
            for key in keys:
                assert paper[section][key] != default[section][key], key
