from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiozen.errors import RequestError
from audiozen.report.page import as_json, build_page
from audiozen.results.run import Run
from tests.report.experiments import EVIL, Plan, write_experiment


def data_of(page: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    )


@given(st.text())
def test_text_in_json_is_never_markup(text):
    encoded = as_json({"id": text})
    assert not set(encoded) & set("<>&\u2028\u2029")
    assert json.loads(encoded) == {"id": text}


def test_page_holds_all_data(runs):
    data = data_of(build_page([runs["baseline"]], num_examples=1))
    (experiment,) = data["experiments"]
    columns = {column["name"]: column["values"] for column in experiment["datasets"][0]["columns"]}
    assert columns["id"][3] == EVIL
    assert data["metric"] == "si_sdr"
    groups = {group for example in data["listen"]["examples"] for group in example["groups"]}
    assert groups >= {"worst", "best", "median", "fixed"}


def test_evil_id_ends_no_element(runs):
    page = build_page([runs["baseline"]], num_examples=1)
    assert page.count("<img") == 0
    assert (
        page.count("<script")
        == page.count("</script>")
        == 3 + len(data_of(page)["listen"]["examples"])
    )


def test_page_refers_to_nothing_outside(runs):
    page = build_page([runs["baseline"]], num_examples=0)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert "@import" not in page
    assert re.search(r"default-src 'none'; script-src 'sha256-\S+' 'sha256-\S+'; style-src", page)


def test_name_of_a_folder_stays_text(tmp_path):
    run = Run(write_experiment(tmp_path / "a<b>$title", Plan(parts=("scalars",))))
    assert "<title>a&lt;b&gt;$title</title>" in build_page([run])


def test_nan_everywhere_is_a_page(runs):
    data = data_of(build_page([runs["all_nan"]]))
    assert data["experiments"][0]["datasets"][0]["means"][0]["mean"] is None


def test_unknown_id_is_refused(runs):
    with pytest.raises(RequestError, match=r"no signal 'p1'.*ids there: "):
        build_page([runs["baseline"]], ids=["p1"])


def test_wanted_id_can_be_listened_to(runs):
    data = data_of(build_page([runs["baseline"]], num_examples=0, ids=["test_rain_0008"]))
    assert [one["signal_id"] for one in data["listen"]["examples"]] == ["test_rain_0008"]


def test_importing_the_report_does_not_import_torch():
    code = "import sys, audiozen.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
