from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiozen.report.curves import MAX_POINTS, curves_of, number, thin_out


def row(step: int, epoch: int = 1, seconds: int = 0, **scalars: float) -> dict:
    scalars = {name.replace("_", "/", 1): value for name, value in scalars.items()}
    time = f"2026-01-01T00:00:{seconds:02d}+00:00"
    return {"step": step, "epoch": epoch, "time": time, **scalars}


def test_each_scalar_is_a_curve():
    rows = [row(1, seconds=5, train_loss=2.0), row(2, seconds=7, train_loss=1.0, valid_stoi=0.5)]
    loss, stoi = curves_of(rows)
    assert (loss.name, loss.steps, loss.values, loss.seconds) == (
        "train/loss",
        [1, 2],
        [2, 1],
        [0, 2],
    )
    assert (stoi.name, stoi.steps) == ("valid/stoi", [2])


def test_no_rows_give_no_curves():
    assert curves_of([]) == []


def test_nan_is_a_gap_and_counted():
    rows = [row(step, train_loss=math.nan if step in (3, 4) else 1.0) for step in range(1, 6)]
    (curve,) = curves_of(rows)
    assert curve.values == [1, 1, None, None, 1]
    assert (curve.num_logged, curve.num_nonfinite, curve.first_nonfinite) == (5, 2, 3)


def test_epochs_have_fractions_and_one_in_progress_is_as_long_as_the_last():
    rows = [row(step, 1 + (step - 1) // 10, a_b=0.0) for step in (5, 10, 15, 20, 25)]
    assert curves_of(rows)[0].epochs == [0.5, 1, 1.5, 2, 2.5]


def test_long_curve_is_thinned_out():
    rows = [row(step, train_loss=float(step % 7)) for step in range(10_000)]
    (curve,) = curves_of(rows)
    assert 1000 < len(curve.values) <= MAX_POINTS
    assert (curve.steps[0], curve.steps[-1], curve.num_logged) == (0, 9999, 10_000)


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=400),
    st.integers(min_value=8, max_value=50),
)
def test_thinning_out_keeps_ends_peaks_and_gaps(values, most):
    values = np.array(values)
    kept = thin_out(values, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    assert (np.diff(kept) > 0).all()
    finite, left = values[np.isfinite(values)], values[kept]
    if len(finite):
        assert left[np.isfinite(left)].max() == finite.max()
        assert left[np.isfinite(left)].min() == finite.min()
    assert np.isfinite(left).all() == np.isfinite(values).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.nan, None), (math.inf, "inf"), (-math.inf, "-inf"), (1.23456789, 1.23457), (3.0, 3)],
)
def test_numbers_are_what_json_takes(value, expected):
    assert number(value) == expected
