from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.tables.files import read_csv, write_csv
from audiozen.tables.jsonl import write_jsonl

BASELINE = "exp/baseline/metrics/test.csv"


@pytest.fixture(scope="module")
def tested(trained: Path) -> Path:
    """The folder of a real run whose test signals are many enough for a verdict."""
    settings = ["trainer.args.max_steps=2", "trainer.args.num_threads=1"]
    assert main(["test", str(trained), *settings, "test_dataset.0.args.num_signals=10"]) == 0
    return Path("exp/baseline")


def changed(path: str | Path, **changes: object) -> Path:
    """A table as that of the run, with columns of functions of its records."""
    records = [
        {**record, **{name: change(record) for name, change in changes.items()}}
        for record in read_csv(BASELINE)
    ]
    write_csv(path, records)
    return Path(path)


def test_run_and_table_are_compared(tested: Path, capsys: pytest.CaptureFixture) -> None:
    changed("better.csv", si_sdr=lambda record: record["si_sdr"] + 1)
    assert main(["compare", str(tested), "better.csv"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith("test: A = baseline, B = better\n")
    row = output.out.splitlines()[4]
    assert row.split()[:2] == ["si_sdr", "10"]
    assert row.endswith("10/0/0  B better")
    assert main(["compare", "better.csv", str(tested)]) == 0
    assert capsys.readouterr().out.splitlines()[4].endswith("0/0/10  A better")


def test_table_against_itself_is_identical(tested: Path, capsys: pytest.CaptureFixture) -> None:
    write_jsonl("same.jsonl", read_csv(BASELINE)[::-1])
    assert main(["compare", str(tested), "same.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines()[4].endswith("0/10/0  identical")


def test_noise_alone_is_no_difference(tested: Path, capsys: pytest.CaptureFixture) -> None:
    signs = iter([1, -1] * 5)
    changed("noise.csv", si_sdr=lambda record: record["si_sdr"] + next(signs) * 0.3)
    assert main(["compare", str(tested), "noise.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[4].endswith("5/0/5  no difference shown")


def test_validation_of_the_best_checkpoints_is_compared(
    tested: Path, capsys: pytest.CaptureFixture
) -> None:
    assert (
        main(
            [
                "compare",
                "--stage",
                "valid",
                str(tested),
                "exp/baseline/metrics/valid_epoch_0001.csv",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.splitlines()[4].endswith("0/4/0  identical")


def test_other_signals_are_a_wrong_request_that_lists_them(
    tested: Path, capsys: pytest.CaptureFixture
) -> None:
    write_csv("fewer.csv", [*read_csv(BASELINE)[2:], {"id": "stranger", "si_sdr": 1.0}])
    assert main(["compare", str(tested), "fewer.csv"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "error: the signals differ; 8 are in both. Compare what both have with --common",
        "  2 only in baseline: tone_20000, tone_20001",
        "  1 only in fewer: stranger",
    ]
    assert main(["compare", str(tested), "fewer.csv", "--common"]) == 0
    assert "2 signals that only baseline has are left out" in capsys.readouterr().out


def test_other_input_is_told_below_the_table_and_beside_files(
    tested: Path, capsys: pytest.CaptureFixture
) -> None:
    changed("other.csv", si_sdr_noisy=lambda record: record["si_sdr_noisy"] + 1)
    assert main(["compare", str(tested), "other.csv"]) == 0
    warning = "warning: other against baseline, test: si_sdr_noisy differs for 10 of 10 signals"
    output = capsys.readouterr()
    assert warning in output.out
    assert output.err == ""
    assert main(["compare", str(tested), "other.csv", "--format", "jsonl"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith(warning)
    assert [json.loads(line)["metric"] for line in output.out.splitlines()] == ["si_sdr"]


def test_groups_metrics_clusters_pairs_and_numbers_are_as_asked_for(
    tested: Path, capsys: pytest.CaptureFixture
) -> None:
    def noise(record: dict[str, str]) -> str:
        return "cafe" if record["id"] < "tone_20004" else "car"

    for name, gain in (("a", 0), ("b", 1), ("c", 2)):
        changed(
            f"{name}.csv",
            noise=noise,
            take=lambda record: record["id"],
            stoi=lambda record: 0.5,
            si_sdr=lambda record, gain=gain: record["si_sdr"] + gain,
        )
    options = ["--by", "noise", "--metric", "si_sdr", "--cluster", "take", "--all-pairs"]
    numbers = ["--confidence", "0.9", "--num-resamples", "2000", "--seed", "7"]
    arguments = ["compare", "a.csv", "b.csv", "c.csv", *options, *numbers]
    assert main([*arguments, "--format", "csv"]) == 0
    Path("out.csv").write_text(capsys.readouterr().out)
    rows = read_csv("out.csv")
    assert [(row["a"], row["b"], row["group"], row["num"]) for row in rows] == [
        (*pair, *group)
        for pair in ("ab", "ac", "bc")
        for group in (("all", 10), ("cafe", 4), ("car", 6))
    ]
    assert {row["verdict"] for row in rows} == {"B better", "too few signals"}
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "90 % interval" in text
    assert "by take" in text
    assert "2000 resamples, seed 7" in text
    for form in ("markdown", "latex"):
        assert main([*arguments, "--format", form]) == 0
        assert capsys.readouterr().out.count("si") >= 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["exp/baseline"], "given twice"),
        ([], "two systems or more"),
        (["b.csv", "--confidence", "2"], "confidence is 2.0; expected"),
        (["b.csv", "--by", "noises"], "did you mean 'noise'"),
        (["b.csv", "--metric", "pesq"], "no metric in both 'pesq'; there are si_sdr, si_sdr_noisy"),
    ],
)
def test_wrong_requests_exit_with_2(
    tested: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    changed("b.csv", noise=lambda record: "cafe")
    assert main(["compare", str(tested), *arguments]) == 2
    assert message in capsys.readouterr().err
