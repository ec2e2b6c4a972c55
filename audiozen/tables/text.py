"""Tables of means, for people and for papers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from audiozen.tables.layout import DAGGER, LAYOUTS, Cell, row
from audiozen.tables.records import NOISY, columns_of, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from audiozen.tables.layout import Row
    from audiozen.tables.summary import Summary
    from audiozen.tables.systems import SystemRow

__all__ = ["format_summary", "format_systems"]

PLUS_MINUS = " ± "
NO_VALUE = "no value"
"""Stands for the reason where there is neither a value nor a reason."""


class Heading(NamedTuple):
    """What is known of a metric, to be shown above its column."""

    unit: str = ""
    higher_is_better: bool | None = None
    """None: not known, so that no value is marked as the best."""


def format_systems(
    title: str,
    rows: Sequence[SystemRow],
    *,
    metrics: Sequence[str] = (),
    headings: Mapping[str, Heading] | None = None,
    layout: str = "text",
    show_std: bool = True,
) -> str:
    """A table with a row per system (and group of signals) and a column per metric: that of a paper.

    Cells are means, with the standard deviation of one signal. In Markdown and LaTeX the best mean
    of a group is bold where the direction is known and no signal of the group failed. † marks means
    from which failed signals are missing; below the table stands why they failed.

    Args:
        title: stands above the table.
        rows: from `audiozen.tables.systems.system_rows`.
        metrics: the columns. None given: all there are.
        headings: units and directions by metric.
        layout: ``text``, ``markdown`` or ``latex``.
        show_std: False leaves the standard deviations out.

    Returns:
        Lines with no line break at the end.

    Raises:
        RequestError: no row has such a metric.
    """
    names = chosen_metrics(rows, metrics)
    if not names:
        return f"{title}\n\nno metrics"
    labels = columns_of(row.labels for row in rows)
    columns = [
        _column(name, rows, (headings or {}).get(name, Heading()), show_std) for name in names
    ]
    beside = [row(name, *(line.labels.get(name, "") for line in rows)) for name in labels]
    beside.append(row("n", *(str(line.num) for line in rows)))
    table = list(zip(*beside, *columns))
    write = LAYOUTS[layout]
    failures = _failures(rows, names)
    return "\n".join(
        [*write.table(title, table, len(labels)), *(write.notes(failures) if failures else [])]
    )


def chosen_metrics(rows: Iterable[SystemRow], metrics: Sequence[str] = ()) -> list[str]:
    """The metrics that were asked for, or all.

    Raises:
        RequestError: no row has such a metric.
    """
    there = columns_of(line.summaries for line in rows)
    refuse_unknown("metric", metrics, there)
    return list(dict.fromkeys(metrics)) or there


def format_summary(title: str, summary: Mapping[str, Summary], *, markdown: bool = False) -> str:
    """A table of means with a row per metric.

    Where metrics have a ``_noisy`` partner, both means and the difference of the two stand in one
    row; others have one value. ``n`` and ``failed`` count the signals of the model's output. †
    marks means (and differences of such) from which failed signals are missing; below the table
    stands why they failed.

    Args:
        title: stands above the table.
        summary: from `summarise`.
        markdown: make it a Markdown table instead of plain text.

    Returns:
        Lines with no line break at the end.
    """
    if not summary:
        return f"{title}\n\nno metrics"
    paired = [name for name in summary if name + NOISY in summary]
    partners = {name + NOISY for name in paired}
    rows = [_summary_row(name, summary) for name in summary if name not in partners]
    header: tuple[str, ...] = ("metric", "noisy", "enhanced", "difference", "n", "failed")
    if not paired:
        header, rows = _single(header), [_single(cells) for cells in rows]
    layout = LAYOUTS["markdown" if markdown else "text"]
    failures = [
        f"{name}: {reason} ({count})"
        for name, metric in summary.items()
        for reason, count in metric.reasons.items()
    ]
    table = layout.table(title, [row(*header), *(row(*cells) for cells in rows)], 1)
    return "\n".join([*table, *(layout.notes(failures) if failures else [])])


# ---- columns of metrics --------------------------------------------------------------------------


def _column(name: str, rows: Sequence[SystemRow], heading: Heading, show_std: bool) -> Row:
    """Heading and cells of one metric."""
    summaries = [line.summaries.get(name) for line in rows]
    digits = _decimals(*(summary.mean for summary in summaries if summary))
    stds = [_std(summary, digits) if show_std else "" for summary in summaries]
    width = max(map(len, stds))
    best = _best(rows, name, heading, digits)
    cells = [
        Cell(_number(summary.mean, digits), std.rjust(width) + _mark_of(line, name), number in best)
        if summary
        else Cell("", " " * width)
        for number, (line, summary, std) in enumerate(zip(rows, summaries, stds))
    ]
    return (Cell(_heading(name, heading)), *cells)


def _heading(name: str, heading: Heading) -> str:
    unit = f" ({heading.unit})" if heading.unit else ""
    arrow = {None: "", True: " ↑", False: " ↓"}[heading.higher_is_better]
    return name + unit + arrow


def _std(summary: Summary | None, digits: int | None) -> str:
    if summary is None or math.isnan(summary.std):
        return ""
    return PLUS_MINUS + _number(summary.std, digits)


def _best(rows: Sequence[SystemRow], name: str, heading: Heading, digits: int | None) -> set[int]:
    """Numbers of the rows that show the best mean of their group."""
    if heading.higher_is_better is None:
        return set()
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, line in enumerate(rows):
        if name in line.summaries:
            groups.setdefault(line.group, []).append(number)
    found: set[int] = set()
    for numbers in groups.values():
        summaries = [rows[number].summaries[name] for number in numbers]
        # Means over different signals cannot be compared, and one alone is not the best of anything.
        if len(numbers) > 1 and not any(_mark_of(rows[number], name) for number in numbers):
            means = [summary.mean for summary in summaries]
            best = max(means) if heading.higher_is_better else min(means)
            shown = _number(best, digits)
            found |= {n for n, mean in zip(numbers, means) if _number(mean, digits) == shown}
    return found


def _failures(rows: Sequence[SystemRow], names: Sequence[str]) -> list[str]:
    """What failed, and how often. A group that is part of another row is told there."""
    metrics: dict[str, list[str]] = {}
    for line in rows:
        for name in names if not line.is_part else ():
            for reason, count in _reasons(line, name).items():
                who = ", ".join(line.labels.values())
                metrics.setdefault(f"{who}, {reason} ({count} of {line.num})", []).append(name)
    return [f"{failure}: {', '.join(failed)}" for failure, failed in metrics.items()]


def _reasons(line: SystemRow, name: str) -> dict[str, int]:
    """How many signals are not in a mean, for which reason."""
    if name not in line.summaries:
        return {}
    summary = line.summaries[name]
    num_missing = line.num - summary.num - summary.num_failed
    return {**summary.reasons, **({NO_VALUE: num_missing} if num_missing else {})}


def _mark_of(line: SystemRow, name: str) -> str:
    return DAGGER if _reasons(line, name) else ""


# ---- rows of metrics -----------------------------------------------------------------------------


def _summary_row(name: str, summary: Mapping[str, Summary]) -> tuple[str, ...]:
    enhanced, noisy = summary[name], summary.get(name + NOISY)
    counts = (str(enhanced.num), str(enhanced.num_failed or ""))
    if noisy is None:
        digits = _decimals(enhanced.mean)
        return (name, "", _number(enhanced.mean, digits) + _mark(enhanced), "", *counts)
    digits = _decimals(noisy.mean, enhanced.mean)
    return (
        name,
        _number(noisy.mean, digits) + _mark(noisy),
        _number(enhanced.mean, digits) + _mark(enhanced),
        _number(enhanced.mean - noisy.mean, digits, sign="+") + _mark(noisy, enhanced),
        *counts,
    )


def _single(cells: tuple[str, ...]) -> tuple[str, ...]:
    """The row of a table without noisy partners."""
    name, _, value, _, *counts = cells
    return (name, "mean" if value == "enhanced" else value, *counts)


def _decimals(*values: float) -> int | None:
    """Decimals that give the largest value four digits; None where only an exponent can show it."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return 3
    if not 1e-4 <= largest < 1e7:
        return None
    return min(6, max(0, 3 - math.floor(math.log10(largest))))


def _number(value: float, decimals: int | None, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.3e}" if decimals is None else f"{value:{sign}.{decimals}f}"


def _mark(*summaries: Summary) -> str:
    return DAGGER if any(summary.num_failed for summary in summaries) else ""
