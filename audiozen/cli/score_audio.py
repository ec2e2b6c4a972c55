"""Read the sound of signals that are to be scored: all at one rate, one channel, of one length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from audiozen.errors import AudioError, AudioZENError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from audiozen.cli.score_pairs import Signal
    from audiozen.data.audio import AudioInfo

Channel: TypeAlias = int | Literal["error", "mean"]

LENGTH_MISMATCH = "length_mismatch"


class Sounds(NamedTuple):
    """The sound of one signal."""

    waveforms: Mapping[str, Tensor]
    """By role, of shape ``(time,)``; of those that can be scored."""
    reasons: Mapping[str, str]
    """By role, why the others cannot."""
    trimmed: int
    """Samples that were cut off the longest."""

    @property
    def num_samples(self) -> int:
        """Length of the reference; that of the estimate where there is none."""
        target = _target(self.waveforms)
        return 0 if target is None else len(self.waveforms[target])


def headers_of(signals: Sequence[Signal]) -> dict[Path, AudioInfo]:
    """What the files say of themselves, without those that cannot be read.

    Raises:
        AudioZENError: none can be read.
    """
    from audiozen.data.audio import audio_info

    headers: dict[Path, AudioInfo] = {}
    problems: list[AudioError] = []
    for path in dict.fromkeys(path for signal in signals for path in signal.files.values()):
        try:
            headers[path] = audio_info(path)
        except AudioError as error:
            problems.append(error)
    if not headers:
        raise AudioZENError(f"none of the {len(problems)} files can be read: {problems[0]}")
    return headers


def common_rate(headers: Mapping[Path, AudioInfo]) -> int:
    """The sample rate of all files, in Hz.

    Raises:
        RequestError: they have several.
    """
    first_of: dict[int, Path] = {}
    for path, info in headers.items():
        first_of.setdefault(info.sample_rate, path)
    if len(first_of) > 1:
        counts = Counter(info.sample_rate for info in headers.values())
        rates = ", ".join(
            f"{rate} Hz in {count} files (such as {first_of[rate]})"
            for rate, count in counts.most_common()
        )
        raise RequestError(
            f"the files have different sample rates: {rates}; "
            f"--resample {min(first_of)} brings all of them to one"
        )
    return next(iter(first_of))


def check_channels(headers: Mapping[Path, AudioInfo], channel: Channel) -> None:
    """Refuse files with several channels, unless it was said which of theirs is meant.

    Raises:
        RequestError: with what can be said.
    """
    num_needed = channel + 1 if isinstance(channel, int) else 1
    several = {path: info for path, info in headers.items() if info.num_channels > 1}
    refused = [
        path
        for path, info in several.items()
        if channel == "error" or info.num_channels < num_needed
    ]
    if refused:
        problem = "several channels" if channel == "error" else f"no channel {channel}"
        example = f"{refused[0]} has {headers[refused[0]].num_channels}"
        raise RequestError(
            f"{len(refused)} of {len(headers)} files have {problem} ({example}); say which one is "
            "scored with --channel 0 (or 1, 2, …), or average them with --channel mean"
        )


@dataclass(frozen=True)
class Reader:
    """Reads signals. A file that cannot be read is told, and is a reason in place of a waveform.

    Args:
        headers: of the files that can be read.
        sample_rate: in Hz; files of another rate are resampled.
        channel: which one of files with several.
        trim: whether signals of different lengths are cut to the shortest.
        tell: says something to the user.
    """

    headers: Mapping[Path, AudioInfo]
    sample_rate: int
    channel: Channel
    trim: bool
    tell: Callable[[str], None]

    def read(self, signal: Signal) -> Sounds:
        """All files of a signal that can be scored together."""
        waveforms, reasons = {}, {}
        for role, path in signal.files.items():
            try:
                waveforms[role] = self._waveform(path)
            except AudioError as error:
                self.tell(f"not scored: {error}")
                reasons[role] = f"unreadable_{role}"
        return _trimmed(waveforms, reasons) if self.trim else _of_one_length(waveforms, reasons)

    def _waveform(self, path: Path) -> Tensor:
        from audiozen.data.audio import read_audio

        info = self.headers.get(path)
        has_several = info is not None and info.num_channels > 1
        channel = self.channel if has_several else "error"
        return read_audio(path, sample_rate=self.sample_rate, channel=channel)


def _trimmed(waveforms: Mapping[str, Tensor], reasons: Mapping[str, str]) -> Sounds:
    lengths = [len(waveform) for waveform in waveforms.values()] or [0]
    length = min(lengths)
    cut = {role: waveform[:length] for role, waveform in waveforms.items()}
    return Sounds(cut, reasons, max(lengths) - length)


def _of_one_length(waveforms: Mapping[str, Tensor], reasons: Mapping[str, str]) -> Sounds:
    """Leave out what is longer or shorter than the reference, or than the estimate where there is none."""
    target = _target(waveforms)
    fitting = {
        role: waveform
        for role, waveform in waveforms.items()
        if target is not None and len(waveform) == len(waveforms[target])
    }
    others = {role: LENGTH_MISMATCH for role in waveforms if role not in fitting}
    return Sounds(fitting, {**reasons, **others}, trimmed=0)


def _target(waveforms: Mapping[str, Tensor]) -> str | None:
    """The role that the others must fit."""
    return next((role for role in ("reference", "estimate", "noisy") if role in waveforms), None)
