"""Settings of training, evaluation and imputation; those of a method or network stand with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iospstl_train.ranges import AboveZero, Count, NotNegative, Positive

SGD_MOMENTUM = 0.9
RATE_DROP = 0.1
"""What the rate is multiplied with when it drops."""

MethodName = Literal["auto", "opstl", "pstl", "mask-views", "skeletonclr", "crossclr", "aimclr"]
GRAPH_METHODS = ("opstl", "pstl", "aimclr")
"""Methods that need an encoder with a graph of joints."""


@dataclass(frozen=True)
class TrainingSettings:
    """The pre-training loop.

    Attributes
    ----------
    epochs, batch_size, warmup_epochs
        The learning rate rises along a line while it warms up.
    learning_rate, weight_decay
        Of the optimizer.
    optimizer : {"adam", "sgd"}
        "sgd" has the momentum 0.9, not Nesterov's.
    schedule : {"cosine", "drop"}
        After the warm-up: to 0 along a cosine; or constant, and a tenth from `drop_epoch` on.
    drop_epoch : int
        Finished epochs before the rate drops.
    last_batch : {"drop", "keep"}
        What becomes of the windows of an epoch that fill no whole batch. A batch of one is never
        kept, and several processes keep what they can divide evenly.
    stream : {"joint", "motion", "bone"}
        What the networks take.
    precision : {"fp32", "bf16"}
        "bf16" computes large products in half precision; weights, gradients and the optimizer
        stay in single precision.
    compile : bool
        Let torch compile the encoder: minutes at the start, faster steps. Not for the ST-GCN,
        whose operations are fused by hand.
    data : {"auto", "resident", "streamed"}
        Where the training windows are: all on the device, or in host memory (or on the disk, if
        they are memory-mapped) and on the device ahead of their step only. "auto" is resident
        where half of the free memory is enough. No number depends on it.
    checkpoint_minutes : float
        Within an epoch the run is saved this often; it always is at the end of an epoch.
    keep_checkpoints : int
        The newest one and those before it, for a disk that lies.
    probe_epochs : int
        Every so many epochs the run looks at the rank of its embeddings and at their nearest
        neighbors; 0 for never.
    encoder : {"st-gcn", "mask-mixer"}
        The ST-GCN of section ``encoder``, or the mixer with mask tokens of section ``mixer``.
    method : {"auto", "opstl", "pstl", "mask-views", "skeletonclr", "crossclr", "aimclr"}
        How it is trained; each has a file in ``iospstl_train/methods`` and most a section here.
        "auto" is "opstl" for the ST-GCN and "mask-views" for the mixer. "opstl" and "pstl" remove
        joints from a graph, which the mixer has not, and "aimclr" looks at features of single
        joints. "crossclr" has two encoders, the second one for the motion, which it makes from
        the stream "joint" itself.
    rate_by : {"step", "epoch"}
        When the learning rate changes. By epoch, as the published code does, the first one has
        the rate 0 where there is a warm-up, and is lost.
    """

    epochs: Positive = 150
    batch_size: Positive = 128
    warmup_epochs: Count = 10
    learning_rate: AboveZero = 5e-3
    weight_decay: NotNegative = 1e-5
    last_batch: Literal["drop", "keep"] = "drop"
    stream: Literal["joint", "motion", "bone"] = "joint"
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    data: Literal["auto", "resident", "streamed"] = "auto"
    checkpoint_minutes: NotNegative = 10.0
    keep_checkpoints: Positive = 2
    probe_epochs: Count = 5
    encoder: Literal["st-gcn", "mask-mixer"] = "st-gcn"
    method: MethodName = "auto"
    rate_by: Literal["step", "epoch"] = "step"
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["cosine", "drop"] = "cosine"
    drop_epoch: Count = 250

    def __post_init__(self) -> None:
        if self.method in GRAPH_METHODS and self.encoder != "st-gcn":
            raise ValueError(
                f"method: expected one for encoder={self.encoder}, got '{self.method}', which "
                "needs encoder=st-gcn"
            )
        if self.method == "crossclr" and self.stream != "joint":
            raise ValueError(
                f"stream: expected joint for method=crossclr, which makes the motion itself, got "
                f"'{self.stream}'"
            )

    @property
    def method_name(self) -> str:
        """The method, also where it is left to the encoder."""
        if self.method != "auto":
            return self.method
        return "opstl" if self.encoder == "st-gcn" else "mask-views"


@dataclass(frozen=True)
class LinearSettings:
    """Linear evaluation: no weight decay, the encoder frozen in eval mode.

    Attributes
    ----------
    epochs, batch_size, learning_rate
        There is no warm-up; the rate changes by epoch.
    optimizer, schedule, drop_epoch
        As those of the training.
    standardize : bool
        Bring each feature to mean 0 and deviation 1 over the training set first; the published
        code does not.
    """

    epochs: Positive = 150
    batch_size: Positive = 128
    learning_rate: AboveZero = 0.01
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["cosine", "drop"] = "cosine"
    drop_epoch: Count = 80
    standardize: bool = True


@dataclass(frozen=True)
class ImputationSettings:
    """Clusters and neighbours.

    Attributes
    ----------
    n_clusters : int
        0 for as many as there are classes.
    n_neighbors : int
        Donors averaged for each cell.
    nprobe : int
        Nearest clusters whose donors are pooled.
    max_donors : int
        Donors used of each cluster; 0 for all.
    max_iter : int
        Of k-means.
    """

    n_clusters: Count = 0
    n_neighbors: Positive = 5
    nprobe: Positive = 1
    max_donors: Count = 0
    max_iter: Positive = 100
