"""``iospstl-train classes``: one's own classes over a bundle's encoder."""

import dataclasses
import shutil

import numpy as np
import pytest

from iospstl_core.bundle import open_bundle
from iospstl_core.normalize import Window
from iospstl_core.pipeline import Recognizer
from iospstl_train.cli import main
from iospstl_train.export import usual_duration_s
from iospstl_train.labeling import label_export
from tests.train.labels import write_draft

CPU = ("CPUExecutionProvider",)
OWN = ("greet", "hop", "heave", "march")


@pytest.fixture(scope="module")
def bundle(store, windows, occlusion, tmp_path_factory):
    """A bundle of the store's fourteen classes."""
    root = tmp_path_factory.mktemp("bundles")
    draft = write_draft(root / "draft", store, windows)
    label_export(draft, root / "made", store, None, occlusion)
    return root / "made"


def write_archive(path, store, chosen, class_names, **changes):
    """Write some sequences of a store as an archive, one person of each."""
    rows = np.flatnonzero(chosen)
    parts = [np.asarray(store.xyz[store.frames(row)])[:, 0] for row in rows]
    used = np.unique(store.label[rows])
    arrays = {
        "xyz": np.concatenate(parts),
        "offset": np.cumsum([0, *map(len, parts)]),
        "label": np.searchsorted(used, store.label[rows]),
        "subject": store.fields["subject"][rows],
        "class_names": np.array(class_names),
        **changes,
    }
    np.savez(path, **arrays)
    return path


@pytest.fixture
def archive(tmp_path, store):
    """Four of the store's classes under other names."""
    return write_archive(tmp_path / "own.npz", store, store.label < 4, OWN)


@pytest.fixture
def run(bundle, tmp_path, capsys):
    def command(*arguments, of=bundle):
        given = ["classes", "--bundle", of, "--out", tmp_path / "new", *arguments]
        status = main([str(argument) for argument in given])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def labels_of(folder, windows, rows):
    recognizer = Recognizer(open_bundle(folder), CPU)
    given = [Window(windows.xyz[row], windows.present[row], None) for row in rows]
    return [result.label for result in recognizer.recognize(given)]


def test_an_archive_becomes_a_bundle(run, archive, bundle, windows, store, tmp_path):
    status, printed, _ = run("--data", archive, "--layout", store.layout.name)
    assert status == 0
    new = open_bundle(tmp_path / "new")
    assert new.settings.classes == OWN
    rows = np.flatnonzero(windows.label < 4)
    names = [OWN[label] for label in windows.label[rows]]
    right = np.mean(
        [a == b for a, b in zip(labels_of(new.folder, windows, rows), names, strict=True)]
    )
    assert right > 0.45  # of four; the encoder is random
    for name in OWN:
        assert f"\n  {name}: " in printed
        assert "few recordings" in printed
    assert "Accuracy on a held-out fold" in printed
    assert f"{tmp_path / 'new'}: " in printed
    old = open_bundle(bundle).settings
    assert new.settings.imputer == old.imputer
    assert new.settings.training["bundle"]["dataset"] == "made"
    assert new.settings.training["dataset"] == "own"
    assert not new.settings.training["keep"]
    assert new.rejection is not None
    assert new.rejection.class_means.shape[0] == 4


def test_kept_classes_stay_and_recordings_of_them_add(run, store, bundle, windows, tmp_path):
    old = open_bundle(bundle).settings.classes
    names = ("greet", "hop", old[2], "march")
    archive = write_archive(tmp_path / "more.npz", store, store.label < 4, names)
    status, printed, _ = run("--data", archive, "--layout", store.layout.name, "--keep")
    assert status == 0
    new = open_bundle(tmp_path / "new")
    assert new.settings.classes == (*old, "greet", "hop", "march")
    with np.load(new.examples_path) as found, np.load(bundle / "examples.npz") as before:
        for index, name in enumerate(new.settings.classes):
            n_new = len(np.unique(found["sequence"][found["label"] == index]))
            label = old.index(name) if name in old else None
            n_old = (
                len(np.unique(before["sequence"][before["label"] == label])) if name in old else 0
            )
            n_own = (
                (store.label < 4)[store.label == names.index(name)].sum() if name in names else 0
            )
            assert n_new == n_old + n_own, name
        assert len(np.unique(found["group"])) > len(np.unique(before["group"]))
    assert f"  {old[13]}: " in printed
    rows = np.flatnonzero(windows.is_train & (windows.label >= 4))
    names = [old[label] for label in windows.label[rows]]
    right = np.mean(
        [a == b for a, b in zip(labels_of(new.folder, windows, rows), names, strict=True)]
    )
    assert right > 0.4


def test_a_split_of_a_store_is_measured_on_its_test_side(
    run, store, occlusion, tmp_path, monkeypatch
):
    monkeypatch.setattr("iospstl_train.classes.MIN_RECORDINGS", 2)  # the store has no more
    split = store.default_split
    given = ("--data", store.folder, "--split", split, "--occlusion", occlusion.name)
    status, printed, _ = run(*given)
    assert status == 0
    assert "Accuracy on the test set" in printed
    new = open_bundle(tmp_path / "new").settings
    assert new.classes == store.class_names
    assert not new.training["labels"]["test"]["is_fold"]
    assert new.training["n_sequences"] == store.split(split)[0].sum()


def test_windows_cover_the_recordings(run, store, bundle, tmp_path):
    short = dataclasses.replace(store, fps=2 * store.fps)
    archive = write_archive(tmp_path / "short.npz", store, store.label < 4, OWN)
    given = ("--data", archive, "--layout", store.layout.name, "--fps", short.fps)
    assert run(*given)[0] == 0
    found = open_bundle(tmp_path / "new").settings.window_s
    lengths = np.diff(store.offset)[store.label < 4]
    assert found == usual_duration_s(dataclasses.replace(short, offset=np.cumsum([0, *lengths])))
    assert found < open_bundle(bundle).settings.window_s
    assert run(*given, "--keep")[0] == 0
    kept = open_bundle(tmp_path / "new").settings.window_s
    assert kept == open_bundle(bundle).settings.window_s


def test_recordings_without_people_are_said_to_prove_less(run, store, tmp_path):
    unnamed = np.full((store.label < 4).sum(), -1)
    archive = write_archive(tmp_path / "a.npz", store, store.label < 4, OWN, subject=unnamed)
    status, printed, _ = run("--data", archive, "--layout", store.layout.name)
    assert status == 0
    assert "nobody's recordings were held out together" in printed
    assert open_bundle(tmp_path / "new").settings.temperature >= 1


def fault(found):
    status, printed, error = found
    assert (status, printed) == (2, "")
    *progress, last = error.splitlines()
    assert last.startswith("iospstl-train: ")
    assert not any("iospstl" in line or "Traceback" in line for line in progress)
    return last


def test_too_few_recordings_are_named(run, store, tmp_path):
    chosen = (store.label < 3) & (np.cumsum(store.label == 1) <= 2)
    names = ("greet", "hop", "heave")
    archive = write_archive(tmp_path / "few.npz", store, chosen, names)
    error = fault(run("--data", archive, "--layout", store.layout.name))
    assert "expected at least 3 recordings of each class, 10 or more are better" in error
    assert "hop (2)" in error
    assert "greet (" not in error
    assert not (tmp_path / "new").exists()


def test_one_class_needs_others(run, store, tmp_path):
    archive = write_archive(tmp_path / "one.npz", store, store.label == 0, ("greet",))
    given = ("--data", archive, "--layout", store.layout.name)
    assert "expected recordings of at least two classes, got greet" in fault(run(*given))
    status, _, _ = run(*given, "--keep")
    assert status == 0
    assert open_bundle(tmp_path / "new").settings.classes[-1] == "greet"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--layout: an archive needs it"),
        (("--layout", "ntu-52"), "ntu-52"),
        (("--layout", "ntu-25", "--split", "mine"), "--occlusion and --split: are of stores"),
        (("--layout", "ntu-25", "--occlusion", "mine"), "--occlusion and --split: are of stores"),
    ],
)
def test_options_of_an_archive(run, archive, arguments, message):
    assert message in fault(run("--data", archive, *arguments))


def test_options_of_a_store(run, store):
    given = ("--data", store.folder)
    error = fault(run(*given, "--layout", "ntu-25"))
    assert "--layout and --zero-is-missing: are for archives" in error
    assert "occlusion: synthetic has" in fault(run(*given, "--occlusion", "mine"))
    assert "split: synthetic has" in fault(run(*given, "--split", "mine"))


def test_data_that_is_neither_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for data in (tmp_path, tmp_path / "notes.txt", tmp_path / "nowhere"):
        error = fault(run("--data", data))
        assert "expected the folder of a prepared store or an .npz archive" in error


def test_something_else_is_not_replaced(run, archive, store, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("years of work")
    error = fault(run("--data", archive, "--layout", store.layout.name))
    assert "holds something else already" in error


def test_keep_needs_the_examples_of_the_bundle(run, archive, bundle, store, windows, tmp_path):
    draft = write_draft(tmp_path / "draft", store, windows)
    given = ("--data", archive, "--layout", store.layout.name, "--keep")
    error = fault(run(*given, of=draft))
    assert "examples.npz: --keep needs the examples of the bundle's classes, got none" in error


def test_a_bundle_may_be_replaced_by_its_own_successor(archive, bundle, store, tmp_path, capsys):
    copy = tmp_path / "new"
    shutil.copytree(bundle, copy)
    given = ["classes", "--bundle", copy, "--out", copy, "--data", archive]
    assert main([*map(str, given), "--layout", store.layout.name]) == 0
    assert open_bundle(copy).settings.classes == OWN


def test_help_says_what_is_needed(capsys):
    with pytest.raises(SystemExit):
        main(["classes", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Three a class are the least" in printed
    for option in ("--keep", "--split", "--occlusion", "--layout", "--fps", "--zero-is-missing"):
        assert option in printed
