"""The bundle: what is written comes back, what is damaged is refused by name with a remedy."""

import dataclasses
import json

import numpy as np
import pytest

from iospstl_core.bundle import FORMAT_VERSION, BundleSettings, open_bundle, write_bundle
from iospstl_core.errors import BundleError, InputError
from iospstl_core.imputation.bank import build_bank

SHAPE = (4, 2, 25, 3)
SETTINGS = BundleSettings(
    layout="ntu-25",
    n_frames=4,
    n_persons=2,
    window_s=2.5,
    classes=("sit", "stand", "fall"),
    imputer="knn",
    n_neighbors=3,
    encoder_stream="motion",
    classifier_stream="bone",
    training={"dataset": "made", "accuracy": 0.5, "versions": {"numpy": "2"}},
)
FILES = (
    "encoder.onnx",
    "classifier.onnx",
    "centroids.npy",
    "bank/donors.npy",
    "bank/observed.npy",
    "bank/offsets.npy",
    "bank/mean.npy",
)
REMEDY = "export it again with 'iospstl-train export' or copy it again"


def write(folder, **changes):
    """Write a bundle whose networks are any bytes: nobody runs them here."""
    rng = np.random.default_rng(0)
    donors = rng.normal(size=(9, *SHAPE)).astype(np.float32)
    donors[rng.random(donors.shape[:-1]) < 0.3] = np.nan
    bank = build_bank(donors, rng.integers(0, 3, 9), 3)
    centroids = rng.normal(size=(3, 8))
    settings = dataclasses.replace(SETTINGS, **changes)
    restorer = b"restorer" * 50 if settings.imputer == "restore" else None
    networks = b"encoder" * 50, b"classifier" * 50, centroids, bank, restorer
    write_bundle(folder, settings, *networks)
    return centroids, bank


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "made")
    return tmp_path / "made"


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def edit_manifest(folder, edit):
    """Pass the manifest through a function and write what comes out."""
    manifest = manifest_of(folder)
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def refusal(folder):
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    return str(caught.value)


def test_what_was_written_comes_back(tmp_path):
    centroids, bank = write(tmp_path / "made")
    bundle = open_bundle(tmp_path / "made")
    assert bundle.settings == SETTINGS
    assert bundle.centroids.dtype == np.float32
    np.testing.assert_array_equal(bundle.centroids, centroids.astype(np.float32))
    for name in ("donors", "observed", "offsets", "mean"):
        np.testing.assert_array_equal(getattr(bundle.bank, name), getattr(bank, name))
    assert isinstance(bundle.bank.donors, np.memmap)
    assert bundle.encoder_path.read_bytes() == b"encoder" * 50
    assert bundle.classifier_path.read_bytes() == b"classifier" * 50


def test_the_manifest_lists_every_file_and_nothing_is_a_pickle(folder):
    manifest = manifest_of(folder)
    assert set(manifest["files"]) == set(FILES)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {*FILES, "manifest.json"}
    assert manifest["format"] == "iospstl-bundle"
    for name in FILES:
        if name.endswith(".npy"):
            np.load(folder / name, allow_pickle=False)


def test_a_copied_bundle_is_still_a_bundle(folder, tmp_path):
    copy = folder.rename(tmp_path / "moved")
    assert open_bundle(copy).settings == SETTINGS


def test_a_bundle_that_cannot_be_completed_leaves_the_old_one(folder, tmp_path):
    with pytest.raises(TypeError):
        write(folder, training={"not json": object()})
    assert open_bundle(folder).settings == SETTINGS
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_bundle_error_is_the_users(folder):
    (folder / "encoder.onnx").unlink()
    with pytest.raises(InputError):
        open_bundle(folder)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(folder, name, place):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[place]] ^= 1
    path.write_bytes(content)
    assert refusal(folder) == f"{path}: its content differs from the manifest's sha256; {REMEDY}"


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_longer_file_is_refused(folder, name, change):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] if change < 0 else content + b"\0")
    size = len(content)
    assert refusal(folder) == f"{path}: expected {size} bytes, got {size + change}; {REMEDY}"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    expected = f"{folder / name}: listed in the bundle's manifest, but missing; {REMEDY}"
    assert refusal(folder) == expected


@pytest.mark.parametrize("is_folder_there", [True, False])
def test_a_folder_without_a_manifest_is_no_bundle(tmp_path, is_folder_there):
    folder = tmp_path / "nothing"
    if is_folder_there:
        folder.mkdir()
    assert refusal(folder) == f"{folder}: expected a bundle, got no manifest.json in it; {REMEDY}"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xff", b"\x00" * 100])
def test_a_manifest_that_is_no_json_object_is_refused(folder, content):
    path = folder / "manifest.json"
    path.write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{path}: expected a ")
    assert "JSON" in message
    assert message.endswith(f"; {REMEDY}")


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": FORMAT_VERSION - 1},
        {"format_version": FORMAT_VERSION + 1},
        {"format_version": None},
        {"format_version": str(FORMAT_VERSION)},
        {"format": "other"},
        {"format": None},
    ],
)
def test_another_format_is_refused(folder, change):
    edit_manifest(folder, lambda manifest: manifest.update(change))
    version = change.get("format_version", FORMAT_VERSION)
    assert refusal(folder) == (
        f"{folder / 'manifest.json'}: expected bundle format version {FORMAT_VERSION}, got "
        f"{version}; export it again with this release, or install the release that wrote it"
    )


@pytest.mark.parametrize("key", [item.name for item in dataclasses.fields(BundleSettings)])
def test_a_missing_setting_is_refused(folder, key):
    edit_manifest(folder, lambda manifest: manifest.pop(key))
    expected = f"{folder / 'manifest.json'}: expected the key '{key}', got none; {REMEDY}"
    assert refusal(folder) == expected


@pytest.mark.parametrize("key", ["format", "format_version", "files"])
def test_a_missing_mark_is_refused(folder, key):
    edit_manifest(folder, lambda manifest: manifest.pop(key))
    assert str(folder / "manifest.json") in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_manifest_does_not_vouch_for_is_refused(folder, name):
    edit_manifest(folder, lambda manifest: manifest["files"].pop(name))
    assert refusal(folder) == f"{folder / 'manifest.json'}: expected entries for {name}; {REMEDY}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", None),
        ("files", []),
        ("imputer", "knm"),
        ("encoder_stream", "velocity"),
        ("classifier_stream", "velocity"),
        ("n_neighbors", 0),
        ("temperature", 0),
        ("temperature", -1.5),
        ("temperature", "warm"),
        ("temperature", None),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
    ],
)
def test_a_setting_that_nothing_can_run_with_is_refused(folder, key, value):
    edit_manifest(folder, lambda manifest: manifest.update({key: value}))
    message = refusal(folder)
    assert str(folder / "manifest.json") in message
    assert key in message


def test_more_clusters_a_window_than_there_are_is_refused(tmp_path):
    write(tmp_path / "all", nprobe=3)
    assert open_bundle(tmp_path / "all").settings.nprobe == 3
    folder = tmp_path / "more"
    write(folder, nprobe=4)
    assert refusal(folder) == (
        f"{folder / 'manifest.json'}: nprobe: expected at most 3, the number of clusters, got 4; "
        "export it again with 'iospstl-train export'"
    )


@pytest.mark.parametrize("key", ["size", "sha256"])
def test_an_entry_without_size_or_hash_is_refused(folder, key):
    edit_manifest(folder, lambda manifest: manifest["files"]["encoder.onnx"].pop(key))
    assert "encoder.onnx" in refusal(folder)


# Of the imputer "restore".


@pytest.fixture
def restoring(tmp_path):
    write(tmp_path / "restoring", imputer="restore")
    return tmp_path / "restoring"


def test_the_restorer_comes_back(restoring):
    bundle = open_bundle(restoring)
    assert bundle.settings.imputer == "restore"
    assert bundle.restorer_path.read_bytes() == b"restorer" * 50
    assert set(manifest_of(restoring)["files"]) == {*FILES, "restorer.onnx"}


def test_a_bundle_that_restores_needs_its_restorer(restoring):
    path = restoring / "restorer.onnx"
    path.write_bytes(b"restorer" * 49 + b"restores")
    assert "its content differs from the manifest's sha256" in refusal(restoring)
    path.unlink()
    assert refusal(restoring).startswith(f"{path}: listed in the bundle's manifest, but missing")
    edit_manifest(restoring, lambda manifest: manifest["files"].pop("restorer.onnx"))
    manifest = restoring / "manifest.json"
    assert refusal(restoring) == f"{manifest}: expected entries for restorer.onnx; {REMEDY}"


def test_another_imputer_becomes_restore_only_with_a_restorer(folder):
    edit_manifest(folder, lambda manifest: manifest.update(imputer="restore"))
    assert "expected entries for restorer.onnx" in refusal(folder)


@pytest.mark.parametrize(("imputer", "restorer"), [("restore", None), ("knn", b"restorer")])
def test_a_restorer_is_written_with_its_imputer_only(tmp_path, imputer, restorer):
    centroids, bank = write(tmp_path / "made")
    settings = dataclasses.replace(SETTINGS, imputer=imputer)
    with pytest.raises(ValueError, match="restorer_onnx: belongs to the imputer 'restore'"):
        write_bundle(tmp_path / "other", settings, b"", b"", centroids, bank, restorer)
    assert not (tmp_path / "other").exists()
