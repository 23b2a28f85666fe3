"""The untrained model of a configuration: encoder, projector and loss."""

from __future__ import annotations

from torch import Tensor

from iospstl_train.config import Config
from iospstl_train.methods.mask_views import MaskViews
from iospstl_train.methods.opstl import Opstl
from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.models.stgcn import StgcnEncoder

PretrainModel = Opstl | MaskViews


def make_model(config: Config, hidden: Tensor | None = None) -> PretrainModel:
    """Return the untrained model of a configuration.

    Parameters
    ----------
    config : Config
    hidden : Tensor of shape (n_masks, t, v), bool, optional
        What the training windows hide, for encoders that are trained with it.
    """
    if config.training.encoder == "mask-mixer":
        mixer = config.mixer
        return MaskViews(
            MaskMixer(mixer),
            mixer.embedding,
            config.opstl,
            config.mask_views,
            config.augment,
            hidden,
        )
    encoder = StgcnEncoder(config.encoder)
    return Opstl(encoder, config.encoder.widths[-1], config.opstl, config.augment)
