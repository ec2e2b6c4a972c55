"""A model of a user."""

from __future__ import annotations

from torch import Tensor, nn

from audiozen.acoustics import STFT


class Mask(nn.Module):
    def __init__(self, n_fft: int = 512) -> None:
        super().__init__()
        self.stft = STFT(n_fft=n_fft, hop_length=n_fft // 2)
        self.gain = nn.Parameter(self.stft.window.new_zeros(self.stft.num_freqs, 1))

    def forward(self, noisy: Tensor) -> Tensor:
        spec: Tensor = self.stft(noisy)
        return self.stft.inverse(spec * self.gain.sigmoid(), noisy.shape[-1])
