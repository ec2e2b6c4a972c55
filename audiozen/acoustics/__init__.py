"""Signal processing on tensors, shared by losses, metrics, models and data."""

from __future__ import annotations

from audiozen.acoustics.bands import erb_bands
from audiozen.acoustics.level import (
    active_rms,
    amplitude_to_db,
    db_to_amplitude,
    is_silent,
    rms,
)
from audiozen.acoustics.sdr import si_sdr, snr
from audiozen.acoustics.stft import STFT, istft, stft

__all__ = [
    "STFT",
    "active_rms",
    "amplitude_to_db",
    "db_to_amplitude",
    "erb_bands",
    "is_silent",
    "istft",
    "rms",
    "si_sdr",
    "snr",
    "stft",
]
