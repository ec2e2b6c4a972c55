from __future__ import annotations

import math

import numpy as np
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import pesq_nb, pesq_wb

package = pytest.importorskip("pesq", reason="needs pesq, which a C compiler builds")


def test_equals_the_package(pair):
    wide = package.pesq(16000, pair.reference, pair.estimate, "wb")
    narrow = package.pesq(16000, pair.reference, pair.estimate, "nb")
    telephone = package.pesq(8000, pair.reference, pair.estimate, "nb")
    assert pesq_wb(*pair).item() == pytest.approx(wide, abs=1e-9)
    assert pesq_nb(*pair).item() == pytest.approx(narrow, abs=1e-9)
    assert pesq_nb(*pair, sample_rate=8000).item() == pytest.approx(telephone, abs=1e-9)
    assert len({wide, narrow, telephone}) == 3


def test_perfect_estimate_has_the_highest_score(pair):
    assert pesq_wb(pair.reference, pair.reference).item() == pytest.approx(4.644, abs=1e-3)
    assert pesq_nb(pair.reference, pair.reference).item() == pytest.approx(4.549, abs=1e-3)


def test_level_does_not_count(pair):
    assert pesq_wb(0.1 * pair.estimate, pair.reference).item() == pytest.approx(
        pesq_wb(*pair).item(), abs=1e-3
    )


def test_less_than_a_quarter_of_a_second_is_too_short(pair):
    short = [signal[3000:6500] for signal in pair]
    assert math.isnan(pesq_wb(*short))
    with pytest.raises(MetricError, match=r"pesq_wb of signal 0: PESQ needs 0.25 s") as raised:
        pesq_wb(*short, strict=True)
    assert raised.value.reason == "too_short"


def test_reference_without_speech_has_no_utterance():
    noise = np.random.default_rng(0).standard_normal(16000)
    crackle = np.zeros(16000)
    crackle[8000:8400] = noise[:400]
    with pytest.raises(MetricError, match="finds no speech") as raised:
        pesq_wb(noise, crackle, strict=True)
    assert raised.value.reason == "no_utterance"
