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
        options.log_severity_level = _SILENT  # what matters is compared below and reported
        ort.set_default_logger_severity(_SILENT)
        self._session = ort.InferenceSession(
            str(path), options, providers=available or ["CPUExecutionProvider"]
        )
        self.provider: str = self._session.get_providers()[0]
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
        """Return all outputs for the input ``x`` and any others, by their names in the file.

        Encoders and classifiers take batches of shape (n, 3, n_frames, n_joints, n_persons).
        """
        return self._session.run(None, {"x": x, **others})  # type: ignore[no-any-return]
