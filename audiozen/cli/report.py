"""``audiozen report``: the page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiozen.errors import RequestError


def report(
    exp_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="EXP_DIR...",
            help="The folder of a run, such as exp/my_run; or several, to be shown side by side.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the page. Default: report/index.html in the run's folder; "
            "for several runs report.html in the current one.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Which metric chooses the examples. Default: the best_metric."),
    ] = None,
    num_examples: Annotated[
        int, typer.Option(min=0, help="Signals to listen to, of each kind and dataset.")
    ] = 3,
    ids: Annotated[
        list[str] | None,
        typer.Option(help="A further signal to listen to. May be given several times."),
    ] = None,
) -> None:
    """Make one HTML page about a run: curves, scores, sound, settings."""
    from audiozen.report.page import write_report
    from audiozen.results.run import Run

    runs = [Run(folder) for folder in exp_dirs]
    page = output or (runs[0].folder.report if len(runs) == 1 else Path("report.html"))
    if page.is_dir():
        raise RequestError(f"{page} is a folder; --output is the file to write")
    write_report(page, runs, metric=metric, num_examples=num_examples, ids=ids or ())
    typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB). Open it in a browser.")
