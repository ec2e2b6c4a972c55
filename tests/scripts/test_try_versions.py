from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from audiozen.config.locate import locate

ROOT = Path(__file__).resolve().parents[2]

SUMMARY = """\
....F.E.s                                                                [100%]
------------------------------ Captured log call -------------------------------
ERROR    some.module:module.py:376 which a test has logged
=========================== short test summary info ============================
SKIPPED [1] tests/a/test_a.py:3: root may read everything
FAILED tests/a/test_a.py::test_sum[2 + 2 - 5] - AssertionError: assert 4 == 5
FAILED tests/a/test_a.py::test_fixture - ValueError: no
ERROR tests/a/test_a.py::test_fixture - OSError: gone
ERROR tests/a/test_a.py::test_teardown - OSError: gone
2 failed, 7 passed, 1 skipped, 47 deselected, 2 errors in 172.35s (0:02:52)
"""


def of_script(name: str) -> Any:
    return locate(f"try_versions.{name}", [ROOT / "scripts"])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A combination with an environment: the one that runs this test."""
    tried = of_script("Combination")("3.11", "2.13")
    monkeypatch.setitem(of_script("install").__globals__, "ENVIRONMENTS", tmp_path)
    (tried.environment / "bin").mkdir(parents=True)
    python = tried.environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tried.environment / ".ready").touch()
    return tried


def test_every_extra_is_installed_but_those_for_other_work() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = {"pesq", "recipes", "test", "lint", "docs"}
    assert {*of_script("EXTRAS")} == {*project["optional-dependencies"]} - others


def test_summary_of_pytest_is_read() -> None:
    found = of_script("read_summary")(SUMMARY)
    assert (found.passed, found.skipped) == (7, 1)
    assert found.failed == (
        "tests/a/test_a.py::test_sum[2 + 2",  # cut at a dash, and still a name
        "tests/a/test_a.py::test_fixture",
        "tests/a/test_a.py::test_teardown",
    )


def test_tests_that_do_not_start_have_no_numbers() -> None:
    with pytest.raises(of_script("ImpossibleError"), match="did not start"):
        of_script("read_summary")("E   ModuleNotFoundError: No module named 'tomllib'\n")


def test_what_is_installed_is_tested_and_makes_a_row(installed: Any, tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(
        "def test_good():\n    pass\n\n\ndef test_bad():\n    assert 2 + 2 == 5\n"
    )
    row = of_script("attempt")(installed, [str(tmp_path / "test_two.py")])
    cells = row.split(" | ")
    assert cells[:3] == ["| 3.11", importlib.metadata.version("torch"), "constraints.txt"]
    assert cells[4:7] == ["1", "1", "0"]
    assert re.fullmatch(r"`\S+test_two.py::test_bad` \|", cells[7])
    assert "assert (2 + 2) == 5" in installed.log.read_text()


def test_tests_that_cannot_be_started_are_a_row_with_the_reason(installed: Any) -> None:
    assert "| the tests did not start |" in of_script("attempt")(installed, ["--no-such-option"])


def test_combination_that_cannot_be_had_is_a_row_with_the_reason() -> None:
    tried = of_script("Combination")("3.4", "2.13")
    row = of_script("attempt")(tried, [])
    pattern = r"\| 3\.4 \| 2\.13 \| constraints\.txt \| \d{4}-\d\d-\d\d \| - \| - \| - \| there is no python3\.4 \|"
    assert re.fullmatch(pattern, row)


def test_own_python_is_found() -> None:
    version = "{}.{}".format(*sys.version_info)
    found = of_script("find_python")(version)
    assert f"Python {version}." in of_script("run")([found, "--version"]).stdout


def test_pins_are_the_tested_or_the_oldest_versions_but_for_pytorch() -> None:
    tested, oldest = of_script("pins")(is_oldest=False), of_script("pins")(is_oldest=True)
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(constraints) - set(tested) == {
        line for line in constraints if line.startswith(("#", "torch=="))
    }
    project = (ROOT / "pyproject.toml").read_text()
    assert {"numpy", "onnx"} < {pin.partition("==")[0] for pin in oldest}
    assert all(f'"{pin.replace("==", ">=")}"' in project for pin in oldest)
    for pins in (tested, oldest):
        assert not [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)]
        assert not [pin for pin in pins if pin.startswith("torch==")]


def test_usual_tests_exist_and_the_long_ones_are_left_out() -> None:
    names = of_script("usual_tests")()[2:]
    assert all((ROOT / name.partition("::")[0]).exists() for name in names)
    assert {"tests/data", "tests/test_engine.py", "audiozen"} < set(names)
    assert not {"tests/docs", "tests/faults", "tests/conftest.py"} & set(names)
    file, _, test = of_script("TWO_PROCESSES").partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("text", ["3.12", "3.12:", "3.12.1:2.13", "3.12:2", "3.12:latest"])
def test_request_that_is_no_combination_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not like 3.12:2.13"):
        of_script("combination")(text)


def commands_of_the_page() -> list[str]:
    page = (ROOT / "docs" / "versions.md").read_text()
    return re.findall(r"^python scripts/try_versions\.py (.*)$", page, re.MULTILINE)


@pytest.mark.parametrize("command", commands_of_the_page())
def test_commands_of_the_page_are_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """All but what is attempted, which would download gigabytes."""
    main, attempts = of_script("main"), []
    monkeypatch.setitem(main.__globals__, "ENVIRONMENTS", tmp_path)
    monkeypatch.setitem(main.__globals__, "attempt", lambda *request: attempts.append(request))
    monkeypatch.setattr(sys, "argv", ["try_versions.py", *command.split()])
    main()
    own, _, tests = command.partition(" -- ")
    wanted = [f"{tried.python}:{tried.torch}" for tried, _ in attempts]
    assert wanted == [word for word in own.split() if not word.startswith("--")]
    assert {tried.is_oldest for tried, _ in attempts} == {"--oldest" in own}
    assert {tuple(given) for _, given in attempts} == {
        tuple(tests.split() or of_script("usual_tests")())
    }
    assert capsys.readouterr().out.count("\n") == 2 + len(attempts)


def test_page_shows_commands() -> None:
    assert commands_of_the_page()
