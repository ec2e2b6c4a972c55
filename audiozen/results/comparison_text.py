"""A comparison as people, papers and programs read it."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeAlias

from audiozen.tables.files import csv_lines
from audiozen.tables.jsonl import jsonl_lines
from audiozen.tables.layout import DAGGER, LAYOUTS, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.results.comparison import Comparison
    from audiozen.results.difference import Difference

__all__ = ["format_comparison"]

Format: TypeAlias = Literal["text", "markdown", "latex", "csv", "jsonl"]


def format_comparison(comparison: Comparison, form: Format = "text") -> str:
    """All rows in one of the formats, without a line break at the end.

    ``csv`` and ``jsonl`` have every field of each `Difference`, with all digits, and no notes. The others have a table
    for each pair of systems and dataset, and the notes below; p-values are the corrected ones.
    """
    if form in ("csv", "jsonl"):
        records = [asdict(row) for row in comparison.differences]
        return "\n".join(csv_lines(records) if form == "csv" else jsonl_lines(records))
    by_table = groupby(comparison.differences, key=lambda row: (row.a, row.b, row.dataset))
    tables = [_table(list(rows), comparison, form) for _, rows in by_table]
    return "\n\n".join([*tables, _below(comparison, form)])


def _table(rows: Sequence[Difference], comparison: Comparison, form: Format) -> str:
    by = comparison.question.by
    interval = f"{100 * comparison.question.confidence:g} % interval"
    labels = ["metric", *([] if by is None else [by])]
    header = [*labels, "n", "A", "B", "B - A", interval, "p", "B wins/ties/loses", "verdict"]
    cells = [_cells(line, with_group=by is not None) for line in rows]
    title = f"{_dataset(rows[0])}A = {rows[0].a}, B = {rows[0].b}"
    lines = LAYOUTS[form].table(title, [row(*line) for line in (header, *cells)], len(labels))
    return "\n".join(lines)


def _dataset(line: Difference) -> str:
    return f"{line.dataset}: " if line.dataset else ""


def _cells(line: Difference, *, with_group: bool) -> list[str]:
    decimals = _decimals(line)
    mark = DAGGER if line.num_failed_a or line.num_failed_b else ""
    low, high = (_number(end, decimals, "+") for end in (line.low, line.high))
    return [
        line.metric,
        *([line.group] if with_group else []),
        f"{line.num}{mark}",
        _number(line.mean_a, decimals),
        _number(line.mean_b, decimals),
        _number(line.difference, decimals, "+"),
        "-" if math.isnan(line.low) else f"{low} to {high}",
        _p_value(line.p_corrected),
        f"{line.b_wins}/{line.ties}/{line.a_wins}",
        line.verdict,
    ]


def _decimals(line: Difference) -> int | None:
    """Enough for four digits of the means and two of their difference; None where only an exponent can show them."""
    means = [abs(mean) for mean in (line.mean_a, line.mean_b) if not math.isnan(mean)]
    wanted = [(max(means, default=0.0), 3), (abs(line.difference), 1)]
    shown = [(size, after) for size, after in wanted if size > 0]  # False for NaN, too
    if any(not 1e-5 <= size < 1e7 for size, _ in shown):
        return None
    return max([0, *(after - math.floor(math.log10(size)) for size, after in shown)])


def _number(value: float, decimals: int | None, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.3e}" if decimals is None else f"{value:{sign}.{decimals}f}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if value >= 0.00005 else f"{value:.1e}"


def _below(comparison: Comparison, form: Format) -> str:
    """How the numbers were got, and all notes."""
    question = comparison.question
    cluster = f", by {question.cluster}" if question.cluster else ""
    num_tests = "1 test" if comparison.num_tests == 1 else f"{comparison.num_tests} tests"
    tests = f"p: sign-flip test of the mean difference{cluster}, Holm's correction for {num_tests}"
    interval = f"interval: bootstrap{cluster} (BCa)"
    lines = [f"{tests}; {interval}; {question.num_resamples} resamples, seed {question.seed}"]
    if any(line.num_failed_a or line.num_failed_b for line in comparison.differences):
        lines.append(f"{DAGGER} signals that failed in A or B are left out of both")
    lead = {"markdown": "- ", "latex": "% "}.get(form, "")
    return "\n".join(lead + line for line in (*lines, *comparison.notes))
