from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.data.audio import read_audio, write_audio
from audiozen.data.manifest import (
    Entry,
    manifest_problems,
    overlap_problems,
    read_manifest,
)
from audiozen.errors import ManifestError
from audiozen.experiment import Experiment
from tests.recipes.spoken_words.made_up import (
    PITCHES,
    RECIPES,
    make_digit_packages,
    tone,
    write_gsm,
)

RATE = 8000
IN_GSM = ("jimenez", "desjardins")


def of_prepare(name: str) -> Any:
    return locate(f"prepare_digits.{name}", [RECIPES])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_digit_packages(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def out(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    of_prepare("prepare")(folders, folder)
    return folder


@pytest.fixture
def manifests(out: Path) -> dict[str, list[Entry]]:
    return {path.stem: read_manifest(path) for path in out.glob("*.jsonl")}


def pitch(waveform: torch.Tensor) -> float:
    return float(torch.fft.rfft(waveform, 16 * RATE).abs().argmax()) / 16


def test_each_voice_has_each_digit_once(manifests: dict[str, list[Entry]]) -> None:
    assert {name: len(entries) for name, entries in manifests.items()} == {"train": 50, "test": 30}
    said = [(e["speaker"], e["language"], e["label"]) for es in manifests.values() for e in es]
    assert len(set(said)) == 80
    assert {digit for _, _, digit in said} == set("0123456789")


def test_manifests_match_their_files(manifests: dict[str, list[Entry]]) -> None:
    for entries in manifests.values():
        assert manifest_problems(entries, sample_rate=RATE) == []


def test_nobody_is_in_two_splits(manifests: dict[str, list[Entry]]) -> None:
    assert overlap_problems(*manifests.values(), ("id", "path", "speaker")) == []
    assert len({entry["language"] for entry in manifests["test"]}) == 3


def test_label_is_what_is_said_whatever_the_format(manifests: dict[str, list[Entry]]) -> None:
    for entry in (entry for entries in manifests.values() for entry in entries):
        clip = read_audio(entry.path)
        assert pitch(clip) == pytest.approx(PITCHES[int(entry["label"])], abs=10)
        assert float(clip.abs().max()) == pytest.approx(0.5, abs=0.01)
        # Half a second, and 40 ms around the frames in which it is. Of a tone, GSM leaves an echo after its end.
        assert 0.5 <= entry.duration <= (0.9 if entry["speaker"] in IN_GSM else 0.64)


def test_other_files_of_a_package_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    for name in ("digits/1.wav", "digits/10.wav", "digits/1F.wav", "digits/h-2.wav", "3.wav"):
        write_audio(folder / name, tone(300), RATE)
    write_audio(folder / "digits/2.flac", tone(300), RATE)
    write_audio(folder / "zz/digits/1.wav", tone(300), RATE)
    (folder / "digits/4.wav").symlink_to(folder / "digits/1.wav")
    assert of_prepare("digit_paths")(tmp_path) == {"1": folder / "digits/1.wav"}


def test_trim_keeps_40_ms_around_what_is_within_30_db() -> None:
    clip = torch.cat((1e-3 * torch.ones(800), 0.1 * torch.ones(1600), 1e-3 * torch.ones(2400)))
    assert torch.equal(of_prepare("trim")(clip), clip[480:2720])
    assert torch.equal(of_prepare("trim")(clip[800:2400]), clip[800:2400])


def test_clicks_at_the_ends_are_not_taken_for_the_word() -> None:
    clip = torch.cat((1e-3 * torch.ones(800), 0.1 * torch.ones(1600), 1e-3 * torch.ones(2400)))
    clip[:300], clip[-300:] = 0.05, 0.05
    assert torch.equal(of_prepare("trim")(clip), clip[480:2720])


@pytest.mark.parametrize("num_samples", [160, 500, 900])
def test_what_is_very_short_is_kept(num_samples: int) -> None:
    clip = torch.ones(num_samples)
    whole_frames = num_samples // 160 * 160
    assert len(of_prepare("trim")(clip)) >= whole_frames


def test_gsm_is_read_at_8_khz_without_its_offset(tmp_path: Path) -> None:
    write_gsm(tmp_path / "1.gsm", 0.1 + tone(500, RATE // 2, RATE))
    clip = of_prepare("read_8k")(tmp_path / "1.gsm")
    assert clip.dtype == torch.float32
    assert len(clip) == pytest.approx(RATE // 2, abs=160)
    assert pitch(clip) == pytest.approx(500, abs=10)
    middle = clip[800:3200]  # twelve periods and more
    assert float(middle.mean().abs()) < 0.01


def test_all_digits_that_are_missing_are_told_at_once(tmp_path: Path) -> None:
    folders = make_digit_packages(tmp_path / "unpacked")
    for package in ("asterisk-prompt-es-co", "asterisk-prompt-fr-armelle"):
        [path] = folders[package].rglob("digits/7.gsm")
        path.unlink()
    with pytest.raises(ManifestError) as caught:
        of_prepare("prepare")(folders, tmp_path / "out")
    first, *problems = str(caught.value).split("\n  ")
    assert first == f"{tmp_path / 'out'} has 2 problems:"
    assert [problem.split(": ")[1].split(";")[0] for problem in problems] == ["no digits/7.*"] * 2
    assert not (tmp_path / "out").exists()


def test_same_packages_give_the_same_bytes(folders: dict[str, Path], out: Path, tmp_path: Path):
    of_prepare("prepare")(folders, tmp_path)
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert len(files) == 82
    assert all((tmp_path / file).read_bytes() == (out / file).read_bytes() for file in files)


def test_command_fetches_and_counts(
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    main = of_prepare("main")
    asked = []
    fetch = lambda *places: asked.append(places) or folders  # noqa: E731 - a name for each is no clearer
    monkeypatch.setitem(main.__globals__, "fetch", fetch)
    assert main(["--out", str(tmp_path)]) == 0
    assert asked == [(tmp_path, tmp_path / "packages")]
    assert [record.message.split() for record in caplog.records] == [
        ["train", "50", "clips"],
        ["test", "30", "clips"],
    ]


def test_packages_are_those_of_the_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the neighbour is asked for, and that it has what is asked of it."""
    fetch = of_prepare("fetch")
    asked = {}

    def download(wanted: Any, downloads: Path) -> dict[str, Path]:
        for package in wanted:
            asked[package.name] = (package.licence, package.version)
        (tmp_path / "a.deb").write_bytes(b"a package")
        return {package.name: tmp_path / "a.deb" for package in wanted}

    place = of_prepare("NEIGHBOUR")
    packages = locate("corpus.packages.fetch", [place]).__globals__
    monkeypatch.setitem(packages, "fetch", download)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("nothing is to be run"))
    for voice in of_prepare("VOICES"):
        (tmp_path / "unpacked" / voice.package).mkdir(parents=True)  # as if unpacked before
    found = fetch(tmp_path, tmp_path)
    assert found == {name: tmp_path / "unpacked" / name for name in asked}
    assert len(asked) == 8
    assert all(licence and version is None for licence, version in asked.values())
    assert len((tmp_path / "sources.json").read_text().split('"sha256"')) == 9


def test_classes_are_those_of_the_experiment() -> None:
    experiment = Experiment.from_file(RECIPES / "bc_resnet" / "debian_digits.toml")
    assert tuple(experiment.config.model.args["classes"]) == of_prepare("DIGITS")
    assert experiment.config.model.args["sample_rate"] == of_prepare("SAMPLE_RATE")
