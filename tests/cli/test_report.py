from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audiozen.cli.main import main


def test_report_of_a_trained_run(trained: Path, quick: list[str], capsys) -> None:
    assert main(["test", str(trained), *quick]) == 0
    capsys.readouterr()
    assert main(["report", "exp/baseline"]) == 0
    page = Path("exp/baseline/report/index.html")
    assert f"{page} (" in capsys.readouterr().out
    text = page.read_text()
    assert "<title>baseline</title>" in text
    assert '"valid/si_sdr"' in text
    assert "tone_20003" in text


def test_several_runs_go_to_the_current_folder(trained: Path) -> None:
    shutil.copytree("exp/baseline", "other/baseline", symlinks=True)
    assert main(["report", "exp/baseline", "other/baseline"]) == 0
    assert "<title>exp/baseline · other/baseline</title>" in Path("report.html").read_text()


def test_place_of_the_page_can_be_chosen(trained: Path) -> None:
    assert main(["report", "exp/baseline", "--output", "pages/one.html"]) == 0
    assert Path("pages/one.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["exp/missing"], "exp/missing: no such folder"),
        (["recipe"], "not the folder of a run"),
        (["exp/baseline", "--metric", "pesk"], "no metric 'pesk'"),
        (["exp/baseline", "--ids", "p1"], "no signal 'p1'"),
        (["exp/baseline", "--output", "exp"], "exp is a folder"),
        (["exp/baseline", "exp/../exp/baseline"], "is given twice"),
    ],
)
def test_wrong_request_is_refused(trained: Path, capsys, arguments, text) -> None:
    assert main(["report", *arguments]) == 2
    assert text in capsys.readouterr().err
