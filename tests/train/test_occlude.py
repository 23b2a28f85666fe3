import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iospstl_core.errors import InputError
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.cli import main
from iospstl_train.config import Config
from iospstl_train.occlusion.cells import CellSettings
from iospstl_train.occlusion.kinds import KINDS
from iospstl_train.occlusion.occlude import find_or_make_occlusion, make_series, occlude
from iospstl_train.occlusion.report import Tally, gap_lengths
from iospstl_train.occlusion.time_block import TimeSettings

WITHOUT_FILES = [name for name in KINDS if name != "sensor"]


@pytest.fixture
def own(store, tmp_path):
    """A copy of the store, without occlusions."""
    without = shutil.ignore_patterns("occlusion")
    return open_store(shutil.copytree(store.folder, tmp_path / store.dataset, ignore=without))


def run(own, *options):
    where = ("--dataset", own.dataset, "--root", own.folder.parent, "--workers", 1)
    return main(["occlude", *map(str, (*where, *options))])


# The command.


@pytest.mark.parametrize("kind", WITHOUT_FILES)
def test_every_kind_is_a_command_with_report_and_picture(own, kind, capsys):
    assert run(own, "--kind", kind) == 0
    out = capsys.readouterr().out
    found = find_occlusion(own, kind)
    observed = np.isfinite(own.xyz).all(axis=-1) & own.present[..., None]
    assert found.hidden.any()
    assert not (found.hidden & ~observed).any()
    folder = own.folder / "occlusion" / kind
    assert (folder / "report.md").read_text() in out
    assert "| KneeLeft |" in out
    assert out.splitlines()[-1].startswith(f"{folder}: {found.manifest['hidden_frac']:.1%} of the")
    with Image.open(folder / "masks.png") as image:
        assert image.size[0] > 1000


def test_a_series_has_an_occlusion_for_each_severity(own, capsys):
    assert run(own, "--kind", "dropout", "--severity", "0.1,0.4", "--name", "lost") == 0
    shares = [
        find_occlusion(own, f"lost-{name}").manifest["hidden_frac"] for name in ("0.1", "0.4")
    ]
    assert shares == pytest.approx([0.1, 0.4], abs=0.02)
    assert "occlusion/lost-0.1: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "time", "--meshes", "."), "--meshes: the kind 'time' has no use for it"),
        (("--kind", "parts", "--severity", "9"), "--severity: n_parts: expected 1 to 4"),
        (("--kind", "random", "--severity", "0.1,1"), "--severity: fraction: expected 0 <= frac"),
        (("--set", "time.place=top"), "time.place: expected one of middle, anywhere, got 'top'"),
    ],
)
def test_what_cannot_be_is_one_line(own, options, message, capsys):
    assert run(own, *options) == 2
    assert message in capsys.readouterr().err
    assert not (own.folder / "occlusion").exists()


def test_numbers_that_are_none_are_refused(own, capsys):
    with pytest.raises(SystemExit):
        run(own, "--severity", "a,b")
    assert "--severity" in capsys.readouterr().err


# Found, or made.


def test_an_occlusion_called_like_a_kind_is_made_with_its_severity(own):
    made = find_or_make_occlusion(own, "time", Config(), severity=0.5)
    assert made.manifest["settings"]["fraction"] == 0.5
    assert find_or_make_occlusion(own, "time", Config(), severity=0.5).hidden.sum() > 0
    with pytest.raises(InputError, match=r"expected the severity 0\.2, got fraction 0\.5 in the"):
        find_or_make_occlusion(own, "time", Config(), severity=0.2)
    with pytest.raises(InputError, match="expected the seed 3, got 0 in the one that is there"):
        find_or_make_occlusion(own, "time", Config(), seed=3)


def test_random_occlusions_of_release_0_4_are_understood(own):
    occlude(own, "random", "random", 0, CellSettings(0.2), n_workers=1)
    path = own.folder / "occlusion" / "random" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["fraction"] = manifest.pop("settings")["fraction"]
    path.write_text(json.dumps(manifest))
    assert find_or_make_occlusion(own, "random", Config(), severity=0.2).name == "random"
    with pytest.raises(InputError, match=r"expected the severity 0\.3, got fraction 0\.2"):
        find_or_make_occlusion(own, "random", Config(), severity=0.3)


# Series.


def test_a_series_takes_everything_but_the_severity_from_its_base(own):
    base = occlude(own, "block", "time", 7, TimeSettings(place="anywhere"), n_workers=1)
    low, high = make_series(own, base, (0.2, 0.5), n_workers=1)
    assert (low.name, high.name) == ("block-0.2", "block-0.5")
    expected = occlude(own, "same", "time", 7, TimeSettings(0.5, place="anywhere"), n_workers=1)
    np.testing.assert_array_equal(high.hidden, expected.hidden)
    before = high.hidden.filename
    assert Path(make_series(own, base, (0.5,))[0].hidden.filename).samefile(before)


def test_a_member_of_another_series_is_not_taken(own):
    base = occlude(own, "block", "time", 7, TimeSettings(), n_workers=1)
    occlude(own, "block-0.5", "time", 8, TimeSettings(0.5), n_workers=1)
    with pytest.raises(
        InputError, match=r"block-0\.5: expected kind, seed and .*, seed 8; remove"
    ):
        make_series(own, base, (0.5,))


def test_a_series_of_what_no_kind_made_is_refused(own, occlusion):
    foreign = replace(occlusion, manifest={"kind": "fog", "seed": 0})
    with pytest.raises(InputError, match=r"expected one of the kinds realistic, .*, got 'fog'"):
        make_series(own, foreign, (0.5,))


# The report.


def test_gap_lengths_by_hand():
    missing = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    assert sorted(gap_lengths(missing).tolist()) == [1, 1, 2, 2]
    assert gap_lengths(missing[:, 1:2]).tolist() == []


def test_rates_by_hand(store, tmp_path):
    small = replace(store, names=("first", "second"))
    tally = Tally(small)
    n_joints = store.layout.n_joints
    observed = np.ones((4, 2, n_joints), dtype=bool)
    observed[:, 1] = False
    observed[0, 0, 0] = False  # which the sensor lost
    present = np.array([[True, False]] * 4)
    hidden = np.zeros_like(observed)
    hidden[1:3, 0, :2] = True
    tally.add(hidden, observed, present)
    assert tally.last_hidden_frac == 4 / (4 * n_joints - 1)
    tally.add(observed, observed, present)
    joints = store.layout.joints
    assert tally.by_joint()[joints[0]] == round(5 / 6, 4)
    assert tally.by_joint()[joints[1]] == round(6 / 8, 4)
    text = "\n".join(tally.lines("title"))
    assert f"| {joints[0]} | 83.3 | 87.5 |" in text
    assert f"| {joints[1]} | 75.0 | 75.0 |" in text
    assert "Nothing is left of 1 sequences: second." in text
    assert "Nothing is hidden in 0 of 2 sequences." in text
    assert f"{2 + n_joints} gaps of single joints" in text
    tally.write(tmp_path, "title")
    first, second = csv.DictReader((tmp_path / "sequences.csv").open())
    assert first["hidden_frac"] == f"{4 / (4 * n_joints - 1):.4f}"
    assert first["missing_frac"] == f"{5 / (4 * n_joints):.4f}"
    assert (second["name"], second["n_frames"], second["missing_frac"]) == (
        "second",
        "4",
        "1.0000",
    )
