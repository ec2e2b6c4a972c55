"""Fixed groupings of Fourier bins into bands as the ear has them."""

from __future__ import annotations

import torch
from torch import Tensor

from audiozen.errors import RequestError


def erb_bands(num_bands: int, n_fft: int, sample_rate: int) -> Tensor:
    r"""Triangular bands, equally spaced on the ERB-rate scale :math:`21.4 \log_{10}(1 + 0.00437
    f)`.

    The first band peaks at 0 Hz, the last at half the sample rate, and each falls to zero at the
    peaks of its two neighbours. So the weights of a bin sum to one: ``gains @ bands.T``
    interpolates gains per band to gains per bin. The other way, ``magnitude @ (bands /
    bands.sum(0))`` is the mean of each band.

    Args:
        num_bands: at least 2.
        n_fft: length of the Fourier transform, in samples.
        sample_rate: in Hz.

    Returns:
        float32, shape ``(freq, bands)`` with ``freq = n_fft // 2 + 1``; weights in ``[0, 1]``, each
        row sums to 1.

    Raises:
        RequestError: fewer than 2 bands, or so many that one holds no bin (at 16 kHz and 512
            samples: 57 and more).

    Source: Glasberg and Moore, "Derivation of auditory filter shapes from notched-noise data",
    Hearing Research 1990, eq. 4.
    """
    if num_bands < 2:
        raise RequestError(f"num_bands must be at least 2, got {num_bands}")
    if n_fft < 2 or sample_rate <= 0:
        raise RequestError(
            f"n_fft must be at least 2 and sample_rate positive, got {n_fft} and {sample_rate}"
        )
    bands = _triangles(num_bands, n_fft, sample_rate)
    _refuse_empty(bands, n_fft, sample_rate)
    return bands.float()


def _triangles(num_bands: int, n_fft: int, sample_rate: int) -> Tensor:
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    top = _hz_to_erb_rate(torch.tensor(sample_rate / 2, dtype=torch.float64))
    peaks = _erb_rate_to_hz(torch.linspace(0, 1, num_bands, dtype=torch.float64) * top)
    upper = torch.searchsorted(peaks, bins, right=True).clamp(1, num_bands - 1)
    share = ((bins - peaks[upper - 1]) / (peaks[upper] - peaks[upper - 1])).clamp(0, 1)
    bands = torch.zeros(len(bins), num_bands, dtype=torch.float64)
    bands.scatter_(1, (upper - 1)[:, None], (1 - share)[:, None])
    return bands.scatter_(1, upper[:, None], share[:, None])


def _refuse_empty(bands: Tensor, n_fft: int, sample_rate: int) -> None:
    empty = (bands.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise RequestError(
            f"{bands.shape[1]} bands are too many for n_fft {n_fft} at {sample_rate} Hz: no bin "
            f"falls into band {empty[0]} (bins are {sample_rate / n_fft:.4g} Hz apart); use fewer "
            "bands or a longer n_fft"
        )


def _hz_to_erb_rate(frequency: Tensor) -> Tensor:
    return 21.4 * torch.log10(1 + 0.00437 * frequency)


def _erb_rate_to_hz(erb_rate: Tensor) -> Tensor:
    return (10 ** (erb_rate / 21.4) - 1) / 0.00437
