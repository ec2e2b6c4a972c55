"""Tables of means, for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from audiozen.tables.records import NOISY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audiozen.tables.summary import Summary


def format_summary(title: str, summary: Mapping[str, Summary], *, markdown: bool = False) -> str:
    """A table of means for people.

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
    rows = [_row(name, summary) for name in summary if name not in partners]
    header: tuple[str, ...] = ("metric", "noisy", "enhanced", "difference", "n", "failed")
    if not paired:
        header, rows = _single(header), [_single(row) for row in rows]
    layout = _markdown if markdown else _plain_text
    heading = f"### {title}" if markdown else title
    return "\n".join([heading, "", *layout(header, rows), *_reasons(summary, markdown)])


def _row(name: str, summary: Mapping[str, Summary]) -> tuple[str, ...]:
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


def _single(row: tuple[str, ...]) -> tuple[str, ...]:
    """The row of a table without noisy partners."""
    name, _, value, _, *counts = row
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
    return "†" if any(summary.num_failed for summary in summaries) else ""


def _plain_text(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    columns = [
        _aligned(column, left=number == 0) for number, column in enumerate(zip(header, *rows))
    ]
    first, *others = ["  ".join(cells).rstrip() for cells in zip(*columns)]
    width = max(len(line) for line in (first, *others))
    return [first, "─" * width, *others]


def _aligned(cells: tuple[str, ...], *, left: bool) -> list[str]:
    """Pad to one width. Room for a † is left in all cells, so that digits stand in line."""
    header, *values = cells
    if any(value.endswith("†") for value in values):
        cells = (header, *(value if value.endswith("†") else value + " " for value in values))
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = ("---",) + ("---:",) * (len(header) - 1)
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (header, rule, *escaped)]


def _reasons(summary: Mapping[str, Summary], markdown: bool) -> list[str]:
    """What stands below the table: a line per metric and reason."""
    lines = [
        f"{name}: {reason} ({count})"
        for name, metric in summary.items()
        for reason, count in metric.reasons.items()
    ]
    if not lines:
        return []
    bullet = "- " if markdown else "  "
    return [
        "",
        "† mean over the other signals. Failed:",
        *([""] if markdown else []),
        *(bullet + line for line in lines),
    ]
