"""What a device has left; freed memory stays with the process for its next step."""

import subprocess
import sys

import pytest
import torch

from iospstl_train.training import memory

FAULTS = """
import resource, sys, torch
from iospstl_train.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(12):
    torch.zeros(20_000_000).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an allocator of Linux")
def test_a_second_allocation_costs_no_page_faults():
    counts = {
        mode: int(subprocess.check_output([sys.executable, "-c", FAULTS, mode]))
        for mode in ("keep", "return")
    }
    pages = 20_000_000 * 4 // 4096
    assert counts["return"] - counts["keep"] > 4 * pages


@pytest.mark.skipif(not memory._MEMINFO.is_file(), reason="no /proc/meminfo here")
def test_free_memory_of_this_machine():
    assert 1e8 < memory.free_memory(torch.device("cpu")) < 1e13


def test_free_memory_is_unknown_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    assert memory.free_memory(torch.device("cpu")) is None
    assert memory.free_memory(torch.device("meta")) is None
