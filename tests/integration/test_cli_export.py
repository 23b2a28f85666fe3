"""The bundle that ``export`` writes: right, with the settings of its windows, and guarded."""

import json
import shutil

import numpy as np
import pytest

from iospstl_core.bundle import FORMAT_VERSION, open_bundle
from tests.integration.commands import data, fault, list_all
from tests.integration.offline_labels import label_with, name_of


@pytest.mark.parametrize(("name", "imputer"), [("bundle", "knn"), ("bundle-restore", "restore")])
def test_exported_bundle_is_as_accurate_as_its_manifest_says(root, chain, name, imputer):
    bundle = open_bundle(chain / name)
    assert bundle.settings.imputer == imputer
    assert bundle.restorer_path.exists() == (imputer == "restore")
    assert bundle.settings.training["occlusion"] == "realistic"
    labels = label_with(chain / name, root)
    right = [name_of(root, name) == label for name, label in labels.items()]
    measured = bundle.settings.training["labels"]["test"]
    assert np.mean(right) == pytest.approx(measured["accuracy_whole"])


@pytest.fixture
def export_knn(command, root, chain, tmp_path):
    """Copy of the windows that KNN completed, and the arguments that export them."""
    folder = shutil.copytree(chain / "knn", tmp_path / "knn")
    return folder, (
        *("export", *data(root), "--occlusion", "realistic", "--stage1", chain / "stage1"),
        *("--stage2", chain / "stage2", "--imputed", folder, "--out", tmp_path / "bundle"),
    )


def edit_manifest(folder, **changes):
    """Write values of a manifest, or take keys out that are to be None."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def test_export_takes_the_settings_that_windows_were_completed_with(command, chain, export_knn):
    """Not those of the stage-1 encoder's run, which may have been another one."""
    folder, export = export_knn
    imputation = json.loads((folder / "manifest.json").read_text())["imputation"]
    run = json.loads((chain / "stage1" / "run.json").read_text())
    assert imputation == run["config"]["imputation"]
    changed = {"n_neighbors": 2, "nprobe": 3, "max_donors": 4}
    assert not imputation.items() & changed.items()
    edit_manifest(folder, imputation={**imputation, **changed})
    assert command(*export)[0] == 0
    settings = open_bundle(folder.with_name("bundle")).settings
    assert (settings.n_neighbors, settings.nprobe, settings.max_donors) == (2, 3, 4)


@pytest.mark.parametrize("imputation", [None, {"n_neighbours": 3}])
def test_export_without_those_settings_says_impute_again(command, export_knn, imputation):
    folder, export = export_knn
    edit_manifest(folder, imputation=imputation)
    assert fault(command, *export) == (
        f"{folder / 'manifest.json'}: imputation: expected the settings that completed these "
        f"windows, got {imputation}; impute again"
    )
    assert not folder.with_name("bundle").exists()


def test_random_imputation_is_not_for_robots(command, root, chain, tmp_path):
    stages = ("--stage1", chain / "stage1", "--stage2", chain / "stage2")
    message = fault(
        *(command, "export", *data(root), "--occlusion", "realistic", *stages),
        *("--imputed", chain / "random", "--out", tmp_path / "bundle"),
    )
    assert "a robot cannot complete windows as 'random' does" in message
    assert list_all(tmp_path) == []


def test_changed_byte_in_a_bundle_is_found(command, chain, tmp_path):
    shutil.copytree(chain / "bundle-restore", tmp_path / "bundle")
    networks = ("encoder.onnx", "classifier.onnx", "restorer.onnx")
    for name in (*networks, "centroids.npy", "bank/donors.npy"):
        path = tmp_path / "bundle" / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        message = fault(command, "info", tmp_path / "bundle")
        assert message.startswith(f"{path}: its content differs from the manifest's sha256")
        path.write_bytes(content)
    assert command("info", tmp_path / "bundle")[0] == 0


def test_bundle_of_another_version_is_refused(command, chain, tmp_path):
    shutil.copytree(chain / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    version = FORMAT_VERSION + 1
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    message = fault(command, "info", tmp_path / "bundle")
    expected = f"{path}: expected bundle format version {FORMAT_VERSION}, got {version}; export it"
    assert message.startswith(expected)
