"""The short-time Fourier transform and its exact inverse."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from audiozen.acoustics._precision import at_least_float32
from audiozen.errors import RequestError, ShapeError

WindowName = Literal["hann", "sqrt_hann", "hamming"]

# A frame grid whose squared windows sum to less than this (of their peak) magnifies rounding errors
# too much.
_LEAST_OVERLAP = 1e-2


class STFT(nn.Module):
    """Short-time Fourier transform, called on a waveform; :meth:`inverse` goes back.

    Frame ``i`` is centred on sample ``i * hop_length``; the signal is surrounded by zeros and there
    are ``ceil(time / hop_length) + 1`` frames, so every sample lies inside two or more windows and
    **every** length from one sample on comes back exactly. (``torch.stft(center=True)`` has one
    frame less where the length is not a multiple of the hop, and cannot give back what follows its
    last window.) The transform is not normalised: a sine of amplitude 1 gives a peak of half the
    sum of the window.

    The window follows the module to another device, and is not part of its state dict.

    Args:
        n_fft: length of the Fourier transform, in samples; even.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples, centred in the transform. ``None``: ``n_fft``.
        window: ``"hann"``, ``"sqrt_hann"`` (its root: used twice, in analysis and synthesis, it
            adds up to one) or ``"hamming"``; all periodic.

    Raises:
        RequestError: unknown window, lengths that do not fit, or frames too far apart to be
            inverted.

    >>> transform = STFT(n_fft=512, hop_length=256)
    >>> spec = transform(torch.ones(2, 1000))
    >>> tuple(spec.shape)
    (2, 257, 5)
    >>> tuple(transform.inverse(spec, length=1000).shape)
    (2, 1000)
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int = 512,
        hop_length: int = 256,
        win_length: int | None = None,
        window: WindowName = "hann",
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.win_length = n_fft if win_length is None else win_length
        self.window_name = window
        _check_lengths(self.n_fft, self.hop_length, self.win_length)
        weights = _build_window(window, self.win_length)
        _check_overlap(weights, self.hop_length)
        self.register_buffer("window", weights.to(torch.get_default_dtype()), persistent=False)

    @property
    def num_freqs(self) -> int:
        """Bins of one frame: ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrum of a waveform.

        Args:
            waveform: real, shape ``(..., time)``, at least one sample. Half precision is computed
                in float32.

        Returns:
            Complex, shape ``(..., freq, frames)``.

        Raises:
            ShapeError: no sample.
        """
        if waveform.ndim == 0 or waveform.shape[-1] == 0:
            raise ShapeError(
                f"a waveform of shape {tuple(waveform.shape)} has no samples; expected (..., time)"
            )
        length = waveform.shape[-1]
        padding = -length % self.hop_length
        signals = nn.functional.pad(at_least_float32(waveform).reshape(-1, length), (0, padding))
        spec = torch.stft(signals, **self._grid(signals), pad_mode="constant", return_complex=True)
        return spec.reshape(*waveform.shape[:-1], *spec.shape[-2:])

    def inverse(self, spec: Tensor, length: int) -> Tensor:
        """Waveform of a spectrum: of all signals, the one whose own spectrum is nearest (least
        squares).

        Args:
            spec: complex, shape ``(..., freq, frames)``.
            length: samples to give back; those of the waveform that ``spec`` was made of.

        Returns:
            Real, shape ``(..., length)``.

        Raises:
            ShapeError: ``spec`` has not the bins of this transform, or not the frames of such a
                length.

        Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform",
        TASSP 1984, eq. 6.
        """
        expected = (self.num_freqs, math.ceil(length / self.hop_length) + 1)
        if length < 1 or spec.shape[-2:] != expected:
            raise ShapeError(
                f"a spectrum of shape {tuple(spec.shape)} does not give {length} samples; expected "
                f"(..., freq, frames) with {expected[0]} bins and, for this length and hop "
                f"{self.hop_length}, {expected[1]} frames"
            )
        # Not torch.istft, which reads from the device whether the windows overlap, each time it is called.
        frames = torch.fft.irfft(spec.reshape(-1, *spec.shape[-2:]).mT, self.n_fft)
        window = self._padded_window(frames)
        weights = window.square().expand(1, frames.shape[1], self.n_fft)
        sums = self._overlap_add(frames * window, length)
        signals = sums / self._overlap_add(weights, length)
        return signals.reshape(*spec.shape[:-2], length)

    def _padded_window(self, like: Tensor) -> Tensor:
        """The window in the middle of ``n_fft`` samples."""
        before = (self.n_fft - self.win_length) // 2
        after = self.n_fft - self.win_length - before
        return nn.functional.pad(self.window.to(like), (before, after))

    def _overlap_add(self, frames: Tensor, length: int) -> Tensor:
        """Sum of frames, shape ``(batch, frames, n_fft)``, where each belongs: ``(batch, length)``."""
        batch, num_frames, _ = frames.shape
        num_hops = -(-self.n_fft // self.hop_length)
        padding = num_hops * self.hop_length - self.n_fft
        padded = nn.functional.pad(frames, (0, padding))
        hops = padded.reshape(batch, num_frames, num_hops, self.hop_length)
        sums = frames.new_zeros(batch, num_frames + num_hops - 1, self.hop_length)
        for number in range(num_hops):
            sums[:, number : number + num_frames] += hops[:, :, number]
        start = self.n_fft // 2  # where the first frame is centred
        return sums.flatten(1)[:, start : start + length]

    def _grid(self, like: Tensor) -> dict[str, Any]:
        return {
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "win_length": self.win_length,
            "window": self.window.to(like),
            "center": True,
        }

    def extra_repr(self) -> str:
        """The settings, as ``print(model)`` shows them."""
        return f"{self.n_fft}, {self.hop_length}, {self.win_length}, window={self.window_name!r}"


def stft(
    waveform: Tensor,
    n_fft: int = 512,
    hop_length: int = 256,
    win_length: int | None = None,
    window: WindowName = "hann",
) -> Tensor:
    """Spectrum ``(..., freq, frames)`` of a waveform ``(..., time)``: :class:`STFT` as a function.

    The window is kept from call to call. A compiled model should hold an :class:`STFT` instead.
    """
    transform = _cached_transform(n_fft, hop_length, win_length, window, waveform.device)
    spec: Tensor = transform(waveform)
    return spec


def istft(
    spec: Tensor,
    n_fft: int = 512,
    hop_length: int = 256,
    win_length: int | None = None,
    window: WindowName = "hann",
    *,
    length: int,
) -> Tensor:
    """Waveform ``(..., length)`` of a spectrum ``(..., freq, frames)``: undoes :func:`stft`."""
    transform = _cached_transform(n_fft, hop_length, win_length, window, spec.device)
    return transform.inverse(spec, length)


@functools.lru_cache(maxsize=64)
def _cached_transform(
    n_fft: int,
    hop_length: int,
    win_length: int | None,
    window: WindowName,
    device: torch.device,
) -> STFT:
    # A window made in inference mode could never be used in training again.
    with torch.inference_mode(mode=False):
        return STFT(n_fft, hop_length, win_length, window).to(device)


def _build_window(name: str, length: int) -> Tensor:
    if name not in get_args(WindowName):
        allowed = ", ".join(get_args(WindowName))
        raise RequestError(f"window: {name!r} is unknown; choose one of {allowed}")
    if name == "hamming":
        return torch.hamming_window(length, dtype=torch.float64)
    hann = torch.hann_window(length, dtype=torch.float64)
    return hann.sqrt() if name == "sqrt_hann" else hann


def _check_lengths(n_fft: int, hop_length: int, win_length: int) -> None:
    if n_fft % 2:
        # An odd transform has no middle sample to centre a frame on the grid.
        raise RequestError(f"n_fft must be even, got {n_fft}")
    if not 1 <= hop_length <= win_length <= n_fft:
        raise RequestError(
            f"STFT lengths do not fit: expected 1 <= hop_length <= win_length <= n_fft, "
            f"got hop_length {hop_length}, win_length {win_length}, n_fft {n_fft}"
        )


def _check_overlap(window: Tensor, hop_length: int) -> None:
    padded = nn.functional.pad(window.square(), (0, -len(window) % hop_length))
    overlap = padded.reshape(-1, hop_length).sum(0)
    if overlap.min() < _LEAST_OVERLAP * overlap.max():
        raise RequestError(
            f"hop_length {hop_length} leaves gaps between windows of {len(window)} samples, so "
            f"that no signal could be got back; use at most {len(window) // 2}"
        )
