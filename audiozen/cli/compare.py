"""``audiozen compare``: which of two systems is better on the same signals, and whether that is shown."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from audiozen.results.comparison_text import format_comparison

Systems: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="A B...",
        help="Folders of runs, or per-signal tables (.csv, .jsonl). All others are compared with the first.",
        show_default=False,
    ),
]
Stage: TypeAlias = Annotated[
    Literal["test", "valid"],
    typer.Option(help="Which tables of a run; valid: those of the best checkpoint."),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(help="Compare these only; may be repeated.", show_default=False),
]
By: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Compare each group of this label, too.", show_default=False
    ),
]
Cluster: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Signals of the same label, such as a speaker, are not independent.",
        show_default=False,
    ),
]
Common: TypeAlias = Annotated[
    bool, typer.Option("--common", help="Compare what all have, where the signals differ.")
]
AllPairs: TypeAlias = Annotated[
    bool, typer.Option("--all-pairs", help="Compare each system with each other.")
]
Format: TypeAlias = Annotated[
    Literal["text", "markdown", "latex", "csv", "jsonl"],
    typer.Option("--format", help="csv and jsonl have all numbers with all digits."),
]
Confidence: TypeAlias = Annotated[float, typer.Option(help="Of intervals and verdicts.")]
NumResamples: TypeAlias = Annotated[int, typer.Option(help="Of the bootstrap and the test.")]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of the bootstrap and the test.")]


def compare(
    systems: Systems,
    stage: Stage = "test",
    metric: Metrics = None,
    by: By = None,
    cluster: Cluster = None,
    common: Common = False,
    all_pairs: AllPairs = False,
    output_format: Format = "text",
    confidence: Confidence = 0.95,
    num_resamples: NumResamples = 10_000,
    seed: Seed = 0,
) -> None:
    """Say which system is better on the same signals, and whether that is shown."""
    from audiozen.results.comparison import compare as compare_scores
    from audiozen.results.question import Question
    from audiozen.results.scores import read_all_scores

    question = Question(
        metrics=metric or (),
        by=by,
        cluster=cluster,
        common=common,
        all_pairs=all_pairs,
        confidence=confidence,
        num_resamples=num_resamples,
        seed=seed,
    )
    comparison = compare_scores(read_all_scores(systems, stage), question)
    typer.echo(format_comparison(comparison, output_format))
    if output_format in ("csv", "jsonl"):
        for note in comparison.notes:
            typer.echo(note, err=True)
