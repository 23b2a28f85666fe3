import csv
import io
import json
import shutil
from dataclasses import replace
from textwrap import fill

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from iospstl_core.errors import InputError
from iospstl_core.imputation.fill import CellSource
from iospstl_core.skeleton import NTU_25
from iospstl_core.store import find_occlusion, open_store
from iospstl_train.baselines.low_rank import LowRankSettings
from iospstl_train.cli import main
from iospstl_train.cli_table import parse_settings
from iospstl_train.evaluation.imputer_curves import CurvePoint, draw_curves, hide_test_windows
from iospstl_train.evaluation.imputer_metrics import hidden_share, take
from iospstl_train.evaluation.imputer_options import TableOptions
from iospstl_train.evaluation.imputer_pictures import (
    choose_examples,
    choose_frame,
    draw_examples,
    vary_occlusion,
)
from iospstl_train.evaluation.imputer_report import describe_won_back, summarize, write_table
from iospstl_train.evaluation.imputer_rows import ROWS, BaselineSettings, Row, fit_through_impute
from iospstl_train.evaluation.imputer_table import ImputerTable, TableResults, probe_accuracy
from iospstl_train.pipeline import run_pipeline
from iospstl_train.pipeline_options import PipelineOptions
from iospstl_train.training import loop
from tests.train.tiny_training import SETTINGS, tiny_config

CONFIG = tiny_config("imputation.n_clusters=3", "imputation.n_neighbors=2")
QUICK = BaselineSettings(low_rank=LowRankSettings(rank=4, n_steps=2))
NEED_NOTHING = [name for name, row in ROWS.items() if row.section != "pypots"]


@pytest.fixture
def make(store, occlusion, tmp_path):
    """Make a table in a folder of its own; return the last results and what was said."""

    def run(**changes):
        options = {"store": store, "occlusion": "realistic", "out": tmp_path, "config": CONFIG}
        options |= {"rows": ("mean", "linear"), "settings": QUICK, **changes}
        said = []
        *_, results = ImputerTable(TableOptions(**options), said.append).run()
        write_table(tmp_path, results)
        return results, said

    return run


def computed(said):
    return [line.split(":")[0] for line in said if not line.startswith(("fitting", "pre-"))]


def test_errors_of_every_row_that_needs_no_other_package(make, windows, tmp_path):
    results, _ = make(rows=tuple(NEED_NOTHING), seeds=(1, 2))
    assert list(results.measures) == NEED_NOTHING
    for name, by_seed in results.measures.items():
        assert list(by_seed) == ([1, 2] if ROWS[name].varies else [None]), name
        for values in by_seed.values():
            assert 0 < values["error"] < 5000, name
            assert values["ms"] > 0
    random, mean = results.measures["random"], results.measures["mean"][None]
    assert random[1]["error"] != random[2]["error"]
    assert random[1]["error"] > mean["error"]
    n_hidden = take(windows, windows.is_test).hidden.sum()
    assert sum(mean["sources"].get(name, 0) for name in ("bank_mean", "joint_mean")) == n_hidden
    assert (tmp_path / "examples.png").is_file()


def test_same_error_as_in_the_report_of_the_pipeline(make, store, tmp_path, monkeypatch):
    """The folder of a pipeline's run is taken over: nothing is trained again."""
    seed_folder = tmp_path / "seed-1"
    report = run_pipeline(
        PipelineOptions(
            store, "realistic", seed_folder, CONFIG, rows=("none", "knn"), bundle_row="knn"
        )
    )
    none, knn = report.rows

    def refuse(*_):
        raise AssertionError("trains again")

    monkeypatch.setattr(loop.Loop, "_run_epoch", refuse)
    results, _ = make(rows=("knn",), accuracy_rows=("none", "knn"))
    assert results.measures["knn"][1]["error"] == pytest.approx(knn.error_mm)
    assert results.accuracy["none"][1]["accuracy"] == none.accuracy
    assert results.accuracy["knn"][1]["accuracy"] == knn.accuracy


def test_what_is_there_is_not_computed_again(make):
    first, said = make()
    assert computed(said) == ["errors mean", "errors linear", "examples, seed 1"]
    second, said = make()
    assert said == []
    assert second.measures == first.measures
    assert second.curves == first.curves
    _, said = make(rows=("mean", "last", "linear"))
    assert computed(said) == ["errors last"]
    _, said = make(again=("mean",))
    assert computed(said) == ["errors mean", "examples, seed 1"]


def test_a_changed_setting_changes_its_own_row_only(make):
    _, said = make(rows=("mean", "low-rank"))
    assert computed(said)[:2] == ["errors mean", "errors low-rank"]
    _, said = make(
        rows=("mean", "low-rank"), settings=BaselineSettings(LowRankSettings(rank=3, n_steps=2))
    )
    assert computed(said) == ["errors low-rank"]


def test_interrupted_table_goes_on(make, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(ROWS, "linear", Row(stop, "stops"))
        with pytest.raises(KeyboardInterrupt):
            make()
    _, said = make()
    assert computed(said) == ["errors linear", "examples, seed 1"]


def test_another_configuration_is_refused(make):
    make()
    with pytest.raises(InputError, match="results of another config; repeat"):
        make(config=tiny_config("imputation.n_neighbors=4"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ("mean", "men")}, "rows: expected some of mean, .*, got men"),
        ({"rows": ()}, "got none"),
        ({"accuracy_rows": ("knn",)}, "accuracy rows: .* clean, none, mean, linear, got knn"),
        (
            {"severities": (0.5, 1.0)},
            "--severity: hidden_frac: expected a share between 0 and 1, got 1$",
        ),
        ({"occlusion": "fog"}, "occlusion: .* got 'fog'"),
    ],
)
def test_options_that_cannot_be_met(make, changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_a_row_that_cannot_run_here_is_found_first(make, monkeypatch):
    def check():
        raise InputError("rows: not here")

    monkeypatch.setitem(ROWS, "saits", replace(ROWS["saits"], check=check))
    with pytest.raises(InputError, match="not here"):
        make(rows=("mean", "saits"))


def test_a_new_row_is_one_entry(make, monkeypatch, tmp_path):
    """With the errors that it expects, the table also says how good the expectation is."""

    def fit(request):
        linear = fit_through_impute("linear", request)

        def fill(windows, assigned):
            filled = linear.fill(windows, assigned)
            seen = filled.source == CellSource.OBSERVED
            return replace(filled, error_m=np.where(seen, 0, 0.1).astype(np.float32))

        return replace(linear, fill=fill)

    monkeypatch.setitem(ROWS, "ours", Row(fit, "ours"))
    results, _ = make(rows=("linear", "ours"))
    ours, linear = results.measures["ours"][None], results.measures["linear"][None]
    assert ours["error"] == linear["error"]
    assert ours["expected_ratio"] == pytest.approx(100 / linear["error"], rel=1e-4)
    text = (tmp_path / "imputers.md").read_text()
    assert "## Expected errors" in text
    assert "- **ours**: ours." in text


def test_accuracy_of_rows_that_are_asked_for(make, tmp_path):
    results, said = make(rows=("mean", "linear"), accuracy_rows=("clean", "none", "linear"))
    assert {line.split(",")[0] for line in said if "pre-training" in line} == {
        "pre-training stage1-clean",
        "pre-training stage1-none",
        "pre-training stage2-linear",
    }
    assert list(results.accuracy) == ["clean", "none", "linear"]
    assert all(0 <= results.accuracy[name][1]["knn_accuracy"] <= 1 for name in results.accuracy)
    rows = {row["name"]: row["values"] for row in summarize(results)}
    assert list(rows) == ["clean", "none", "mean", "linear"]
    assert rows["mean"]["accuracy"] is None
    assert rows["clean"]["error"] is None
    lines = (tmp_path / "imputers.md").read_text().splitlines()
    assert "| mean | - | - |" in lines


def test_again_also_trains_again(make, tmp_path):
    make(accuracy_rows=("none", "linear"))
    marker = tmp_path / "seed-1" / "stage2-linear" / "old"
    marker.touch()
    _, said = make(accuracy_rows=("none", "linear"), again=("linear",))
    assert "accuracy none, seed 1" not in computed(said)
    assert "accuracy linear, seed 1" in computed(said)
    assert not marker.exists()


def test_random_occlusion_is_hidden_again_at_other_rates(make, store, tmp_path):
    shutil.copytree(store.folder, tmp_path / "store")
    copy = open_store(tmp_path / "store")
    results, said = make(store=copy, occlusion="random", severity=0.3, severities=(0.2, 0.4))
    assert computed(said)[2:6] == [
        *("severity-0.2 mean", "severity-0.2 linear"),
        *("severity-0.4 mean", "severity-0.4 linear"),
    ]
    (low, low_errors), (high, high_errors) = results.curves["linear"].items()
    assert (low, high) == pytest.approx((0.2, 0.4), abs=0.03)
    assert low_errors[None] < high_errors[None]
    assert find_occlusion(copy, "random-0.4").manifest["settings"] == {"fraction": 0.4}
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 500


def test_any_occlusion_is_put_on_the_test_windows_alone(store, occlusion, windows):
    made = hide_test_windows(store, None, occlusion)
    expected = take(windows, windows.is_test)
    np.testing.assert_array_equal(made.xyz, expected.xyz)
    assert made.is_test.all()
    assert made.names == expected.names
    np.testing.assert_array_equal(made.label, expected.label)


# What is written.


def make_results(**accuracy):
    by_row = {name: dict(enumerate(values, 1)) for name, values in accuracy.items()}
    measures = {
        "mean": {None: {"error": 200.0}},
        "knn": {1: {"error": 100.0}, 2: {"error": 120.0}},
    }
    made_by = {"dataset": "d", "split": "s", "occlusion": "o"}
    return TableResults(made_by, "realistic", 9, measures, {"knn": {0.3: {1: 90.0}}}, by_row)


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    lines = write_table(tmp_path, make_results())
    knn = next(line for line in lines if line.startswith("| knn |"))
    assert knn.startswith("| knn | 110.0 ± 14.1 | - |")
    assert next(line for line in lines if line.startswith("| mean |")).startswith(
        "| mean | 200.0 | - |"
    )
    data = json.loads((tmp_path / "imputers.json").read_text())
    assert data["rows"][1]["values"]["error"] == {
        "mean": 110.0,
        "std": pytest.approx(200**0.5),
        "by_seed": [100.0, 120.0],
    }
    assert data["curves"] == {"knn": [{"hidden_frac": 0.3, "errors_mm": [90.0]}]}
    mean, knn = csv.DictReader(io.StringIO((tmp_path / "imputers.csv").read_text()))
    assert (mean["row"], mean["all (mm)"], mean["all (mm) std"]) == ("mean", "200.0", "")
    assert float(knn["all (mm)"]) == 110


def test_won_back_by_hand():
    def seeds(*shares):
        return [{"accuracy": share} for share in shares]

    results = make_results(clean=seeds(0.8, 0.9), none=seeds(0.6, 0.7), knn=seeds(0.65, 0.75))
    (line,) = describe_won_back(results.accuracy)
    assert (
        "knn: of the 20.0 points that occlusion costs (clean minus none), won back: 25 %" in line
    )
    assert "2 seeds" in line
    half = make_results(clean=seeds(0.8), none=seeds(0.6, 0.7), knn=seeds(0.65, 0.75))
    assert "1 seed)" in describe_won_back(half.accuracy)[0]
    assert describe_won_back(make_results(knn=seeds(0.5)).accuracy) == []
    free = make_results(clean=seeds(0.5), none=seeds(0.6), knn=seeds(0.7))
    assert "nothing to win back" in describe_won_back(free.accuracy)[0]


def test_probe_asks_the_nearest_in_direction(windows):
    n = len(windows.label)
    angle = 2 * np.pi * windows.label / len(windows.class_names)
    length = np.where(windows.is_test, 0.01, 1 + windows.label)  # the first class is nearest
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    assert probe_accuracy(features.astype(np.float32), windows) == 1
    assert probe_accuracy(np.ones((n, 2), dtype=np.float32), windows) < 0.5


def test_examples_are_spread_over_the_hidden_shares(windows, tmp_path):
    rows = choose_examples(windows, 3)
    share = hidden_share(windows)[rows]
    assert windows.is_test[rows].all()
    assert (np.diff(share) >= 0).all()
    assert share[0] < share[-1]
    examples = take(windows, rows)
    sizes = []
    for names in (("linear",), ("linear", "knn")):
        draw_examples(tmp_path / "e.png", examples, dict.fromkeys(names, examples.truth))
        with Image.open(tmp_path / "e.png") as image:
            sizes.append(image.size)
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] == sizes[1][1]


def test_examples_are_described(windows, tmp_path, monkeypatch):
    """Class, kind of occlusion if one is given, hidden share and frame, a line each."""
    labels = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda _, text, **__: labels.append(text))
    example = take(windows, choose_examples(windows, 1))
    name = fill(example.class_names[example.label[0]], 20)
    share = f"{hidden_share(example)[0]:.0%} hidden"
    frame = f"frame {choose_frame(example, 0) + 1} of 50"
    for kinds in (None, ["legs"]):
        draw_examples(tmp_path / "e.png", example, {"linear": example.truth}, kinds)
    assert labels == ["\n".join((name, *kind, share, frame)) for kind in ((), ("legs",))]


def test_the_frame_with_most_hidden_joints_is_shown(windows):
    example = take(windows, windows.is_test)
    example.xyz[0] = example.truth[0]
    example.xyz[0, 5, 0, :2] = np.nan
    example.xyz[0, 7] = np.nan
    assert choose_frame(example, 0) == 7
    example.xyz[0, 8:10] = np.nan
    assert choose_frame(example, 0) == 8


def test_examples_are_occluded_in_different_ways(windows):
    examples = take(windows, choose_examples(windows, 5))
    varied, kinds = vary_occlusion(examples)
    assert kinds == ["as recorded", "random cells", "left arm", "legs", "a third of the time"]
    np.testing.assert_array_equal(varied.xyz[0], examples.xyz[0])
    known = ~np.isnan(examples.truth[..., 0])
    np.testing.assert_array_equal(varied.hidden[2:], known[2:] & np.isnan(varied.xyz[2:, ..., 0]))
    arm, legs, third = varied.hidden[2].any((0, 1)), varied.hidden[3].any((0, 1)), varied.hidden[4]
    assert arm[NTU_25.index("HandLeft")]
    assert not arm[NTU_25.index("HandRight")]
    assert legs[[NTU_25.index(name) for name in ("KneeLeft", "FootRight")]].all()
    assert not legs[NTU_25.index("Head")]
    assert third[20].any()
    assert not third[[0, 15, 33, 49]].any()
    assert 0.35 < varied.hidden[1].sum() / known[1].sum() < 0.45


def test_more_curves_than_colors_can_be_drawn(tmp_path):
    points = [CurvePoint(0.1, [10.0, 12.0]), CurvePoint(0.5, [30.0, 31.0])]
    draw_curves(tmp_path / "c.png", {f"row{index}": points for index in range(12)}, "$x^{$")
    assert (tmp_path / "c.png").is_file()


# The command.


def test_command_without_accuracy(store, occlusion, tmp_path, capsys):
    arguments = ["table", "imputers", "--dataset", "synthetic", "--root", str(store.folder.parent)]
    arguments += ["--rows", "mean", "last", "--accuracy-rows", "--seeds", "1"]
    arguments += [text for setting in SETTINGS for text in ("--set", setting)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "errors last: error" in printed
    assert "| last |" in printed
    assert not (tmp_path / "seed-1").exists()


def test_settings_of_baselines():
    settings = parse_settings(["pypots.epochs=7", "low_rank.rank=9"])
    assert (settings.pypots.epochs, settings.low_rank.rank) == (7, 9)
    assert parse_settings([]) == BaselineSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("low_rank.rang=9", "did you mean 'low_rank.rank'"),
        ("low_rank.rank", "expected SECTION.KEY=VALUE"),
        ("low_rank.rank=0", "greater than or equal to 1, got '0'"),
    ],
)
def test_wrong_settings_of_baselines(text, message):
    with pytest.raises(InputError, match=message):
        parse_settings([text])
