"""The untrained model of a configuration: encoder, and the method that trains it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from iospstl_train.config import Config
from iospstl_train.methods.aimclr import AimClr
from iospstl_train.methods.crossclr import STREAMS, CrossClr
from iospstl_train.methods.mask_views import MaskViews
from iospstl_train.methods.method import Method
from iospstl_train.methods.opstl import Opstl
from iospstl_train.methods.pstl import Pstl
from iospstl_train.methods.skeletonclr import SkeletonClr
from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.models.stream_encoders import StreamEncoders


def make_model(config: Config, hidden: Tensor | None = None) -> Method:
    """Return the untrained model of a configuration.

    Parameters
    ----------
    config : Config
    hidden : Tensor of shape (n_masks, t, v), bool, optional
        What the training windows hide, for the method "mask-views".
    """
    if config.training.method_name == "mask-views":
        encoder, size = make_encoder(config)
        views = config.mask_views
        return MaskViews(encoder, size, config.opstl, views, config.augment, hidden)
    return _METHODS[config.training.method_name](config)


def make_encoder(config: Config) -> tuple[StgcnEncoder | MaskMixer, int]:
    """Return an untrained encoder and the size of its embedding."""
    if config.training.encoder == "mask-mixer":
        return MaskMixer(config.mixer), config.mixer.embedding
    return StgcnEncoder(config.encoder), config.encoder.widths[-1]


def _opstl(config: Config) -> Method:
    return Opstl(*make_encoder(config), config.opstl, config.augment)


def _pstl(config: Config) -> Method:
    return Pstl(*make_encoder(config), config.opstl, config.augment)


def _skeletonclr(config: Config) -> Method:
    return SkeletonClr(*make_encoder(config), config.contrast, config.augment)


def _crossclr(config: Config) -> Method:
    made = {name: make_encoder(config) for name in STREAMS}
    encoder = StreamEncoders({name: each for name, (each, _) in made.items()}, made["joint"][1])
    size = encoder.part_sizes[0]
    return CrossClr(encoder, size, config.contrast, config.crossclr, config.augment)


def _aimclr(config: Config) -> Method:
    encoder, size = StgcnEncoder(config.encoder), config.encoder.widths[-1]
    return AimClr(encoder, size, config.contrast, config.aimclr, config.augment)


_METHODS: dict[str, Callable[[Config], Method]] = {
    "opstl": _opstl,
    "pstl": _pstl,
    "skeletonclr": _skeletonclr,
    "crossclr": _crossclr,
    "aimclr": _aimclr,
}
"""Methods that need nothing of the training windows beside them."""
