"""MetricGAN+: a generator that estimates a mask, and a discriminator that learns what a metric would say of it.

Source: Fu et al., "MetricGAN+: An improved version of MetricGAN for speech enhancement", Interspeech 2021; Fu et al.,
"MetricGAN: Generative adversarial networks based black-box metric scores optimization for speech enhancement", ICML
2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from audiozen.acoustics import STFT

LARGEST_MASK, SMALLEST_MASK = 1.2, 0.05
NUM_FEATURES = 15
"""Channels of each convolution of the discriminator."""


class Generator(nn.Module):
    """Logarithm of magnitudes → two bidirectional LSTM layers → a mask in [0.05, 1.2] for each bin; the noisy phase.

    With the default sizes there are 1,895,514 parameters. It hears the whole signal before it answers.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
        lstm_size: width of the LSTM, in each direction.
        linear_size: width of the layer after it.
    """

    def __init__(
        self,
        n_fft: int = 512,
        hop_length: int = 256,
        win_length: int = 512,
        lstm_size: int = 200,
        linear_size: int = 300,
    ) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop_length, win_length, window="hamming")
        num_freqs = self.stft.num_freqs
        self.lstm = nn.LSTM(
            num_freqs, lstm_size, num_layers=2, batch_first=True, bidirectional=True
        )
        self.linear = nn.Sequential(
            nn.Linear(2 * lstm_size, linear_size),
            nn.LeakyReLU(0.3),
            nn.Linear(linear_size, num_freqs),
        )
        self.sigmoid = LearnableSigmoid(num_freqs, LARGEST_MASK)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance a waveform of shape ``(batch, time)``."""
        spec = self.stft(noisy)
        return self.stft.inverse(self.mask(spec.abs()) * spec, noisy.shape[-1])

    def mask(self, magnitude: Tensor) -> Tensor:
        """What magnitudes are multiplied with; both of shape ``(batch, freq, frames)``."""
        hidden, _ = self.lstm(magnitude.log1p().mT)
        mask = self.sigmoid(self.linear(hidden)).clamp(min=SMALLEST_MASK)
        return mask.mT.to(magnitude.dtype)  # autocast may have left it in half precision


class Discriminator(nn.Module):
    """Magnitudes of an estimate and of its reference → the score that a metric would give, about in [0, 1].

    Every layer is normalised to a spectral norm of 1, so that what sounds alike is judged alike. 19,010 parameters.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
    """

    def __init__(self, n_fft: int = 512, hop_length: int = 256, win_length: int = 512) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop_length, win_length, window="hamming")
        # Batch normalisation, in batches of one signal as the authors have them, is this; so signals never mix.
        self.norm = nn.InstanceNorm2d(2, affine=True)
        self.convolutions = nn.Sequential(
            *(convolution(2 if number == 0 else NUM_FEATURES) for number in range(4))
        )
        self.linear = nn.Sequential(
            spectral_norm(nn.Linear(NUM_FEATURES, 50)),
            nn.LeakyReLU(0.3),
            spectral_norm(nn.Linear(50, 10)),
            nn.LeakyReLU(0.3),
            spectral_norm(nn.Linear(10, 1)),
        )

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Scores of waveforms.

        Args:
            estimate: shape ``(batch, time)``, at least 17 frames.
            reference: same shape.

        Returns:
            Shape ``(batch,)``. Higher is better.
        """
        features = self.stft(torch.stack([estimate, reference], 1)).abs().log1p()
        hidden = self.convolutions(self.norm(features))
        return self.linear(hidden.mean((2, 3)))[:, 0]


class LearnableSigmoid(nn.Module):
    """A sigmoid with a slope for each feature of the last axis, 1 before training.

    Args:
        num_features: of the last axis.
        ceiling: what it tends to; to 0 on the other side.
    """

    def __init__(self, num_features: int, ceiling: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(num_features))
        self.ceiling = ceiling

    def forward(self, features: Tensor) -> Tensor:
        """Of the same shape, in (0, ceiling)."""
        return self.ceiling * torch.sigmoid(self.slope * features)


def convolution(num_channels: int) -> nn.Sequential:
    """5 bins x 5 frames, without padding."""
    return nn.Sequential(spectral_norm(nn.Conv2d(num_channels, NUM_FEATURES, 5)), nn.LeakyReLU(0.3))
