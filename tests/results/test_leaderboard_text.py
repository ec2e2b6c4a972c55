from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from audiozen.results.leaderboard import Entry
from audiozen.results.leaderboard_text import (
    columns_of,
    fitting,
    format_leaderboard,
    print_leaderboard,
)
from audiozen.tables.files import read_csv

LONG = "sweep/" + "hidden_size_" * 12
ENTRIES = [
    Entry(
        name=LONG,
        state="done",
        best_metric="si_sdr",
        best_score=10.11303,
        test_score=9.76991,
        test_means={"si_sdr": 9.76991, "stoi": 0.91},
        step=150,
        epoch=3,
        started=datetime(2026, 8, 6, 12, tzinfo=UTC),
        seconds=200.0,
        parameters=78_728,
        macs_per_second=1_234_000.0,
        commit="0123456789abcdef",
        is_changed=True,
    ),
    Entry(
        name="b", state="failed", message="TrainingError: loss\nis nan", commit="fedcba9876543210"
    ),
]


def test_text_has_a_row_per_run_and_messages_below() -> None:
    lines = format_leaderboard(ENTRIES, ["stoi"]).splitlines()
    assert lines[0] == "2 runs"
    assert lines[2].split() == [
        *["name", "state", "metric", "best", "test", "stoi", "steps", "epoch", "started", "took"],
        *["parameters", "MAC/s", "commit"],
    ]
    local = datetime(2026, 8, 6, 12, tzinfo=UTC).astimezone()
    assert lines[4].split() == [
        *[
            LONG,
            "done",
            "si_sdr",
            "10.11",
            "9.77",
            "0.91",
            "150",
            "3",
            f"{local:%Y-%m-%d}",
            f"{local:%H:%M}",
        ],
        *["3", "min", "20", "s", "78.7", "k", "1.23", "M", "0123456+"],
    ]
    assert lines[5].split() == ["b", "failed", "fedcba9"]
    assert lines[6:] == ["", "  b: TrainingError: loss is nan"]


def test_columns_without_an_entry_are_left_out() -> None:
    text = format_leaderboard([Entry(name="a", state="new")])
    assert text.splitlines()[2].split() == ["name", "state"]
    assert text.startswith("1 run\n")


def test_markdown_is_a_table() -> None:
    lines = format_leaderboard(ENTRIES, form="markdown").splitlines()
    assert lines[2].startswith("| name | state |")
    assert len({line.count("|") for line in lines[2:6]}) == 1
    assert lines[-1] == "- b: TrainingError: loss is nan"


def test_csv_and_json_lines_have_everything_in_full(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(format_leaderboard(ENTRIES, ["stoi"], "csv") + "\n")
    first, second = read_csv(path)
    assert first["name"] == LONG
    assert first["best_score"] == 10.11303
    assert first["commit"] == "0123456789abcdef"
    assert first["started"] == "2026-08-06T12:00:00+00:00"
    assert first["stoi"] == 0.91
    assert second["message"] == "TrainingError: loss\nis nan"
    rows = [
        json.loads(line) for line in format_leaderboard(ENTRIES, ["stoi"], "jsonl").splitlines()
    ]
    assert {key: value for key, value in first.items() if value is not None}.keys() <= rows[
        0
    ].keys()
    assert "best_score" not in rows[1]


def on_terminal(width: int) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    print_leaderboard(ENTRIES, ["stoi"], console)
    return file.getvalue()


def test_wide_terminal_has_all_columns() -> None:
    header, first, second, message = on_terminal(300).splitlines()
    assert header.split()[-1] == "commit"
    assert first.split()[-1] == "0123456+"
    assert second.split() == ["b", "failed", "fedcba9"]
    assert message == "b: TrainingError: loss is nan"


@pytest.mark.parametrize("width", [30, 60, 100, 120])
def test_narrow_terminal_leaves_out_columns_and_says_which(width: int) -> None:
    lines = on_terminal(width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert any(line.startswith("no room for: ") for line in lines)
    end = next(number for number, line in enumerate(lines) if line.startswith("b "))
    folded = "".join(line.split()[0] for line in lines[1:end])
    assert folded == LONG


def test_columns_go_in_the_order_of_their_rank() -> None:
    columns = columns_of([Entry(**{**vars(ENTRIES[0]), "name": "a"})], ["stoi"])
    everything = sum(column.width + 2 for column in columns) - 2
    assert fitting(columns, everything) == (columns, [])
    kept, left_out = fitting(columns, everything - 1)
    assert left_out == ["took"]
    assert [column.name for column in kept] == [c.name for c in columns if c.name != "took"]
    kept, left_out = fitting(columns, 1)
    assert [column.name for column in kept] == ["name", "state"]
    assert left_out[:2] == ["metric", "best"]


def test_names_are_shown_as_they_are_and_not_as_markup() -> None:
    file = io.StringIO()
    entries = [Entry(name="[red]a[/red]", state="done", message="[bold]x")]
    print_leaderboard(
        entries, [], Console(file=file, force_terminal=True, width=80, color_system=None)
    )
    assert "[red]a[/red]" in file.getvalue()
    assert "[bold]x" in file.getvalue()
