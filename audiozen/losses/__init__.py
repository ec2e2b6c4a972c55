"""Losses: each is named for the quantity that is minimised and called as ``(estimate, reference)``.

Every one is a function of waveforms ``(..., time)`` that returns a scalar, and a module of the same
name for experiment files. Values and gradients are finite for silence on either side.
"""

from __future__ import annotations

from audiozen.losses.compressed_spectrum import CompressedSpectrum, compressed_spectrum
from audiozen.losses.multi_resolution_stft import MultiResolutionSTFT, multi_resolution_stft
from audiozen.losses.neg_si_sdr import NegSISDR, neg_si_sdr

__all__ = [
    "CompressedSpectrum",
    "MultiResolutionSTFT",
    "NegSISDR",
    "compressed_spectrum",
    "multi_resolution_stft",
    "neg_si_sdr",
]
