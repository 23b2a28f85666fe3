"""What was read of a memory-mapped bank does not stay in the process's memory."""

from pathlib import Path

import numpy as np
import pytest

from iospstl_core.imputation.bank import build_bank, open_bank, save_bank
from iospstl_core.imputation.knn import ClusterKnnImputer

N_CLUSTERS = 4


@pytest.fixture
def bank(tmp_path):
    """Four clusters of 40 donors, 60 kB each, on disk."""
    xyz = np.random.default_rng(0).normal(size=(160, 400, 1, 25, 3)).astype(np.float32)
    save_bank(build_bank(xyz, np.arange(160) % N_CLUSTERS, N_CLUSTERS), tmp_path)
    return open_bank(tmp_path)


def resident_kib(path):
    """Memory that the mapping of a file has in this process."""
    found, is_here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            is_here = line.endswith(str(path))
        elif is_here and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_clusters_that_were_read_are_given_back(bank, tmp_path):
    xyz = np.zeros((N_CLUSTERS, 400, 1, 25, 3), dtype=np.float32)
    xyz[:, :, :, 3:9] = np.nan
    np.add.reduce(bank.donors, axis=None, dtype=np.float64)
    assert resident_kib(tmp_path / "donors.npy") > 5000
    imputer = ClusterKnnImputer(bank, 3)
    filled = imputer.fill(xyz, np.ones(xyz.shape[:3], dtype=bool), np.arange(N_CLUSTERS))
    assert resident_kib(tmp_path / "donors.npy") < 100
    assert not np.isnan(filled.xyz).any()


def test_what_was_given_back_is_read_again(bank):
    before = np.array(bank.donors), np.array(bank.observed)
    bank.release()
    np.testing.assert_array_equal(bank.donors, before[0])
    np.testing.assert_array_equal(bank.observed, before[1])


def test_a_bank_in_memory_has_nothing_to_give_back():
    bank = build_bank(np.ones((3, 4, 1, 25, 3), dtype=np.float32), np.zeros(3, dtype=int), 1)
    bank.release()
    np.testing.assert_array_equal(bank.donors, 1)
