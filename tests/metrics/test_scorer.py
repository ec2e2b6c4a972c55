from __future__ import annotations

import math
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from audiozen.errors import RequestError, ShapeError
from audiozen.metrics import METRICS, Scorer


def with_silence(pair):
    """A good signal, and one with a silent reference."""
    estimates = np.stack([pair.estimate, pair.estimate])
    return estimates, np.stack([pair.reference, np.zeros_like(pair.reference)])


@pytest.mark.pesq
def test_columns_equal_the_functions(pair):
    names = ["stoi", "si_sdr", "pesq_wb", "snr", "estoi", "pesq_nb"]
    columns = Scorer(names)(*pair)
    assert list(columns) == names
    for name in names:
        assert columns[name] == [METRICS[name].function(*pair).item()]
        assert type(columns[name][0]) is float


def test_batch_has_one_entry_per_signal(pair):
    batch = torch.from_numpy(np.stack(pair)).float()
    columns = Scorer(["si_sdr", "snr"])(batch, batch.flip(0))
    assert {name: len(column) for name, column in columns.items()} == {"si_sdr": 2, "snr": 2}


def test_failure_is_nan_with_a_reason_in_a_column_of_its_own(pair):
    columns = Scorer(["si_sdr", "stoi"])(*with_silence(pair))
    assert list(columns) == ["si_sdr", "si_sdr__error", "stoi", "stoi__error"]
    assert columns["si_sdr__error"] == ["", "silent_reference"]
    assert not math.isnan(columns["si_sdr"][0])
    assert math.isnan(columns["si_sdr"][1])


@pytest.mark.pesq
def test_metrics_fail_one_by_one(pair):
    short = [signal[3000:6500] for signal in pair]
    columns = Scorer(["si_sdr", "pesq_wb", "stoi"])(*short)
    assert columns["pesq_wb__error"] == columns["stoi__error"] == ["too_short"]
    assert "si_sdr__error" not in columns


def test_suffix_comes_before_the_error(pair):
    columns = Scorer(["si_sdr"])(*with_silence(pair), suffix="_noisy")
    assert list(columns) == ["si_sdr_noisy", "si_sdr_noisy__error"]


def test_silent_estimate_has_no_score_in_any_metric(pair):
    columns = Scorer(list(METRICS))(np.zeros_like(pair.reference), pair.reference)
    assert all(math.isnan(columns[name][0]) for name in METRICS)
    assert all(columns[f"{name}__error"] == ["silent_estimate"] for name in METRICS)


def test_all_dnsmos_scores_come_from_one_pass(pair, monkeypatch):
    import audiozen.metrics.dnsmos as module

    passes = []
    score_segment = module._score_segment
    monkeypatch.setattr(
        module, "_score_segment", lambda segment: passes.append(1) or score_segment(segment)
    )
    columns = Scorer(["dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808"])(
        pair.estimate[:16000]
    )
    assert len(columns) == 4
    assert len(passes) == 1  # one second, repeated, has one segment


def test_measure_that_another_covers_does_not_run_beside_it(pair):
    scorer = Scorer(["pesq_wb", "csig", "dnsmos_sig", "covl", "dnsmos_bak_full", "pesq_wb_i"])
    [jobs] = scorer._jobs(*pair, pair.estimate)
    names = ["csig", "dnsmos_bak_full", "pesq_wb"]
    assert [job.measure for job in jobs] == [METRICS[name].measure for name in names]


@pytest.mark.pesq
def test_covered_metrics_have_the_values_that_they_have_alone(pair):
    second = [signal[:16000] for signal in pair]
    together = ["pesq_wb", "csig", "dnsmos_p808", "dnsmos_p808_full", "pesq_wb_i", "csig_i"]
    columns = Scorer(together)(*second, noisy=second[0])
    for name in ("pesq_wb", "csig", "dnsmos_p808", "dnsmos_p808_full"):
        assert columns[name] == Scorer([name])(*second)[name]
    assert columns["pesq_wb_i"] == columns["csig_i"] == [0.0]


def test_reference_may_be_missing_only_where_none_is_needed(pair):
    assert list(Scorer(["dnsmos_p808"])(pair.estimate[:16000])) == ["dnsmos_p808"]
    with pytest.raises(RequestError, match="si_sdr, stoi: cannot be computed without a reference"):
        Scorer(["si_sdr", "dnsmos_p808", "stoi"])(pair.estimate)


def test_improvement_is_over_the_noisy_signal(pair):
    noisy = 2 * pair.estimate - pair.reference
    columns = Scorer(["si_sdr_i", "snr", "snr_i"])(*pair, noisy=noisy)
    assert list(columns) == ["si_sdr_i", "snr", "snr_i"]
    assert columns["snr_i"] == [pytest.approx(10 * math.log10(4), abs=1e-6)]
    after, before = METRICS["si_sdr"].function(*pair), METRICS["si_sdr"].function(noisy, pair[1])
    assert columns["si_sdr_i"] == [after.item() - before.item()]
    assert columns["snr"] == [METRICS["snr"].function(*pair).item()]


@pytest.mark.pesq
def test_nothing_done_is_no_improvement(pair):
    names = [f"{name}_i" for name in METRICS if not name.startswith("dnsmos")]
    columns = Scorer(names)(pair.estimate, pair.reference, noisy=pair.estimate)
    assert all(columns[name] == [0.0] for name in names)


def test_improvement_has_the_reason_of_the_one_that_failed(pair):
    silence = np.zeros_like(pair.reference)
    broken = np.full_like(silence, math.nan)
    scorer = Scorer(["snr", "snr_i"])
    columns = scorer(
        np.stack([pair.estimate, silence, pair.estimate, silence]),
        np.stack([pair.reference] * 4),
        noisy=np.stack([pair.estimate, pair.estimate, broken, broken]),
    )
    expected = ["", "silent_estimate", "nonfinite", "silent_estimate"]
    assert columns["snr_i__error"] == expected
    assert [math.isnan(value) for value in columns["snr_i"]] == [bool(text) for text in expected]
    assert columns["snr__error"] == ["", "silent_estimate", "", "silent_estimate"]
    silent_reference = scorer(pair.estimate, silence, noisy=pair.estimate, suffix="_x")
    assert silent_reference["snr_i_x__error"] == ["silent_reference"]


def test_each_measure_runs_once_for_the_estimate_and_once_for_the_noisy_signal(pair):
    scorer = Scorer(["snr", "snr_i", "stoi", "dnsmos_sig_i", "dnsmos_bak_i", "dnsmos_p808"])
    [jobs] = scorer._jobs(pair.estimate, pair.reference, pair.reference)
    measures = [METRICS[name].measure for name in ("snr", "stoi", "dnsmos_sig")]
    assert [job.measure for job in jobs] == [*measures, measures[0], measures[2]]
    assert [job.estimate is jobs[0].estimate for job in jobs] == [True] * 3 + [False] * 2


def test_job_of_float32_takes_four_bytes_a_sample_to_another_process(pair):
    single = [torch.from_numpy(signal).float() for signal in pair]
    for names, num_signals in ((["stoi"], 2), (["dnsmos_sig"], 1)):
        [[job]] = Scorer(names)._jobs(*single, None)
        content = pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
        assert 0 <= len(content) - num_signals * 4 * len(pair.reference) < 1000


def test_noisy_signal_is_not_looked_at_where_no_improvement_is_asked_for(pair):
    broken = np.full_like(pair.estimate, math.nan)
    assert Scorer(["snr"])(*pair, noisy=broken) == Scorer(["snr"])(*pair)


def test_improvement_without_the_noisy_signal_is_refused(pair):
    with pytest.raises(RequestError, match="snr_i, stoi_i: cannot be computed without the noisy"):
        Scorer(["snr_i", "snr", "stoi_i"])(*pair)
    with pytest.raises(RequestError, match="snr_i: cannot be computed without a reference"):
        Scorer(["snr_i", "dnsmos_p808_i"])(pair.estimate, noisy=pair.estimate)
    with pytest.raises(RequestError, match="pesq_wb_i is defined at 16000 Hz"):
        Scorer(["pesq_wb_i"], sample_rate=8000)


def test_noisy_signal_of_another_length_is_refused(pair):
    with pytest.raises(ShapeError, match=r"estimate \(48000,\) and noisy \(47999,\) differ"):
        Scorer(["snr_i"])(*pair, noisy=pair.estimate[1:])


def test_other_length_is_refused(pair):
    with pytest.raises(ShapeError, match="differ"):
        Scorer(["si_sdr"])(pair.estimate[1:], pair.reference)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["sisdr"], "unknown metric 'sisdr'; did you mean 'si_sdr'"),
        (
            ["pesq", "xyzzy"],
            r"did you mean 'pesq_\w\w'\?; unknown metric 'xyzzy'; there are",
        ),
        (["si_sdri"], "did you mean 'si_sdr'"),
        (["stio_i"], "unknown metric 'stio_i'; did you mean 'stoi_i'"),
        (["snr_i_i"], "unknown metric 'snr_i_i'"),
        (["_i"], "unknown metric '_i'"),
        (["snr", "snr"], "named twice"),
        (["snr_i", "snr_i"], "named twice"),
        ([], "no metric is named; there are si_sdr, snr, sdr_bss"),
    ],
)
def test_wrong_names_are_refused_all_at_once(names, text):
    with pytest.raises(RequestError, match=text):
        Scorer(names)


def test_rate_at_which_a_metric_is_not_defined_is_refused_before_any_signal():
    with pytest.raises(RequestError, match="pesq_wb is defined at 16000 Hz"):
        Scorer(["si_sdr", "pesq_wb"], sample_rate=8000)
    Scorer(["si_sdr", "pesq_nb", "stoi"], sample_rate=8000)


@pytest.mark.pesq
def test_sample_rate_reaches_the_metrics(pair):
    at_8000 = Scorer(["pesq_nb"], sample_rate=8000)(*pair)
    assert at_8000 != Scorer(["pesq_nb"], sample_rate=16000)(*pair)


def test_other_processes_can_score(pair):
    """In a forked process too, after DNSMOS has run in this one."""
    scorer = Scorer(["si_sdr", "dnsmos_p808"])
    second = [signal[:16000] for signal in pair]
    here = scorer(*second)
    assert pickle.loads(pickle.dumps(scorer))(*second) == here
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(scorer, second) == here


def test_missing_packages_are_a_reason_and_the_rest_is_scored():
    code = """
import math, sys
import numpy as np

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pesq", "onnxruntime", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from audiozen.metrics import METRICS, Scorer, pesq_wb
from audiozen.errors import MetricError
reference, noise = np.random.default_rng(0).standard_normal((2, 16000))
columns = Scorer(list(METRICS))(reference + 0.1 * noise, reference)
assert columns["si_sdr"][0] > 19
alone = ["si_sdr", "snr", "sdr_bss", "ssnr", "lsd_urgent", "llr", "wss", "stoi", "estoi"]
assert not [name for name in alone if name + "__error" in columns]
for name in METRICS.keys() - alone:
    assert math.isnan(columns[name][0]) and columns[name + "__error"] == ["not_installed"], columns
try:
    pesq_wb(reference, reference)
except MetricError as error:
    assert "pip install 'audiozen[pesq]'" in str(error), error
else:
    raise AssertionError("a missing package must not be silent")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
