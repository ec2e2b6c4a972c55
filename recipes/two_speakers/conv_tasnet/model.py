"""Conv-TasNet: a learned filter bank, and dilated convolutions that find a mask for each source."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

EPS = 1e-8


class ConvTasNet(nn.Module):
    """Mixture → filter bank → one mask per source in [0, 1] → filter bank back → sources, in no particular order.

    With the default sizes, which are the best of the paper, it has 5,050,545 parameters and two sources. It looks at
    the whole signal, because it is normalised over all of it (gLN). With ``causal``, normalisation is cumulative (cLN)
    and convolutions look back only: then a sample of the output depends on the input up to the end of its frame, less
    than ``filter_length`` samples later, and on nothing beyond.

    Args:
        num_sources: of the mixture.
        num_filters: of the filter bank (N in the paper).
        filter_length: in samples, even; a frame begins every half of it (L).
        bottleneck_channels: between the blocks (B).
        skip_channels: that each block adds to the result (Sc).
        hidden_channels: within the blocks (H).
        kernel_size: of the dilated convolutions; odd, unless causal (P).
        num_blocks: with dilations 1, 2, 4, ... (X).
        num_repeats: of all these blocks (R).
        causal: look at the past only.
        mask_activation: ``"relu"`` has no upper limit.
        last_residual: keep the residual convolution of the last block, as published counts do. Nothing uses what it
            computes, so it has no gradient; without it there are 4,984,881 parameters.

    Source: Luo and Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation",
    TASLP 2019.
    """

    def __init__(
        self,
        num_sources: int = 2,
        num_filters: int = 512,
        filter_length: int = 16,
        bottleneck_channels: int = 128,
        skip_channels: int = 128,
        hidden_channels: int = 512,
        kernel_size: int = 3,
        num_blocks: int = 8,
        num_repeats: int = 3,
        *,
        causal: bool = False,
        mask_activation: Literal["sigmoid", "relu"] = "sigmoid",
        last_residual: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(filter_length, kernel_size, causal=causal)
        self.num_sources, self.num_filters = num_sources, num_filters
        self.filter_length, self.hop_length = filter_length, filter_length // 2
        bank = {"kernel_size": filter_length, "stride": self.hop_length, "bias": False}
        self.encoder = nn.Conv1d(1, num_filters, **bank)
        self.decoder = nn.ConvTranspose1d(num_filters, 1, **bank)

        self.norm = _norm(num_filters, causal=causal)
        self.bottleneck = nn.Conv1d(num_filters, bottleneck_channels, 1)
        sizes = (bottleneck_channels, skip_channels, hidden_channels, kernel_size)
        dilations = [2**number for number in range(num_blocks)] * num_repeats
        self.blocks = nn.ModuleList(
            Block(*sizes, dilation, causal=causal) for dilation in dilations
        )
        if not last_residual:
            self.blocks[-1].residual = None
        self.masks = nn.Sequential(
            nn.PReLU(),
            nn.Conv1d(skip_channels, num_sources * num_filters, 1),
            nn.Sigmoid() if mask_activation == "sigmoid" else nn.ReLU(),
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate waveforms.

        Args:
            mixture: shape ``(batch, time)``, of any length.

        Returns:
            Shape ``(batch, sources, time)``.
        """
        # B batch, C sources, N filters, K frames
        num_samples = mixture.shape[-1]
        encoded_BNK = self.encoder(self._fill_last_frame(mixture)[:, None])
        masks_BCNK = self._find_masks(encoded_BNK).unflatten(1, (self.num_sources, -1))
        masked_BCNK = masks_BCNK * encoded_BNK[:, None]
        sources = self.decoder(masked_BCNK.flatten(0, 1))
        return sources.unflatten(0, (-1, self.num_sources))[:, :, 0, :num_samples]

    def _fill_last_frame(self, mixture: Tensor) -> Tensor:
        """Zeros behind the end, so that every sample is in a frame."""
        beyond_first_frame = max(0, mixture.shape[-1] - self.filter_length)
        num_hops = -(-beyond_first_frame // self.hop_length)
        length = self.filter_length + num_hops * self.hop_length
        return pad(mixture, (0, length - mixture.shape[-1]))

    def _find_masks(self, encoded: Tensor) -> Tensor:
        features = self.bottleneck(self.norm(encoded))
        total: Tensor | float = 0.0
        for block in self.blocks:
            features, skip = block(features)
            total = total + skip
        return self.masks(total)


class Block(nn.Module):
    """A dilated convolution for each channel, between two that mix channels.

    Args:
        bottleneck_channels: of the input.
        skip_channels: of what is added to the result.
        hidden_channels: of the dilated convolution.
        kernel_size: of the dilated convolution.
        dilation: from one of its weights to the next, in frames.
        causal: look at the past only.
    """

    def __init__(
        self,
        bottleneck_channels: int,
        skip_channels: int,
        hidden_channels: int,
        kernel_size: int,
        dilation: int,
        *,
        causal: bool,
    ) -> None:
        super().__init__()
        reach = (kernel_size - 1) * dilation
        self.padding = (reach, 0) if causal else (reach // 2, reach // 2)
        self.expand = nn.Sequential(
            nn.Conv1d(bottleneck_channels, hidden_channels, 1),
            nn.PReLU(),
            _norm(hidden_channels, causal=causal),
        )
        self.dilated = nn.Sequential(
            nn.Conv1d(
                hidden_channels,
                hidden_channels,
                kernel_size,
                dilation=dilation,
                groups=hidden_channels,
            ),
            nn.PReLU(),
            _norm(hidden_channels, causal=causal),
        )
        self.residual: nn.Conv1d | None = nn.Conv1d(hidden_channels, bottleneck_channels, 1)
        self.skip = nn.Conv1d(hidden_channels, skip_channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features for the next block, and what this one adds to the result; both ``(batch, channels, frames)``."""
        hidden = self.dilated(pad(self.expand(features), self.padding))
        if self.residual is not None:
            features = features + self.residual(hidden)
        return features, self.skip(hidden)


class CumulativeLayerNorm(nn.Module):
    """Normalises each frame with mean and variance of all channels and frames up to it (cLN).

    Args:
        num_channels: each has its gain and bias.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels, 1))
        self.bias = nn.Parameter(torch.zeros(num_channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Shape ``(batch, channels, frames)`` in and out."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        num_channels, num_frames = features.shape[1:]
        counts = num_channels * torch.arange(1, num_frames + 1, device=features.device)
        mean = _cumulative_sum(features) / counts
        # Sums over minutes are kept in float64: this is a small difference of large numbers.
        variance = (_cumulative_sum(features.square()) / counts - mean.square()).clamp(min=0)
        scale = (variance + EPS).rsqrt()
        normalised = (features - mean.to(features.dtype)) * scale.to(features.dtype)
        return normalised * self.weight + self.bias


def _cumulative_sum(features: Tensor) -> Tensor:
    """Over all channels and the frames up to each, shape ``(batch, 1, frames)``."""
    return features.sum(1, keepdim=True, dtype=torch.float64).cumsum(-1)


def _norm(num_channels: int, *, causal: bool) -> nn.Module:
    """One group of all channels is the global layer norm (gLN) of the paper."""
    return CumulativeLayerNorm(num_channels) if causal else nn.GroupNorm(1, num_channels, eps=EPS)


def _check_sizes(filter_length: int, kernel_size: int, *, causal: bool) -> None:
    if filter_length < 2 or filter_length % 2:
        raise ValueError(f"filter_length must be even and positive, got {filter_length}")
    if kernel_size % 2 == 0 and not causal:
        raise ValueError(
            f"kernel_size must be odd where convolutions look both ways, got {kernel_size}; "
            "choose another one, or causal = true"
        )
