"""The model. Put your own here: AudioZEN wants nothing of it but to be a ``torch.nn.Module``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT


class Denoiser(nn.Module):
    """Weakens each frequency of each frame as far as a recurrent network thinks it is noise.

    Args:
        n_fft: length of the Fourier transform, in samples. This and the next two come from
            ``[acoustics]``, because they have its names.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
        hidden_size: numbers that the network remembers from frame to frame.
    """

    def __init__(self, n_fft: int, hop_length: int, win_length: int, hidden_size: int = 64) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop_length, win_length, window="sqrt_hann")
        self.recurrent = nn.GRU(self.stft.num_freqs, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, self.stft.num_freqs)

    def forward(self, noisy: Tensor) -> Tensor:
        """From a noisy waveform ``(batch, time)`` to the enhanced one, of the same shape."""
        spec = self.stft(noisy)  # (batch, freq, frames), complex
        features = torch.log10(spec.abs() + 1e-4).transpose(1, 2)
        hidden, _ = self.recurrent(features)
        mask = torch.sigmoid(self.output(hidden)).transpose(1, 2)
        return self.stft.inverse(mask * spec, length=noisy.shape[-1])
