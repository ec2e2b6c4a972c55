from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
import typer

from audiozen.cli.app import app
from audiozen.cli.main import main
from audiozen.cli.score_signals import WITH_REFERENCE
from audiozen.data.audio import read_audio, resample, write_audio
from audiozen.metrics import METRICS, si_sdr, stoi
from audiozen.tables.files import read_table, write_csv

SAMPLE_RATE = 16000
LENGTHS = (12000, 16000, 14001)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three signals in clean, noisy and enhanced; the current folder is above them."""
    generator = torch.Generator().manual_seed(0)
    for number, length in enumerate(LENGTHS):
        clean = 0.1 * torch.randn(length, generator=generator)
        noise = 0.05 * (1 + number) * torch.randn(length, generator=generator)
        write_audio(tmp_path / f"clean/{number}.wav", clean, SAMPLE_RATE)
        write_audio(tmp_path / f"noisy/{number}.flac", clean + noise, SAMPLE_RATE)
        write_audio(tmp_path / f"enhanced/{number}.wav", clean + 0.5 * noise, SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


BOTH = ("--reference", "clean", "--estimate", "enhanced", "--num-workers", "0")
ALL = (*BOTH, "--noisy", "noisy")


def scores(*arguments: str, code: int = 0, name: str = "scores.csv") -> list[dict]:
    """The records that the command writes."""
    assert main(["score", *arguments, "--output", name]) == code
    return read_table(name)


def waveforms(number: int) -> tuple[torch.Tensor, ...]:
    ends = {"clean": "wav", "noisy": "flac", "enhanced": "wav"}
    return tuple(read_audio(f"{name}/{number}.{end}") for name, end in ends.items())


def failing(record: dict) -> dict[str, str]:
    """Reasons of the metrics that failed, each of which must be NaN."""
    reasons = {name: text for name, text in record.items() if name.endswith("__error") and text}
    assert all(math.isnan(record[name.removesuffix("__error")]) for name in reasons)
    return {name.removesuffix("__error"): reason for name, reason in reasons.items()}


def test_records_have_what_the_metrics_give(folder: Path) -> None:
    records = scores(*ALL, "--metric", "stoi,si_sdr", "--metric", "si_sdr_i")
    assert [record["id"] for record in records] == ["0", "1", "2"]
    for number, record in enumerate(records):
        clean, noisy, enhanced = waveforms(number)
        assert record == {
            "id": str(number),
            "duration": LENGTHS[number] / SAMPLE_RATE,
            "stoi": stoi(enhanced, clean).item(),
            "si_sdr": si_sdr(enhanced, clean).item(),
            "si_sdr_i": si_sdr(enhanced, clean).item() - si_sdr(noisy, clean).item(),
            "stoi_noisy": stoi(noisy, clean).item(),
            "si_sdr_noisy": si_sdr(noisy, clean).item(),
        }
        assert record["si_sdr_i"] == pytest.approx(6.02, abs=0.1)


def test_means_are_printed_and_all_else_is_said_on_stderr(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    records = scores(*ALL, "--metric", "si_sdr")
    captured = capsys.readouterr()
    mean = sum(record["si_sdr"] for record in records) / 3
    lines = captured.out.splitlines()
    assert lines[0] == (
        "enhanced against clean, 16000 Hz: mean ± standard deviation over n signals"
    )
    assert lines[2].split() == ["system", "n", "si_sdr", "(dB)", "↑"]
    assert lines[4].split()[:2] == ["noisy", "3"]
    assert lines[5].split()[:3] == ["enhanced", "3", f"{mean:.3f}"]
    assert "scoring: 3/3" in captured.err
    assert "scores.csv: the scores of 3 signals" in captured.err


def test_any_number_of_workers_gives_the_same_scores(folder: Path, audiozen) -> None:
    arguments = ("score", *ALL[:4], "--noisy", "noisy", "--metric", "stoi,si_sdr,si_sdr_i")
    for number in ("0", "1", "2"):
        result = audiozen(*arguments, "--num-workers", number, "--output", f"{number}.jsonl")
        assert result.returncode == 0, result.stderr
    written = {Path(f"{number}.jsonl").read_bytes() for number in range(3)}
    assert len(written) == 1


def test_signal_that_cannot_be_read_is_a_failure_with_a_reason(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("enhanced/0.wav").write_bytes(b"no sound at all")
    Path("clean/1.wav").write_bytes(b"")
    Path("noisy/2.flac").write_bytes(b"")
    records = scores(*ALL, "--metric", "si_sdr,si_sdr_i")
    assert [failing(record) for record in records] == [
        dict.fromkeys(["si_sdr", "si_sdr_i"], "unreadable_estimate"),
        dict.fromkeys(["si_sdr", "si_sdr_i", "si_sdr_noisy"], "unreadable_reference"),
        dict.fromkeys(["si_sdr_i", "si_sdr_noisy"], "unreadable_noisy"),
    ]
    assert records[2]["si_sdr"] > 0
    captured = capsys.readouterr()
    assert "not scored: clean/1.wav is empty" in captured.err
    assert "3 of 3 signals lack a score" in captured.err
    assert "enhanced, unreadable_estimate (1 of 3): si_sdr, si_sdr_i" in captured.out


def test_missing_noisy_file_fails_what_needs_it(folder: Path) -> None:
    Path("noisy/1.flac").unlink()
    records = scores(*ALL, "--metric", "si_sdr_i,si_sdr")
    assert list(map(failing, records)) == [
        {},
        {"si_sdr_i": "missing_noisy", "si_sdr_noisy": "missing_noisy"},
        {},
    ]


def test_reference_without_an_estimate_stands_in_the_title(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("enhanced/1.wav").unlink()
    assert len(scores(*BOTH, "--metric", "snr")) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("enhanced against clean, 16000 Hz, 1 without an estimate: ")
    assert "1 of 3 files in clean left out, without a partner: 1.wav" in captured.err


def test_other_length_is_a_failure_unless_it_is_trimmed(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    clean, noisy, enhanced = waveforms(0)
    write_audio("enhanced/0.wav", enhanced[:-7], SAMPLE_RATE)
    write_audio("noisy/1.flac", waveforms(1)[1][:-2000], SAMPLE_RATE)
    records = scores(*ALL, "--metric", "si_sdr")
    assert list(map(failing, records)) == [
        {"si_sdr": "length_mismatch"},
        {"si_sdr_noisy": "length_mismatch"},
        {},
    ]
    assert "trimmed" not in records[0]
    capsys.readouterr()
    trimmed = scores(*ALL, "--metric", "si_sdr", "--trim", "--by", "trimmed")
    assert [record["trimmed"] for record in trimmed] == [7, 2000, 0]
    assert trimmed[0]["duration"] == (LENGTHS[0] - 7) / SAMPLE_RATE
    assert trimmed[0]["si_sdr"] == si_sdr(enhanced[:-7], clean[:-7]).item()
    assert trimmed[0]["si_sdr_noisy"] == si_sdr(noisy[:-7], clean[:-7]).item()
    assert "trimmed by up to 2000 samples" in capsys.readouterr().out


def test_nothing_scored_is_a_failed_run_with_its_table(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    for number in range(3):
        write_audio(f"enhanced/{number}.wav", torch.zeros(LENGTHS[number]), SAMPLE_RATE)
    records = scores(*ALL, "--metric", "si_sdr", code=1)
    assert failing(records[0]) == {"si_sdr": "silent_estimate"}
    captured = capsys.readouterr()
    assert "error: no signal could be scored" in captured.err
    assert "enhanced, silent_estimate (3 of 3): si_sdr" in captured.out


def test_files_none_of_which_can_be_read_are_a_failed_run(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in [*folder.glob("*/*.wav")]:
        path.write_bytes(b"")
    assert main(["score", *BOTH]) == 1
    assert "none of the 6 files can be read: clean/0.wav is empty" in capsys.readouterr().err


def test_labels_are_joined_by_id_and_make_groups(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("labels.csv").write_text("id,snr,noise\n2,10,cafe\n0,-5,\n7,5,bus\n")
    arguments = [*BOTH, "--metric", "si_sdr", "--labels", "labels.csv", "--format", "csv"]
    records = scores(*arguments, "--by", "snr,noise")
    assert [record["snr"] for record in records] == ["-5", None, "10"]
    assert list(records[0]) == ["id", "snr", "noise", "duration", "si_sdr"]
    captured = capsys.readouterr()
    assert "1 of 3 signals without labels: 1" in captured.err
    lines = [line.split(",")[:4] for line in captured.out.splitlines()]
    assert lines[1:] == [
        ['"-5"', '"-"', '"enhanced"', "1"],
        ['"10"', '"cafe"', '"enhanced"', "1"],
        ['"-"', '"-"', '"enhanced"', "1"],
        ['"all"', '"all"', '"enhanced"', "3"],
    ]


def test_rate_at_which_a_metric_is_not_defined_is_refused(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in folder.glob("*/*.wav"):
        write_audio(path, read_audio(path), 48000)
    assert main(["score", *BOTH, "--metric", "pesq_wb"]) == 2
    error = capsys.readouterr().err
    assert "pesq_wb is defined at 16000 Hz, got sample_rate=48000" in error
    assert "--resample RATE" in error


def test_resampled_signals_are_scored_at_that_rate_and_the_title_says_so(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    clean, _, enhanced = waveforms(0)
    write_audio("clean/0.wav", resample(clean, 16000, 48000), 48000)
    assert main(["score", *BOTH, "--metric", "si_sdr"]) == 2
    error = capsys.readouterr().err
    assert "16000 Hz in 5 files (such as enhanced/0.wav), 48000 Hz in 1 files" in error
    assert "--resample 16000 brings all of them to one" in error
    [record, *_] = scores(*BOTH, "--metric", "si_sdr", "--resample", "16000")
    expected = si_sdr(enhanced, read_audio("clean/0.wav", sample_rate=16000))
    assert record["si_sdr"] == expected.item()
    assert "enhanced against clean, resampled to 16000 Hz:" in capsys.readouterr().out


def test_usual_metrics_are_those_that_are_defined_at_the_rate(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in folder.glob("*/*.wav"):
        write_audio(path, read_audio(path), 48000)
    [record, *_] = scores(*BOTH)
    assert [name for name in record if name in METRICS] == ["si_sdr", "stoi", "estoi"]
    assert "pesq_wb left out: not defined at 48000 Hz" in capsys.readouterr().err


def test_channel_of_files_with_several_must_be_chosen(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    clean, noisy, enhanced = waveforms(0)
    write_audio("enhanced/0.wav", torch.stack([noisy, enhanced]), SAMPLE_RATE)
    assert main(["score", *BOTH, "--metric", "si_sdr"]) == 2
    error = capsys.readouterr().err
    assert "1 of 6 files have several channels (enhanced/0.wav has 2)" in error
    assert main(["score", *BOTH, "--metric", "si_sdr", "--channel", "2"]) == 2
    assert "1 of 6 files have no channel 2" in capsys.readouterr().err
    [record, *_] = scores(*BOTH, "--metric", "si_sdr", "--channel", "1")
    assert record["si_sdr"] == pytest.approx(si_sdr(enhanced, clean).item(), abs=1e-3)
    [record, *_] = scores(*BOTH, "--metric", "si_sdr", "--channel", "mean")
    assert record["si_sdr"] == pytest.approx(si_sdr(enhanced + noisy, clean).item(), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--estimate", "enhanced", "--metric", "stoi"],
            "stoi: cannot be computed without a reference; name",
        ),
        ([*BOTH, "--metric", "si_sdr_i"], "si_sdr_i: cannot be computed without the noisy signals"),
        ([*BOTH, "--metric", "si_sdrr"], "unknown metric 'si_sdrr'; did you mean 'si_sdr'"),
        ([*BOTH, "--by", "snr"], "no column 'snr'; there are id, duration"),
        ([*BOTH, "--output", "x.txt"], r"x\.txt: a table is called \.csv or \.jsonl"),
        ([*BOTH, "--labels", "no.csv"], r"--labels no\.csv: no such file"),
        ([*BOTH, "--channel", "left"], "--channel left: expected a number from 0"),
        (["--reference", "clean"], "Missing option '--estimate'"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_scored(
    folder: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["score", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(problem, captured.err)
    assert "scoring" not in captured.err


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([{"name": "0"}], "each line needs an id"),
        ([{"id": "0"}, {"id": "0"}], "an id is there twice"),
        ([{"id": "0", "si_sdr_noisy": "x"}], "si_sdr_noisy would stand in the way"),
        ([{"id": "0", "si_sdr__error": "x"}], "si_sdr__error would stand in the way"),
        ([{"id": "0", "duration": 2.0}], "duration would stand in the way"),
    ],
)
def test_labels_that_cannot_be_joined_are_refused(
    folder: Path, records: list[dict], problem: str, capsys: pytest.CaptureFixture
) -> None:
    write_csv("labels.csv", records)
    assert main(["score", *BOTH, "--metric", "si_sdr", "--labels", "labels.csv"]) == 2
    assert problem in capsys.readouterr().err


def test_two_files_are_compared_as_they_are_called(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--reference", "clean/0.wav", "--estimate", "noisy/0.flac", "--metric", "snr"]
    assert main(["score", *arguments, "--num-workers", "0", "--format", "jsonl"]) == 0
    assert '{"system": "0", "n": 1, "snr": ' in capsys.readouterr().out


def test_help_names_metrics_that_exist() -> None:
    command = typer.main.get_command(app).commands["score"]
    [text] = [option.help for option in command.params if option.name == "metric"]
    listed, others = text.split("Others: ")
    usual = set(re.findall(r"\w+_\w+|e?stoi", listed))
    assert usual == set(WITH_REFERENCE)
    named = others.split(" and more")[0].split(", ")
    assert len(named) > 5
    assert set(named) <= set(METRICS)
