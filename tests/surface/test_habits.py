"""What is promised in text: commands that exist, versions that agree, one way for CI and for people."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import audiozen

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for path in sorted((ROOT / "audiozen").rglob("*.py")) if "template" not in path.parts
]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


TARGETS = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
GUIDE = text_of("CONTRIBUTING.md")


class TestVersion:
    def test_is_stated_in_the_package_alone(self) -> None:
        project = tomllib.loads(text_of("pyproject.toml"))
        assert "version" not in project["project"]
        assert project["project"]["dynamic"] == ["version"]
        stated = project["tool"]["setuptools"]["dynamic"]["version"]
        assert stated == {"attr": "audiozen.__version__"}

    def test_is_a_constant_that_can_be_read_without_importing(self) -> None:
        assert re.search(
            rf'^__version__ = "{audiozen.__version__}"$', text_of("audiozen/__init__.py"), re.M
        )

    def test_agrees_with_the_changelog(self) -> None:
        command = [sys.executable, ROOT / "scripts/changelog.py"]
        assert subprocess.run(command, check=False).returncode == 0
        assert (
            "scripts/changelog.py"
            in text_of("Makefile").partition("check:")[2].partition("\n\n")[0]
        )

    def test_of_the_citation_is_that_of_the_package_if_it_has_one(self) -> None:
        stated = re.findall(r"^version: *['\"]?([^'\"\n]+)", text_of("CITATION.cff"), re.MULTILINE)
        assert stated in ([], [audiozen.__version__])


class TestCommands:
    @pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/first_run.md"])
    def test_of_make_that_pages_name_exist(self, page: str) -> None:
        blocks = "\n".join(re.findall(r"`[^`\n]+`|^make.*", text_of(page), re.MULTILINE))
        named = set(re.findall(r"\bmake ([a-z]+)", blocks))
        assert named
        assert named - TARGETS == set()

    def test_of_the_guide_are_those_of_make(self) -> None:
        named = set(re.findall(r"`make ([a-z]+)", GUIDE))
        assert TARGETS - named == {"help", "demo", "clean", "screenshots"} & TARGETS

    def test_of_red_jobs_are_those_of_ci(self) -> None:
        workflow = text_of(".github/workflows/ci.yml")
        jobs = re.findall(r"^  (\w+):\n    runs-on", workflow, re.MULTILINE)
        rows = re.findall(r"^\| (\w+) \| `make (\w+)` \|", GUIDE, re.MULTILINE)
        assert rows == [(job, job) for job in jobs]

    def test_of_ci_are_make_alone(self) -> None:
        workflow = text_of(".github/workflows/ci.yml")
        steps = re.findall(r"^ +(?:- )?run: *(.*)", workflow, re.MULTILINE)
        assert steps
        assert {step.removeprefix("make ") for step in steps} <= TARGETS
        assert text_of(".ci/run").splitlines()[-1] == "exec make test"

    def test_of_hooks_are_the_pinned_tools(self) -> None:
        entries = re.findall(r"^ +entry: *(\S+)", text_of(".pre-commit-config.yaml"), re.MULTILINE)
        assert entries
        assert all(entry.startswith(".venv/bin/") for entry in entries)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", text_of(page)):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize(
    "name", re.findall(r"`((?:audiozen|tests|scripts|docs)/[\w/]+\.\w+)`", GUIDE)
)
def test_files_that_the_guide_names_exist(name: str) -> None:
    is_pattern = re.search("[A-Z]{4}", name)
    assert is_pattern or (ROOT / name).exists()


@pytest.mark.parametrize("kind", ["bug", "feature", "question"])
def test_reports_ask_for_the_environment(kind: str) -> None:
    assert "`audiozen env`" in text_of(f".github/ISSUE_TEMPLATE/{kind}.yml")


def test_log_has_entries_of_three_parts() -> None:
    entries = text_of("docs/log.md").split("\n### ")[1:]
    assert len(entries) > 10
    for entry in entries:
        title = entry.partition("\n")[0]
        assert [part in entry for part in ("**Tried**", "**Measured**", "**So**")] == [True] * 3, (
            title
        )


def deprecations(source: str) -> list[str]:
    """The texts of all ``warnings.warn(..., DeprecationWarning)`` of a source."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call.args[0])
        for call in calls
        if ast.unparse(call.func).endswith("warn")
        and "DeprecationWarning" in {ast.unparse(argument) for argument in call.args[1:]}
    ]


def is_overdue(text: str, version: str) -> bool:
    """Whether what a deprecation says is to go by now, or does not say when."""
    match = re.search(r"goes in (\d+)\.(\d+)", text)
    return match is None or [*map(int, match.groups())] <= [*map(int, version.split(".")[:2])]


def test_what_is_deprecated_goes_when_it_was_told_to() -> None:
    texts = [text for path in SOURCES for text in deprecations(path.read_text(encoding="utf-8"))]
    assert [text for text in texts if is_overdue(text, audiozen.__version__)] == []


def test_example_of_a_deprecation_is_one() -> None:
    [text] = deprecations(text_of("docs/stability.md").split("```python\n")[1].split("```")[0])
    assert not is_overdue(text, "0.4.9")
    assert is_overdue(text, "0.5.0")
    assert is_overdue("it is deprecated", "0.1.0")
