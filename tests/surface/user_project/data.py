"""A dataset of a user."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from torch import Tensor
from torch.utils.data import Dataset

from audiozen.data.audio import AudioInfo, audio_info, read_audio
from audiozen.data.manifest import Entry, read_manifest
from audiozen.data.mixing import Mixture, fit_length, mix_at_snr, random_segment


class NoisySpeech(Dataset[tuple[Tensor, Tensor, str]]):
    def __init__(self, manifest: str | Path, noise: str | Path, sample_rate: int) -> None:
        self.entries = assert_type(read_manifest(manifest), list[Entry])
        self.noise = assert_type(read_audio(noise, expected_rate=sample_rate), Tensor)
        self.sample_rate = sample_rate
        assert_type(audio_info(noise), AudioInfo)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        entry = self.entries[index]
        speech = fit_length(read_audio(entry.path), self.sample_rate)
        noise = assert_type(random_segment(self.noise, self.sample_rate), Tensor)
        mixture = mix_at_snr(speech, noise, 5.0, sample_rate=self.sample_rate)
        assert_type(mixture, Mixture)
        return mixture.noisy, mixture.clean, entry.id
