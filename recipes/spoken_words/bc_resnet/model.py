"""BC-ResNet: which of a few words a second of sound holds, with a few thousand parameters.

Shapes: B batch, C channels, F bands (or bins), T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_SUB_BANDS = 5
DROPOUT = 0.1
STAGES = ((2, 8, 1), (2, 12, 2), (4, 16, 2), (4, 20, 1))
"""Blocks, channels for ``tau`` = 1, and stride over the bands, of each stage; stage i is dilated by 2**i frames."""
POWER_FLOOR = 1e-6
"""Added before the logarithm, so that silence is finite. White noise of -82 dBFS has as much in a bin."""


class WordClassifier(nn.Module):
    """Waveform → log-mel bands → BC-ResNet → one logit per class.

    Args:
        classes: their names, in the order of the logits.
        tau: width of the network, see :class:`BCResNet`.
        sample_rate: in Hz.
        n_mels: bands, a multiple of 40.
        max_masked_bands: in training, each clip loses two stretches of up to so many bands.
        max_masked_frames: the same over time.

    Source: Kim et al., "Broadcasted residual learning for efficient keyword spotting", Interspeech 2021. The masks:
    Park et al., "SpecAugment", Interspeech 2019.
    """

    def __init__(
        self,
        classes: list[str],
        tau: float = 1,
        sample_rate: int = 16000,
        n_mels: int = 40,
        max_masked_bands: int = 0,
        max_masked_frames: int = 0,
    ) -> None:
        super().__init__()
        self.classes = list(classes)
        self.max_masked_bands, self.max_masked_frames = max_masked_bands, max_masked_frames
        self.features = LogMel(sample_rate, n_mels)
        self.network = BCResNet(len(self.classes), tau, n_mels)

    def forward(self, waveform: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``, of waveforms ``(batch, time)`` in [-1, 1]."""
        log_mel_BFT = self.features(waveform)
        if self.training:
            for _ in range(2):
                log_mel_BFT = mask_stretch(log_mel_BFT, 1, self.max_masked_bands)
                log_mel_BFT = mask_stretch(log_mel_BFT, 2, self.max_masked_frames)
        return self.network(log_mel_BFT[:, None])


class LogMel(nn.Module):
    """Logarithms of the power in triangular bands, equally spaced on the mel scale from 0 Hz to half the sample rate.

    Windows of 30 ms every 10 ms, their middles at 0, 10, 20 ... ms: a second has 101 frames.

    Args:
        sample_rate: in Hz.
        n_mels: number of bands.
    """

    window: Tensor  # (win_length,)
    bands: Tensor  # (n_mels, freq)

    def __init__(self, sample_rate: int = 16000, n_mels: int = 40) -> None:
        super().__init__()
        self.hop_length, win_length = sample_rate // 100, sample_rate * 3 // 100
        self.n_fft = 1 << (win_length - 1).bit_length()
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)
        bands = mel_bands(n_mels, self.n_fft, sample_rate)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Natural logarithms, shape ``(batch, n_mels, frames)``, of waveforms ``(batch, time)``."""
        # Half precision would be too coarse for the products, and too narrow for the powers.
        with torch.autocast(waveform.device.type, enabled=False):
            spec_BFT = torch.stft(
                waveform.float(),
                self.n_fft,
                self.hop_length,
                len(self.window),
                self.window,
                pad_mode="constant",
                return_complex=True,
            )
            return torch.log(self.bands @ spec_BFT.abs().square() + POWER_FLOOR)


def mel_bands(n_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """Weights in [0, 1] of shape ``(n_mels, freq)``; each band falls to zero at the peaks of its neighbours.

    Source: the scale is that of O'Shaughnessy, "Speech communication", 1987: 2595 log10(1 + f / 700).
    """
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700, dtype=torch.float64))
    mels = torch.linspace(0, 1, n_mels + 2, dtype=torch.float64) * top
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    rising = (bins - edges[:-2, None]) / edges.diff()[:-1, None]
    falling = (edges[2:, None] - bins) / edges.diff()[1:, None]
    bands = torch.minimum(rising, falling).clamp(min=0)
    if not bands.sum(1).all():
        raise ValueError(f"n_mels: {n_mels} bands are too many for {n_fft} samples; one is empty")
    return bands.float()


def mask_stretch(features: Tensor, axis: int, max_length: int) -> Tensor:
    """Put the mean of a clip in the place of a random stretch of it.

    Args:
        features: shape ``(batch, bands, frames)``.
        axis: 1 masks bands, 2 masks frames.
        max_length: each clip loses a stretch of 0 to so many, all lengths and places equally often.
    """
    if max_length == 0:
        return features
    # Drawn on the CPU, so that each device masks the same.
    draws = torch.rand(2, len(features), 1).to(features.device)
    length = (draws[0] * (max_length + 1)).floor()
    start = (draws[1] * (features.shape[axis] - length + 1)).floor()
    place = torch.arange(features.shape[axis], device=features.device)
    is_masked = ((place >= start) & (place < start + length)).unsqueeze(3 - axis)
    return torch.where(is_masked, features.mean((1, 2), keepdim=True), features)


class BCResNet(nn.Module):
    """Log-mel bands → one logit per class. 9,232 parameters for ``tau`` = 1 and 12 classes.

    Most of the work is done on features that are averaged over the bands, and broadcast back to them.

    Args:
        num_classes: logits.
        tau: width: 1, 1.5, 2, 3, 6 and 8 are those of the paper.
        n_mels: bands, a multiple of 40.
    """

    def __init__(self, num_classes: int = 12, tau: float = 1, n_mels: int = 40) -> None:
        super().__init__()
        if n_mels % (8 * NUM_SUB_BANDS):
            raise ValueError(f"n_mels must be a multiple of {8 * NUM_SUB_BANDS}, got {n_mels}")
        num_before, num_after = round(16 * tau), round(32 * tau)
        self.head = nn.Sequential(
            nn.Conv2d(1, num_before, 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(num_before),
            nn.ReLU(),
        )
        blocks = []
        for stage, (num_blocks, channels, stride) in enumerate(STAGES):
            for block in range(num_blocks):
                num_channels = round(channels * tau)
                first = stride if block == 0 else 1
                blocks.append(BroadcastBlock(num_before, num_channels, first, 2**stage))
                num_before = num_channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Conv2d(num_before, num_before, 5, padding=(0, 2), groups=num_before, bias=False),
            nn.Conv2d(num_before, num_after, 1, bias=False),
            nn.BatchNorm2d(num_after),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(num_after, num_classes, 1),
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits, shape ``(batch, num_classes)``, of features ``(batch, 1, n_mels, frames)``."""
        return self.classifier(self.blocks(self.head(log_mel))).flatten(1)


class BroadcastBlock(nn.Module):
    """A convolution over the bands, and one over time of what is averaged over the bands, added to every band.

    With another number of channels than before there is no residual path around both.

    Args:
        num_before: channels that come in.
        num_channels: channels that go out.
        stride: over the bands.
        dilation: over time.
    """

    def __init__(self, num_before: int, num_channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.has_residual = num_before == num_channels
        self.transition = nn.Sequential()
        if not self.has_residual:
            self.transition = nn.Sequential(
                nn.Conv2d(num_before, num_channels, 1, bias=False),
                nn.BatchNorm2d(num_channels),
                nn.ReLU(),
            )
        each = {"groups": num_channels, "bias": False}
        self.over_bands = nn.Sequential(
            nn.Conv2d(num_channels, num_channels, (3, 1), (stride, 1), (1, 0), **each),
            SubSpectralNorm(num_channels),
        )
        self.over_time = nn.Sequential(
            nn.Conv2d(num_channels, num_channels, (1, 3), 1, (0, dilation), (1, dilation), **each),
            nn.BatchNorm2d(num_channels),
            nn.SiLU(),
            nn.Conv2d(num_channels, num_channels, 1, bias=False),
            nn.Dropout2d(DROPOUT),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Shape ``(batch, channels, bands, frames)`` to the same with other channels and fewer bands."""
        bands_BCFT = self.over_bands(self.transition(features))
        frames_BC1T = self.over_time(bands_BCFT.mean(2, keepdim=True))
        result_BCFT = bands_BCFT + frames_BC1T
        return functional.relu(result_BCFT + features if self.has_residual else result_BCFT)


class SubSpectralNorm(nn.BatchNorm2d):
    """Batch normalisation of each fifth of the bands on its own.

    Source: Chang et al., "SubSpectral normalization for neural audio data processing", ICASSP 2021.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels * NUM_SUB_BANDS)

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, bands, frames = features.shape
        parts = features.reshape(batch, channels * NUM_SUB_BANDS, bands // NUM_SUB_BANDS, frames)
        return super().forward(parts).reshape(batch, channels, bands, frames)
