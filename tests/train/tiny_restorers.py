"""Restorers that train in a second, and windows for them."""

import numpy as np
import torch

from iospstl_core.imputation.bank import build_bank
from iospstl_core.imputation.restore import RestoreImputer
from iospstl_core.session import OnnxModel
from iospstl_train.models.restorer import Restorer, RestorerSettings
from iospstl_train.training.restore import RESTORER

CPU = ("CPUExecutionProvider",)
SETTINGS = RestorerSettings(width=16, n_layers=1, steps=8, batch_size=4)
N_FRAMES = 50


def network_bytes(folder):
    return (folder / RESTORER).read_bytes()


def impute(windows, path):
    bank = build_bank(windows.xyz[windows.is_train], np.zeros(windows.is_train.sum(), int), 1)
    return RestoreImputer(OnnxModel(path, CPU), bank).fill(windows.xyz, windows.present)


def made(n=6, seed=0, n_joints=25):
    """Random windows of one person and which cells are observed; all joints somewhere."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, 0.3, (n, N_FRAMES, n_joints, 3)).astype(np.float32)
    xyz[rng.random(xyz.shape[:-1]) < 0.4] = np.nan
    return xyz


def untrained(seed=0, settings=SETTINGS, n_joints=25):
    """A network that is past its zeros, as training would make it."""
    torch.manual_seed(seed)
    rest_m = 0.3 * torch.randn(n_joints, 3)
    model = Restorer(N_FRAMES, rest_m, settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), rest_m.numpy()
