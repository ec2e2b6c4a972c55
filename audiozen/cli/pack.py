"""``audiozen pack``: a corpus in a few files that are read faster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from audiozen.cli.channel import parse_channel
from audiozen.errors import AudioError, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.data.packing import PackReport

MEGABYTE = 1 << 20


Sources: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        metavar="MANIFEST...",
        help="Manifests (.jsonl) to pack. With --verify: folders with packs.",
        show_default=False,
    ),
]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for packs and their manifests.", show_default=False),
]
SampleRate: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="RATE",
        min=1,
        help="Resample to this rate (Hz). If left out, each file keeps its own.",
        show_default=False,
    ),
]
ChannelChoice: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NUMBER|mean|error",
        help="Of files with several: which one, from 0; their mean; or refuse them.",
    ),
]
ShardSize: TypeAlias = Annotated[
    int, typer.Option(metavar="MB", min=1, help="Greatest size of a file of a pack.")
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=1,
        help="Processes. One per core if left out. The result does not depend on it.",
        show_default=False,
    ),
]
Verify: TypeAlias = Annotated[
    bool, typer.Option("--verify", help="Check packs instead: all bytes, by SHA-256.")
]


def pack(
    sources: Sources,
    output: Output = None,
    sample_rate: SampleRate = None,
    channel: ChannelChoice = "error",
    shard_size: ShardSize = 256,
    workers: Workers = None,
    verify: Verify = False,
) -> None:
    """Write a corpus into a few files that are read much faster.

    The output folder gets a manifest of the same name, whose paths lead into
    the pack; datasets and read_audio take them like files. 16-bit sound is kept
    bit for bit. Run again, it does only what is missing or has changed.

    audiozen pack corpus/speech.jsonl corpus/noise.jsonl --output packed
    audiozen pack --verify packed
    """
    if verify:
        _verify(sources)
        return
    which = parse_channel(channel)
    target = _checked_output(sources, output)
    from audiozen.data import packing

    for manifest in sources:
        report = packing.pack(
            manifest,
            target,
            sample_rate=sample_rate,
            channel=which,
            shard_size=shard_size * MEGABYTE,
            num_workers=workers,
            tell=lambda text: typer.echo(text, err=True),
        )
        typer.echo(_text_of(report))


def _checked_output(manifests: Sequence[Path], output: Path | None) -> Path:
    if output is None:
        raise RequestError("where to? Say it with --output DIR")
    counts = Counter(manifest.stem for manifest in manifests)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise RequestError(
            f"{len(twice)} names come more than once ({twice[0]}), and their packs would have one name; "
            "choose an --output for each"
        )
    return output


def _text_of(report: PackReport) -> str:
    shards = "1 shard" if report.num_shards == 1 else f"{report.num_shards} shards"
    num_exact = report.num_signals - report.num_rounded
    size = f"{report.num_bytes / MEGABYTE:.1f} MB in {shards} ({report.num_made} made now)"
    text = (
        f"{report.manifest}: {report.num_signals} signals, {report.duration / 3600:.2f} h, {size}"
    )
    text += f"\n  {num_exact} bit for bit, {report.num_rounded} rounded to 16 bits"
    if report.num_resampled:
        text += f" ({report.num_resampled} of them resampled)"
    if report.counting_labels:
        text += "\n  labels are as they were; what they count in samples is at the old rate: "
        text += ", ".join(report.counting_labels)
    return text


def _verify(folders: Sequence[Path]) -> None:
    from audiozen.data.packing import find_packs, pack_problems

    problems = []
    for pack_folder in [found for folder in folders for found in find_packs(folder)]:
        found = pack_problems(pack_folder)
        problems += found
        if not found:
            typer.echo(f"{pack_folder}: as it was written")
    if problems:
        raise AudioError(
            "\n  ".join([f"{len(problems)} of the files are not as they were written:", *problems])
        )
