"""PSTL: partial spatio-temporal learning (Zhou et al., AAAI 2023).

OPSTL came from it and differs in one thing: here the joints to remove are drawn by their degree in
the skeleton (CSM, equation 5 of OPSTL), whatever was hidden.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from iospstl_core.skeleton import NTU_25, SkeletonLayout
from iospstl_train.methods.augment import AugmentSettings
from iospstl_train.methods.opstl import Opstl, OpstlSettings


class Pstl(Opstl):
    """OPSTL with central spatial masking; its other settings are those of section ``opstl``."""

    def __init__(
        self,
        encoder: nn.Module,
        embedding_size: int,
        settings: OpstlSettings,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout = NTU_25,
    ) -> None:
        central = replace(settings, joint_mask="central")
        super().__init__(encoder, embedding_size, central, augment_settings, layout)
