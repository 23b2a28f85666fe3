"""Two processes with half a batch each are one process with the whole batch."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from iospstl_train.config import load_config
from iospstl_train.training.pretrain import make_model

N, N_PROCESSES = 8, 2
WORKER = """
import sys, torch
from tests.train.test_shared_batch import train_rows
index, folder, case = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.save(train_rows(index, folder, case), f"{folder}/{index}.pt")
"""


CASES = [
    ("paper",),
    (None,),
    (None, "training.method=skeletonclr"),
    (None, "training.method=crossclr"),
    (None, "training.method=aimclr"),
    ("paper/aimclr", "aimclr.mining_epoch=0"),
    (None, "training.method=crossclr", "crossclr.cross_epoch=0", "crossclr.shared_head=yes"),
]
"""A preset and changes to it."""


def make_batch():
    """Windows whose second persons are all in the first half, and all persons of one sample."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 3, 50, 25, 2, generator=generator)
    x[2:, ..., 1] = 0
    x[6] = 0
    return x, torch.rand(N, 25, generator=generator)


def one_step(case, rows):
    """Return parts, gradients and running statistics after one batch of which `rows` are here."""
    torch.manual_seed(0)
    preset, *changes = CASES[case]
    config = load_config(preset, None, ["contrast.queue_size=20", *changes])
    widths = dataclasses.replace(config.encoder, widths=(4, 8, 64), strides=(1, 2, 1), dropout=0.0)
    method = dataclasses.replace(config.opstl, projector_width=24)
    model = make_model(dataclasses.replace(config, encoder=widths, opstl=method)).double()
    x, hidden_frac = make_batch()
    model.begin_epoch(0)
    generator = torch.Generator().manual_seed(2)
    parts = model(x[rows].double(), hidden_frac, generator, rows=rows)
    parts["loss"].backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return (
        {name: part.item() for name, part in parts.items()},
        gradients,
        dict(model.named_buffers()),
    )


def train_rows(index, folder, case):
    """Do what one of the processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=N_PROCESSES
    )
    n_local = N // N_PROCESSES
    return one_step(case, slice(index * n_local, (index + 1) * n_local))


@pytest.mark.parametrize(
    "case", range(len(CASES)), ids=[" ".join(map(str, case)) for case in CASES]
)
def test_two_processes_give_the_losses_and_gradients_of_one(case, tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(index), str(tmp_path), str(case)])
        for index in range(N_PROCESSES)
    ]
    expected_parts, expected, buffers = one_step(case, slice(0, N))
    assert [worker.wait(timeout=240) for worker in workers] == [0] * N_PROCESSES
    results = [torch.load(tmp_path / f"{index}.pt") for index in range(N_PROCESSES)]
    for parts, _, statistics in results:
        assert parts == pytest.approx(expected_parts, rel=1e-9)
        for name, value in buffers.items():
            torch.testing.assert_close(statistics[name], value, rtol=1e-9, atol=1e-12)
    for name, gradient in expected.items():
        mean = torch.stack([gradients[name] for _, gradients, _ in results]).mean(dim=0)
        torch.testing.assert_close(mean, gradient, rtol=1e-7, atol=1e-9, msg=name)
