from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audiozen.errors import RequestError
from audiozen.results.leaderboard import Entry, leaderboard, metric_columns, ranked
from audiozen.tables.files import write_csv
from tests.results.locked import locked_by_another

NOON = datetime(2026, 8, 6, 12, tzinfo=UTC)


def make_run(
    root: Path, *, metric: str = "si_sdr", score: float | None = None, **files: dict[str, Any]
) -> Path:
    root.mkdir(parents=True)
    (root / "config.toml").write_text(f'[trainer.args]\nbest_metric = "{metric}"\n')
    if score is not None:
        best = root / "checkpoints" / "epoch_0003"
        best.mkdir(parents=True)
        (best / "manifest.json").write_text('{"step": 150, "epoch": 3}')
        (best / "validation.json").write_text(json.dumps({"outcome": {"score": score}}))
        for name in ("latest", "best"):
            (root / "checkpoints" / name).symlink_to("epoch_0003")
    for name, content in files.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def status(state: str, *, ended: datetime | None = NOON, message: str = "") -> dict[str, Any]:
    started = NOON - timedelta(hours=1)
    return {
        "state": state,
        "started": started.isoformat(),
        "ended": ended and ended.isoformat(),
        "message": message,
    }


def test_entry_has_what_the_files_of_a_run_say(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "small" / "first",
        score=9.5,
        status=status("done"),
        environment={
            "time": "2026-01-01T00:00:00+00:00",
            "git": {"commit": "0123456789", "is_changed": True},
        },
        complexity={"parameters": 78_728, "macs_per_second": 1.5e6},
    )
    write_csv(
        run / "metrics" / "test_a.csv", [{"id": "1", "si_sdr": 1.0}, {"id": "2", "si_sdr": 2.0}]
    )
    write_csv(run / "metrics" / "test_b.csv", [{"id": "1", "si_sdr": 6.0, "stoi": 0.5}])
    (entry,) = leaderboard(tmp_path)
    assert entry == Entry(
        name="small/first",
        state="done",
        best_metric="si_sdr",
        higher_is_better=True,
        best_score=9.5,
        test_score=3.0,
        test_means={"a/si_sdr": 1.5, "b/si_sdr": 6.0, "b/stoi": 0.5},
        step=150,
        epoch=3,
        started=NOON - timedelta(hours=1),
        seconds=3600.0,
        parameters=78_728,
        macs_per_second=1.5e6,
        commit="0123456789",
        is_changed=True,
    )


def test_run_without_any_of_them_is_an_entry(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert leaderboard(tmp_path) == [Entry(name="run", state="new")]


def test_single_run_is_called_as_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.chdir(run)
    assert [entry.name for entry in leaderboard(".")] == ["run"]


def test_age_of_a_running_one_is_measured_to_now(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", status=status("running", ended=None))
    with locked_by_another(run):
        (entry,) = leaderboard(tmp_path, now=NOON + timedelta(minutes=5))
    assert (entry.state, entry.seconds) == ("running", 65 * 60)
    (killed,) = leaderboard(tmp_path, now=NOON + timedelta(minutes=5))
    assert (killed.state, killed.seconds) == ("failed", None)


def test_failed_run_says_why(tmp_path: Path) -> None:
    make_run(tmp_path / "run", status=status("failed", message="TrainingError: loss is nan"))
    (entry,) = leaderboard(tmp_path)
    assert (entry.state, entry.message) == ("failed", "TrainingError: loss is nan")


def test_broken_run_is_an_entry_that_says_what_is_broken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "broken", score=1.0, status=status("done"))
    make_run(tmp_path / "whole", score=2.0)
    (run / "config.toml").write_text("[trainer")
    (run / "metrics").mkdir()
    (run / "metrics" / "test.csv").write_text("a,b\n1\n")
    broken, whole = leaderboard(tmp_path)
    assert (whole.message, whole.best_score) == ("", 2.0)
    assert (broken.state, broken.best_score, broken.step) == ("done", 1.0, 150)
    assert broken.message.count("config.toml cannot be read") == 1
    assert "test.csv" in broken.message


@pytest.mark.parametrize(
    "files",
    [
        {"status": [1]},
        {"status": {"state": 3, "started": 7, "ended": [], "message": {}}},
        {"environment": {"git": "abc", "time": "yesterday"}},
        {"environment": {"git": {"commit": 5, "is_changed": "no"}}},
        {"complexity": {"parameters": "many", "macs_per_second": True}},
    ],
)
def test_senseless_content_is_as_if_it_were_not_there(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    make_run(tmp_path / "run", score=1.0, **files)
    (entry,) = leaderboard(tmp_path)
    assert entry.best_score == 1.0
    assert entry.started is entry.seconds is entry.commit is entry.is_changed is None
    assert entry.parameters is entry.macs_per_second is None


def test_state_that_cannot_be_read_is_broken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", score=1.0)
    (run / "status.json").write_text("{")
    (entry,) = leaderboard(tmp_path)
    assert (entry.state, entry.best_score) == ("broken", 1.0)
    assert entry.message.count("status.json cannot be read") == 1


# ---- order -------------------------------------------------------------------------------


def entry(name: str, **fields: Any) -> Entry:
    return Entry(name=name, state=fields.pop("state", "done"), **fields)


def names(entries: list[Entry]) -> str:
    return " ".join(entry.name for entry in entries)


def test_best_score_comes_first_within_the_runs_of_a_metric() -> None:
    entries = [
        entry("a", best_metric="wer", higher_is_better=False, best_score=0.5),
        entry("b", best_metric="si_sdr", best_score=5.0),
        entry("c", best_metric="wer", higher_is_better=False, best_score=0.1),
        entry("d", best_metric="si_sdr", best_score=9.0),
        entry("e", best_metric="si_sdr"),
        entry("f", best_score=100.0),
        entry("g", best_metric="si_sdr", best_score=math.nan),
    ]
    assert names(ranked(entries)) == "d b c a f e g"


def test_other_orders() -> None:
    entries = [
        entry("a", step=5, parameters=300, macs_per_second=2.0, started=NOON, state="failed"),
        entry("b", state="running"),
        entry("c", step=7, parameters=100, macs_per_second=1.0, started=NOON - timedelta(1)),
        entry("d", step=5, parameters=200, macs_per_second=3.0, started=NOON + timedelta(1)),
    ]
    assert names(ranked(entries, "date")) == "d a c b"
    assert names(ranked(entries, "steps")) == "c a d b"
    assert names(ranked(entries, "parameters")) == "c d a b"
    assert names(ranked(entries, "macs")) == "c a d b"
    assert names(ranked(entries, "state")) == "c d a b"
    assert names(ranked(entries[::-1], "name")) == "a b c d"


@pytest.mark.parametrize("column", ["llr", "llr_i", "llr_noisy", "seen/llr_i"])
def test_columns_of_a_distance_are_ordered_as_the_distance_is(column: str) -> None:
    entries = [entry("a", test_means={column: 0.9}), entry("b", test_means={column: -0.5})]
    assert names(ranked(entries, column)) == "b a"


def test_test_metric_is_an_order_in_its_direction() -> None:
    entries = [
        entry("a", test_means={"stoi": 0.5, "llr": 0.5}),
        entry("b", test_means={"stoi": 0.9, "llr": 0.9}),
        entry("c", test_means={"stoi": math.nan}),
    ]
    assert names(ranked(entries, "stoi")) == "b a c"
    assert names(ranked(entries, "llr")) == "a b c"
    with pytest.raises(RequestError, match="no order 'stio'; did you mean 'stoi'"):
        ranked(entries, "stio")


def test_columns_are_those_of_all_datasets_that_have_the_metric() -> None:
    entries = [
        entry("a", test_means={"stoi": 0.5}),
        entry("b", test_means={"x/stoi": 1.0, "x/snr": 2.0}),
    ]
    assert metric_columns(entries, ["snr", "stoi", "stoi"]) == ["x/snr", "stoi", "x/stoi"]
    assert metric_columns(entries, ["x/stoi"]) == ["x/stoi"]
    assert metric_columns(entries, []) == []
    with pytest.raises(RequestError, match=r"no test metric 'pesq'; .*there are stoi, snr"):
        metric_columns(entries, ["pesq"])


def test_leaderboard_takes_no_torch(tmp_path: Path) -> None:
    make_run(tmp_path / "run", score=1.0, status=status("done"))
    program = (
        "import sys; from audiozen.results.leaderboard import leaderboard, ranked\n"
        "assert len(ranked(leaderboard(sys.argv[1]))) == 1; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == 0
