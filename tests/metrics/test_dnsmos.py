from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import METRICS, Scorer, dnsmos_ovrl
from audiozen.metrics.dnsmos import _all_starts, _log_mel, _mel_filters, _official_starts, _repeat

NAMES = ["dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808"]
FULL = [f"{name}_full" for name in NAMES]
SEGMENT = 144160


@pytest.fixture(scope="module")
def official():
    """The package's own protocol, which reads features from librosa."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from speechmos import dnsmos

    def score(samples: np.ndarray) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa tells of the empty mel filters
            by_name = dnsmos.run(samples, 16000)
        return [float(by_name[f"{name[7:]}_mos"]) for name in NAMES]

    return score


def scores(samples: np.ndarray, names: list[str] = NAMES) -> list[float]:
    columns = Scorer(names)(samples)
    return [columns[name][0] for name in names]


@pytest.fixture
def loudness(monkeypatch):
    """Scores a segment by its mean square, at once, and lists the calls."""
    scored = []

    def score(segment):
        scored.append(np.mean(segment**2))
        return np.full(4, scored[-1])

    monkeypatch.setattr("audiozen.metrics.dnsmos._score_segment", score)
    return scored


# Repeated with equal segments, repeated with different ones, and long enough.
@pytest.mark.parametrize("length", [32000, 47999, SEGMENT + 16000])
def test_equals_the_official_script(pair, official, length):
    samples = np.resize(pair.estimate, length) * np.linspace(0.2, 1, length)
    assert scores(samples) == pytest.approx(official(samples), abs=1e-5)


@pytest.mark.parametrize("seconds", [9.01, 9.5, 10.0, 16.5, 17.0, 30.0, 33.0, 33.02, 34.0, 40.7])
def test_segments_are_those_of_the_official_script(seconds):
    """Its expressions, including the one that loses a sample in segments 7 to 23."""
    length = int(seconds * 16000)
    num_hops = int(np.floor(length / 16000) - 9.01) + 1
    slices = [
        range(length)[int(hop * 16000) : int((hop + 9.01) * 16000)] for hop in range(num_hops)
    ]
    expected = [part.start for part in slices if len(part) >= SEGMENT]
    assert _official_starts(length) == expected
    assert expected == [16000 * hop for hop in range(num_hops) if hop < 7 or hop > 23]


@pytest.mark.parametrize("length", [SEGMENT, SEGMENT + 15999, SEGMENT + 16000, 40 * 16000])
def test_full_takes_every_segment_that_fits(length):
    fitting = [start for start in range(0, length, 16000) if start + SEGMENT <= length]
    assert list(_all_starts(length)) == fitting


@pytest.mark.parametrize(("length", "num_different"), [(64000, 4), (48000, 3), (16000, 1)])
def test_equal_segments_of_a_repeated_signal_are_computed_once(loudness, length, num_different):
    """Where both protocols are asked for, too; each counts as often as it occurs."""
    samples = np.random.default_rng(0).standard_normal(length) * np.linspace(0, 1, length)
    plain, full = scores(samples, ["dnsmos_sig", "dnsmos_sig_full"])
    assert len(loudness) == len(set(loudness)) == num_different
    repeated = _repeat(samples)
    assert len(repeated) == length * 2 ** math.ceil(math.log2(SEGMENT / length))
    for value, starts in ((plain, _official_starts), (full, _all_starts)):
        segments = [repeated[start : start + SEGMENT] for start in starts(len(repeated))]
        assert value == pytest.approx(np.mean([np.mean(s**2) for s in segments]), rel=1e-12)


@pytest.mark.usefixtures("loudness")
def test_full_hears_what_the_official_script_drops():
    """The last four seconds of twenty."""
    samples = np.random.default_rng(0).standard_normal(320000) * 0.1
    before = scores(samples, NAMES + FULL)
    samples[-64000:] *= 3
    after = scores(samples, NAMES + FULL)
    assert after[0] == before[0]
    assert after[4] > 1.4 * before[4]
    assert before[:4] == [before[0]] * 4
    assert before[4:] == [before[4]] * 4


def test_full_equals_official_below_16_seconds(pair):
    samples = np.resize(pair.estimate, SEGMENT + 1000)
    assert scores(samples, FULL) == scores(samples)


def test_features_equal_librosa():
    import librosa

    samples = np.random.default_rng(0).standard_normal(16000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = librosa.filters.mel(sr=16000, n_fft=321, n_mels=120)
        mel = librosa.feature.melspectrogram(
            y=samples, sr=16000, n_fft=321, hop_length=160, n_mels=120
        )
    np.testing.assert_allclose(_mel_filters(), filters.T, atol=1e-8)
    expected = (librosa.power_to_db(mel, ref=np.max) + 40) / 40
    np.testing.assert_allclose(_log_mel(samples), expected.T, atol=1e-6)


def test_features_end_80_db_below_the_maximum():
    """Half a second of a loud tone, and digital silence, as quiet as the floor."""
    samples = np.zeros(16000)
    samples[:8000] = np.sin(np.arange(8000))
    assert _log_mel(samples).min() == pytest.approx(-1.0)
    assert _log_mel(samples).max() == pytest.approx(1.0)


@pytest.mark.parametrize("peak", [1e-12, 1.4e-5])
def test_what_a_16_bit_file_would_not_hold_is_silent(pair, peak):
    """The networks give silence 1.8, which beats really noisy speech."""
    quiet = pair.estimate / np.abs(pair.estimate).max() * peak
    assert math.isnan(dnsmos_ovrl(quiet))
    with pytest.raises(MetricError) as raised:
        dnsmos_ovrl(quiet, strict=True)
    assert raised.value.reason == "silent_estimate"


def test_samples_beyond_full_scale_are_scored(pair):
    assert 1 < float(dnsmos_ovrl(30 * pair.estimate[:16000])) < 5


def test_functions_equal_the_scorer(monkeypatch):
    """With four scores that tell each other, the segment, and so the protocol apart."""
    monkeypatch.setattr(
        "audiozen.metrics.dnsmos._score_segment",
        lambda segment: np.mean(segment**2) * np.arange(1.0, 5.0),
    )
    samples = np.random.default_rng(0).standard_normal(320000) * np.linspace(0, 1, 320000)
    expected = scores(samples, NAMES + FULL)
    assert [METRICS[name].function(samples).item() for name in NAMES + FULL] == expected
    assert len(set(expected)) == 8


def test_runs_without_importing_speechmos_or_librosa():
    code = (
        "import sys, numpy as np\n"
        "from audiozen.metrics import dnsmos_p808\n"
        "assert float(dnsmos_p808(np.random.default_rng(0).standard_normal(16000) * 0.1)) > 0\n"
        "assert not {'speechmos', 'librosa', 'scipy', 'pesq'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
