from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/changelog.py"

problems = runpy.run_path(str(SCRIPT))["problems"]


@pytest.mark.parametrize(
    "sections",
    [
        ["Unreleased"],
        ["0.2.0, 2026-12-01"],
        ["Unreleased", "0.2.0, 2026-12-01", "0.1.10, 2026-11-01", "0.1.9, 2026-10-01"],
    ],
    ids=" | ".join,
)
def test_sections_that_agree_with_version_0_2_0(sections: list[str]) -> None:
    assert (
        problems("# Changelog\n\n" + "".join(f"## {s}\n\n- It.\n" for s in sections), "0.2.0") == []
    )


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([], "has no section"),
        (["0.1.0, 2026-11-01"], 'is "0.1.0, 2026-11-01", the package is 0.2.0'),
        (["Unreleased", "0.3.0, 2026-11-01"], 'is "0.3.0, 2026-11-01", the package is 0.2.0'),
        (["0.2.0"], 'section "0.2.0" is no "Unreleased" on top'),
        (["0.2.0, 2026-12-01", "Unreleased"], 'section "Unreleased" is no'),
        (["0.2.0, 2026-12-01", "0.1.9, 2026-11-01", "0.1.10, 2026-11-01"], "not in order"),
    ],
    ids=str,
)
def test_sections_that_do_not_agree_are_told(sections: list[str], words: str) -> None:
    [problem] = problems("".join(f"## {s}\n\n- It.\n" for s in sections), "0.2.0")
    assert words in problem


class Checkout:
    """A small copy of the repository, with what a release touches."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("scripts/changelog.py", "scripts/release.sh"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        (root / "audiozen").mkdir()
        (root / "audiozen/__init__.py").write_text('"""It."""\n\n__version__ = "0.1.0"\n')
        (root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- A thing.\n")
        (root / "Makefile").write_text("test package:\n\t@echo made $@ >> made\n")
        (root / ".gitignore").write_text("made\n.venv\n")
        (root / ".venv/bin").mkdir(parents=True)
        (root / ".venv/bin/python").symlink_to(sys.executable)
        self.git("init", "--quiet")
        self.git("config", "user.name", "A")
        self.git("config", "user.email", "a@b.c")
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "First")

    def git(self, *words: str) -> str:
        return self.run("git", *words).stdout.strip()

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("scripts/release.sh", *words, check=False)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=self.root, capture_output=True, text=True, check=check)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()


def today() -> str:
    return datetime.now(UTC).date().isoformat()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


class TestRelease:
    def test_writes_tests_builds_commits_and_tags(self, checkout: Checkout) -> None:
        done = checkout.release("0.2.0")
        assert done.returncode == 0, done.stderr
        assert checkout.read("audiozen/__init__.py") == '"""It."""\n\n__version__ = "0.2.0"\n'
        assert (
            checkout.read("CHANGELOG.md") == f"# Changelog\n\n## 0.2.0, {today()}\n\n- A thing.\n"
        )
        assert checkout.read("made") == "made test\nmade package\n"
        assert checkout.git("describe") == "v0.2.0"
        assert checkout.git("log", "-1", "--format=%s") == "Version 0.2.0"
        assert checkout.git("status", "--porcelain") == ""

    def test_of_the_first_version_may_keep_its_number(self, checkout: Checkout) -> None:
        assert checkout.run(".venv/bin/python", "scripts/changelog.py", "0.1.0").returncode == 0
        assert f"## 0.1.0, {today()}" in checkout.read("CHANGELOG.md")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "which version?"),
            (["0.2"], "0.2 is no version"),
            (["0.0.9"], "0.0.9 is not later than 0.1.0"),
        ],
    )
    def test_of_a_wrong_version_is_refused(
        self, checkout: Checkout, words: list[str], said: str
    ) -> None:
        done = checkout.release(*words)
        assert done.returncode != 0
        assert said in done.stderr
        assert checkout.git("status", "--porcelain") == checkout.git("tag") == ""

    def test_with_open_changes_is_refused(self, checkout: Checkout) -> None:
        (checkout.root / "new").touch()
        done = checkout.release("0.2.0")
        assert (done.returncode, "not committed" in done.stderr) == (2, True)

    def test_of_nothing_is_refused(self, checkout: Checkout) -> None:
        (checkout.root / "CHANGELOG.md").write_text(
            "# Changelog\n\n## 0.1.0, 2026-11-01\n\n- It.\n"
        )
        checkout.git("commit", "--quiet", "--all", "-m", "Second")
        assert 'nothing under "## Unreleased"' in checkout.release("0.2.0").stderr

    def test_that_fails_leaves_everything_as_it_was(self, checkout: Checkout) -> None:
        (checkout.root / "Makefile").write_text("test:\n\t@false\n")
        checkout.git("commit", "--quiet", "--all", "-m", "Second")
        assert checkout.release("0.2.0").returncode != 0
        assert checkout.git("status", "--porcelain") == checkout.git("tag") == ""
        assert '"0.1.0"' in checkout.read("audiozen/__init__.py")
