"""Make a corpus of spoken digits from Debian packages: seven voices, five languages, 8 kHz.

    python prepare_digits.py --out DIR

DIR gets ``train.jsonl``, ``test.jsonl``, ``wav/``, and ``sources.json``, which says what was taken. Packages are
downloaded and unpacked there, as those of the recipe ``debian_noisy_speech`` are; nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen.config.locate import locate
from audiozen.data.audio import resample, write_audio
from audiozen.data.manifest import Entry, faulty, write_manifest
from audiozen.durable_files import replace_file
from audiozen.errors import AudioZENError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

logger = logging.getLogger("prepare")

NEIGHBOUR = Path(__file__).resolve().parents[1] / "debian_noisy_speech"
SAMPLE_RATE = 8000
DIGITS = tuple("0123456789")
SUFFIXES = (".g722", ".wav", ".gsm")
PEAK = 0.5
FRAME, MARGIN, RANGE_DB = SAMPLE_RATE // 50, 2, 30.0
"""Of frames of 20 ms; a clip begins two of them before the first, and ends two after the last, that is within 30 dB of
the loudest."""


class Voice(NamedTuple):
    """Whose digits a package has."""

    package: str
    licence: str
    speaker: str
    language: str
    split: str


VOICES = (
    Voice("asterisk-core-sounds-en-g722", "CC-BY-SA-3.0", "allison", "en", "train"),
    Voice("asterisk-core-sounds-es-g722", "CC-BY-SA-3.0", "allison", "es", "train"),
    Voice("asterisk-core-sounds-fr-g722", "CC-BY-SA-3.0", "june", "fr", "train"),
    Voice("asterisk-core-sounds-it-g722", "CC-BY-3.0", "carlo", "it", "train"),
    Voice("asterisk-core-sounds-ru-g722", "CC-BY-3.0", "ivrvoice", "ru", "train"),
    Voice("asterisk-prompt-es-co", "GPL-2", "jimenez", "es", "test"),
    Voice("asterisk-prompt-fr-armelle", "BSD-like", "desjardins", "fr", "test"),
    Voice("asterisk-prompt-it-menardi-wav", "CC-BY-SA-3.0", "dal_zot", "it", "test"),
)
"""One woman speaks two languages; nobody is in two splits."""


def prepare(folders: Mapping[str, Path], out: Path) -> dict[str, list[Entry]]:
    """Write wav files and manifests.

    Args:
        folders: the unpacked package of each name in ``VOICES``.
        out: folder of the corpus.

    Returns:
        The entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing, one line each. Nothing is written.
    """
    paths = {voice: digit_paths(folders[voice.package]) for voice in VOICES}
    problems = [
        f"{folders[voice.package]}: no digits/{digit}.*; {voice.package} has another layout"
        for voice, found in paths.items()
        for digit in DIGITS
        if digit not in found
    ]
    if problems:
        raise faulty(out, problems)
    manifests: dict[str, list[Entry]] = {"train": [], "test": []}
    for voice, found in paths.items():
        manifests[voice.split] += [_write(voice, digit, found[digit], out) for digit in DIGITS]
    for name, entries in manifests.items():
        write_manifest(out / f"{name}.jsonl", entries)
    return manifests


def digit_paths(folder: Path) -> dict[str, Path]:
    """Sound files named after a digit, in a folder ``digits``. Where there are several, the first by name; no links."""
    paths = sorted(folder.rglob("digits/[0-9].*"), reverse=True)
    return {path.stem: path for path in paths if path.suffix in SUFFIXES and not path.is_symlink()}


def read_8k(path: Path) -> Tensor:
    """A clip of whichever format, without what is below 60 Hz, shape ``(time,)``."""
    read_16k, highpass = (
        locate(f"corpus.cleaning.{name}", [NEIGHBOUR]) for name in ("read_16k", "highpass")
    )
    samples = highpass(_read_gsm(path)) if path.suffix == ".gsm" else read_16k(path)
    return resample(torch.from_numpy(samples), 2 * SAMPLE_RATE, SAMPLE_RATE)


def _read_gsm(path: Path) -> Any:
    import soundfile

    samples, _ = soundfile.read(
        path, dtype="float32", samplerate=SAMPLE_RATE, channels=1, format="RAW", subtype="GSM610"
    )
    return resample(torch.from_numpy(samples), SAMPLE_RATE, 2 * SAMPLE_RATE).numpy()


def trim(clip: Tensor) -> Tensor:
    """Cut off both ends what is 30 dB below the loudest frame, but for 40 ms.

    The first and the last 40 ms count for nothing, as some clips begin or end with a click.
    """
    energies = clip[: len(clip) // FRAME * FRAME].reshape(-1, FRAME).square().mean(1)
    energies[:MARGIN], energies[-MARGIN:] = 0, 0
    heard = (energies >= energies.max() * 10 ** (-RANGE_DB / 10)).nonzero().flatten().tolist()
    return clip[max(0, heard[0] - MARGIN) * FRAME : (heard[-1] + 1 + MARGIN) * FRAME]


def _write(voice: Voice, digit: str, source: Path, out: Path) -> Entry:
    clip = trim(read_8k(source))
    name = f"{voice.speaker}_{voice.language}_{digit}"
    path = out / "wav" / f"{name}.wav"
    write_audio(path, clip * (PEAK / clip.abs().max()), SAMPLE_RATE)
    labels = {"label": digit, "speaker": voice.speaker, "language": voice.language}
    return Entry(name, path, SAMPLE_RATE, len(clip), labels)


def fetch(out: Path, downloads: Path) -> dict[str, Path]:
    """Download and unpack what is not there yet, and write ``sources.json``."""
    package = locate("corpus.sources.Package", [NEIGHBOUR])
    download, unpack, describe = (
        locate(f"corpus.packages.{name}", [NEIGHBOUR]) for name in ("fetch", "unpack", "describe")
    )
    wanted = [package(voice.package, "small", voice.licence) for voice in VOICES]
    files = download(wanted, downloads)
    sources = [describe(item, files[item.name]) for item in wanted]
    replace_file(out / "sources.json", json.dumps(sources, indent=1).encode())
    return {name: unpack(name, file, out / "unpacked") for name, file in files.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a corpus of digits from Debian packages.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--downloads", type=Path, help="folder of the packages (OUT/packages)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = arguments.out
    try:
        manifests = prepare(fetch(out, arguments.downloads or out / "packages"), out)
    except AudioZENError as error:
        logger.error("%s", error)  # noqa: TRY400 - the text is for people, without traceback
        return error.exit_code
    for name, entries in manifests.items():
        logger.info("%-6s %4d clips", name, len(entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
