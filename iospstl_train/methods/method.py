"""What every self-supervised method is to the training loop."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from iospstl_core.skeleton import SkeletonLayout
from iospstl_train.methods.augment import (
    AugmentSettings,
    StreamDraw,
    augment,
    draw_crop_and_shear,
)
from iospstl_train.methods.drawn_masks import DrawnMasks


class Method(nn.Module):
    """A pre-training model: the encoder that is wanted, and what is trained with it.

    All that a run needs to go on is in the module's state: weights, the weights of keys, queues.
    Everything else is drawn anew from the generator of each step.

    Parameters
    ----------
    encoder : nn.Module
        From windows (n, 3, t, v, m) to embeddings.
    projector : nn.Module
        From embeddings to where the loss is.
    augment_settings : AugmentSettings
    layout : SkeletonLayout
    """

    remedy = "lower training.learning_rate"
    """Against embeddings that collapse."""

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        augment_settings: AugmentSettings,
        layout: SkeletonLayout,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.layout = layout
        self.augment_settings = augment_settings
        self.flip_order: Tensor
        self.register_buffer("flip_order", torch.from_numpy(layout.flip_order), persistent=False)
        self.drawn_masks = DrawnMasks(layout.n_joints)

    def begin_epoch(self, epoch: int) -> None:
        """Get ready for the steps of an epoch, counted from 0; of methods that have stages."""

    def forward(
        self,
        x: Tensor,
        hidden_frac: Tensor,
        generator: Generator,
        present: Tensor | None = None,
        rows: slice | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts; nothing in it waits for the device.

        Where several processes train, each holds some rows of the global batch and all make the
        same draws. The parts are those of the global batch and the same everywhere; the mean of
        the processes' gradients is that of one process with the whole batch.

        Parameters
        ----------
        x : Tensor of shape (n, 3, t, v, m)
            0 where not observed; as many rows in every process.
        hidden_frac : Tensor of shape (n_global, v), on the CPU
            Share of each joint's cells that are occluded (structural misses are NaN), of the
            global batch.
        generator : torch.Generator
            Source of all draws but dropout.
        present : Tensor of shape (n, m), bool, on the CPU, optional
            Persons of whom anything was observed; found in x if left out.
        rows : slice, optional
            Of the global batch: the samples in x; all if left out.
        """
        raise NotImplementedError

    def move(self, x: Tensor, draw: StreamDraw) -> Tensor:
        """Return x (n, 3, t, v, m) cropped, sheared, turned and flipped as drawn."""
        return augment(x, draw, self.flip_order, self.augment_settings.flip == "mirror")

    def crop_and_shear(self, x: Tensor, n: int, own: slice, generator: Generator) -> Tensor:
        """Return one view of the own samples out of n, all of which are drawn for."""
        draw = draw_crop_and_shear(n, x.shape[2], self.augment_settings, generator)
        return self.move(x, draw.take(own))
