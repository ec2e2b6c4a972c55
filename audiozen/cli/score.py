"""``audiozen score``: scores of a folder of sound against another one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from audiozen.cli.channel import parse_channel
from audiozen.cli.print_table import TABLE, By, FormatName, Std, split_names, systems_text
from audiozen.cli.request import tell
from audiozen.cli.score_audio import Reader, check_channels, common_rate, headers_of
from audiozen.cli.score_pairs import Pairing, names, pair_files
from audiozen.cli.score_signals import build_scorer, scored
from audiozen.errors import AudioZENError, RequestError
from audiozen.tables.files import read_table, suffix_of, write_table
from audiozen.tables.records import ERROR, NOISY, columns_of, label_text, refuse_unknown
from audiozen.tables.systems import System
from audiozen.tracking.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.cli.score_audio import Channel
    from audiozen.cli.score_pairs import Signal
    from audiozen.cli.score_signals import Record
    from audiozen.metrics import Scorer

    Labels = Mapping[str, str | None]

SOUND, SCORES = "Sound", "Scores"
"""Where the help shows an option."""
FACTS = ("duration", "trimmed")
"""What is known of each signal besides its scores; the second with ``--trim``."""


Reference: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="What it is compared with: the clean signals.",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
Estimate: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="What is scored: a folder of wav and flac files (or one file).",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
Noisy: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="What the estimates were made of; scored as well, for a row to compare with.",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
PairBy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="What the names of one signal's files share: a regular expression whose first group "
        r"is the id, such as 'fileid_(\d+)'. If left out: the path below the folder, but for the "
        "ending.",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
ChannelChoice: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NUMBER|mean|error",
        help="Of files with several: which one, from 0; their mean; or refuse them.",
        rich_help_panel=SOUND,
    ),
]
Resample: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="RATE",
        min=1,
        help="Bring all signals to this rate (Hz) first. Nothing is resampled otherwise.",
        show_default=False,
        rich_help_panel=SOUND,
    ),
]
Trim: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trim",
        help="Cut signals of different lengths to the shortest. They are failures otherwise.",
        rich_help_panel=SOUND,
    ),
]
Metrics: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="What to compute; several with commas, or several times. si_sdr, pesq_wb, stoi, estoi "
        "if left out; DNSMOS where there is no reference. Others: snr, sdr_bss, pesq_nb, csig, "
        "cbak, covl, dnsmos_ovrl and more; with _i behind, the improvement on noisy (si_sdr_i).",
        show_default=False,
        rich_help_panel=SCORES,
    ),
]
LabelsTable: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="A .csv or .jsonl with a column id, and labels of the signals in the others.",
        show_default=False,
        rich_help_panel=SCORES,
    ),
]
NumWorkers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        help="Processes that compute. One per core if left out. Scores do not depend on it.",
        show_default=False,
        rich_help_panel=SCORES,
    ),
]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="Write the scores of every signal to this .csv or .jsonl, replacing it.",
        show_default=False,
        rich_help_panel=TABLE,
    ),
]
Format: TypeAlias = Annotated[
    FormatName,
    typer.Option("--format", help="How the means are printed.", rich_help_panel=TABLE),
]


def score(
    *,
    reference: Reference = None,
    estimate: Estimate,
    noisy: Noisy = None,
    pair_by: PairBy = None,
    channel: ChannelChoice = "error",
    resample: Resample = None,
    trim: Trim = False,
    metric: Metrics = None,
    labels: LabelsTable = None,
    num_workers: NumWorkers = None,
    output: Output = None,
    by: By = None,
    format_name: Format = "text",
    std: Std = True,
) -> None:
    """Score a folder of sound against another one. No experiment is needed.

    Prints means; --output writes the scores of every signal. Files are paired
    by name, and those without a partner are told. A score that is undefined
    is NaN with a reason, stays out of the mean, and is counted.

    audiozen score --reference clean --estimate enhanced --noisy noisy
    audiozen score --reference clean --estimate enhanced --output scores.csv
    audiozen score --estimate enhanced --metric dnsmos_ovrl

    Exit codes: 0 done, also where some signals failed; 1 nothing could be
    scored; 2 the request was wrong.
    """
    places = {
        role: place
        for role, place in {"reference": reference, "estimate": estimate, "noisy": noisy}.items()
        if place is not None
    }
    columns = split_names(by)
    labels_of = {} if labels is None else read_labels(labels)
    check_request(columns, labels_of, trim=trim, output=output)
    pairing = pair_files(places, pair_by)
    for note in pairing.notes:
        tell(note)
    reader = build_reader(pairing.signals, resample, parse_channel(channel), trim=trim)
    scorer = build_scorer(split_names(metric), reader.sample_rate, places, tell)
    check_labels(labels_of, scorer.names)
    records = with_labels(
        score_all(
            pairing.signals, scorer, reader, has_noisy="noisy" in places, num_workers=num_workers
        ),
        labels_of,
    )
    name = estimate.stem if estimate.is_file() else estimate.resolve().name
    try:
        if output is not None:
            write_scores(output, records)
    finally:  # a disk that is full does not take the means as well
        typer.echo(
            systems_text(
                title(places, pairing, reader, records),
                [System(name, records)],
                by=columns,
                metrics=(),
                format_name=format_name,
                show_std=std,
            )
        )
    tell_failures(records, scorer.names)


def check_request(
    by: Sequence[str], labels: Mapping[str, Labels], *, trim: bool, output: Path | None
) -> None:
    """Refuse, before anything is computed, what could not be done afterwards.

    Raises:
        RequestError: there is no such column to group by, or the output is not named as a table.
    """
    facts = FACTS if trim else FACTS[:1]
    refuse_unknown("column", by, ["id", *facts, *columns_of(labels.values())])
    if output is not None:
        suffix_of(output)


def read_labels(path: Path) -> dict[str, Labels]:
    """Labels by id. What is no text, such as an SNR, becomes text: else it would be taken for a metric.

    Raises:
        RequestError: there is no such file, or it has no column ``id``, or one id twice.
    """
    if not path.is_file():
        raise RequestError(f"--labels {path}: no such file")
    records = read_table(path)
    if any(record.get("id") is None for record in records):
        raise RequestError(f"--labels {path}: each line needs an id, in a column of that name")
    labels = {label_text(record.pop("id")): record for record in records}
    if len(labels) < len(records):
        raise RequestError(f"--labels {path}: an id is there twice; ids must differ")
    return {
        key: {name: None if value is None else label_text(value) for name, value in record.items()}
        for key, record in labels.items()
    }


def build_reader(
    signals: Sequence[Signal], resample: int | None, channel: Channel, *, trim: bool
) -> Reader:
    """A reader of files that fit together.

    Raises:
        RequestError: they have different rates or several channels, and nothing was said about it.
        AudioZENError: none can be read.
    """
    headers = headers_of(signals)
    check_channels(headers, channel)
    return Reader(headers, resample or common_rate(headers), channel, trim, tell)


def score_all(
    signals: Sequence[Signal],
    scorer: Scorer,
    reader: Reader,
    *,
    has_noisy: bool,
    num_workers: int | None,
) -> list[Record]:
    """Records of all signals, with the progress on stderr."""
    records = []
    with Console().progress("scoring", total=len(signals), unit="signal") as progress:
        for record in scored(signals, scorer, reader, has_noisy=has_noisy, num_workers=num_workers):
            records.append(record)
            progress.advance()
    return records


def check_labels(labels: Mapping[str, Labels], metrics: Sequence[str]) -> None:
    """Refuse labels that are called as columns that will be computed.

    Raises:
        RequestError: with their names.
    """
    taken = [
        column
        for column in columns_of(labels.values())
        if column in FACTS or column.removesuffix(ERROR).removesuffix(NOISY) in metrics
    ]
    if taken:
        raise RequestError(
            f"--labels: {', '.join(taken)} would stand in the way of what is computed; rename or "
            "remove this column"
        )


def with_labels(records: Sequence[Record], labels: Mapping[str, Labels]) -> list[Record]:
    """Records with the labels behind the id."""
    without = [record["id"] for record in records if record["id"] not in labels]
    if labels and without:
        tell(f"{len(without)} of {len(records)} signals without labels: {names(without)}")
    return [{"id": record["id"], **labels.get(record["id"], {}), **record} for record in records]


def write_scores(path: Path, records: Sequence[Record]) -> None:
    """Write one line per signal."""
    write_table(path, records)
    tell(f"{path}: the scores of {len(records)} signals")


def title(
    places: Mapping[str, Path], pairing: Pairing, reader: Reader, records: Sequence[Record]
) -> str:
    """What was compared, and what was left out or changed before."""
    against = f" against {places['reference']}" if "reference" in places else ""
    is_resampled = any(info.sample_rate != reader.sample_rate for info in reader.headers.values())
    longest = max(record.get("trimmed", 0) for record in records)
    parts = [
        f"{places['estimate']}{against}",
        f"{'resampled to ' if is_resampled else ''}{reader.sample_rate} Hz",
        *([f"trimmed by up to {longest} samples"] if longest else []),
        *([f"{num} without an estimate"] if (num := pairing.num_without_estimate) else []),
    ]
    return ", ".join(parts)


def tell_failures(records: Sequence[Record], metrics: Sequence[str]) -> None:
    """Say how many signals lack a score.

    Raises:
        AudioZENError: all lack all of them.
    """
    failed = [[metric for metric in metrics if math.isnan(r[metric])] for r in records]
    if all(len(missing) == len(metrics) for missing in failed):
        raise AudioZENError("no signal could be scored; the reasons are in the table")
    num_failed = sum(map(bool, failed))
    if num_failed:
        tell(f"{num_failed} of {len(records)} signals lack a score, and are not in its mean")
