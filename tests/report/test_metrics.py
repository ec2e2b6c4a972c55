from __future__ import annotations

import pytest

from audiozen.errors import RequestError
from audiozen.report.content import collect
from audiozen.report.metrics import choose, describe
from audiozen.results.run import Run
from tests.report.experiments import Plan, write_experiment


@pytest.fixture(scope="module")
def baseline(runs):
    return [collect(runs["baseline"])]


def test_metrics_of_the_output_have_unit_and_direction(baseline):
    described = describe(baseline)
    assert list(described) == ["si_sdr", "pesq_wb", "stoi"]
    assert described["pesq_wb"] == {"unit": "MOS", "higherIsBetter": True}


def test_best_metric_is_shown_first_unless_another_is_wanted(baseline):
    assert choose(baseline, None) == "si_sdr"
    assert choose(baseline, "stoi") == "stoi"


def test_first_metric_is_taken_where_none_is_the_best(runs):
    experiments = [collect(runs["all_nan"])]
    assert choose(experiments, None) == "si_sdr"


def test_no_table_has_no_metric(runs):
    assert choose([collect(runs["running"])], None) is None


def test_unknown_metric_is_refused(baseline):
    with pytest.raises(RequestError, match=r"no metric 'pesk'.* si_sdr, pesq_wb, stoi"):
        choose(baseline, "pesk")


def test_direction_of_an_unknown_metric_is_that_of_the_run(tmp_path):
    args = {"best_metric": "test/error_rate", "higher_is_better": False}
    plan = Plan(parts=("config",), settings={"trainer": {"path": "x.Y", "args": args}})
    run = Run(write_experiment(tmp_path / "run", plan))
    run.folder.metrics.mkdir()
    run.folder.table("test").write_text('"id","error_rate","num_words"\n"a",0.5,7\n')
    experiments = [collect(run)]
    described = describe(experiments)
    assert described["error_rate"]["higherIsBetter"] is False
    assert described["num_words"]["higherIsBetter"] is None
    assert choose(experiments, None) == "error_rate"
