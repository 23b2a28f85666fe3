"""Pre-training of the paper written down step by step, as the published code computes it.

Nothing is left out or rearranged for speed: the graph convolution makes three times the channels
and then sums over the neighbours, absent persons are computed as zeros, every stream passes
through encoder and projector by itself, and the sum off the diagonal copies the whole correlation
matrix. Names of modules are those of `iospstl_train.methods.opstl.Opstl`, so that weights can be
loaded from it.
"""

import random

import torch
from torch import nn
from torch.nn import functional

from tests.reference.adjacency import adjacency

N_JOINTS = 25
FLIPPED = (
    0,
    1,
    2,
    3,
    8,
    9,
    10,
    11,
    4,
    5,
    6,
    7,
    16,
    17,
    18,
    19,
    12,
    13,
    14,
    15,
    20,
    23,
    24,
    21,
    22,
)
DEGREES = (3, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 1, 4, 1, 2, 1, 2)
CHANNELS = (16, 16, 16, 16, 32, 32, 32, 64, 64, 256)
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
MASKED_JOINTS = 9
MASKED_FRAMES = 10
OFFDIAG_WEIGHT = 2e-4
BATCH_SIZE = 128
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-5


class PlainBlock(nn.Module):
    """One spatial and one temporal convolution, with a residual."""

    def __init__(self, n_in, n_out, stride, dropout, is_first):
        super().__init__()
        self.spatial = nn.Conv2d(n_in, 3 * n_out, 1)
        self.temporal = nn.Sequential(
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(n_out),
            nn.Dropout(0 if is_first else dropout),
        )
        if is_first:
            self.residual = None
        elif n_in == n_out and stride == 1:
            self.residual = nn.Identity()
        else:
            self.residual = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, (stride, 1)), nn.BatchNorm2d(n_out)
            )

    def forward(self, x, graph):
        n, _, t, v = x.shape
        messages = self.spatial(x).view(n, 3, -1, t, v)
        summed = torch.einsum("nkctv,kvw->nctw", messages, graph)
        out = self.temporal(summed)
        if self.residual is not None:
            out = out + self.residual(x)
        return functional.relu(out)


class PlainEncoder(nn.Module):
    """Ten blocks; the embedding is the mean over joints and time, then over the persons."""

    def __init__(self, channels=CHANNELS, strides=STRIDES, dropout=0.5):
        super().__init__()
        graph = torch.tensor(adjacency("st-gcn"))
        self.register_buffer("graph", graph)
        self.input_norm = nn.BatchNorm1d(3 * N_JOINTS)
        self.blocks = nn.ModuleList()
        n_in = 3
        for index, (n_out, stride) in enumerate(zip(channels, strides, strict=True)):
            self.blocks.append(PlainBlock(n_in, n_out, stride, dropout, is_first=index == 0))
            n_in = n_out
        self.importance = nn.ParameterList(torch.ones_like(graph) for _ in channels)

    def forward(self, x, masked_joints=()):
        n, c, t, v, m = x.shape
        x = x.permute(0, 4, 3, 1, 2).contiguous().view(n * m, v * c, t)
        x = self.input_norm(x)
        x = x.view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()
        kept = [joint for joint in range(v) if joint not in masked_joints]
        x = x[:, :, :, kept]
        for block, importance in zip(self.blocks, self.importance, strict=True):
            graph = self.graph * importance
            x = block(x, graph[:, kept][:, :, kept])
        x = functional.avg_pool2d(x, x.shape[2:])
        return x.view(n, m, -1).mean(dim=1)


class PlainOpstl(nn.Module):
    """Encoder, projector and the loss of three streams."""

    def __init__(self, channels=CHANNELS, strides=STRIDES, dropout=0.5, projector_width=6144):
        super().__init__()
        width = projector_width
        self.encoder = PlainEncoder(channels, strides, dropout)
        self.projector = nn.Sequential(
            nn.Linear(channels[-1], width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
        )
        self.standardize = nn.BatchNorm1d(width, affine=False, track_running_stats=False)

    def forward(self, x, draws):
        """Return the loss of x (n, 3, t, v, m); `draws` as from `draw_step`."""
        anchor = augment(x, draws["anchor"])
        temporal = mask_frames(augment(x, draws["temporal"]), draws["frames"])
        spatial = augment(x, draws["spatial"])
        z_anchor = self.projector(self.encoder(anchor))
        z_temporal = self.projector(self.encoder(temporal))
        z_spatial = self.projector(self.encoder(spatial, draws["joints"]))
        return self.correlate(z_anchor, z_temporal) + self.correlate(z_anchor, z_spatial)

    def correlate(self, first, second):
        """Equations (1)-(4) for one pair of streams."""
        c = self.standardize(first).T @ self.standardize(second)
        c = c / len(first)
        on_diagonal = (torch.diagonal(c) - 1).pow(2).sum()
        off_diagonal = take_off_diagonal(c).pow(2).sum()
        return on_diagonal + OFFDIAG_WEIGHT * off_diagonal


def take_off_diagonal(c):
    """Copy what is off the diagonal: drop the last element, and the first of each new row."""
    d = len(c)
    return c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten()


def augment(x, draw):
    """Crop, shear, rotate and flip a whole batch (n, 3, t, v, m) with the same draw."""
    t = x.shape[2]
    padding = t // 6
    padded = torch.cat([x[:, :, :padding].flip(2), x, x[:, :, t - padding :].flip(2)], dim=2)
    x = padded[:, :, draw["start"] : draw["start"] + t]
    for matrix in (draw["shear"], *draw["turns"]):
        x = torch.einsum("ij,njtvm->nitvm", torch.as_tensor(matrix, dtype=x.dtype), x)
    if draw["is_flipped"]:
        x = x[:, :, :, list(FLIPPED)]
    return x


def mask_frames(x, ranks):
    """Drop each sample's fastest frames; of the others keep those at the drawn positions."""
    motion = torch.zeros_like(x)
    motion[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    speed = (motion**2).mean(dim=(1, 3, 4))
    slow = (-speed).topk(x.shape[2] - MASKED_FRAMES, dim=1).indices.sort(dim=1).values
    slow = slow[:, ranks]
    index = slow[:, None, :, None, None].expand(-1, 3, -1, x.shape[3], x.shape[4])
    return x.gather(2, index)


def draw_step(t, hidden, rng):
    """Return all draws of one step as numbers; `hidden` (n, v) is 1 where a joint was occluded."""
    streams = {name: draw_stream(t, rng) for name in ("anchor", "temporal", "spatial")}
    n_slow = t - MASKED_FRAMES
    frames = sorted(rng.sample(range(n_slow), n_slow - MASKED_FRAMES))
    if streams["spatial"]["is_flipped"]:
        hidden = hidden[:, list(FLIPPED)]
    return {**streams, "frames": frames, "joints": draw_joints(hidden, rng)}


def draw_stream(t, rng):
    """Return start, shear, turns about x, y, z and whether the stream is flipped."""
    shear = [[1.0 if i == j else rng.uniform(-1, 1) for j in range(3)] for i in range(3)]
    main = rng.randrange(3)
    angles = [rng.uniform(0, 30 if axis == main else 1) for axis in range(3)]
    return {
        "start": rng.randint(0, 2 * (t // 6)),
        "shear": shear,
        "turns": [turn_about(axis, angle) for axis, angle in enumerate(angles)],
        "is_flipped": rng.random() < 0.5,
    }


def turn_about(axis, degrees):
    """Return the rotation about one axis, counter-clockwise seen from its tip."""
    angle = torch.deg2rad(torch.tensor(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn = torch.eye(3)
    turn[i, i] = turn[j, j] = angle.cos()
    turn[j, i], turn[i, j] = angle.sin(), -angle.sin()
    return turn


def draw_joints(hidden, rng):
    """Return the joints to mask: tickets as many as the joint's (frequency) degree."""
    counts = [float(count) for count in hidden.sum(dim=0)]
    degrees = DEGREES
    if sum(counts) > 0:
        low, high = min(counts), max(counts)
        degrees = [int(1 + 3 * (count - low) / (high - low + 1e-3)) for count in counts]
    tickets = [joint for joint, degree in enumerate(degrees) for _ in range(degree)]
    return set(rng.sample(tickets, MASKED_JOINTS))


def train(model, optimizer, x, hidden, n_steps, seed=1):
    """Take steps on random batches of x (n, 3, t, v, m) and return the losses."""
    rng = random.Random(seed)
    losses = []
    for _ in range(n_steps):
        rows = rng.sample(range(len(x)), min(BATCH_SIZE, len(x)))
        losses.append(step(model, optimizer, x[rows], draw_step(x.shape[2], hidden[rows], rng)))
    return losses


def step(model, optimizer, x, draws):
    """Take one optimisation step; return its loss."""
    loss = model(x, draws)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def make_optimizer(model):
    """Return Adam with the published constants."""
    return torch.optim.Adam(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, foreach=False, fused=False
    )
