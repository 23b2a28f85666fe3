"""Freed memory stays with the process, so that the next step does not ask for it again."""

import subprocess
import sys

import pytest

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
