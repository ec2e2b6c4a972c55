"""From sound files of all kinds to clean pieces at 16 kHz. Waveforms are float32 arrays of shape ``(time,)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

if TYPE_CHECKING:
    from pathlib import Path

Waveform: TypeAlias = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
FRAME = SAMPLE_RATE // 50
LEVEL_DBFS = -26.0
PEAK = 0.97

ACTIVE_RANGE_DB = 35.0
TRIM_RANGE_DB, TRIM_MARGIN = 45.0, round(0.08 * SAMPLE_RATE)
SILENCE_RANGE_DB, SILENCE_DBFS = 40.0, -75.0
FADE = 80

SHORTEST_CLIP = SAMPLE_RATE // 4
QUIETEST_DBFS = -50.0
CLIPPED_SHARE, CLIPPED_FROM = 2e-3, 0.998
LEAST_RANGE_DB = 24.0
CUT_FROM, CUT_TO = 3 * SAMPLE_RATE, 8 * SAMPLE_RATE


def read_16k(path: Path) -> Waveform:
    """Decode, mix to mono, resample to 16 kHz and high-pass at 60 Hz.

    Raises:
        soundfile.LibsndfileError: the file cannot be decoded.
    """
    if path.suffix == ".g722":
        return highpass(_read_g722(path))
    channels, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    waveform: Waveform = channels.mean(1)
    if len(waveform) == 0:
        return waveform
    if sample_rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, sample_rate, SAMPLE_RATE, quality="HQ")
    return highpass(waveform)


def _read_g722(path: Path) -> Waveform:
    from G722 import G722  # only the asterisk packages need it

    decoded = G722(SAMPLE_RATE, 64000).decode(path.read_bytes())
    return np.asarray(decoded, np.float32) / np.float32(32768)


def highpass(waveform: Waveform, stop: float = 25.0, band: float = 60.0) -> Waveform:
    """Nothing below ``stop`` Hz, all above ``band`` Hz, without delay: rumble would eat the SNR unheard."""
    num_samples = len(waveform) + SAMPLE_RATE // 2  # the tail keeps the filter from wrapping around
    frequencies = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    gains = np.clip((frequencies - stop) / (band - stop), 0, 1) ** 2
    filtered = np.fft.irfft(np.fft.rfft(waveform, num_samples) * gains, num_samples)
    return filtered[: len(waveform)].astype(np.float32)


def frame_levels(waveform: Waveform) -> npt.NDArray[Any]:
    """Level of each frame of 20 ms, in dBFS."""
    if len(waveform) < FRAME:
        return np.array([-120.0])
    frames = waveform[: len(waveform) // FRAME * FRAME].reshape(-1, FRAME)
    return np.asarray(10 * np.log10((frames**2).mean(1) + 1e-12))


def active_rms(waveform: Waveform) -> float:
    """Root mean square of the frames within 35 dB of the 95th percentile: speech without its pauses."""
    levels = frame_levels(waveform)
    active = levels[levels > np.percentile(levels, 95) - ACTIVE_RANGE_DB]
    return float(np.sqrt(np.mean(10 ** (active / 10)))) + 1e-9


def trim(waveform: Waveform) -> Waveform:
    """Cut silence off both ends, but for a margin of 80 ms."""
    levels = frame_levels(waveform)
    heard = np.flatnonzero(levels > levels.max() - TRIM_RANGE_DB)
    start = max(0, heard[0] * FRAME - TRIM_MARGIN)
    return waveform[start : (heard[-1] + 1) * FRAME + TRIM_MARGIN]


def fade(waveform: Waveform) -> Waveform:
    """Ramp both ends over 5 ms, so that pieces can be joined without a click."""
    faded = waveform.copy()
    length = min(FADE, len(faded) // 2)
    if length:
        ramp = np.linspace(0, 1, length, dtype=np.float32)
        faded[:length] *= ramp
        faded[-length:] *= ramp[::-1]
    return faded


def share_clipped(waveform: Waveform) -> float:
    """Part of the samples that stand at full scale."""
    return float(np.mean(np.abs(waveform) > CLIPPED_FROM)) if len(waveform) else 0.0


def why_unusable(clip: Waveform, clipped: float) -> str | None:
    """Why a trimmed clip is no clean speech, in a word; None if it is."""
    if len(clip) < SHORTEST_CLIP:
        return "short"
    levels = frame_levels(clip)
    if levels.max() < QUIETEST_DBFS:
        return "quiet"
    if clipped > CLIPPED_SHARE:
        return "clipped"
    # Speech has gaps. Where there are none, something else sounds in them.
    if np.percentile(levels, 95) - np.percentile(levels, 3) < LEAST_RANGE_DB:
        return "noisy"
    return None


def split_long(waveform: Waveform) -> list[Waveform]:
    """Cut at the quietest moment between 3 and 8 s, until no piece is longer than 8 s."""
    pieces = []
    while len(waveform) > CUT_TO:
        levels = np.convolve(frame_levels(waveform[CUT_FROM:CUT_TO]), np.ones(7) / 7, "same")
        cut = CUT_FROM + int(np.argmin(levels)) * FRAME + FRAME // 2
        pieces.append(waveform[:cut])
        waveform = waveform[cut:]
    return [*pieces, waveform]


def drop_silence(noise: Waveform) -> Waveform:
    """Leave out stretches of half a second or more that are 40 dB under the loud ones."""
    levels = frame_levels(noise)
    heard = levels > max(np.percentile(levels, 95) - SILENCE_RANGE_DB, SILENCE_DBFS)
    kept = np.repeat(np.convolve(heard, np.ones(25), "same") > 0, FRAME)
    return noise[: len(kept)][kept]


def to_active_level(speech: Waveform) -> Waveform:
    """Active speech at -26 dBFS."""
    levelled: Waveform = speech * (10 ** (LEVEL_DBFS / 20) / active_rms(speech))
    return levelled


def to_level(noise: Waveform) -> Waveform:
    """Root mean square at -26 dBFS."""
    levelled: Waveform = noise * (10 ** (LEVEL_DBFS / 20) / (np.sqrt(np.mean(noise**2)) + 1e-9))
    return levelled


def limit_peak(waveform: Waveform) -> Waveform:
    """Turn down what would exceed 0.97."""
    limited: Waveform = waveform * min(1.0, PEAK / (np.abs(waveform).max() + 1e-9))
    return limited


def write_16k(path: Path, waveform: Waveform) -> None:
    """Write 16-bit samples, with the folders on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(waveform, -1, 1), SAMPLE_RATE, subtype="PCM_16")
