"""Noise: recorded, or composed of recorded key presses and voices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from mixture_plan import generator_of

from corpus.cleaning import (
    SAMPLE_RATE,
    Waveform,
    active_rms,
    drop_silence,
    fade,
    frame_levels,
    limit_peak,
    read_16k,
    to_level,
    trim,
    write_16k,
)
from corpus.packages import inner_path, sounds
from corpus.sources import BABBLE, BABBLE_FALLBACK, NOT_SPEECH, TYPING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from corpus.sources import Noise, Split

    Record = dict[str, Any]

LEAST_LEVEL_DBFS = -75.0

NUM_TYPISTS, TYPING_SECONDS = 3, 60
NUM_VOICES, BABBLE_SECONDS = 7, 40
NUM_BABBLES = {"train": 6, "valid": 3, "test": 3}
VOICE_RMS, VOICE_SPREAD_DB = 0.05, 2.0


def make_noise(source: Noise, folder: Path, out: Path) -> dict[str, list[Record]]:
    """Write the recordings of one type; ``records`` says what was written."""
    records = []
    for path in sounds(folder, source.pattern):
        try:
            waveform = read_16k(path)[: source.seconds * SAMPLE_RATE]
        except soundfile.LibsndfileError:
            continue
        if len(waveform) >= SAMPLE_RATE:
            name = f"{source.package.split('-')[0]}_{path.stem}".replace(" ", "_")
            origin = {"package": source.package, "sources": [inner_path(path, folder)[1:]]}
            cut = fade(drop_silence(waveform))
            records += _write(cut, source.noise_type, source.split, name, origin, out)
    return {"records": records}


def make_typing(folder: Path, out: Path) -> dict[str, list[Record]]:
    """Write a few minutes of typing, each key press and release a recorded one."""
    presses = {path.stem[:-2]: read_16k(path) for path in sounds(folder, r"/[0-9a-f]+-0\.wav$")}
    releases = {path.stem[:-2]: read_16k(path) for path in sounds(folder, r"/[0-9a-f]+-1\.wav$")}
    keys = [(presses[key], releases[key]) for key in sorted(presses.keys() & releases.keys())]
    origin = {"package": TYPING, "sources": ["composed of all keys"]}
    records = []
    for number in range(NUM_TYPISTS):
        waveform = _compose_typing(keys, generator_of("typing", number))
        records += _write(waveform, "typing", "test", f"buckle_{number}", origin, out)
    return {"records": records}


def _compose_typing(
    keys: Sequence[tuple[Waveform, Waveform]], generator: np.random.Generator
) -> Waveform:
    waveform = np.zeros((TYPING_SECONDS + 1) * SAMPLE_RATE, np.float32)
    seconds = 0.3
    while seconds < TYPING_SECONDS - 2:
        press, release = keys[int(generator.integers(len(keys)))]
        gain = 10 ** (generator.normal(0, 2.5) / 20)
        held = float(generator.uniform(0.06, 0.14))
        _add(waveform, gain * press, int(seconds * SAMPLE_RATE))
        _add(waveform, gain * release, int((seconds + held) * SAMPLE_RATE))
        seconds += float(generator.gamma(2.0, 0.075))
        if generator.random() < 0.06:  # a moment of thought
            seconds += float(generator.exponential(1.2))
    return waveform[: TYPING_SECONDS * SAMPLE_RATE]


def make_babble(split: Split, folders: dict[str, Path], out: Path) -> dict[str, list[Record]]:
    """Write several voices at once, of speakers who are on this side of the split only."""
    there = [(folders[name], pattern) for name, pattern in BABBLE[split] if name in folders]
    pools = [_spoken(folder, pattern) for folder, pattern in there]
    pools = [pool for pool in pools if pool]
    names = sorted({name for name, _ in BABBLE[split] if name in folders})
    if not pools:
        name, pattern = BABBLE_FALLBACK
        names, pools = [name], [sounds(folders[name], pattern)]
    origin = {"package": "+".join(names), "sources": [f"{NUM_VOICES} voices mixed"]}
    records = []
    for number in range(NUM_BABBLES[split]):
        babble = np.zeros(BABBLE_SECONDS * SAMPLE_RATE, np.float32)
        for voice in range(NUM_VOICES):
            generator = generator_of("babble", split, number, voice)
            _add_voice(babble, pools[voice % len(pools)], generator)
        records += _write(babble, "babble", split, f"{split}_{number}", origin, out)
    return {"records": records}


def _spoken(folder: Path, pattern: str) -> list[Path]:
    found = sounds(folder, pattern)
    return [path for path in found if not NOT_SPEECH.search(inner_path(path, folder))]


def _add_voice(babble: Waveform, pool: Sequence[Path], generator: np.random.Generator) -> None:
    """One clip after the other, with short pauses, from before the beginning to the end."""
    start = -int(generator.integers(0, 3 * SAMPLE_RATE))
    while start < len(babble):
        try:
            clip = trim(read_16k(pool[int(generator.integers(len(pool)))]))
        except soundfile.LibsndfileError:
            continue
        if len(clip) < SAMPLE_RATE // 5:
            continue
        level = VOICE_RMS / active_rms(clip)
        clip = fade(clip) * level * 10 ** (generator.normal(0, VOICE_SPREAD_DB) / 20)
        _add(babble, clip, start)
        start += len(clip) + int(generator.uniform(0.05, 0.35) * SAMPLE_RATE)


def _add(waveform: Waveform, sound: Waveform, start: int) -> None:
    """Add a sound in place; what lies outside is cut off."""
    sound = sound[max(0, -start) :]
    start = max(0, start)
    sound = sound[: len(waveform) - start]
    waveform[start : start + len(sound)] += sound


def _write(
    waveform: Waveform, noise_type: str, split: str, name: str, origin: Record, out: Path
) -> list[Record]:
    """Write a recording, unless there is too little in it; the records of what was written."""
    too_quiet = np.percentile(frame_levels(waveform), 90) < LEAST_LEVEL_DBFS
    if len(waveform) < SAMPLE_RATE or too_quiet:
        return []
    path = f"noise/{split}/{noise_type}/{name}.wav"
    write_16k(out / path, limit_peak(to_level(waveform)))
    identity = {"id": f"{noise_type}_{name}", "path": path, "num_samples": len(waveform)}
    return [{**identity, "split": split, "noise_type": noise_type, **origin}]
