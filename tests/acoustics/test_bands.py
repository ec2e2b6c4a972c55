from __future__ import annotations

import numpy as np
import pytest
import torch

from audiozen.acoustics import erb_bands
from audiozen.errors import RequestError


def test_weights_of_a_bin_sum_to_one():
    bands = erb_bands(32, 512, 16000)
    assert bands.shape == (257, 32)
    assert bands.dtype == torch.float32
    assert bands.min() >= 0
    torch.testing.assert_close(bands.sum(1), torch.ones(257))


def test_weights_equal_interpolation_between_peaks():
    """Column k is the function that is 1 at peak k and 0 at the others, linear between."""
    peaks = (10 ** (np.linspace(0, 21.4 * np.log10(1 + 0.00437 * 8000), 32) / 21.4) - 1) / 0.00437
    frequencies = np.arange(257) * 16000 / 512
    expected = np.stack([np.interp(frequencies, peaks, row) for row in np.eye(32)], axis=1)
    np.testing.assert_allclose(erb_bands(32, 512, 16000).numpy(), expected, atol=1e-6)


def test_first_band_peaks_at_zero_and_last_at_half_the_rate():
    bands = erb_bands(20, 400, 8000)
    assert bands[0, 0] == 1
    assert bands[-1, -1] == pytest.approx(1, abs=1e-6)


def test_56_bands_fit_and_57_do_not():
    assert (erb_bands(56, 512, 16000).sum(0) > 0).all()
    with pytest.raises(
        RequestError, match=r"57 bands are too many for n_fft 512 at 16000 Hz.* band 1 .*longer"
    ):
        erb_bands(57, 512, 16000)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((1, 512, 16000), "at least 2, got 1"), ((4, 512, 0), "got 512 and 0")],
)
def test_senseless_settings_are_refused(arguments, text):
    with pytest.raises(RequestError, match=text):
        erb_bands(*arguments)
