from __future__ import annotations

import getpass
import json
import re
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

import audiozen
from audiozen.cli.env import installation
from audiozen.cli.main import main


@pytest.fixture
def requirements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the package states in its metadata; a test may change it."""
    stated = ["numpy>=1.26", 'no.such-package>=3; extra == "metrics"', "typer[all]>=0.15"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: stated)
    return stated


def text_of(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert main(["env", *arguments]) == 0
    return capsys.readouterr().out


def test_text_has_a_name_and_a_value_per_line(capsys: pytest.CaptureFixture) -> None:
    lines = text_of(capsys).splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert rows["audiozen"].startswith(audiozen.__version__)
    assert rows["torch"] == version("torch")
    assert f"{torch.get_num_threads()} threads of PyTorch" in rows["cpu"]
    assert {"python", "platform", "gpu", "numpy", "soundfile", "missing"} <= rows.keys()


def test_json_is_for_machines(capsys: pytest.CaptureFixture) -> None:
    facts = json.loads(text_of(capsys, "--json"))
    assert facts == json.loads(json.dumps(installation()))
    assert facts["num_threads"] == torch.get_num_threads()
    assert facts["cuda"] == torch.version.cuda


def test_nothing_private_is_told(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    told = text_of(capsys) + text_of(capsys, "--json")
    folders = (tmp_path, Path(audiozen.__file__).parents[1], Path(sys.prefix), Path.home())
    assert not [folder for folder in map(str, folders) if len(folder) > 1 and folder in told]
    words = set(re.findall(r"[\w.-]+", told))
    assert not {socket.gethostname(), getpass.getuser()} & words


def test_missing_packages_are_told_with_the_extra_that_has_them(
    requirements: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert installation()["missing"] == {"metrics": ["no.such-package"]}
    last = text_of(capsys).splitlines()[-1].split(maxsplit=1)
    assert last == ["missing", "no.such-package (pip install 'audiozen[metrics]')"]


def test_what_developers_install_is_left_out(requirements: list[str]) -> None:
    requirements += ['pytest>=8; extra == "test"', "ruff>=0.9 ; extra == 'lint'"]
    assert list(installation()["packages"]) == ["numpy", "typer", "no.such-package"]


def test_a_package_without_metadata_tells_what_numbers_depend_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", missing)
    assert installation()["packages"]["torch"] == version("torch")


class TestCommit:
    @pytest.fixture
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A repository with a package in it, which is in use."""
        package = tmp_path / "audiozen"
        package.mkdir()
        (package / "__init__.py").touch()
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
        monkeypatch.setattr(audiozen, "__file__", str(package / "__init__.py"))
        return tmp_path

    def commit(self, checkout: Path) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        for words in (["add", "."], [*who, "commit", "--quiet", "-m", "First"]):
            subprocess.run(["git", "-C", str(checkout), *words], check=True)

    def test_of_a_checkout_is_told(self, checkout: Path, capsys: pytest.CaptureFixture) -> None:
        self.commit(checkout)
        first = text_of(capsys).splitlines()[0]
        assert first.endswith(f", commit {installation()['git']['commit']}")
        (checkout / "audiozen" / "__init__.py").write_text("changed")
        assert text_of(capsys).splitlines()[0] == f"{first}, with changes"

    def test_of_somebody_elses_repository_is_not(self, checkout: Path) -> None:
        (checkout / ".gitignore").write_text("/audiozen\n")
        self.commit(checkout)
        assert installation()["git"] is None


def test_gpus_are_told(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Big {index}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "Big 0, Big 1; PyTorch was built with CUDA 13.0" in text_of(capsys)


def test_version_is_printed_alone(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"audiozen {audiozen.__version__}\n"
