"""FullSubNet: one LSTM hears the whole spectrum, and one goes over each bin with its neighbours.

Source: Hao et al., "FullSubNet: A full-band and sub-band fusion model for real-time single-channel speech
enhancement", ICASSP 2021.

What is wanted is the complex ideal ratio mask, compressed: :func:`ideal_ratio_mask`, :func:`compress`,
:func:`decompress`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.errors import RequestError, ShapeError

K, C = 10.0, 0.1
"""A compressed mask lies within ±K; C says how steeply it gets there."""
LIMIT = 9.9
"""A compressed value beyond ±LIMIT is taken as ±LIMIT when it is decompressed, so the mask stays within ±52.93."""
EPSILON = 1e-5
"""Added to the mean that magnitudes are divided by: silence stays silence."""


class FullSubNet(nn.Module):
    """Waveform → compressed complex mask, and through it the enhanced waveform.

    The full-band LSTM sees all magnitudes of a frame. The sub-band LSTM, the same for each bin, sees the magnitude of
    the bin, those of its neighbours, and what the full-band LSTM says of the bin; it gives the mask of this bin.

    An output frame depends on ``look_ahead`` further frames, and with ``"offline_laplace"`` on the whole signal. With
    the default sizes there are 5,637,635 parameters, 3,812,097 of them in the full-band and 1,825,538 in the sub-band
    part, and 471,387,392 multiply-accumulates per frame.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.
        look_ahead: frames that are heard before the mask of a frame is given.
        norm: a name in :data:`NORMS`: ``"offline_laplace"``, or the causal ``"cumulative_laplace"``.
        num_neighbors: bins on each side that the sub-band part sees, fewer than there are bins.
        full_band_size: width of the full-band LSTM.
        sub_band_size: width of the sub-band LSTM.
        num_groups: of a batch in training, each with other bins: see :func:`drop_band`. 1: all bins for all.

    Raises:
        RequestError: ``norm`` is unknown, or there are too many neighbours.
    """

    def __init__(
        self,
        n_fft: int = 512,
        hop_length: int = 256,
        win_length: int = 512,
        look_ahead: int = 2,
        norm: str = "offline_laplace",
        num_neighbors: int = 15,
        full_band_size: int = 512,
        sub_band_size: int = 384,
        num_groups: int = 2,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise RequestError(f"norm: {norm!r} is unknown; choose one of {', '.join(NORMS)}")
        self.stft = STFT(n_fft, hop_length, win_length)
        num_freqs = self.stft.num_freqs
        if num_neighbors >= num_freqs:
            raise RequestError(
                f"num_neighbors must be less than the {num_freqs} bins, got {num_neighbors}"
            )
        self.look_ahead = look_ahead
        self.normalize = NORMS[norm]
        self.num_neighbors = num_neighbors
        self.num_groups = num_groups
        self.full_band = SequenceModel(num_freqs, full_band_size, num_freqs)
        self.sub_band = SequenceModel(2 * num_neighbors + 2, sub_band_size, 2)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance a waveform; in training mode, estimate its mask.

        Args:
            noisy: shape ``(batch, time)``.

        Returns:
            In evaluation mode the enhanced waveform, of the same shape. In training mode the compressed mask of the
            bins that :func:`drop_band` keeps, shape ``(batch, freq // num_groups, frames, 2)``.
        """
        spec = self.stft(noisy)
        mask = self.mask(spec.abs())
        if self.training:
            return mask
        return self.stft.inverse(decompress(mask) * spec, noisy.shape[-1])

    def mask(self, magnitude: Tensor) -> Tensor:
        """The compressed mask.

        Args:
            magnitude: of the noisy spectrum, shape ``(batch, freq, frames)``.

        Returns:
            Real and imaginary part, shape ``(batch, freq, frames, 2)``; in training mode of the bins that are kept.
        """
        # B batch, F bins, T frames, N features of a bin
        magnitude_BFT = nn.functional.pad(magnitude, (0, self.look_ahead))
        full_BFT = self.full_band(self.normalize(magnitude_BFT).mT).relu().mT
        around_BFNT = with_neighbors(magnitude_BFT, self.num_neighbors)
        features_BFNT = self.normalize(torch.cat([around_BFNT, full_BFT[:, :, None]], 2))
        if self.training:
            features_BFNT = drop_band(features_BFNT, self.num_groups)
        mask = self.sub_band(features_BFNT.flatten(0, 1).mT)
        mask = mask.unflatten(0, features_BFNT.shape[:2])[:, :, self.look_ahead :]
        return mask.to(magnitude.dtype)  # autocast may have left it in half precision


class SequenceModel(nn.Module):
    """Two LSTM layers and a linear one, from ``(batch, frames, inputs)`` to ``(batch, frames, outputs)``."""

    def __init__(self, num_inputs: int, hidden_size: int, num_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, hidden_size, num_layers=2, batch_first=True)
        self.output = nn.Linear(hidden_size, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        hidden, _ = self.lstm(features)
        return self.output(hidden)


# Features -----------------------------------------------------------------------------------------


def offline_laplace(features: Tensor) -> Tensor:
    """Divide each signal by its mean over everything, future included: shape ``(batch, ..., frames)``.

    Source: Hao et al., ICASSP 2021.
    """
    return features / (features.mean(tuple(range(1, features.ndim)), keepdim=True) + EPSILON)


def cumulative_laplace(features: Tensor) -> Tensor:
    """Divide each frame by the mean over everything up to and with it: shape ``(batch, ..., frames)``.

    Causal. The last frame is as with :func:`offline_laplace`.
    """
    sums = features.flatten(1, -2).mean(1).cumsum(-1)  # (batch, frames)
    means = sums / torch.arange(1, sums.shape[-1] + 1, device=sums.device)
    return features / (means.reshape(len(means), *(features.ndim - 2) * [1], -1) + EPSILON)


NORMS = {"offline_laplace": offline_laplace, "cumulative_laplace": cumulative_laplace}


def with_neighbors(magnitude: Tensor, num_neighbors: int) -> Tensor:
    """Each bin between its neighbours, from the lowest to the highest; at both ends the spectrum is reflected.

    Args:
        magnitude: shape ``(batch, freq, frames)``.
        num_neighbors: on each side, fewer than there are bins.

    Returns:
        Shape ``(batch, freq, 2 * num_neighbors + 1, frames)``.
    """
    last = magnitude.shape[1] - 1
    places = torch.arange(last + 1, device=magnitude.device)
    offsets = torch.arange(-num_neighbors, num_neighbors + 1, device=magnitude.device)
    bins = (places[:, None] + offsets).abs()
    return magnitude[:, last - (last - bins).abs()]


def drop_band(features: Tensor, num_groups: int) -> Tensor:
    """Split a batch into groups, and keep of group ``g`` only the bins ``f`` with ``f % num_groups == g``.

    Group ``g`` are the signals ``g, g + num_groups, ...``; the result has one group after the other. All keep the same
    number of bins, so one or more of the highest may be left out. Training costs that much less time and memory.

    Args:
        features: shape ``(batch, freq, ...)``.
        num_groups: 1 keeps all.

    Returns:
        Shape ``(batch, freq // num_groups, ...)``.

    Raises:
        ShapeError: there are fewer signals than groups, so that some bins would be in no group.

    Source: Hao et al., ICASSP 2021.
    """
    batch_size, num_freqs = features.shape[:2]
    if batch_size < num_groups:
        raise ShapeError(
            f"a batch of {batch_size} cannot be split into {num_groups} groups of bins; use a batch_size of at least "
            f"{num_groups} and drop_last = true, or fewer num_groups"
        )
    num_kept = num_freqs // num_groups
    groups = [features[g::num_groups, g::num_groups][:, :num_kept] for g in range(num_groups)]
    return torch.cat(groups)


# Masks --------------------------------------------------------------------------------------------


def ideal_ratio_mask(noisy: Tensor, clean: Tensor) -> Tensor:
    """The complex mask that makes the clean spectrum of the noisy one: ``clean / noisy``.

    Where ``noisy`` is 0, so is the mask.

    Args:
        noisy: complex spectrum, any shape.
        clean: complex spectrum, same shape.

    Returns:
        Complex, same shape, of any size.

    Source: Williamson et al., "Complex ratio masking for monaural speech separation", TASLP 2016.
    """
    power = noisy.abs().square()
    return clean * noisy.conj() / power.clamp(min=torch.finfo(power.dtype).tiny)


def compress(mask: Tensor) -> Tensor:
    """Real and imaginary part of a mask, each compressed into ±10: ``K (1 - exp(-C x)) / (1 + exp(-C x))``.

    Args:
        mask: complex, shape ``(...)``.

    Returns:
        Real, shape ``(..., 2)``.

    Source: Williamson et al., TASLP 2016, with K = 10 and C = 0.1.

    >>> compress(torch.tensor([2 + 0j]))
    tensor([[0.9967, 0.0000]])
    """
    return K * torch.tanh(C / 2 * torch.view_as_real(mask))  # the same, without overflow


def decompress(compressed: Tensor) -> Tensor:
    """Undo :func:`compress`: ``-log((K - x) / (K + x)) / C``, with ``x`` within ±9.9.

    Args:
        compressed: real, shape ``(..., 2)``.

    Returns:
        Complex, shape ``(...)``, real and imaginary part each within ±52.93.

    Source: Williamson et al., TASLP 2016; the limit is that of Hao et al., ICASSP 2021.
    """
    return torch.view_as_complex(2 / C * torch.atanh(compressed.clamp(-LIMIT, LIMIT) / K))
