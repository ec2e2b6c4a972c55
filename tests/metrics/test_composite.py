from __future__ import annotations

import math

import numpy as np
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import Scorer, cbak, covl, csig

package = pytest.importorskip("pesq", reason="needs pesq, which a C compiler builds")


@pytest.mark.parametrize(
    ("name", "ssnr", "llr", "wss", "expected"),
    [  # pysepm-evo 0.1.1; then what its composite() makes of them with wide-band PESQ of pesq 0.0.4
        ("pair", -0.324527375, 1.129224811, 23.155601686, (2.5280, 2.0899, 1.9289)),
        ("rainy", -2.744146150, 1.932801425, 47.118564021, (1.3063, 1.6277, 1.1105)),
        ("near_train", 13.563633033, 0.070054552, 18.471756329, (3.7721, 3.0865, 2.6536)),
    ],
)
def test_equals_the_regression_on_the_packages(request, name, ssnr, llr, wss, expected):
    estimate, reference = request.getfixturevalue(name)
    pesq = package.pesq(16000, reference, estimate, "wb")
    values = [function(estimate, reference).item() for function in (csig, cbak, covl)]
    assert values == pytest.approx(
        [
            3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss,
            1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ssnr,
            1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss,
        ],
        abs=1e-6,
    )
    assert values == pytest.approx(expected, abs=1e-4)


def test_opinions_end_at_1_and_5(pair):
    for function in (csig, cbak, covl):
        assert function(pair.reference, pair.reference).item() == 5.0
    noise = np.random.default_rng(0).standard_normal(48000)
    whistle = np.sin(np.arange(48000))
    assert csig(noise * np.abs(whistle) * 0.1, pair.reference).item() == 1.0


def test_all_scores_come_from_one_pass(pair, monkeypatch):
    passes = []
    original = package.pesq
    monkeypatch.setattr(package, "pesq", lambda *args: passes.append(1) or original(*args))
    columns = Scorer(["pesq_wb", "csig", "cbak", "covl"])(*pair)
    assert len(columns) == 4
    assert len(passes) == 1


def test_undefined_where_pesq_is(pair):
    short = [signal[3000:6500] for signal in pair]
    assert math.isnan(csig(*short))
    with pytest.raises(MetricError, match=r"covl of signal 0: PESQ needs 0.25 s") as raised:
        covl(*short, strict=True)
    assert raised.value.reason == "too_short"
    crackle = np.zeros(16000)
    crackle[8000:8400] = pair.estimate[8000:8400]
    with pytest.raises(MetricError) as raised:
        cbak(pair.estimate[:16000], crackle, strict=True)
    assert raised.value.reason == "no_utterance"
