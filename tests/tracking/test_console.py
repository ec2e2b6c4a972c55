from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from audiozen.tracking.console import (
    Console,
    Progress,
    SilentConsole,
    Values,
    configure_logging,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CLOCK = r"\d\d:\d\d:\d\d"


def on_terminal(program: str, *, stdout: int | None = None, columns: int = 100) -> str:
    """What the program writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: os.environ[name] for name in os.environ.keys() - {"COLUMNS", "NO_COLOR"}}
    env |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=stdout or theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    written = b""
    try:
        while block := os.read(ours, 1 << 16):
            written += block
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def screen(written: str) -> list[str]:
    """What stays on the screen: control sequences carried out."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.endswith("A"):
            row -= int(token[2:-1] or 1)
        elif token.endswith("K"):
            lines[row] = ""
        elif not token.startswith("\x1b"):
            lines[row] = (
                lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            )
            column += len(token)
    return "\n".join(line.rstrip() for line in lines).rstrip("\n").split("\n")


# Messages


def test_messages_are_lines_with_the_time_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with configure_logging():
        logging.getLogger("audiozen.trainer").info("epoch %d done", 3)
    captured = capsys.readouterr()
    assert re.fullmatch(CLOCK + " epoch 3 done\n", captured.err)
    assert captured.out == ""


def test_messages_go_to_the_text_file_too(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.txt"
    for text in ("größer", "again"):
        with configure_logging(path):
            logging.getLogger("audiozen.x").warning(text)
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d .* WARNING audiozen\.x: größer", first)
    assert second.endswith("again")


def test_configuring_twice_shows_each_line_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    with configure_logging(first), configure_logging(second):
        logging.getLogger("audiozen").info("hello")
    assert capsys.readouterr().err.count("hello") == 1
    assert first.read_text() == ""
    assert second.read_text().count("hello") == 1


def test_closing_leaves_logging_as_it_was() -> None:
    logger = logging.getLogger("audiozen")
    before = (logger.level, logger.propagate, list(logger.handlers))
    undo = configure_logging(level=logging.DEBUG)
    assert logger.level == logging.DEBUG
    undo.close()
    undo.close()
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_messages_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    with configure_logging(level=logging.ERROR):
        logging.getLogger("audiozen").warning("quiet")
        logging.getLogger("audiozen").error("loud")
    assert capsys.readouterr().err.split(maxsplit=1)[1] == "loud\n"


def test_handlers_of_others_do_not_show_a_line_again() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    with configure_logging():
        logging.getLogger("audiozen").warning("once")
    logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == ""


def test_warnings_are_coloured_on_a_terminal_only() -> None:
    program = (
        "import logging; from audiozen.tracking.console import configure_logging\n"
        "configure_logging(); log = logging.getLogger('audiozen')\n"
        "log.info('fine'); log.warning('careful')"
    )
    fine, careful = on_terminal(program).splitlines()
    assert re.fullmatch(CLOCK + " fine", fine)
    assert re.fullmatch(rf"\x1b\[33m{CLOCK} careful\x1b\[0m", careful)


# Progress, not on a terminal


def test_last_line_has_count_rate_time_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("epoch 3", total=120) as progress:
        for _ in range(120):
            progress.advance(1, {"loss": 0.123456, "grad_norm": 12.0})
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        CLOCK + r" epoch 3: 120/120, \d+\.\d step/s, 0 s, loss 0\.1235, grad_norm 12", line
    )


def test_lines_come_at_most_every_so_many_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    console, steps = Console(line_interval=0.1), 0
    start = time.monotonic()
    with console.progress("epoch 1", total=1000) as progress:
        while time.monotonic() < start + 0.35:
            time.sleep(0.002)
            progress.advance()
            steps += 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert all(
        re.fullmatch(CLOCK + r" epoch 1: \d+/1000, \d+\.\d step/s, \d+ s left", line)
        for line in lines
    )
    assert f"epoch 1: {steps}/1000" in last


def test_values_are_read_only_when_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    num_reads = 0

    def values() -> Mapping[str, float]:
        nonlocal num_reads
        num_reads += 1
        return {"loss": 0.5}

    with Console().progress("epoch", total=1000) as progress:
        for _ in range(1000):
            progress.advance(1, values)
        assert num_reads == 0
    assert num_reads == 1
    assert "loss 0.5" in capsys.readouterr().err


def test_newest_values_stay_when_a_call_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("epoch") as progress:
        progress.advance(1, {"loss": 1.0})
        progress.advance(1, {"loss": 2.0})
        progress.advance(3)
    assert re.search(r"epoch: 5, .* loss 2$", capsys.readouterr().err)


def test_what_was_done_before_is_counted_but_not_in_the_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Console().progress("epoch 1", total=2_000_000, initial=1_000_000) as progress:
        time.sleep(0.1)
        progress.advance()
    line = capsys.readouterr().err
    assert "epoch 1: 1000001/2000000" in line
    rate = float(re.search(r"(\d+\.\d) step/s", line)[1])  # type: ignore[index]
    assert rate <= 10


def test_slow_progress_is_seconds_per_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("valid", total=5, unit="batch") as progress:
        progress.meter.start -= 2  # type: ignore[attr-defined]
        progress.advance()
    assert re.search(r"1/5, 2\.0 s/batch, 2 s$", capsys.readouterr().err)


def fail_after(progress: Progress, num: int, values: Values) -> None:
    with progress:
        progress.advance(num, values)
        raise RuntimeError("the model failed")


def test_an_epoch_that_fails_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        fail_after(Console().progress("epoch", total=9), 4, {"loss": 0.5})
    assert re.search(r"epoch: 4/9, .* loss 0\.5$", capsys.readouterr().err)


def test_a_failure_is_not_hidden_by_values_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError, match="the model failed"):
        fail_after(Console().progress("epoch", total=9), 4, lambda: {"loss": 1 / 0})
    assert "epoch: 4/9" in capsys.readouterr().err


def test_nothing_done_is_shown_without_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("test", total=0):
        pass
    assert re.fullmatch(CLOCK + " test: 0/0, 0 s\n", capsys.readouterr().err)


def test_silent_console_shows_nothing_and_reads_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def values() -> Mapping[str, float]:
        raise AssertionError

    console = SilentConsole()
    with console.progress("epoch", total=2) as progress:
        progress.advance(1, values)
    console.table("title", [{"a": 1}])
    assert capsys.readouterr() == ("", "")


# Progress on a terminal

PROGRAM = """
import logging, time
from audiozen.tracking.console import Console, configure_logging
configure_logging()
console = Console(bar_interval=0.05)
with console.progress("epoch 3", total=40) as progress:
    for step in range(40):
        time.sleep(0.01)
        progress.advance(1, lambda: {"loss": 0.25})
        if step == 20:
            logging.getLogger("audiozen").info("a message")
            print("a result")
            with console.progress("valid", total=2, unit="batch") as inner:
                inner.advance(2)
"""


def test_bar_is_redrawn_and_one_line_stays() -> None:
    written = on_terminal(PROGRAM)
    assert len(set(re.findall(r"(\d+)/40", written))) > 3
    assert "━" in written
    assert re.search(r"step/s, \d+ s left, loss 0\.25", written)
    message, result, valid, epoch = screen(written)
    assert re.fullmatch(CLOCK + " a message", message)
    assert result == "a result"
    assert re.fullmatch(CLOCK + r" valid: 2/2, .*batch/s, 0 s", valid)
    assert re.fullmatch(CLOCK + r" epoch 3: 40/40, .*step/s, \d s, loss 0\.25", epoch)


def test_bar_is_cut_to_the_width_of_a_narrow_terminal() -> None:
    written = on_terminal(PROGRAM, columns=36)
    assert re.search(r"… \d+/40, .*…\r", written)
    assert "…" not in "".join(screen(written))


def test_results_in_a_pipe_stay_in_the_pipe(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as out:
        written = on_terminal(PROGRAM, stdout=out.fileno())
    assert (tmp_path / "out.txt").read_text() == "a result\n"
    assert "a result" not in written
    assert "━" in written


def test_bar_is_gone_after_a_failure() -> None:
    program = PROGRAM + (
        "try:\n"
        "    with console.progress('broken', total=9) as progress:\n"
        "        progress.advance(4)\n"
        "        raise ValueError\n"
        "except ValueError: print('went on')\n"
    )
    *_, broken, went_on = screen(on_terminal(program))
    assert "broken: 4/9" in broken
    assert went_on == "went on"


# Tables


def test_table_has_a_line_per_row_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"name": "[red]model", "params": 31_000, "loss": 0.123456},
        {"name": "other", "params": 7, "note": "new"},
    ]
    Console().table("Models", rows)
    captured = capsys.readouterr()
    assert captured.err == ""
    title, header, rule, first, second = (
        line.rstrip() for line in captured.out.splitlines() if line.strip()
    )
    assert title == "Models"
    assert header.split() == ["name", "params", "loss", "note"]
    assert set(rule.strip()) == {"─"}
    assert first.split() == ["[red]model", "31000", "0.1235"]
    assert second.split() == ["other", "7", "new"]
    assert header.index("params") + len("params") == second.index("7") + 1


def test_text_is_shown_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    SilentConsole().show("nothing")
    Console().show("a table\nof two lines")
    assert capsys.readouterr() == ("\na table\nof two lines\n\n", "")


def test_rich_is_imported_only_when_it_draws() -> None:
    program = (
        "import sys; from audiozen.tracking.console import Console, configure_logging\n"
        "configure_logging()\n"
        "with Console().progress('epoch') as progress: progress.advance()\n"
        "sys.exit('rich' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)


def test_what_another_process_tells_goes_to_the_text_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with configure_logging(tmp_path / "log.txt"):
        logging.getLogger("audiozen.x").error("process 1 failed", extra={"told_elsewhere": True})
    assert "process 1 failed" in (tmp_path / "log.txt").read_text()
    assert capsys.readouterr().err == ""
