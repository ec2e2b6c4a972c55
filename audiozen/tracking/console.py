"""What a person sees while a run goes on: messages, progress, tables.

Messages and progress go to stderr, results (tables) to stdout, so that results can be piped. ::

    with configure_logging(Path("logs/train.txt")):
        with console.progress("epoch 3", total=120) as progress:
            for batch in batches:
                loss = update(batch)
                progress.advance(1, lambda: {"loss": loss.item()})  # read only when it is shown
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.progress import Progress as Bars

__all__ = ["Console", "Progress", "SilentConsole", "configure_logging"]

Values: TypeAlias = Mapping[str, float] | Callable[[], Mapping[str, float]]
"""Numbers to show beside the progress, or a function that gets them when they are shown."""

_CONSOLE, _FILE = "audiozen.console", "audiozen.file"
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}


# ---- messages ------------------------------------------------------------------------------------


def configure_logging(
    log_file: Path | None = None, *, level: int = logging.INFO
) -> contextlib.ExitStack:
    """Show what AudioZEN logs on stderr, and write it to a text file.

    Lines on stderr are ``HH:MM:SS message``, coloured from warnings on where stderr is a terminal;
    lines of the file have date, level and logger besides. Calling it again replaces the handlers of
    the call before.

    Args:
        log_file: appended to; created with its folder if missing.
        level: messages below it are dropped.

    Returns:
        An exit stack that undoes it, by ``close()`` or at the end of a ``with`` block.
    """
    logger = logging.getLogger("audiozen")
    undo = contextlib.ExitStack()
    undo.callback(_restore, logger, logger.level, logger.propagate)
    logger.setLevel(level)
    logger.propagate = False  # else a handler of the root logger would show each line again
    for old in [handler for handler in logger.handlers if handler.name in (_CONSOLE, _FILE)]:
        _detach(logger, old)
    for handler in [_StderrHandler(), *([_file_handler(log_file)] if log_file else [])]:
        logger.addHandler(handler)
        undo.callback(_detach, logger, handler)
    return undo


def _restore(logger: logging.Logger, level: int, propagate: bool) -> None:
    logger.setLevel(level)
    logger.propagate = propagate


def _detach(logger: logging.Logger, handler: logging.Handler) -> None:
    logger.removeHandler(handler)
    handler.close()


class _StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at that moment, so that lines go above a bar.

    Records with the attribute ``told_elsewhere`` are for the file alone: another process writes them to its stderr.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_name(_CONSOLE)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self.addFilter(lambda record: not getattr(record, "told_elsewhere", False))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            colour = _COLOURS.get(record.levelno) if _is_terminal() else None
            sys.stderr.write(f"{colour}{line}\x1b[0m\n" if colour else f"{line}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging's rule: a lost message stops nothing
            self.handleError(record)


def _file_handler(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.set_name(_FILE)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


# ---- progress ------------------------------------------------------------------------------------


class Progress:
    """Progress that is not shown."""

    def advance(self, num: int = 1, values: Values | None = None) -> None:
        """Count ``num`` more, with the newest values. Most calls show nothing and read none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Show the last state, also where the block was left early."""


class SilentConsole:
    """A console that shows nothing: for tests, and for all processes but the main one."""

    def progress(
        self, title: str, total: int | None = None, *, initial: int = 0, unit: str = "step"
    ) -> Progress:
        """Progress of something that takes long, for use in a ``with`` statement. May be nested.

        Args:
            title: what goes on.
            total: how many there will be; None where that is not known.
            initial: how many were done before; they do not count in the rate.
            unit: what is counted, in the singular.
        """
        del title, total, initial, unit
        return Progress()

    def show(self, text: str) -> None:
        """Show a result, such as a table that is laid out already."""

    def table(self, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Show a table: a line per row, a column per key, in order of first appearance."""


class Console(SilentConsole):
    """Shows progress on stderr and tables on stdout.

    On a terminal progress is a bar, redrawn at most four times a second and erased at the end;
    elsewhere it is lines. In both cases one line stays at the end. Nothing runs in the background:
    between two calls of `Progress.advance` nothing is redrawn (a thread that holds a lock while a
    data loader forks would stop its workers).

    Args:
        line_interval: seconds between lines where stderr is not a terminal.
        bar_interval: seconds between redraws of the bar.
    """

    def __init__(self, *, line_interval: float = 30.0, bar_interval: float = 0.25) -> None:
        self.line_interval = line_interval
        self.bar_interval = bar_interval
        self._bars: Bars | None = None

    @override
    def progress(
        self, title: str, total: int | None = None, *, initial: int = 0, unit: str = "step"
    ) -> Progress:
        meter = _Meter(title, total, initial, unit)
        if _is_terminal() or self._bars is not None:
            return _BarProgress(meter, self)
        return _LineProgress(meter, self.line_interval)

    @override
    def show(self, text: str) -> None:
        sys.stdout.write(f"\n{text}\n\n")
        sys.stdout.flush()

    @override
    def table(self, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Table

        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in dict.fromkeys(column for row in rows for column in row):
            numeric = all(isinstance(row.get(column, 0), (int, float)) for row in rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        columns = [str(column.header) for column in table.columns]
        for row in rows:
            table.add_row(*(_shown(row.get(column, "")) for column in columns))
        width = None if sys.stdout.isatty() else 100
        RichConsole(file=sys.stdout, width=width, highlight=False, markup=False).print(table)

    @contextlib.contextmanager
    def _live(self) -> Iterator[Bars]:
        """The bars on the terminal: one display for all that are nested."""
        if self._bars is not None:
            yield self._bars
            return
        self._bars = _new_bars()
        try:
            with self._bars:
                yield self._bars
        finally:
            self._bars = None


class _Meter:
    """How many are done, how fast, and the newest values."""

    def __init__(self, title: str, total: int | None, initial: int, unit: str) -> None:
        self.title, self.total, self.initial, self.unit = title, total, initial, unit
        self.done = initial
        self.start = time.monotonic()
        self.values: Values = {}

    def advance(self, num: int, values: Values | None) -> None:
        self.done += num
        if values is not None:
            self.values = values

    def text(self, *, final: bool = False) -> str:
        """Count, rate, time and values."""
        elapsed = time.monotonic() - self.start
        rate = (self.done - self.initial) / max(elapsed, 1e-9)
        values = self.values() if callable(self.values) else self.values
        parts = [
            self._count(),
            _rate(rate, self.unit),
            _duration(elapsed) if final else self._remaining(rate),
            *(f"{name} {value:.4g}" for name, value in values.items()),
        ]
        return ", ".join(part for part in parts if part)

    def _count(self) -> str:
        return f"{self.done}" if self.total is None else f"{self.done}/{self.total}"

    def _remaining(self, rate: float) -> str:
        if self.total is None or rate == 0:
            return ""
        return f"{_duration(max(0, self.total - self.done) / rate)} left"


class _MeterProgress(Progress):
    """Shows its meter where ``interval`` seconds have passed since the last time."""

    def __init__(self, meter: _Meter, interval: float) -> None:
        self.meter, self.interval = meter, interval
        self._next = meter.start

    def advance(self, num: int = 1, values: Values | None = None) -> None:
        self.meter.advance(num, values)
        if time.monotonic() >= self._next:
            self.show()
            self._next = time.monotonic() + self.interval

    def show(self) -> None:
        raise NotImplementedError

    def last_line(self, *, failed: bool) -> str:
        if failed and callable(self.meter.values):
            self.meter.values = {}  # a device that has failed can hold up or hide the failure
        return f"{time.strftime('%H:%M:%S')} {self.meter.title}: {self.meter.text(final=True)}"


class _LineProgress(_MeterProgress):
    """Lines, for files and pipes."""

    def __init__(self, meter: _Meter, interval: float) -> None:
        super().__init__(meter, interval)
        self._next += interval

    def show(self) -> None:
        _print(f"{time.strftime('%H:%M:%S')} {self.meter.title}: {self.meter.text()}")

    def __exit__(self, *exception: object) -> None:
        _print(self.last_line(failed=any(exception)))


class _BarProgress(_MeterProgress):
    """A bar on a terminal."""

    def __init__(self, meter: _Meter, console: Console) -> None:
        super().__init__(meter, console.bar_interval)
        self._stack = contextlib.ExitStack()
        self._console = console

    def __enter__(self) -> Self:
        self._bars = self._stack.enter_context(self._console._live())
        meter = self.meter
        self._task = self._bars.add_task(
            meter.title, total=meter.total, completed=meter.done, text=""
        )
        self._stack.callback(self._bars.remove_task, self._task)
        return self

    def show(self) -> None:
        self._bars.update(self._task, completed=self.meter.done, text=self.meter.text())
        self._bars.refresh()

    def __exit__(self, *exception: object) -> None:
        with self._stack:
            line = self.last_line(failed=any(exception))
        _print(line)


def _new_bars() -> Bars:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    def text(field: str) -> TextColumn:
        return TextColumn(
            field, markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        )

    return Bars(
        text("{task.description}"),
        BarColumn(bar_width=20),
        text("{task.fields[text]}"),
        console=RichConsole(file=sys.stderr, highlight=False),
        auto_refresh=False,
        transient=True,
        # A stdout that is a file or a pipe must not end up on the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )


def _print(line: str) -> None:
    # A full disk, to which the output goes, is told by whoever depends on it.
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _rate(rate: float, unit: str) -> str:
    if rate == 0:
        return ""
    return f"{rate:.1f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _shown(value: object) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
