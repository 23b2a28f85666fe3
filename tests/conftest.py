"""Fixtures that several packages' tests share."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The robot's install has no torch: what tests the toolkit is not even collected there.
COMMANDS = [f"integration/test_{name}*" for name in ("cli", "killed", "mask", "method", "shared")]
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["train", *COMMANDS]


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """Let SIGINT be heard, also where the shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def real_data_folder() -> Path:
    """Folder of real recordings; skips where there is none."""
    named = os.environ.get("IOSPSTL_TEST_DATA")
    if named is not None:
        if not Path(named).is_dir():
            pytest.fail(f"IOSPSTL_TEST_DATA: expected a folder, got '{named}'")
        return Path(named)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not beside.is_dir():
        pytest.skip("no real recordings: set IOSPSTL_TEST_DATA to the folder of the archives")
    return beside


@pytest.fixture(scope="session")
def write_skeleton_file() -> Callable[..., Path]:
    """The writer of raw NTU files in ``tests/train/skeleton_files.py``; tests are no package."""
    path = Path(__file__).parent / "train" / "skeleton_files.py"
    spec = importlib.util.spec_from_file_location("skeleton_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    writer: Callable[..., Path] = module.write_skeleton_file
    return writer
