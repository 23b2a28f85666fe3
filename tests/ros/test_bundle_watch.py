"""What happens to the bundle's files while they are in use."""

import os
import shutil

import pytest

from iospstl_ros.bundle_watch import BundleState, BundleWatch
from tests.ros.tiny import make_bundle


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "bundle")


def write_again(path):
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(8))  # the same size
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def test_nothing_happens(folder):
    watch = BundleWatch(folder)
    assert watch.state() is BundleState.SAME
    (folder / "bank" / "donors.npy").read_bytes()
    assert watch.state() is BundleState.SAME


def test_what_is_mapped_may_not_be_written_in_place(folder):
    watch = BundleWatch(folder)
    write_again(folder / "bank" / "donors.npy")
    assert watch.state() is BundleState.OVERWRITTEN
    watch = BundleWatch(folder)
    os.truncate(folder / "bank" / "observed.npy", 10)
    assert watch.state() is BundleState.OVERWRITTEN


def test_files_that_are_read_once_or_renamed_do_no_harm(folder, tmp_path):
    watch = BundleWatch(folder)
    write_again(folder / "classifier.onnx")
    assert watch.state() is BundleState.REPLACED
    watch = BundleWatch(folder)
    shutil.copy(folder / "bank" / "donors.npy", tmp_path / "new.npy")
    (tmp_path / "new.npy").replace(folder / "bank" / "donors.npy")
    assert watch.state() is BundleState.REPLACED


def test_a_folder_that_is_renamed_or_deleted_does_no_harm(folder, tmp_path):
    watch = BundleWatch(folder)
    folder.rename(tmp_path / "old")
    assert watch.state() is BundleState.REPLACED
    make_bundle(folder)
    assert watch.state() is BundleState.REPLACED
    watch = BundleWatch(folder)
    shutil.rmtree(folder)
    assert watch.state() is BundleState.REPLACED
    assert BundleWatch(folder).state() is BundleState.SAME  # nothing, and still nothing
