from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiozen.errors import ShapeError
from audiozen.tracking.spectrogram import MAX_WIDTH, spectrogram_image

SAMPLE_RATE = 16_000


def sine(frequency: float, amplitude: float = 1.0, seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    return amplitude * torch.sin(2 * math.pi * frequency * time)


def brightness(waveform: torch.Tensor) -> np.ndarray:
    """Sum of the colours, shape ``(freq, columns)``."""
    return spectrogram_image(waveform, SAMPLE_RATE).astype(int).sum(-1)


def test_image_is_rgb_with_one_row_per_frequency() -> None:
    image = spectrogram_image(sine(440), SAMPLE_RATE)
    assert image.dtype == np.uint8
    assert image.shape == (257, 126, 3)  # 512-point transform, a frame each 128 samples


@pytest.mark.parametrize("frequency", [500.0, 4000.0, 7000.0])
def test_a_sine_is_a_line_at_its_frequency_counted_from_the_bottom(frequency: float) -> None:
    rows = brightness(sine(frequency)).mean(1)
    assert len(rows) - 1 - rows.argmax() == frequency / SAMPLE_RATE * 512


def test_full_scale_sine_has_the_lightest_colour_and_silence_the_darkest() -> None:
    assert tuple(spectrogram_image(sine(1000), SAMPLE_RATE)[256 - 32, 60]) == (252, 250, 190)
    assert (spectrogram_image(torch.zeros(16_000), SAMPLE_RATE) == (0, 0, 8)).all()


def test_scale_is_common_so_a_softer_sound_is_darker() -> None:
    loud, soft = (brightness(sine(1000, amplitude))[256 - 32, 60] for amplitude in (1.0, 0.01))
    assert loud > soft > brightness(torch.zeros(16_000))[0, 0]


def test_colours_get_lighter_with_the_level() -> None:
    levels = [brightness(sine(1000, 10 ** (db / 20)))[256 - 32, 60] for db in range(-96, 1, 8)]
    assert levels == sorted(levels)
    assert len(set(levels)) == len(levels)


def test_time_runs_to_the_right() -> None:
    late = torch.cat([torch.zeros(16_000), sine(1000)])
    columns = brightness(late).sum(0)
    assert columns[-20:].min() > columns[:100].max()


def test_a_click_survives_in_a_long_signal() -> None:
    click = torch.zeros(120 * SAMPLE_RATE)
    click[len(click) // 2] = 1
    columns = brightness(click).sum(0)
    assert len(columns) <= MAX_WIDTH
    assert abs(columns.argmax() - len(columns) / 2) <= 1


@pytest.mark.parametrize("num_samples", [0, 1, 100])
def test_signals_shorter_than_a_window_are_drawn(num_samples: int) -> None:
    assert spectrogram_image(torch.ones(num_samples), SAMPLE_RATE).shape == (
        257,
        num_samples // 128 + 1,
        3,
    )


def test_nan_is_drawn_as_silence() -> None:
    image = spectrogram_image(torch.full((1000,), math.nan), SAMPLE_RATE)
    assert (image == (0, 0, 8)).all()


def test_arrays_give_the_same_picture_as_tensors() -> None:
    waveform = sine(700)
    same = spectrogram_image(waveform.double().numpy(), SAMPLE_RATE)
    assert np.array_equal(same, spectrogram_image(waveform, SAMPLE_RATE))


def test_more_than_one_axis_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"waveform \(2, 100\): expected one axis, \(time,\)"):
        spectrogram_image(torch.zeros(2, 100), SAMPLE_RATE)
