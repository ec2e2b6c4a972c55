"""Utterances of one voice: clips are cleaned, long ones cut, short ones joined."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from corpus.cleaning import (
    SAMPLE_RATE,
    Waveform,
    fade,
    limit_peak,
    read_16k,
    share_clipped,
    split_long,
    to_active_level,
    trim,
    why_unusable,
    write_16k,
)
from corpus.packages import inner_path, sounds
from corpus.sources import NOT_SPEECH

if TYPE_CHECKING:
    from pathlib import Path

    from corpus.sources import Voice

SHORTEST_UTTERANCE, SHORTEST_REST = 3 * SAMPLE_RATE, SAMPLE_RATE
GAP = round(0.12 * SAMPLE_RATE)


class Utterances:
    """Collects pieces until they make an utterance, and writes it."""

    def __init__(self, voice: Voice, out: Path) -> None:
        self.voice, self.out = voice, out
        self.records: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._pieces: list[Waveform] = []
        self._sources: list[str] = []

    def add(self, piece: Waveform, source: str) -> None:
        """Join a piece to those that wait."""
        if self._pieces:
            self._pieces.append(np.zeros(GAP, np.float32))
        self._pieces.append(fade(piece))
        self._sources.append(source)
        self.finish(SHORTEST_UTTERANCE)

    def finish(self, shortest: int) -> None:
        """Write what waits, if it is long enough."""
        if not self._pieces or sum(map(len, self._pieces)) < shortest:
            return
        voice, waveform = self.voice, np.concatenate(self._pieces)
        utterance_id = f"{voice.speaker}_{voice.language}_{len(self.records):04d}"
        path = f"clean/{voice.split}/{voice.speaker}/{utterance_id}.wav"
        write_16k(self.out / path, limit_peak(to_active_level(waveform)))
        self.records.append(
            {
                "id": utterance_id,
                "path": path,
                "num_samples": len(waveform),
                "split": voice.split,
                "speaker": voice.speaker,
                "sex": voice.sex,
                "language": voice.language,
                "package": voice.package,
                "sources": self._sources,
            }
        )
        self.seconds += len(waveform) / SAMPLE_RATE
        self._pieces, self._sources = [], []


class Clips:
    """Reads clips and leaves out those that are unusable or were heard before."""

    def __init__(self, heard: set[str]) -> None:
        self.heard = set(heard)
        self.hashes: list[str] = []
        self.dropped: Counter[str] = Counter()

    def read(self, path: Path) -> Waveform | None:
        """The trimmed clip, or None."""
        try:
            waveform = read_16k(path)
        except soundfile.LibsndfileError:
            self.dropped["unreadable"] += 1
            return None
        clip = trim(waveform)
        why = self._why_dropped(waveform, clip)
        if why is None:
            return clip
        self.dropped[why] += 1
        return None

    def _why_dropped(self, waveform: Waveform, clip: Waveform) -> str | None:
        digest = hashlib.sha256(waveform.tobytes()).hexdigest()
        if digest in self.heard:
            return "duplicate"
        self.heard.add(digest)
        self.hashes.append(digest)
        return why_unusable(clip, share_clipped(waveform))


def make_speech(voice: Voice, folder: Path, out: Path, heard: set[str]) -> dict[str, Any]:
    """Write the utterances of a voice.

    Args:
        voice: which files of the package.
        folder: the unpacked package.
        out: folder of the corpus.
        heard: hashes of all clips so far; a clip that comes again is left out.

    Returns:
        ``records``, one per utterance, ``hashes`` of the clips, and how many were ``dropped`` for which reason.
    """
    utterances, clips = Utterances(voice, out), Clips(heard)
    for path in sounds(folder, voice.pattern):
        source = inner_path(path, folder)[1:]
        if NOT_SPEECH.search(source) or utterances.seconds > voice.minutes * 60:
            continue
        clip = clips.read(path)
        if clip is not None:
            for piece in split_long(to_active_level(clip)):
                utterances.add(piece, source)
    utterances.finish(SHORTEST_REST)
    return {"records": utterances.records, "hashes": clips.hashes, "dropped": clips.dropped}
