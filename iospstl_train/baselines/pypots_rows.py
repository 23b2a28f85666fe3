"""SAITS and BRITS from PyPOTS: networks that learn to complete series of plain numbers.

PyPOTS is no requirement of the toolkit: it is imported when such a row is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.fill import Filled
from iospstl_train.baselines.samples import fill_from_samples, to_samples
from iospstl_train.data.windows import WindowSet
from iospstl_train.ranges import Positive

FloatArray = NDArray[np.float32]

_MIN_DEVIATION = 1e-6
_BYTES_PER_WEIGHT = 4


@dataclass(frozen=True)
class PypotsSettings:
    """The networks from PyPOTS.

    Attributes
    ----------
    epochs, batch_size : int
        Of training, with the library's optimiser and its masking.
    width : int
        Of SAITS (twice in its feed-forward layers), and of the state of BRITS.
    n_layers, n_heads : int
        Of SAITS.
    """

    epochs: Positive = 100
    batch_size: Positive = 32
    width: Positive = 128
    n_layers: Positive = 2
    n_heads: Positive = 4


@dataclass(frozen=True)
class PypotsModel:
    """A trained network, and what it takes its numbers for.

    Attributes
    ----------
    network : object
        With PyPOTS's ``impute``.
    mean, deviation : ndarray of shape (n_features,), float32
        Of the training samples: it learns standardised numbers.
    joints : ndarray of shape (n_joints,), bool
        Those that the source has.
    bank : ImputationBank
        Its means fill what the network leaves empty.
    """

    network: Any
    mean: FloatArray
    deviation: FloatArray
    joints: NDArray[np.bool_]
    bank: ImputationBank

    @property
    def size_bytes(self) -> int:
        """Size of the weights."""
        weights = self.network.model.parameters()
        return _BYTES_PER_WEIGHT * sum(int(weight.numel()) for weight in weights)

    def fill(self, windows: WindowSet) -> Filled:
        """Return completed copies of some windows."""
        samples = to_samples(windows.xyz, windows.present, self.joints)
        scaled = (samples - self.mean) / self.deviation
        found = np.asarray(self.network.impute({"X": scaled}), dtype=np.float32)
        completed = found.reshape(samples.shape) * self.deviation + self.mean
        return fill_from_samples(windows.xyz, windows.present, self.joints, completed, self.bank)


def check_pypots() -> None:
    """Raise InputError where PyPOTS is not installed."""
    _import_pypots()


def _import_pypots() -> Any:
    try:
        return importlib.import_module("pypots.imputation")
    except ModuleNotFoundError as error:
        raise InputError(
            f"rows: saits and brits need PyPOTS, got no module '{error.name}'; install it with: "
            "pip install pypots"
        ) from error


def fit_pypots(
    kind: Literal["saits", "brits"],
    windows: WindowSet,
    bank: ImputationBank,
    settings: PypotsSettings,
    seed: int,
    device: str,
) -> PypotsModel:
    """Train a network on the occluded training windows; it hides more of them by itself.

    Parameters
    ----------
    kind : {"saits", "brits"}
    windows : WindowSet
        Occluded; only its training windows are learnt from, and never its truth. A person is a
        sample. Absent persons, and joints that the source never has, are left out.
    bank : ImputationBank
    settings : PypotsSettings
    seed : int
        Of weights, order and masking: the global states of PyTorch and NumPy are set.
    device : str
        A torch device.

    Raises
    ------
    InputError
        If PyPOTS is not installed.
    """
    library = _import_pypots()
    joints = ~windows.structural
    train = windows.is_train
    samples = to_samples(windows.xyz[train], windows.present[train], joints)
    mean, deviation = _standardise(samples)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - PyPOTS draws its masks from it
    shape = {"n_steps": samples.shape[1], "n_features": samples.shape[2]}
    common = {"batch_size": settings.batch_size, "epochs": settings.epochs, "device": device}
    if kind == "saits":
        network = library.SAITS(**shape, **common, **_saits_widths(settings), verbose=False)
    else:
        network = library.BRITS(**shape, **common, rnn_hidden_size=settings.width, verbose=False)
    network.fit({"X": (samples - mean) / deviation})
    return PypotsModel(network, mean, deviation, joints, bank)


def _saits_widths(settings: PypotsSettings) -> dict[str, Any]:
    width = settings.width
    each = max(width // settings.n_heads, 1)
    return {
        "n_layers": settings.n_layers,
        "d_model": width,
        "n_heads": settings.n_heads,
        "d_k": each,
        "d_v": each,
        "d_ffn": 2 * width,
        "dropout": 0.1,
    }


def _standardise(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each feature of samples (n, n_frames, n_features), without NaN."""
    known = ~np.isnan(samples)
    count = np.maximum(known.sum(axis=(0, 1)), 1)
    mean = np.nansum(samples, axis=(0, 1), dtype=np.float64) / count
    square = np.nansum((samples - mean) ** 2, axis=(0, 1), dtype=np.float64) / count
    deviation = np.sqrt(square)
    deviation[deviation < _MIN_DEVIATION] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)
