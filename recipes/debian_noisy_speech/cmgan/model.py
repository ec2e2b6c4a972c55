"""CMGAN: a generator of convolutions and conformers on compressed spectra, and its discriminator.

Source: Cao, Abdulatif and Yang, "CMGAN: Conformer-based metric GAN for speech enhancement", Interspeech 2022; Gulati et
al., "Conformer: Convolution-augmented transformer for speech recognition", Interspeech 2020 (the blocks); Shaw et al.,
"Self-attention with relative position representations", NAACL 2018 (their positions).
"""

from __future__ import annotations

import torch
from metricgan.model import LearnableSigmoid
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from audiozen.acoustics import STFT, rms

EXPONENT = 0.3
"""Magnitudes are compressed to this power."""
LEAST_POWER = 1e-12
"""Of a bin: below it, the root would have too steep a slope."""
LEAST_RMS = 1e-6
NUM_HEADS = 4
FARTHEST = 512
"""Positions farther apart than this are taken as this far apart."""
DROPOUT = 0.2

# B batch, C channels, T frames, F bins, S sequences, L their length, H heads, D features of a head


class TSCNet(nn.Module):
    """Compressed spectrum → encoder → two-stage conformers → a mask of magnitudes, and a complex part that is added.

    With the default sizes there are 1,834,833 parameters: encoder 259,776, conformers 4 x 257,824, decoder of the mask
    271,823, decoder of the complex part 271,938. It hears the whole signal before it answers. The level does not
    matter: what goes in is brought to an rms of 1, and what comes out back to the level before.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
        num_channels: of all layers, a multiple of 4.
        num_conformers: pairs of a conformer over time and one over frequency.
    """

    def __init__(
        self,
        n_fft: int = 400,
        hop_length: int = 100,
        win_length: int = 400,
        num_channels: int = 64,
        num_conformers: int = 4,
    ) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop_length, win_length, window="hamming")
        self.encoder = Encoder(num_channels)
        self.conformers = nn.ModuleList(
            TwoStageConformer(num_channels) for _ in range(num_conformers)
        )
        self.mask_decoder = MaskDecoder(num_channels, self.stft.num_freqs)
        self.complex_decoder = ComplexDecoder(num_channels)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance a waveform of shape ``(batch, time)``."""
        level = rms(noisy).clamp(min=LEAST_RMS)[:, None]
        spec = compress(self.stft(noisy / level))
        enhanced = self.stft.inverse(decompress(self.enhance(spec)), noisy.shape[-1])
        return enhanced * level

    def enhance(self, spec: Tensor) -> Tensor:
        """Enhance compressed spectra of shape ``(batch, freq, frames)``."""
        spec_BTF = spec.mT
        hidden_BCTF = self.encoder(torch.stack([spec_BTF.abs(), spec_BTF.real, spec_BTF.imag], 1))
        for conformer in self.conformers:
            hidden_BCTF = conformer(hidden_BCTF)
        mask_BTF = self.mask_decoder(hidden_BCTF).to(spec.real.dtype)
        added_BTF2 = self.complex_decoder(hidden_BCTF).permute(0, 2, 3, 1).to(spec.real.dtype)
        return (mask_BTF * spec_BTF + torch.view_as_complex(added_BTF2.contiguous())).mT


class Discriminator(nn.Module):
    """Compressed magnitudes of an estimate and of its reference → the score that a metric would give, in (0, 1).

    181,650 parameters with the default size.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
        num_channels: of the first convolution; each of the next three has twice those of the one before.
    """

    def __init__(
        self,
        n_fft: int = 400,
        hop_length: int = 100,
        win_length: int = 400,
        num_channels: int = 16,
    ) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop_length, win_length, window="hamming")
        sizes = [2, *(num_channels * 2**number for number in range(4))]
        self.convolutions = nn.Sequential(*map(halving, sizes[:-1], sizes[1:]))
        self.linear = nn.Sequential(
            spectral_norm(nn.Linear(sizes[-1], 4 * num_channels)),
            nn.Dropout(0.3),
            nn.PReLU(4 * num_channels),
            spectral_norm(nn.Linear(4 * num_channels, 1)),
            LearnableSigmoid(1),
        )

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Scores of waveforms.

        Args:
            estimate: shape ``(batch, time)``, at least 16 frames.
            reference: same shape.

        Returns:
            Shape ``(batch,)``. Higher is better.
        """
        level = rms(reference).clamp(min=LEAST_RMS)[:, None, None]
        waveforms = torch.stack([estimate, reference], 1) / level
        hidden = self.convolutions(power(self.stft(waveforms)) ** (EXPONENT / 2))
        return self.linear(hidden.amax((2, 3)))[:, 0]


class Encoder(nn.Module):
    """Magnitude, real and imaginary part of each bin → channels, at half as many places on the frequency axis.

    Args:
        num_channels: that it gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        half = nn.Conv2d(num_channels, num_channels, (1, 3), stride=(1, 2), padding=(0, 1))
        self.layers = nn.Sequential(
            normalised(nn.Conv2d(3, num_channels, 1)),
            DilatedDenseNet(num_channels),
            normalised(half),
        )

    def forward(self, features: Tensor) -> Tensor:
        """From ``(batch, 3, frames, freq)`` to ``(batch, channels, frames, places)``."""
        return self.layers(features)


class MaskDecoder(nn.Module):
    """Channels → a mask of magnitudes, which may be negative, with a slope of its own for each bin.

    Args:
        num_channels: that it gets.
        num_freqs: bins of a frame.
    """

    def __init__(self, num_channels: int, num_freqs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            DilatedDenseNet(num_channels),
            SubPixelConvolution(num_channels),
            normalised(nn.Conv2d(num_channels, 1, (1, 2))),
            nn.Conv2d(1, 1, 1),
        )
        self.activation = nn.PReLU(num_freqs, init=-0.25)

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(batch, channels, frames, places)`` to ``(batch, frames, freq)``."""
        mask_BTF = self.layers(hidden)[:, 0]
        return self.activation(mask_BTF.mT).mT


class ComplexDecoder(nn.Module):
    """Channels → real and imaginary part of what is added to the masked spectrum.

    Args:
        num_channels: that it gets.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            DilatedDenseNet(num_channels),
            SubPixelConvolution(num_channels),
            nn.InstanceNorm2d(num_channels, affine=True),
            nn.PReLU(num_channels),
            nn.Conv2d(num_channels, 2, (1, 2)),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(batch, channels, frames, places)`` to ``(batch, 2, frames, freq)``."""
        return self.layers(hidden)


class DilatedDenseNet(nn.Module):
    """Four convolutions, each of which sees the outputs of all before; they look back 1, 2, 4 and 8 frames.

    Args:
        num_channels: that it gets and gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ZeroPad2d((1, 1, dilation, 0)),
                normalised(
                    nn.Conv2d(number * num_channels, num_channels, (2, 3), dilation=(dilation, 1))
                ),
            )
            for number, dilation in enumerate((1, 2, 4, 8), start=1)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, ``(batch, channels, frames, places)``."""
        seen = hidden
        for layer in self.layers:
            hidden = layer(seen)
            seen = torch.cat([hidden, seen], 1)
        return hidden


class SubPixelConvolution(nn.Module):
    """Twice as many places on the frequency axis: a convolution gives the even and the odd ones.

    Args:
        num_channels: that it gets and gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_channels, 2 * num_channels, (1, 3), padding=(0, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """From ``(batch, channels, frames, places)`` to ``(batch, channels, frames, 2 * places)``."""
        even_and_odd = self.convolution(hidden).unflatten(1, (2, -1))
        return even_and_odd.movedim(1, -1).flatten(-2)


class TwoStageConformer(nn.Module):
    """A conformer over the frames of each place, then one over the places of each frame.

    Args:
        num_channels: that it gets and gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.over_time = Conformer(num_channels)
        self.over_frequency = Conformer(num_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, ``(batch, channels, frames, places)``."""
        hidden_BFTC = hidden.permute(0, 3, 2, 1)
        hidden_BFTC = hidden_BFTC + self._each(self.over_time, hidden_BFTC)
        hidden_BTFC = hidden_BFTC.transpose(1, 2)
        hidden_BTFC = hidden_BTFC + self._each(self.over_frequency, hidden_BTFC)
        return hidden_BTFC.permute(0, 3, 1, 2)

    @staticmethod
    def _each(conformer: nn.Module, hidden: Tensor) -> Tensor:
        return conformer(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])


class Conformer(nn.Module):
    """Half a feed-forward layer, attention, a convolution, the other half; each is added to what it gets.

    Args:
        num_channels: that it gets and gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.first_half = feed_forward(num_channels)
        self.attention = Attention(num_channels)
        self.convolution = ConvolutionModule(num_channels)
        self.second_half = feed_forward(num_channels)
        self.norm = nn.LayerNorm(num_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, ``(sequences, length, channels)``."""
        hidden = hidden + 0.5 * self.first_half(hidden)
        hidden = hidden + self.attention(hidden)
        hidden = hidden + self.convolution(hidden)
        hidden = hidden + 0.5 * self.second_half(hidden)
        return self.norm(hidden)


class Attention(nn.Module):
    """Self-attention of four heads; what is asked for may also be a position relative to one's own.

    Args:
        num_channels: that it gets and gives.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.head_size = num_channels // NUM_HEADS
        self.norm = nn.LayerNorm(num_channels)
        self.query = nn.Linear(num_channels, num_channels, bias=False)
        self.key_and_value = nn.Linear(num_channels, 2 * num_channels, bias=False)
        self.positions = nn.Embedding(2 * FARTHEST + 1, self.head_size)
        self.output = nn.Linear(num_channels, num_channels)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, ``(sequences, length, channels)``."""
        normed = self.norm(hidden)
        projections = self.query(normed), *self.key_and_value(normed).chunk(2, -1)
        query_SHLD, key_SHLD, value_SHLD = (
            each.unflatten(-1, (NUM_HEADS, self.head_size)).transpose(1, 2) for each in projections
        )
        of_position_SHLL = torch.einsum(
            "shld,lmd->shlm", query_SHLD * self.head_size**-0.5, self.relative(hidden.shape[1])
        )
        attended_SHLD = nn.functional.scaled_dot_product_attention(
            query_SHLD, key_SHLD, value_SHLD, attn_mask=of_position_SHLL
        )
        return self.dropout(self.output(attended_SHLD.transpose(1, 2).flatten(2)))

    def relative(self, length: int) -> Tensor:
        """What stands for the way from each position to each other: shape ``(length, length, features of a head)``."""
        places = torch.arange(length, device=self.positions.weight.device)
        distances = (places[:, None] - places).clamp(-FARTHEST, FARTHEST)
        return self.positions(distances + FARTHEST)


class ConvolutionModule(nn.Module):
    """A gated layer, a convolution over 31 places for each channel, and a layer back.

    Args:
        num_channels: that it gets and gives; twice as many in between.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        width = 2 * num_channels
        self.norm = nn.LayerNorm(num_channels)
        self.layers = nn.Sequential(
            nn.Conv1d(num_channels, 2 * width, 1),
            nn.GLU(dim=1),
            nn.Conv1d(width, width, 31, padding=15, groups=width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, num_channels, 1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, ``(sequences, length, channels)``."""
        return self.layers(self.norm(hidden).mT).mT


def feed_forward(num_channels: int) -> nn.Sequential:
    """Four times as wide in between."""
    return nn.Sequential(
        nn.LayerNorm(num_channels),
        nn.Linear(num_channels, 4 * num_channels),
        nn.SiLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(4 * num_channels, num_channels),
        nn.Dropout(DROPOUT),
    )


def normalised(convolution: nn.Conv2d) -> nn.Sequential:
    """A convolution, normalisation of each channel of each signal, and a slope for each channel below 0."""
    size = convolution.out_channels
    return nn.Sequential(convolution, nn.InstanceNorm2d(size, affine=True), nn.PReLU(size))


def halving(num_inputs: int, num_outputs: int) -> nn.Sequential:
    """A layer of the discriminator, which halves both axes."""
    convolution = nn.Conv2d(num_inputs, num_outputs, 4, stride=2, padding=1, bias=False)
    return normalised(spectral_norm(convolution))


def power(spec: Tensor) -> Tensor:
    """Squared magnitudes, of at least :data:`LEAST_POWER`."""
    return (spec.real.square() + spec.imag.square()).clamp(min=LEAST_POWER)


def compress(spec: Tensor) -> Tensor:
    """Magnitudes to the power of 0.3; the phase stays."""
    return spec * power(spec) ** ((EXPONENT - 1) / 2)


def decompress(spec: Tensor) -> Tensor:
    """The opposite of :func:`compress`."""
    return spec * power(spec) ** ((1 / EXPONENT - 1) / 2)
