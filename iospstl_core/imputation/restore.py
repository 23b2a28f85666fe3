"""The restoring imputer: a small network that completes a person's motion, in ONNX.

Every person is completed alone, in their own body frame. The network sees where the body goes, its
shape, and how far each observed joint is from that (`iospstl_core.imputation.body_path`); it
answers with positions and with the error to expect of them. What it adds ends at the observed
frames, so that a filled gap meets its sides.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iospstl_core.errors import InputError
from iospstl_core.imputation.bank import ImputationBank
from iospstl_core.imputation.body_path import follow_body
from iospstl_core.imputation.fill import CellSource, Filled, fill_from_mean, start_fill
from iospstl_core.imputation.gaps import find_gaps, interpolate_smoothly
from iospstl_core.normalize import BodyFrame, estimate_body_frame, to_body_frame, to_camera_frame
from iospstl_core.session import OnnxModel
from iospstl_core.skeleton import NTU_25

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

METADATA_KEY = "iospstl_restorer"
NEAR_FRAMES = 5.0
"""Frames over which the trust in a neighbouring observation falls by e."""

_BATCH = 64


@dataclass(frozen=True)
class RestorerFacts:
    """What the network was trained for; travels inside its ONNX file.

    Attributes
    ----------
    joints : tuple of str
        Joints that the training set has, in the order of the network.
    rest_m : ndarray of shape (n_joints, 3), float32
        Their mean position in the body frame.
    coverage : dict
        Share of the held-out cells whose true error is within a factor of the expected one:
        factor -> share.
    """

    joints: tuple[str, ...]
    rest_m: FloatArray
    coverage: dict[str, float]

    def to_json(self) -> str:
        """Return the facts as text."""
        return json.dumps(
            {
                "joints": self.joints,
                "rest_m": self.rest_m.round(5).tolist(),
                "coverage": self.coverage,
            }
        )


def read_facts(model: OnnxModel) -> RestorerFacts:
    """Return what a restorer's file says of itself.

    Raises
    ------
    InputError
        If it is another kind of network.
    """
    try:
        facts = json.loads(model.metadata[METADATA_KEY])
        joints = tuple(str(joint) for joint in facts["joints"])
        rest_m = np.asarray(facts["rest_m"], dtype=np.float32)
        if rest_m.shape != (len(joints), 3) or not set(joints) <= set(NTU_25.joints):
            raise ValueError(f"{len(joints)} joints and rest_m of shape {rest_m.shape}")
        return RestorerFacts(joints, rest_m, dict(facts["coverage"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"restorer: expected a network with the metadata {METADATA_KEY}, got: {error!r}; "
            "export the bundle again"
        ) from error


class RestoreImputer:
    """Fill windows with a trained restorer.

    Parameters
    ----------
    model : OnnxModel
        Written by `iospstl_train.training.restore`.
    bank : ImputationBank
        Its means fill joints and persons of which a window shows nothing that helps.
    """

    def __init__(self, model: OnnxModel, bank: ImputationBank) -> None:
        self.model = model
        self.bank = bank
        self.facts = read_facts(model)
        self._joints = np.array([NTU_25.index(joint) for joint in self.facts.joints])

    def fill(self, xyz: FloatArray, present: BoolArray) -> Filled:
        """Return completed copies of some windows.

        Parameters
        ----------
        xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
            Body frame, metres; NaN where not observed.
        present : ndarray of shape (n_windows, n_frames, n_persons), bool

        Returns
        -------
        Filled
            With `error_m`: the mean distance to the truth that is to be expected of each filled
            cell. Only frames of the window are used: nothing after its last frame.
        """
        filled, source = start_fill(xyz, present)
        error_m = np.where(source == CellSource.OBSERVED, 0, np.nan).astype(np.float32)
        cells = source[:, :, :, self._joints]
        is_seen = (cells == CellSource.OBSERVED).any(axis=(1, 3))
        has_gaps = (cells == CellSource.UNFILLED).any(axis=(1, 3))
        window, person = np.nonzero(is_seen & has_gaps)  # who shows everything costs nothing
        for start in range(0, len(window), _BATCH):
            rows = slice(start, start + _BATCH)
            self._fill_persons(filled, source, error_m, window[rows], person[rows])
        fill_from_mean(filled, source, self.bank.mean, CellSource.BANK_MEAN)
        fill_from_mean(filled, source, self.bank.joint_mean, CellSource.JOINT_MEAN)
        return Filled(filled, source, error_m)

    def _fill_persons(
        self,
        filled: FloatArray,
        source: NDArray[np.uint8],
        error_m: FloatArray,
        window: NDArray[np.int64],
        person: NDArray[np.int64],
    ) -> None:
        """Fill some persons of some windows in place."""
        frame = np.arange(filled.shape[1])[None, :, None]
        where = (window[:, None, None], frame, person[:, None, None], self._joints)
        own, frames = own_windows(filled, window, person)
        inputs = network_inputs(own[:, :, self._joints], self.facts.rest_m)
        restored, expected = self.model.run(**inputs)
        values = _apply(to_camera_frame, restored, frames)
        empty = source[where] == CellSource.UNFILLED
        filled[where] = np.where(empty[..., None], values, filled[where])
        error_m[where] = np.where(empty, expected, error_m[where])
        source[where] = np.where(empty, np.uint8(CellSource.RESTORED), source[where])


def network_inputs(xyz: FloatArray, rest_m: FloatArray) -> dict[str, NDArray[Any]]:
    """Return what the network takes, by the names of its inputs.

    Parameters
    ----------
    xyz : ndarray of shape (n, n_frames, n_joints, 3), float32
        One person a window, body frame, metres; NaN where not observed.
    rest_m : ndarray of shape (n_joints, 3), float32

    Returns
    -------
    dict
        ``x`` as `xyz` with 0 for NaN; ``observed`` and ``near`` (n, n_frames, n_joints): trust in
        what is observed close by, from 1 down to 0; ``path`` (n, n_frames, 3) and ``shape``
        (n, n_joints, 3) of `follow_body`; ``line`` as `xyz`: `interpolate_smoothly`; ``before``,
        ``after``, ``weight`` of `find_gaps`.
    """
    observed = ~np.isnan(xyz[..., 0])
    x = np.nan_to_num(xyz)
    path, shape = follow_body(x, observed, rest_m)
    gaps = find_gaps(observed)
    near = np.where(gaps.seen, np.exp(-gaps.distance / NEAR_FRAMES), 0)
    return {
        "x": x,
        "observed": observed.astype(np.float32),
        "near": near.astype(np.float32),
        "path": path,
        "shape": shape,
        "line": interpolate_smoothly(x, gaps),
        "before": gaps.before,
        "after": gaps.after,
        "weight": gaps.weight,
    }


def own_windows(
    xyz: FloatArray, window: NDArray[np.int64], person: NDArray[np.int64]
) -> tuple[FloatArray, list[BodyFrame] | None]:
    """Return single persons, each in the body frame of their own, and these frames.

    Parameters
    ----------
    xyz : ndarray of shape (n_windows, n_frames, n_persons, n_joints, 3), float32
    window, person : ndarray of shape (n,), int64
        Which ones. Each needs an observed joint.

    Returns
    -------
    own : ndarray of shape (n, n_frames, n_joints, 3), float32
    frames : list of BodyFrame, or None
        None where windows are for one person: then they are in that person's frame already.
    """
    chosen = xyz[window, :, person]
    if xyz.shape[2] == 1:
        return chosen, None
    frames = [estimate_body_frame(one[:, None]) for one in chosen]
    return _apply(to_body_frame, chosen, frames), frames


def _apply(transform: Any, xyz: FloatArray, frames: list[BodyFrame] | None) -> FloatArray:
    """Transform each person by their own frame; leave them as they are without frames."""
    if frames is None:
        return xyz
    return np.stack([transform(one, frame) for one, frame in zip(xyz, frames, strict=True)])
