"""Models whose sizes are published, written from their descriptions: what a counter must get right."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiozen.acoustics import STFT, erb_bands


class FullSubNet(nn.Module):
    """Hao et al., "FullSubNet", ICASSP 2021: one LSTM for all bins, and one that goes over each bin.

    Looks two frames ahead, and at the whole signal in its normalisation.
    """

    LOOK_AHEAD = 2
    NEIGHBOURS = 15

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(512), persistent=False)
        self.full_band = nn.LSTM(257, 512, num_layers=2, batch_first=True)
        self.full_band_output = nn.Linear(512, 257)
        self.sub_band = nn.LSTM(32, 384, num_layers=2, batch_first=True)
        self.sub_band_output = nn.Linear(384, 2)

    def forward(self, noisy: Tensor) -> Tensor:
        # B batch, F bins, T frames, N neighbours
        spec = torch.stft(noisy, 512, 256, window=self.window, return_complex=True)
        magnitude_BFT = F.pad(spec.abs(), (0, self.LOOK_AHEAD))
        hidden, _ = self.full_band(normalised(magnitude_BFT).transpose(1, 2))
        full_BFT = self.full_band_output(hidden).relu().transpose(1, 2)
        around = F.pad(magnitude_BFT[:, None], (0, 0, *(2 * [self.NEIGHBOURS])), mode="reflect")
        around_BFTN = around[:, 0].unfold(1, 2 * self.NEIGHBOURS + 1, 1)
        features = normalised(torch.cat([around_BFTN, full_BFT[..., None]], -1))
        hidden, _ = self.sub_band(features.flatten(0, 1))
        mask = self.sub_band_output(hidden).unflatten(0, features.shape[:2])
        mask = torch.view_as_complex(mask.contiguous())[..., self.LOOK_AHEAD :]
        return torch.istft(mask * spec, 512, 256, window=self.window, length=noisy.shape[-1])


def normalised(features: Tensor) -> Tensor:
    """By the mean over the whole signal."""
    return features / (features.mean(tuple(range(1, features.ndim)), keepdim=True) + 1e-5)


class ConvTasNet(nn.Module):
    """Luo & Mesgarani, "Conv-TasNet", TASLP 2019, in its best configuration (N 512, L 16, B 128, H 512, P 3, X 8, R 3).

    Its global layer normalisation looks at the whole signal.

    Args:
        last_residual: whether the last block has the residual convolution that nothing comes after.
    """

    def __init__(self, *, last_residual: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 512, 16, stride=8, bias=False)
        self.norm = nn.GroupNorm(1, 512)
        self.bottleneck = nn.Conv1d(512, 128, 1)
        dilations = 3 * [2**x for x in range(8)]
        self.blocks = nn.ModuleList(
            DilatedBlock(dilation, residual=last_residual or number < len(dilations) - 1)
            for number, dilation in enumerate(dilations)
        )
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(128, 2 * 512, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(512, 1, 16, stride=8, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        features = self.encoder(F.pad(mixture, (8, 8))[:, None])
        signal, skips = self.bottleneck(self.norm(features)), 0
        for block in self.blocks:
            signal, skip = block(signal)
            skips = skips + skip
        masked = self.mask(skips).unflatten(1, (2, 512)) * features[:, None]
        sources = self.decoder(masked.flatten(0, 1)).unflatten(0, (-1, 2))[..., 0, 8:]
        return F.pad(sources, (0, 16))[..., : mixture.shape[-1]]


class DilatedBlock(nn.Module):
    def __init__(self, dilation: int, *, residual: bool) -> None:
        super().__init__()
        depthwise = nn.Conv1d(512, 512, 3, padding=dilation, dilation=dilation, groups=512)
        self.layers = nn.Sequential(
            *(nn.Conv1d(128, 512, 1), nn.PReLU(), nn.GroupNorm(1, 512)),
            *(depthwise, nn.PReLU(), nn.GroupNorm(1, 512)),
        )
        self.residual = nn.Conv1d(512, 128, 1) if residual else None
        self.skip = nn.Conv1d(512, 128, 1)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.layers(signal)
        following = signal + self.residual(hidden) if self.residual else signal
        return following, self.skip(hidden)


class BCResNet(nn.Module):
    """Kim et al., "Broadcasted residual learning", Interspeech 2021: 12 keywords from log-mels ``(batch, 1, 40, 100)``.

    Args:
        width: τ, 1 for BC-ResNet-1.
    """

    def __init__(self, width: float = 1) -> None:
        super().__init__()
        head, *channels, top = (round(width * num) for num in (16, 8, 12, 16, 20, 32))
        layers: list[nn.Module] = [
            nn.Conv2d(1, head, 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(),
        ]
        before = head
        for stage, (num_blocks, num_channels) in enumerate(zip((2, 2, 4, 4), channels)):
            for block in range(num_blocks):
                stride = 2 if block == 0 and stage in {1, 2} else 1
                layers.append(BroadcastBlock(before, num_channels, stride, dilation=2**stage))
                before = num_channels
        self.layers = nn.Sequential(
            *layers,
            nn.Conv2d(before, before, 5, padding=(0, 2), groups=before, bias=False),
            nn.Conv2d(before, top, 1, bias=False),
            *(nn.BatchNorm2d(top), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            nn.Conv2d(top, 12, 1),
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.layers(log_mel).flatten(1)


class BroadcastBlock(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.transition = nn.Sequential()
        if before != channels:
            self.transition = nn.Sequential(
                nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            )
        self.keeps_shape = before == channels
        self.over_frequency = nn.Conv2d(
            *(channels, channels, (3, 1)),
            stride=(stride, 1),
            padding=(1, 0),
            groups=channels,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(5 * channels)  # each fifth of the frequencies for itself
        self.over_time = nn.Sequential(
            nn.Conv2d(
                *(channels, channels, (1, 3)),
                padding=(0, dilation),
                dilation=(1, dilation),
                groups=channels,
                bias=False,
            ),
            *(nn.BatchNorm2d(channels), nn.SiLU(), nn.Conv2d(channels, channels, 1, bias=False)),
            nn.Dropout2d(0.1),
        )

    def forward(self, features: Tensor) -> Tensor:
        _, _, num_freqs, num_frames = (
            hidden := self.over_frequency(self.transition(features))
        ).shape
        fifths = hidden.reshape(len(hidden), -1, num_freqs // 5, num_frames)
        hidden = self.norm(fifths).reshape(hidden.shape)
        output = hidden + self.over_time(hidden.mean(2, keepdim=True))
        return F.relu(output + features if self.keeps_shape else output)


class GTCRN(nn.Module):
    """Rong et al., "GTCRN", ICASSP 2024. Causal, with frames of 512 samples every 256."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = STFT(512, 256, window="sqrt_hann")
        # The 65 lowest bins go as they are, and the others in bands: two fixed layers.
        self.to_bands = nn.Linear(192, 64, bias=False).requires_grad_(requires_grad=False)
        self.from_bands = nn.Linear(64, 192, bias=False).requires_grad_(requires_grad=False)
        bands = erb_bands(64, 8192, 16000)[65 * 16 :: 16][:192].T.contiguous()
        self.to_bands.weight.copy_(bands)
        self.from_bands.weight.copy_(bands.T)
        self.encoder = nn.ModuleList(
            [
                conv_block(nn.Conv2d(9, 16, (1, 5), stride=(1, 2), padding=(0, 2))),
                conv_block(nn.Conv2d(16, 16, (1, 5), stride=(1, 2), padding=(0, 2), groups=2)),
                *(TemporalBlock(dilation) for dilation in (1, 2, 5)),
            ]
        )
        self.dual_path = nn.Sequential(DualPath(), DualPath())
        up = {"kernel_size": (1, 5), "stride": (1, 2), "padding": (0, 2)}
        last = nn.Sequential(nn.ConvTranspose2d(16, 2, **up), nn.BatchNorm2d(2), nn.Tanh())
        self.decoder = nn.ModuleList(
            [
                *(TemporalBlock(dilation) for dilation in (5, 2, 1)),
                conv_block(nn.ConvTranspose2d(16, 16, groups=2, **up)),
                last,
            ]
        )

    def forward(self, noisy: Tensor) -> Tensor:
        # B batch, C channels, T frames, F bins, K bands
        spec_BTF = self.stft(noisy).transpose(1, 2)
        parts = ((spec_BTF.abs().square() + 1e-12).sqrt(), spec_BTF.real, spec_BTF.imag)
        features_BCTF = torch.stack(parts, 1)
        low, high = features_BCTF[..., :65], features_BCTF[..., 65:]
        hidden = with_neighbours(torch.cat([low, self.to_bands(high)], -1))
        skips = []
        for layer in self.encoder:
            hidden = layer(hidden)
            skips.append(hidden)
        hidden = self.dual_path(hidden)
        for layer in self.decoder:
            hidden = layer(hidden + skips.pop())
        mask_B2TF = torch.cat([hidden[..., :65], self.from_bands(hidden[..., 65:])], -1)
        enhanced = torch.complex(mask_B2TF[:, 0], mask_B2TF[:, 1]) * spec_BTF
        return self.stft.inverse(enhanced.transpose(1, 2), length=noisy.shape[-1])


def conv_block(conv: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.PReLU())


def with_neighbours(features: Tensor) -> Tensor:
    """Each bin with the one below and the one above: three times the channels."""
    return F.pad(features, (1, 1)).unfold(-1, 3, 1).permute(0, 1, 4, 2, 3).flatten(1, 2)


class TemporalBlock(nn.Module):
    """Half of the channels through a dilated convolution over time, gated per frame; the halves change places."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.expand = conv_block(nn.Conv2d(24, 16, 1))
        self.depthwise = conv_block(
            nn.Conv2d(16, 16, 3, padding=(0, 1), dilation=(dilation, 1), groups=16)
        )
        self.reduce = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
        self.gate = nn.GRU(8, 16, batch_first=True)
        self.gate_output = nn.Linear(16, 8)

    def forward(self, features: Tensor) -> Tensor:
        first, second = features.chunk(2, 1)
        hidden = self.expand(with_neighbours(first))
        hidden = self.reduce(self.depthwise(F.pad(hidden, (0, 0, self.past, 0))))
        power = hidden.square().mean(-1).transpose(1, 2)
        gate = torch.sigmoid(self.gate_output(self.gate(power)[0])).transpose(1, 2)
        return torch.stack([hidden * gate[..., None], second], 2).flatten(1, 2)


class DualPath(nn.Module):
    """A recurrent layer over the 33 bins of a frame, and one over the frames of a bin."""

    def __init__(self) -> None:
        super().__init__()
        self.intra = GroupedGRU(4, bidirectional=True)
        self.inter = GroupedGRU(8, bidirectional=False)
        self.outputs = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])
        self.norms = nn.ModuleList([nn.LayerNorm((33, 16)), nn.LayerNorm((33, 16))])

    def forward(self, features: Tensor) -> Tensor:
        signal = features.permute(0, 2, 3, 1)  # (batch, frames, freq, channels)
        hidden = self.intra(signal.flatten(0, 1)).reshape(signal.shape)
        signal = signal + self.norms[0](self.outputs[0](hidden))
        over_time = signal.transpose(1, 2)
        hidden = self.inter(over_time.flatten(0, 1)).reshape(over_time.shape).transpose(1, 2)
        return (signal + self.norms[1](self.outputs[1](hidden))).permute(0, 3, 1, 2)


class GroupedGRU(nn.Module):
    def __init__(self, hidden_size: int, *, bidirectional: bool) -> None:
        super().__init__()
        settings = {"batch_first": True, "bidirectional": bidirectional}
        self.groups = nn.ModuleList(nn.GRU(8, hidden_size, **settings) for _ in range(2))

    def forward(self, signal: Tensor) -> Tensor:
        halves = zip(self.groups, signal.chunk(2, -1))
        return torch.cat([group(half)[0] for group, half in halves], -1)
