"""What stands behind the word encoder: one of two networks from windows to embeddings."""

from __future__ import annotations

from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.models.stgcn import StgcnEncoder

Encoder = StgcnEncoder | MaskMixer
