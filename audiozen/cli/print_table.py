"""What ``score`` and ``table`` have in common: the options that say how a table looks, and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from audiozen.tables.files import csv_lines
from audiozen.tables.jsonl import jsonl_lines
from audiozen.tables.systems import flat_records, system_rows
from audiozen.tables.text import Heading, chosen_metrics, format_systems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.tables.systems import System

TABLE = "Table"
"""Where the help of a command shows these options."""
FormatName: TypeAlias = Literal["text", "markdown", "latex", "csv", "jsonl"]
By: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Group the signals by a label, such as snr_db; by several with commas.",
        show_default=False,
        rich_help_panel=TABLE,
    ),
]
Std: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--std/--no-std",
        help="Standard deviation over the signals beside each mean, or not.",
        rich_help_panel=TABLE,
    ),
]


def split_names(options: Sequence[str] | None) -> list[str]:
    """Names that were given one by one, or with commas between them."""
    words = [word.strip() for option in options or () for word in option.split(",")]
    return list(dict.fromkeys(word for word in words if word))


def systems_text(
    title: str,
    systems: Sequence[System],
    *,
    by: Sequence[str],
    metrics: Sequence[str],
    format_name: FormatName,
    show_std: bool,
) -> str:
    """Means of systems in one of the formats; CSV and JSON lines have all digits, n and failures.

    Raises:
        RequestError: there is no such column or metric.
    """
    rows = system_rows(systems, by)
    if format_name in ("csv", "jsonl"):
        return records_text(flat_records(rows, chosen_metrics(rows, metrics)), format_name)
    over = "mean ± standard deviation" if show_std else "mean"
    return format_systems(
        f"{title}: {over} over n signals",
        rows,
        metrics=metrics,
        headings=headings(chosen_metrics(rows, metrics)),
        layout=format_name,
        show_std=show_std,
    )


def records_text(records: Sequence[Mapping[str, Any]], format_name: str) -> str:
    """Records as CSV or JSON lines."""
    return "\n".join((jsonl_lines if format_name == "jsonl" else csv_lines)(records))


def headings(names: Sequence[str]) -> dict[str, Heading]:
    """Unit and direction of the metrics among some columns; improvements have those of their metric."""
    from audiozen.metrics.catalogue import metric_of

    return {
        name: Heading(metric.unit, metric.higher_is_better)
        for name in names
        if (metric := metric_of(name)) is not None
    }
