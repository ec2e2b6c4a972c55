from __future__ import annotations

import math
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.tables.files import read_csv, write_csv, write_table

RECORDS = [
    {"id": "1", "noise": "cafe", "duration": 2.0, "si_sdr": 8.0, "si_sdr_noisy": 2.0, "loss": 0.1},
    {"id": "2", "noise": "bus", "duration": 3.0, "si_sdr": 6.0, "si_sdr_noisy": 4.0, "loss": 0.3},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two experiments on the same signals, one on two datasets, and a table; the current folder is above."""
    monkeypatch.chdir(tmp_path)
    write_csv("exp/small/metrics/test.csv", RECORDS)
    better = [{**record, "si_sdr": record["si_sdr"] + 1} for record in RECORDS]
    write_csv("exp/large/metrics/test.csv", better)
    write_csv("exp/two/metrics/test_seen.csv", RECORDS)
    write_csv("exp/two/metrics/test_unseen.csv", RECORDS[:1])
    failed = {"id": "3", "si_sdr": math.nan, "si_sdr__error": "silent_estimate"}
    write_table("scores.jsonl", [*RECORDS, failed])
    return tmp_path


def table(capsys: pytest.CaptureFixture, *arguments: str) -> list[str]:
    assert main(["table", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_experiments_stand_below_the_noisy_signals(capsys: pytest.CaptureFixture) -> None:
    assert table(capsys, "exp/small", "exp/large") == [
        "test: mean ± standard deviation over n signals",
        "",
        "system  n  si_sdr (dB) ↑             loss",
        "─────────────────────────────────────────",
        "noisy   2  3.000 ± 1.414",
        "small   2  7.000 ± 1.414  0.2000 ± 0.1414",
        "large   2  8.000 ± 1.414  0.2000 ± 0.1414",
    ]


def test_failures_of_a_table_are_told(capsys: pytest.CaptureFixture) -> None:
    lines = table(capsys, "scores.jsonl", "--no-std", "--metric", "si_sdr")
    assert lines[0] == "scores: mean over n signals"
    assert lines[4:] == [
        "noisy   3         3.000†",
        "scores  3         7.000†",
        "",
        "† mean over the other signals. Failed:",
        "  noisy, no value (1 of 3): si_sdr",
        "  scores, silent_estimate (1 of 3): si_sdr",
    ]


def test_best_is_bold_by_the_direction_of_the_metric(capsys: pytest.CaptureFixture) -> None:
    lines = table(capsys, "exp/small", "exp/large", "--format", "markdown", "--no-std")
    assert lines[-1] == "| large | 2 | **8.000** | 0.2000 |"
    latex = table(capsys, "exp/small", "exp/large", "--format", "latex", "--metric", "si_sdr")
    assert r"large & 2 & \textbf{8.000} $\pm$ 1.414 \\" in latex


def test_groups_and_columns_are_those_asked_for(capsys: pytest.CaptureFixture) -> None:
    lines = table(
        capsys, "exp/small", "--by", "noise", "--metric", "loss,si_sdr", "--format", "csv"
    )
    assert lines[0].startswith('"noise","system","n","loss","loss_std","loss_n","loss_failed","si')
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ['"bus"', '"noisy"', "1", ""],
        ['"bus"', '"small"', "1", "0.3"],
        ['"cafe"', '"noisy"', "1", ""],
        ['"cafe"', '"small"', "1", "0.1"],
        ['"all"', '"noisy"', "2", ""],
        ['"all"', '"small"', "2", "0.2"],
    ]


def test_datasets_of_one_experiment_stand_apart(capsys: pytest.CaptureFixture) -> None:
    lines = table(capsys, "exp/two", "--metric", "si_sdr", "--no-std")
    assert [line.split() for line in lines[4:]] == [
        ["seen", "noisy", "2", "3.000"],
        ["seen", "two", "2", "7.000"],
        ["unseen", "noisy", "1", "2.000"],
        ["unseen", "two", "1", "8.000"],
    ]


def test_signals_of_one_source_come_as_they_are(capsys: pytest.CaptureFixture) -> None:
    lines = table(capsys, "exp/small", "--signals")
    assert lines == Path("exp/small/metrics/test.csv").read_text().splitlines()


def test_signals_of_several_sources_say_whose_they_are(capsys: pytest.CaptureFixture) -> None:
    lines = table(capsys, "exp/small", "exp/two", "--signals")
    Path("all.csv").write_text("\n".join(lines) + "\n")
    records = read_csv("all.csv")
    assert [(r["system"], r["dataset"], r["id"]) for r in records] == [
        ("small", None, "1"),
        ("small", None, "2"),
        ("two", "seen", "1"),
        ("two", "seen", "2"),
        ("two", "unseen", "1"),
    ]
    lines = table(capsys, "scores.jsonl", "--signals", "--format", "jsonl")
    assert lines == Path("scores.jsonl").read_text().splitlines()


def test_numbers_of_a_trained_recipe_are_those_of_its_table(
    trained: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(trained.parent.parent)
    assert main(["test", str(trained), *quick]) == 0
    capsys.readouterr()
    records = read_csv("exp/baseline/metrics/test.csv")
    mean = sum(record["si_sdr"] for record in records) / len(records)
    _header, noisy, enhanced = table(
        capsys, "exp/baseline", "--format", "csv", "--metric", "si_sdr"
    )
    assert noisy.startswith('"noisy",4,')
    assert enhanced.startswith('"baseline",4,')
    assert float(enhanced.split(",")[2]) == pytest.approx(mean, rel=1e-12)
    assert main(["table", "exp/baseline", "--stage", "valid"]) == 0
    assert capsys.readouterr().out.startswith("valid: mean")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["exp/none"], "exp/none does not exist"),
        (["exp/small", "--stage", "valid"], "exp/small has no valid table"),
        (["exp/small", "--by", "nois"], "no column 'nois'; did you mean 'noise'"),
        (["exp/small", "--metric", "si_sd"], "no metric 'si_sd'; did you mean 'si_sdr'"),
        (["exp/small", "--signals", "--format", "latex"], "--signals prints csv or jsonl, not"),
        (["exp/small", "exp/small"], "exp/small is given twice"),
        (["empty.csv"], "empty.csv has no signals"),
        (["notes.txt"], "a table is called .csv or .jsonl"),
    ],
)
def test_wrong_requests_are_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture
) -> None:
    write_csv("empty.csv", [])
    Path("notes.txt").touch()
    assert main(["table", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert problem in captured.err
