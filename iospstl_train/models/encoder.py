"""What stands behind the word encoder: a network from windows to embeddings."""

from __future__ import annotations

from iospstl_train.models.mask_mixer import MaskMixer
from iospstl_train.models.stgcn import StgcnEncoder
from iospstl_train.models.stream_encoders import StreamEncoders

Encoder = StgcnEncoder | MaskMixer | StreamEncoders
