"""The package as others get it: built, installed where nothing of this checkout is, tried, and its types used."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import audiozen

ROOT = Path(__file__).parents[2]
USER_PROJECT = Path(__file__).parent / "user_project"
MYPY_CACHE = ROOT / ".mypy_cache"


class Built(NamedTuple):
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, the wheel made of the other."""
    build = runpy.run_path(str(ROOT / "scripts/build_package.py"))["build"]
    return Built(*build(tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel in it, which sees the packages of this one but not its AudioZEN."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    executable = folder / "bin" / "python"
    install = ["pip", "--python", executable, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", *install, built.wheel], check=True)
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return executable


class TestSourceDistribution:
    def test_has_the_package_and_nothing_of_the_repository(self, built: Built) -> None:
        with tarfile.open(built.sdist) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
        top = {name.partition("/")[0] for name in names if name}
        assert top == {
            *("audiozen", "audiozen.egg-info", "pyproject.toml", "README.md", "CHANGELOG.md"),
            *("LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg"),
        }
        assert not [name for name in names if "__pycache__" in name]

    def test_is_named_after_the_version(self, built: Built) -> None:
        assert built.sdist.name == f"audiozen-{audiozen.__version__}.tar.gz"
        assert built.wheel.name == f"audiozen-{audiozen.__version__}-py3-none-any.whl"


class TestWheel:
    def test_has_every_file_of_the_package_and_no_other(self, built: Built) -> None:
        package = ROOT / "audiozen"
        here = {
            str(path.relative_to(ROOT))
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitkeep"
        }
        with zipfile.ZipFile(built.wheel) as archive:
            there = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert here - there == set(), "package-data in pyproject.toml lacks them"
        assert there - here == set()

    def test_has_what_is_no_code(self, built: Built) -> None:
        with zipfile.ZipFile(built.wheel) as archive:
            names = archive.namelist()
        for name in (
            *("audiozen/py.typed", "audiozen/cli/template/baseline.toml"),
            *("audiozen/report/page/page.html", "audiozen/report/vendor/LICENSE"),
            "audiozen/pretrained/band_gain_gru/weights.safetensors",
            f"audiozen-{audiozen.__version__}.dist-info/licenses/LICENSE",
        ):
            assert name in names


def test_installed_package_does_all_that_a_new_user_tries(python: Path) -> None:
    command = [python, ROOT / "scripts/smoke_test.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = ["starts", "imports", "trains", "enhances", "misses_extras"]
    assert done.stdout.splitlines() == [f"{name}: good" for name in tried]


@pytest.fixture(scope="module")
def errors(python: Path, tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, int, str]]:
    """What mypy says about the user's files, with strict rules, by file, line and kind.

    The cache of ``make check`` makes it a matter of seconds; for that, packages without types are ignored here, too.
    """
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(USER_PROJECT, folder / "project")
    if MYPY_CACHE.exists():
        shutil.copytree(MYPY_CACHE, folder / "cache")
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    untyped = ",".join(ours["overrides"][0]["module"])
    rules = f"[mypy]\nstrict = True\n[mypy-{untyped}]\nignore_missing_imports = True\n"
    (folder / "mypy.ini").write_text(rules)
    command = [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini"]
    command += ["--python-executable", python, "--python-version", ours["python_version"]]
    command += ["--cache-dir", folder / "cache", "--hide-error-context", "."]
    done = subprocess.run(
        command, cwd=folder / "project", capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return {(name, int(line), kind) for name, line, kind in found}


class TestUserOfTypes:
    def test_has_no_errors_with_strict_rules(self, errors: set[tuple[str, int, str]]) -> None:
        assert [error for error in sorted(errors) if error[0] != "wrong.py"] == []

    def test_is_told_of_mistakes(self, errors: set[tuple[str, int, str]]) -> None:
        lines = enumerate((USER_PROJECT / "wrong.py").read_text().splitlines(), start=1)
        expected = {
            ("wrong.py", number, kind)
            for number, line in lines
            for kind in re.findall(r"[\w-]+", line.partition("# wrong: ")[2])
        }
        assert len(expected) >= 15
        assert {error for error in errors if error[0] == "wrong.py"} == expected
