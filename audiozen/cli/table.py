"""``audiozen table``: systems side by side, from the scores of each signal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from audiozen.cli.print_table import (
    TABLE,
    By,
    FormatName,
    Std,
    records_text,
    split_names,
    systems_text,
)
from audiozen.errors import RequestError
from audiozen.tables.systems import DATASET, SYSTEM, System

if TYPE_CHECKING:
    from collections.abc import Sequence


Sources: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Folders of experiments, and per-signal tables (.csv, .jsonl).",
        show_default=False,
    ),
]
Stage: TypeAlias = Annotated[
    Literal["test", "valid"],
    typer.Option(help="Which scores of an experiment; valid: those of the best checkpoint."),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Only these columns, in this order. All if left out.",
        show_default=False,
        rich_help_panel=TABLE,
    ),
]
Format: TypeAlias = Annotated[
    FormatName | None,
    typer.Option(
        "--format",
        help="How it is printed: text if left out, and csv with --signals.",
        show_default=False,
        rich_help_panel=TABLE,
    ),
]
Signals: TypeAlias = Annotated[
    bool, typer.Option("--signals", help="Print one line per signal, as csv or jsonl.")
]


def table(
    sources: Sources,
    stage: Stage = "test",
    by: By = None,
    metric: Metrics = None,
    format_name: Format = None,
    std: Std = True,
    signals: Signals = False,
) -> None:
    """Compare systems in one table: a row for each, and one for the noisy signals.

    The noisy row is computed from the scores that each table has of what went
    in. Signals that failed are not in a mean: it is marked (†), and below the
    table stands why. In markdown and latex the best of each group is bold.
    csv and jsonl have all digits, with n and the number that failed.

    audiozen table exp/small exp/large --by snr_db
    audiozen table exp/small scores.csv --metric pesq_wb,stoi --format latex
    """
    if signals and format_name not in (None, "csv", "jsonl"):
        raise RequestError(f"--signals prints csv or jsonl, not {format_name}; choose one of them")
    systems = read_systems(sources, stage)
    if signals:
        typer.echo(signals_text(systems, format_name or "csv"))
        return
    text = systems_text(
        stage if any(Path(source).is_dir() for source in sources) else "scores",
        systems,
        by=split_names(by),
        metrics=split_names(metric),
        format_name=format_name or "text",
        show_std=std,
    )
    typer.echo(text)


def read_systems(sources: Sequence[str], stage: str) -> list[System]:
    """The scores of each source: one system per dataset.

    Raises:
        RequestError: a source is neither an experiment nor a table, is given twice, or has no scores.
    """
    from audiozen.results.scores import read_all_scores

    systems = []
    for source, scores in zip(sources, read_all_scores(sources, stage)):
        if not any(scores.tables.values()):
            raise RequestError(f"{source} has no signals; there is nothing to show")
        several = len(scores.tables) > 1
        systems += [
            System(scores.name, records, dataset if several else None)
            for dataset, records in scores.tables.items()
        ]
    return systems


def signals_text(systems: Sequence[System], format_name: str) -> str:
    """All records, with the columns ``system`` and ``dataset`` where there are several."""
    several = len({system.name for system in systems}) > 1
    records = [
        ({SYSTEM: system.name} if several else {})
        | ({DATASET: system.dataset} if system.dataset else {})
        | dict(record)
        for system in systems
        for record in system.records
    ]
    return records_text(records, format_name)
