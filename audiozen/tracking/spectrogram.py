"""Pictures of sound, drawn without a plotting library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiozen.errors import ShapeError

if TYPE_CHECKING:
    from audiozen.tracking.tracker import Waveform

    Image = np.ndarray[Any, np.dtype[np.uint8]]

WINDOW_MS = 32.0
FLOOR_DB = -100.0
MAX_WIDTH = 1000

# Lightness rises from the first colour to the last, so that the picture also reads in grey.
_COLOURS = np.array(
    [(0, 0, 8), (45, 16, 100), (125, 30, 120), (205, 55, 90), (250, 130, 50), (252, 250, 190)]
)


def spectrogram_image(waveform: Waveform, sample_rate: int) -> Image:
    """Draw the magnitude of the short-time Fourier transform, in dB.

    The scale is the same for all pictures, so that they can be compared: 0 dB, the lightest colour,
    is a sine of amplitude 1, and -100 dB and below is the darkest. Hann windows of about 32 ms (the
    next power of two), a quarter of it from one to the next. Of signals with more than 1000 frames,
    each column shows the loudest of several frames.

    Args:
        waveform: shape ``(time,)``, in [-1, 1], on any device. NaN and infinities are drawn as
            silence.
        sample_rate: samples per second, in Hz.

    Returns:
        Shape ``(num_freqs, num_columns, 3)``, RGB, 0 to 255; low frequencies at the bottom, time to
        the right.

    Raises:
        ShapeError: the waveform does not have exactly one axis.
    """
    n_fft = 1 << math.ceil(math.log2(WINDOW_MS / 1000 * sample_rate))
    levels = _columns(_levels_db(mono(waveform), n_fft))
    brightness = (levels.clamp(FLOOR_DB, 0) / -FLOOR_DB + 1).flip(0).numpy()
    return _coloured(brightness)


def mono(waveform: Waveform) -> torch.Tensor:
    """The waveform as float32 on the CPU, shape ``(time,)``, NaN and infinities replaced by 0.

    Raises:
        ShapeError: it does not have exactly one axis.
    """
    samples = torch.as_tensor(waveform).detach().to("cpu", torch.float32)
    if samples.ndim != 1:
        raise ShapeError(
            f"waveform {tuple(samples.shape)}: expected one axis, (time,); "
            "log one channel of one signal at a time"
        )
    return samples.nan_to_num(0.0, 0.0, 0.0)


def _levels_db(samples: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Shape ``(num_freqs, frames)``, dB relative to a sine of amplitude 1."""
    window = torch.hann_window(n_fft)
    spec = torch.stft(
        samples, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True
    )
    amplitude = spec.abs() * (2 / window.sum())
    return 20 * torch.log10(amplitude.clamp_min(10 ** (FLOOR_DB / 20)))


def _columns(levels: torch.Tensor) -> torch.Tensor:
    """Keep the loudest of so many neighbouring frames that at most `MAX_WIDTH` columns are left."""
    num_frames = math.ceil(levels.shape[-1] / MAX_WIDTH)
    return torch.nn.functional.max_pool1d(levels[None], num_frames, ceil_mode=True)[0]


def _coloured(brightness: np.ndarray[Any, Any]) -> Image:
    """RGB for values in [0, 1]."""
    positions = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(brightness, positions, channel) for channel in _COLOURS.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
