"""Losses: each is named for the quantity that is minimised and called as ``(estimate, reference)``.

Every one is a function of waveforms ``(..., time)`` that returns a scalar, and a module of the same
name for experiment files. Values and gradients are finite for silence on either side.

:class:`PermutationInvariant` makes of a loss of one signal that of several sources without order.
"""

from __future__ import annotations

from audiozen.losses.compressed_spectrum import CompressedSpectrum, compressed_spectrum
from audiozen.losses.multi_resolution_stft import MultiResolutionSTFT, multi_resolution_stft
from audiozen.losses.neg_si_sdr import NegSISDR, neg_si_sdr, neg_si_sdr_per_signal
from audiozen.losses.pit import (
    PermutationInvariant,
    Permuted,
    find_permutation,
    permutation_invariant,
    reorder,
)

__all__ = [
    "CompressedSpectrum",
    "MultiResolutionSTFT",
    "NegSISDR",
    "PermutationInvariant",
    "Permuted",
    "compressed_spectrum",
    "find_permutation",
    "multi_resolution_stft",
    "neg_si_sdr",
    "neg_si_sdr_per_signal",
    "permutation_invariant",
    "reorder",
]
