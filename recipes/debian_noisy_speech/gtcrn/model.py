"""GTCRN: 23,669 parameters that estimate a complex mask, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.errors import RequestError
from audiozen.streaming import FrameByFrame, StreamState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NUM_LOW_BINS = 65
"""Bins that are kept as they are; those above are summed up in bands."""
NUM_HIGH_BANDS = 64
CHANNELS = 16
WIDTH = 33
"""Places on the frequency axis that two strides of 2 leave of 65 + 64."""
DILATIONS = (1, 2, 5)
"""Frames between the taps of the three blocks of the encoder; those of the decoder are the same, backwards."""

# B batch, C channels, T frames, F bins, K low bins and bands, W places on the frequency axis

State = tuple[Tensor, Tensor]
"""What one layer remembers of the frames before."""


class Memory(NamedTuple):
    """What the whole network remembers of the frames before: two tensors for each layer that looks back."""

    encoder: Sequence[State]
    dual_paths: Sequence[State]
    decoder: Sequence[State]


class GTCRN(FrameByFrame):
    """Spectrum → 65 bins and 64 ERB bands → encoder → two dual-path GRUs → decoder → complex mask → spectrum.

    Causal: a sample of the output depends on the input less than one window (``win_length`` samples) later, and on
    nothing beyond. It has 23,669 parameters: encoder 7,944, dual paths 4,192 each, decoder 7,341. The bands are fixed;
    they are a buffer of 192 x 64 weights, used in both directions (the authors count them twice: 48,245).

    It streams: ``stream`` takes one hop of input and gives one hop of output, which is one hop late. In training mode,
    normalisation looks at the whole batch.

    Args:
        sample_rate: in Hz.
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.

    Raises:
        RequestError: too few bins for the bands.

    Source: Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", ICASSP 2024.
    """

    bands: Tensor  # (high bins, bands)

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 512,
        hop_length: int = 256,
        win_length: int = 512,
    ) -> None:
        super().__init__(STFT(n_fft, hop_length, win_length, window="sqrt_hann"))
        self.register_buffer("bands", high_bands(n_fft, sample_rate), persistent=False)
        self.encoder = Encoder()
        self.dual_paths = nn.ModuleList([DualPath(), DualPath()])
        self.decoder = Decoder()

    def initial_memory(self, batch_size: int = 1) -> Memory:
        """The memory before the first frame: zeros."""
        zeros = self.bands.new_zeros

        def of_block(block: GTConvBlock) -> State:
            past = zeros(batch_size, CHANNELS, block.num_past, WIDTH)
            return past, zeros(1, batch_size, CHANNELS)

        def of_path() -> State:
            shape = (1, batch_size * WIDTH, CHANNELS // 2)
            return zeros(shape), zeros(shape)

        return Memory(
            encoder=[of_block(block) for block in self.encoder.blocks],
            dual_paths=[of_path() for _ in self.dual_paths],
            decoder=[of_block(block) for block in self.decoder.blocks],
        )

    def initial_state(self, batch_size: int = 1) -> StreamState:
        """The state before the first chunk, with all its tensors."""
        return super().initial_state(batch_size)._replace(memory=self.initial_memory(batch_size))

    def enhance(self, spec: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Enhance frames of shape ``(batch, frames, freq)``."""
        memory = self.initial_memory(len(spec)) if memory is None else memory
        mask, memory = self.estimate_mask(torch.stack([spec.real, spec.imag], 1), memory)
        mask = mask.to(spec.real.dtype)  # there are no complex numbers in half precision
        return spec * torch.complex(mask[:, 0], mask[:, 1]), memory

    def estimate_mask(self, parts: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """The network without complex numbers, which is what other runtimes can do.

        Args:
            parts: real and imaginary parts, shape ``(batch, 2, frames, freq)``.
            memory: from :meth:`initial_memory`, or what this method returned for the frames before.

        Returns:
            Real and imaginary parts of the mask, in [-1, 1], of the same shape, and the memory.
        """
        magnitude = (parts.square().sum(1, keepdim=True) + 1e-12).sqrt()
        features_BCTK = self._to_bands(torch.cat([magnitude, parts], 1))
        skips, encoder = self.encoder(with_neighbours(features_BCTK), memory.encoder)
        hidden, dual_paths = through(self.dual_paths, skips[-1], memory.dual_paths)
        mask_BCTK, decoder = self.decoder(hidden, skips, memory.decoder)
        return self._to_bins(mask_BCTK), Memory(encoder, dual_paths, decoder)

    def _to_bands(self, features: Tensor) -> Tensor:
        low, high = features[..., :NUM_LOW_BINS], features[..., NUM_LOW_BINS:]
        return torch.cat([low, high @ self.bands], -1)

    def _to_bins(self, mask: Tensor) -> Tensor:
        low, high = mask[..., :NUM_LOW_BINS], mask[..., NUM_LOW_BINS:]
        return torch.cat([low, high @ self.bands.T], -1)


class Encoder(nn.Module):
    """Two convolutions that halve the frequency axis, and three blocks with a growing memory."""

    def __init__(self) -> None:
        super().__init__()
        halve = {"kernel_size": (1, 5), "stride": (1, 2), "padding": (0, 2)}
        self.convolutions = nn.Sequential(
            normalised(nn.Conv2d(3 * 3, CHANNELS, **halve), nn.PReLU()),
            normalised(nn.Conv2d(CHANNELS, CHANNELS, groups=2, **halve), nn.PReLU()),
        )
        self.blocks = nn.ModuleList(GTConvBlock(dilation) for dilation in DILATIONS)

    def forward(self, hidden: Tensor, states: Sequence[State]) -> tuple[list[Tensor], list[State]]:
        """The output of every layer, and what to remember."""
        skips, new_states = [], []
        for convolution in self.convolutions:
            hidden = convolution(hidden)
            skips.append(hidden)
        for block, state in zip(self.blocks, states):
            hidden, new_state = block(hidden, state)
            skips.append(hidden)
            new_states.append(new_state)
        return skips, new_states


class Decoder(nn.Module):
    """The encoder backwards. Each layer gets the output of its counterpart added to its input."""

    def __init__(self) -> None:
        super().__init__()
        double = {"kernel_size": (1, 5), "stride": (1, 2), "padding": (0, 2)}
        self.blocks = nn.ModuleList(GTConvBlock(dilation) for dilation in reversed(DILATIONS))
        self.convolutions = nn.Sequential(
            normalised(nn.ConvTranspose2d(CHANNELS, CHANNELS, groups=2, **double), nn.PReLU()),
            normalised(nn.ConvTranspose2d(CHANNELS, 2, **double), nn.Tanh()),
        )

    def forward(
        self, hidden: Tensor, skips: Sequence[Tensor], states: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """From the deepest layer and the outputs of the encoder to the mask, and what to remember."""
        skips, new_states = list(skips), []
        for block, state in zip(self.blocks, states):
            hidden, new_state = block(hidden + skips.pop(), state)
            new_states.append(new_state)
        for convolution in self.convolutions:
            hidden = convolution(hidden + skips.pop())
        return hidden, new_states


class GTConvBlock(nn.Module):
    """Half of the channels through a dilated convolution over time, gated in each frame; the other half as it is.

    The halves are interleaved at the end, so that the next block changes some of each. In the decoder, the authors'
    convolutions are transposed ones, which with a stride of 1 are these with mirrored weights.

    Args:
        dilation: frames between the three taps of the convolution.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        half = CHANNELS // 2
        depthwise = nn.Conv2d(
            CHANNELS, CHANNELS, 3, padding=(0, 1), dilation=(dilation, 1), groups=CHANNELS
        )
        self.num_past = 2 * dilation
        self.expand = normalised(nn.Conv2d(3 * half, CHANNELS, 1), nn.PReLU())
        self.depthwise = normalised(depthwise, nn.PReLU())
        self.reduce = normalised(nn.Conv2d(CHANNELS, half, 1))
        self.attention = TemporalAttention(half)

    def forward(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        """Frames ``(batch, channels, frames, places)``; the state is past frames and that of the attention."""
        past, attention_state = state
        changed, kept = hidden.chunk(2, 1)
        frames = torch.cat([past, self.expand(with_neighbours(changed))], 2)
        changed = self.reduce(self.depthwise(frames))
        changed, attention_state = self.attention(changed, attention_state)
        mixed = torch.stack([changed, kept], 2).flatten(1, 2)
        return mixed, (frames[:, :, -self.num_past :], attention_state)


class TemporalAttention(nn.Module):
    """A gate in (0, 1) for each channel and frame, by a GRU that hears how the power goes.

    Args:
        num_channels: that are gated.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(num_channels, 2 * num_channels, batch_first=True)
        self.linear = nn.Linear(2 * num_channels, num_channels)

    def forward(self, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Frames ``(batch, channels, frames, places)``, gated."""
        power_BTC = hidden.square().mean(-1).transpose(1, 2)
        output, state = self.gru(power_BTC, state)
        gate_BTC = torch.sigmoid(self.linear(output))
        return hidden * gate_BTC.transpose(1, 2)[..., None], state


class DualPath(nn.Module):
    """A GRU over the places of each frame, in both directions, then one over the frames of each place."""

    def __init__(self) -> None:
        super().__init__()
        self.intra = GroupedGRU(CHANNELS // 4, bidirectional=True)
        self.inter = GroupedGRU(CHANNELS // 2)
        self.intra_linear = nn.Linear(CHANNELS, CHANNELS)
        self.inter_linear = nn.Linear(CHANNELS, CHANNELS)
        self.intra_norm = nn.LayerNorm((WIDTH, CHANNELS))
        self.inter_norm = nn.LayerNorm((WIDTH, CHANNELS))

    def forward(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        """Frames ``(batch, channels, frames, places)``; the state is that of the GRU over frames."""
        hidden_BTWC = hidden.permute(0, 2, 3, 1)
        output, _ = self.intra(hidden_BTWC.flatten(0, 1), (None, None))
        output_BTWC = self.intra_linear(output).view(hidden_BTWC.shape)
        hidden_BTWC = hidden_BTWC + self.intra_norm(output_BTWC)

        hidden_BWTC = hidden_BTWC.transpose(1, 2)
        output, state = self.inter(hidden_BWTC.flatten(0, 1), state)
        output_BWTC = self.inter_linear(output).view(hidden_BWTC.shape)
        hidden_BTWC = hidden_BTWC + self.inter_norm(output_BWTC.transpose(1, 2))
        return hidden_BTWC.permute(0, 3, 1, 2), state


class GroupedGRU(nn.Module):
    """Two GRUs side by side, each for half of the channels: half the weights and products of one.

    Args:
        hidden_size: of each of the two.
        bidirectional: whether there are two more, backwards.
    """

    def __init__(self, hidden_size: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        settings = {"batch_first": True, "bidirectional": bidirectional}
        self.grus = nn.ModuleList(nn.GRU(CHANNELS // 2, hidden_size, **settings) for _ in range(2))

    def forward(
        self, steps: Tensor, states: tuple[Tensor | None, Tensor | None]
    ) -> tuple[Tensor, State]:
        """Sequences ``(sequences, steps, channels)``, and a state of each GRU."""
        first, second = (
            gru(part, state) for gru, part, state in zip(self.grus, steps.chunk(2, -1), states)
        )
        return torch.cat([first[0], second[0]], -1), (first[1], second[1])


def through(
    layers: Iterable[nn.Module], hidden: Tensor, states: Sequence[State]
) -> tuple[Tensor, list[State]]:
    """Through one layer after the other, each with its state."""
    new_states = []
    for layer, state in zip(layers, states):
        hidden, new_state = layer(hidden, state)
        new_states.append(new_state)
    return hidden, new_states


def normalised(convolution: nn.Module, *activation: nn.Module) -> nn.Sequential:
    """A convolution, batch normalisation, and what comes after."""
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), *activation)


def with_neighbours(features: Tensor) -> Tensor:
    """Each place on the frequency axis together with the ones beside it: three times the channels."""
    padded = nn.functional.pad(features, (1, 1))
    return torch.stack([padded[..., :-2], features, padded[..., 2:]], 2).flatten(1, 2)


def high_bands(n_fft: int, sample_rate: int) -> Tensor:
    """Triangles over the bins from the 66th on, equally spaced on the ERB-rate scale from the first to the last.

    Returns:
        Shape ``(bins, bands)``; each row sums to 1. ``high @ bands`` sums up, ``gains @ bands.T`` interpolates.

    Raises:
        RequestError: fewer bins than bands.

    Source: Glasberg and Moore, "Derivation of auditory filter shapes from notched-noise data", Hearing Research 1990.
    """
    bins = torch.arange(NUM_LOW_BINS, n_fft // 2 + 1, dtype=torch.float64)
    if len(bins) < NUM_HIGH_BANDS:
        raise RequestError(
            f"n_fft {n_fft} leaves {len(bins)} bins above the lowest {NUM_LOW_BINS}, too few for "
            f"{NUM_HIGH_BANDS} bands; use at least {2 * (NUM_LOW_BINS + NUM_HIGH_BANDS - 1)}"
        )
    erb_rate = torch.log10(1 + 0.00437 * bins * sample_rate / n_fft)
    place = (erb_rate - erb_rate[0]) / (erb_rate[-1] - erb_rate[0]) * (NUM_HIGH_BANDS - 1)
    distance = (place[:, None] - torch.arange(NUM_HIGH_BANDS)).abs()
    return (1 - distance).clamp(min=0).float()
