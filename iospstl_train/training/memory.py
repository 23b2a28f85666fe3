"""Memory: what a device has left, and what a training process keeps."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of ``mallopt``, from malloc.h of the GNU C library."""
_LARGEST_INT = 2**31 - 1
_GROW_BY_BYTES = 256 * 2**20
_MEMINFO = Path("/proc/meminfo")


def keep_freed_memory() -> bool:
    """Keep what this process frees for its next allocation, until it ends.

    The allocator of Linux hands large blocks back at once. Every step of a training on the CPU
    then asks for the same gigabytes again, and the kernel fills them with zeros again, which
    takes longer than most of what is computed in them. Returns False where there is no such
    allocator (its ``mallopt`` is missing or refuses); nothing has changed then.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST_INT, _TOP_PAD: _GROW_BY_BYTES}
    return mallopt is not None and all(mallopt(*item) == 1 for item in settings.items())


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a device has left; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu" or not _MEMINFO.is_file():
        return None
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None
