"""ONNX Runtime sessions that say aloud which provider they really use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from iospstl_core.errors import InputError

FloatArray = NDArray[np.float32]

DEFAULT_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_SILENT = 4
_SPINNING = "session.intra_op.allow_spinning"
_WINDOW_AXES = 5


class OnnxModel:
    """One network on one provider.

    Parameters
    ----------
    path : Path
        ONNX file with the input ``x``.
    providers : sequence of str
        Execution providers by preference.
    require_gpu : bool
        Raise InputError instead of falling back to the CPU.
    n_threads : int
        Threads inside an operator on the CPU.

    Attributes
    ----------
    provider : str
        The provider in use, which may differ from the first one asked for.
    takes_any_persons : bool
        Whether the last axis of ``x`` is free: the network of a window with fewer persons is the
        same as with absent ones.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[str] = DEFAULT_PROVIDERS,
        require_gpu: bool = False,
        n_threads: int = 1,
    ) -> None:
        unknown = set(providers) - set(ort.get_all_providers())
        if unknown:
            raise InputError(
                f"providers: expected names out of {', '.join(ort.get_all_providers())}, "
                f"got {', '.join(sorted(unknown))}"
            )
        available = [name for name in providers if name in ort.get_available_providers()]
        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.add_session_config_entry(_SPINNING, "0")  # others need the cores meanwhile
        options.log_severity_level = _SILENT  # what matters is compared below and reported
        ort.set_default_logger_severity(_SILENT)
        self._session = ort.InferenceSession(
            str(path), options, providers=available or ["CPUExecutionProvider"]
        )
        self.provider: str = self._session.get_providers()[0]
        shape = self._session.get_inputs()[0].shape
        self.takes_any_persons = len(shape) == _WINDOW_AXES and isinstance(shape[-1], str)
        if require_gpu and self.provider == "CPUExecutionProvider":
            raise InputError(
                f"require_gpu: expected one of {', '.join(providers)} to start, got "
                f"{self.provider}; install CUDA and onnxruntime-gpu, or set require_gpu to false"
            )

    @property
    def metadata(self) -> dict[str, str]:
        """What was written into the file beside the network."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, x: FloatArray, **others: NDArray[Any]) -> list[FloatArray]:
        """Return all outputs for the input ``x`` and any others, by their names in the file."""
        return self._session.run(None, {"x": x, **others})  # type: ignore[no-any-return]

    def run_windows(self, x: FloatArray) -> list[FloatArray]:
        """Return all outputs of an encoder or classifier.

        Absent persons cost nothing where the network takes any number of persons.

        Parameters
        ----------
        x : ndarray of shape (n, 3, n_frames, n_joints, n_persons), float32
            A person whose values are all 0 is absent.
        """
        is_there = (x != 0).any(axis=(1, 2, 3))
        if not self.takes_any_persons or is_there.all():
            return self.run(x)
        size = np.maximum(is_there.sum(axis=1), 1)  # nobody at all is a person of zeros
        first = np.argsort(~is_there, axis=1, kind="stable")[:, None, None, None]
        rows = [np.flatnonzero(size == count) for count in np.unique(size)]
        parts = [
            self.run(np.take_along_axis(x[own], first[own, ..., : size[own[0]]], axis=4))
            for own in rows
        ]
        back = np.argsort(np.concatenate(rows))
        return [np.concatenate(outputs)[back] for outputs in zip(*parts, strict=True)]
