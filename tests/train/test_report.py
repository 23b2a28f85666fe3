import dataclasses
import json
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from iospstl_train.evaluation.report import (
    Report,
    ReportRow,
    describe_findings,
    report_to_dict,
    write_report,
)


def row(name: str, error_mm: float | None, accuracy: float, **counts: int) -> ReportRow:
    return ReportRow(name, error_mm, accuracy, counts, seconds=12.34)


CLEAN = row("clean", None, 0.90, observed=100)
NONE = row("none", None, 0.80, observed=60, unfilled=40)
RANDOM = row("random", 900.0, 0.60, observed=60, random=40)
MEAN = row("mean", 150.0, 0.81, observed=60, bank_mean=30, joint_mean=10)
LINEAR = row("linear", 100.0, 0.84, observed=60, linear=30, bank_mean=10)
KNN = row("knn", 88.0, 0.86, observed=60, absent=7, unfilled=5, knn=39, cluster_mean=1)
ROWS = (CLEAN, NONE, RANDOM, MEAN, LINEAR, KNN)

REPORT = Report(
    dataset="nw-ucla",
    split="xview",
    split_expression="train: view in 1,2; test: view in 3",
    n_train=990,
    n_test=494,
    occlusion="sofa",
    occlusion_kind="realistic",
    hidden_frac=0.3125,
    rows=ROWS,
    seed=7,
    settings=MappingProxyType({"training": {"epochs": 3, "stream": "joint"}, "names": ["Größe"]}),
    versions={"torch": "2.9"},
    stage_seconds={"prepare | occlude": 1.5},
    command="iospstl-train demo --seed 7",
    pictures=("pictures/pick up-1.png", "confusion.png"),
    notes=("Only one cluster.",),
)


def test_findings_of_a_table_where_knn_wins():
    assert describe_findings(ROWS) == [
        "knn has the lowest error on hidden joints: 88.0 mm.",
        "In accuracy, knn beats none: 86.0 % against 80.0 %, 6.0 points more.",
        "In accuracy, knn beats linear: 86.0 % against 84.0 %, 2.0 points more.",
        "In accuracy, knn beats mean: 86.0 % against 81.0 %, 5.0 points more.",
        "In error, knn beats linear: 88.0 mm against 100.0 mm, 12 % less.",
        "In error, knn beats mean: 88.0 mm against 150.0 mm, 41 % less.",
        "Occlusion costs 10.0 points of accuracy (clean 90.0 %, none 80.0 %); the best, knn, wins "
        "back 6.0, 60 %.",
    ]


def test_findings_say_so_when_knn_loses():
    worse = row("knn", 250.0, 0.79, knn=40)
    findings = describe_findings((CLEAN, NONE, LINEAR, worse))
    assert findings == [
        "linear has the lowest error on hidden joints: 100.0 mm.",
        "In accuracy, knn does NOT beat none: 79.0 % against 80.0 %, 1.0 points less.",
        "In accuracy, knn does NOT beat linear: 79.0 % against 84.0 %, 5.0 points less.",
        "In error, knn does NOT beat linear: 250.0 mm against 100.0 mm, 150 % more.",
        "Occlusion costs 10.0 points of accuracy (clean 90.0 %, none 80.0 %); the best, linear, "
        "wins back 4.0, 40 %.",
    ]


RESTORE = row("restore", 80.0, 0.85, observed=60, restored=38, bank_mean=2)


def test_restore_is_compared_with_everything_else():
    findings = describe_findings((*ROWS, RESTORE))
    assert findings[0] == "restore has the lowest error on hidden joints: 80.0 mm."
    assert findings[6:13] == [
        "In accuracy, restore beats none: 85.0 % against 80.0 %, 5.0 points more.",
        "In accuracy, restore beats linear: 85.0 % against 84.0 %, 1.0 points more.",
        "In accuracy, restore beats mean: 85.0 % against 81.0 %, 4.0 points more.",
        "In accuracy, restore does NOT beat knn: 85.0 % against 86.0 %, 1.0 points less.",
        "In error, restore beats linear: 80.0 mm against 100.0 mm, 20 % less.",
        "In error, restore beats mean: 80.0 mm against 150.0 mm, 47 % less.",
        "In error, restore beats knn: 80.0 mm against 88.0 mm, 9.1 % less.",
    ]
    assert findings[1:6] == describe_findings(ROWS)[1:6]
    assert len(findings) == 14
    assert RESTORE.fallback_frac == pytest.approx(0.05)


def test_without_knn_restore_is_compared_with_the_others():
    findings = describe_findings((NONE, LINEAR, RESTORE))
    assert [line.split()[2] for line in findings[1:]] == ["restore"] * 3
    assert not any("knn" in line for line in findings)


def test_what_rounds_to_the_same_figure_is_a_tie():
    same = row("knn", 100.01, 0.84002, knn=40)
    assert describe_findings((CLEAN, NONE, LINEAR, same)) == [
        "linear and knn share the lowest error on hidden joints: 100.0 mm.",
        "In accuracy, knn beats none: 84.0 % against 80.0 %, 4.0 points more.",
        "In accuracy, knn does NOT beat linear: both reach 84.0 %.",
        "In error, knn does NOT beat linear: both are off by 100.0 mm.",
        "Occlusion costs 10.0 points of accuracy (clean 90.0 %, none 80.0 %); the best, linear "
        "and knn, wins back 4.0, 40 %.",
    ]


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ((CLEAN, NONE, RANDOM), "; no imputer wins any of it back."),
        ((CLEAN, NONE), "(clean 90.0 %, none 80.0 %)."),
        ((CLEAN, row("none", None, 0.9)), "(clean 90.0 %, none 90.0 %): there is nothing to win "),
        ((row("clean", None, 0.7), NONE, KNN), "Occlusion costs no accuracy here (clean 70.0 %"),
    ],
)
def test_nothing_won_back(rows: tuple[ReportRow, ...], last: str):
    assert last in describe_findings(rows)[-1]


def test_findings_speak_only_of_rows_that_are_there():
    assert describe_findings(()) == []
    assert describe_findings((NONE,)) == []
    assert len(describe_findings((KNN,))) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (99.8, 100.0, "0.20 %"),
        (90.04, 100.0, "10 %"),
        (1100.0, 100.0, "1000 %"),
        (0.0, 9.0, "100"),
    ],
)
def test_relative_errors_have_two_significant_digits(ours: float, theirs: float, said: str):
    findings = describe_findings((row("knn", ours, 0.5), row("linear", theirs, 0.5)))
    assert f"{theirs:.1f} mm, {said}" in findings[-1]


def test_fallback_is_the_share_of_what_was_filled():
    assert [r.fallback_frac for r in ROWS] == pytest.approx([None, None, 0, 0.25, 0.25, 0.025])
    assert row("another", 1.0, 0.5, knn=3).fallback_frac is None


@pytest.mark.parametrize(
    ("error_mm", "accuracy", "message"),
    [
        (10.0, 86.0, "knn: accuracy: expected a share from 0 to 1, got 86"),
        (10.0, float("nan"), "accuracy"),
        (float("nan"), 0.5, "error_mm: expected a distance or None, got nan"),
        (-1.0, 0.5, "error_mm"),
    ],
)
def test_row_refuses_what_is_no_result(error_mm: float, accuracy: float, message: str):
    with pytest.raises(ValueError, match=message):
        row("knn", error_mm, accuracy)


def test_report_shows_everything(tmp_path: Path):
    path = tmp_path / "run" / "report.md"
    write_report(path, REPORT)
    text = path.read_text(encoding="utf-8")
    for line in (
        "| clean | - | 90.0 | - |",
        "| none | - | 80.0 | - |",
        "| random | 900.0 | 60.0 | 0.0 |",
        "| mean | 150.0 | 81.0 | 25.0 |",
        "| linear | 100.0 | 84.0 | 25.0 |",
        "| knn | 88.0 | 86.0 | 2.5 |",
        "| prepare \\| occlude | 1.5 |",
        "| row knn: training, evaluation | 12.3 |",
        "| torch | 2.9 |",
        "- Only one cluster.",
        "![pick up 1](pictures/pick%20up-1.png)",
        "![confusion](confusion.png)",
        "iospstl-train demo --seed 7",
        "990 training and 494 test sequences",
        "hides 31.2 % of the joints",
        "is up to 2.2 points",
        *(f"- {finding}" for finding in describe_findings(ROWS)),
    ):
        assert line in text
    assert all(f"- **{r.name}**: " in text for r in ROWS)
    write_report(path, dataclasses.replace(REPORT, rows=(*ROWS, RESTORE)))
    assert "| restore | 80.0 | 85.0 | 5.0 |" in path.read_text(encoding="utf-8")
    assert "- **restore**: a network" in path.read_text(encoding="utf-8")
    settings = text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(settings) == dict(REPORT.settings)


def test_parts_without_content_are_left_out(tmp_path: Path):
    bare = dataclasses.replace(REPORT, pictures=(), notes=())
    write_report(tmp_path / "report.md", bare)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Pictures" not in text
    assert "## Notes" not in text


def test_json_holds_the_same_facts(tmp_path: Path):
    write_report(tmp_path / "report.md", REPORT)
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data == report_to_dict(REPORT)
    assert data.pop("findings") == describe_findings(ROWS)
    rows = data.pop("rows")
    assert [r.pop("fallback_frac") for r in rows] == [r.fallback_frac for r in ROWS]
    pictures, notes = tuple(data.pop("pictures")), tuple(data.pop("notes"))
    again = Report(
        **data, rows=tuple(ReportRow(**r) for r in rows), pictures=pictures, notes=notes
    )
    assert again == dataclasses.replace(REPORT, settings=dict(REPORT.settings))


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path):
    write_report(tmp_path / "report.md", REPORT)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = dataclasses.replace(REPORT, seed=8, settings={"x": {"y": 1j}})
    with pytest.raises(TypeError):
        write_report(tmp_path / "report.md", broken)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


LABELS = {
    "temperature": 1.25,
    "threshold": 0.05,
    "held_out": {"ece_before": 0.07, "ece": 0.03},
    "test": {
        "is_fold": False,
        "accuracy": 0.66,
        "accuracy_whole": 0.72,
        "accuracy_parts": 0.63,
        "accuracy_live": 0.5,
        "ece_before": 0.06,
        "ece": 0.05,
        "coverage": 0.98,
        "accuracy_covered": 0.67,
    },
    "unknown": {"standing still": {"auroc": 0.95, "auroc_not_fitted": 0.51, "rejected": 0.22}},
    "auroc_held_out_classes": [0.6, 0.7],
}


def test_labels_of_the_bundle_are_in_the_report(tmp_path):
    write_report(tmp_path / "report.md", dataclasses.replace(REPORT, labels=LABELS))
    text = (tmp_path / "report.md").read_text()
    section = text.split("## Labels of the bundle")[1].split("## ")[0]
    for words in (
        "fitted on whole and partial actions",
        "Accuracy on the test set: 72.0% on whole actions, 63.0% on parts of them, 50.0% on the "
        "robot's windows",
        "Temperature 1.25: calibration error (ECE) from 7.0% to 3.0% on held-out training windows",
        "At the threshold 0.05, 2.0% of the actions of the test set are called unknown",
        "AUROC 0.65 (0.60 to 0.70, 2 groups of classes",
        "standing still: AUROC 0.95 (0.51 when not fitted on it), 22.0% called unknown.",
    ):
        assert words in section
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == LABELS


def test_a_report_without_a_bundle_has_no_labels(tmp_path):
    write_report(tmp_path / "report.md", REPORT)
    assert "Labels of the bundle" not in (tmp_path / "report.md").read_text()
