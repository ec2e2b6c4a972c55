from __future__ import annotations

import numpy as np
import pytest

from audiozen.metrics import wss
from audiozen.metrics.wss import _critical_bands, _nearest_peaks


@pytest.mark.parametrize(
    ("name", "step", "expected"),  # pysepm-evo 0.1.1, wss
    [
        ("pair", 1, 23.155601686),
        ("pair", 2, 23.952465760),
        ("rainy", 1, 47.118564021),
        ("rainy", 2, 45.579903818),
        ("near_train", 1, 18.471756329),
        ("near_train", 2, 15.501045698),
    ],
)
def test_equals_the_package(request, name, step, expected):
    """At 16 kHz, and every other sample at 8 kHz."""
    estimate, reference = (signal[::step] for signal in request.getfixturevalue(name))
    value = wss(estimate, reference, sample_rate=16000 // step).item()
    assert value == pytest.approx(expected, abs=1e-7)


def peak_by_search(level: list[float], slope: int) -> int:
    """The search of the original program, one step after the other."""
    position = slope
    if level[slope + 1] > level[slope]:
        while position < len(level) - 1 and level[position + 1] > level[position]:
            position += 1
        return position - 1
    while position >= 0 and level[position + 1] <= level[position]:
        position -= 1
    return position + 1


def test_nearest_peaks_are_those_of_a_search():
    levels = np.random.default_rng(0).integers(0, 5, size=(200, 25)).astype(float)
    levels[0] = np.arange(25)
    levels[1] = -np.arange(25)
    levels[2] = 0
    expected = [[peak_by_search(list(level), slope) for slope in range(24)] for level in levels]
    np.testing.assert_array_equal(_nearest_peaks(levels), expected)


def test_bands_have_equal_areas():
    areas = _critical_bands(1 << 16, 16000).sum(axis=0)
    np.testing.assert_allclose(areas, areas[0], rtol=0.01)


def test_same_spectrum_has_no_distance(pair):
    assert wss(pair.reference, pair.reference).item() == 0.0
    assert wss(-0.5 * pair.reference, pair.reference).item() == pytest.approx(0, abs=1e-9)


def test_silent_halves_have_no_distance(pair):
    estimate, reference = (signal.copy() for signal in pair)
    estimate[24000:] = reference[24000:] = 0
    assert 0.3 < wss(estimate, reference).item() / wss(*pair).item() < 0.7


def test_what_lies_above_the_bands_is_not_heard(pair):
    whistle = np.sin(2 * np.pi * 6000 / 16000 * np.arange(48000))
    assert wss(pair.estimate + whistle, pair.reference).item() == pytest.approx(
        wss(*pair).item(), abs=0.5
    )
