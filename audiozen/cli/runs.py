"""``audiozen runs``: all runs of a folder, the best first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from audiozen.results.leaderboard_text import format_leaderboard, print_leaderboard


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with the folders of runs.")
    ] = Path("exp"),
    sort: Annotated[
        str,
        typer.Option(
            help="score, date, steps, parameters, macs, state, name, or a test metric.",
            metavar="ORDER",
        ),
    ] = "score",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Show its mean over the test signals, too; may be repeated.", show_default=False
        ),
    ] = None,
    output_format: Annotated[
        Literal["text", "markdown", "csv", "jsonl"],
        typer.Option("--format", help="csv and jsonl have everything, with all digits."),
    ] = "text",
) -> None:
    """List runs: scores, state, steps, date, size, commit."""
    from audiozen.results.leaderboard import leaderboard, metric_columns, ranked

    entries = ranked(leaderboard(folder), sort)
    metrics = metric_columns(entries, metric or ())
    if not entries:
        typer.echo(f"no runs in {folder}", err=True)
        return
    from rich.console import Console

    console = Console()
    if output_format == "text" and console.is_terminal:
        print_leaderboard(entries, metrics, console)
    else:
        typer.echo(format_leaderboard(entries, metrics, output_format))
