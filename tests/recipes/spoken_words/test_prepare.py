from __future__ import annotations

import logging
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from audiozen.data.manifest import (
    Entry,
    manifest_problems,
    overlap_problems,
    read_manifest,
)
from audiozen.errors import ManifestError
from audiozen.experiment import Experiment
from tests.recipes.spoken_words.made_up import (
    KEYWORDS,
    OTHER_WORDS,
    make_speech_commands,
    tone,
)

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words"
SPLITS = ("train", "valid", "test")


def of_prepare(name: str) -> Any:
    return locate(f"prepare.{name}", [RECIPES])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_commands(tmp_path_factory.mktemp("speech_commands"))


@pytest.fixture(scope="module")
def manifests(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Entry]]:
    out = tmp_path_factory.mktemp("manifests")
    of_prepare("prepare")(corpus, out)
    return {path.stem: read_manifest(path) for path in out.glob("*.jsonl")}


@pytest.fixture
def broken(corpus: Path, tmp_path: Path) -> Path:
    """A copy to take something away from."""
    shutil.copytree(corpus, tmp_path / "copy")
    return tmp_path / "copy"


def test_manifests_match_their_files(manifests: dict[str, list[Entry]]) -> None:
    assert manifests.keys() == {*SPLITS, "noise_train"}
    for entries in manifests.values():
        assert manifest_problems(entries, sample_rate=16_000) == []


@pytest.mark.parametrize(("split", "num_speakers"), list(zip(SPLITS, (2, 1, 1))))
def test_each_class_has_as_many_clips(
    manifests: dict[str, list[Entry]], split: str, num_speakers: int
) -> None:
    counts: dict[str, int] = {}
    for entry in manifests[split]:
        counts[entry["label"]] = counts.get(entry["label"], 0) + 1
    assert counts == dict.fromkeys(of_prepare("CLASSES"), num_speakers)


def test_keywords_are_labelled_with_their_folder_and_other_words_are_unknown(
    manifests: dict[str, list[Entry]],
) -> None:
    for entry in manifests["train"]:
        word = entry.path.parent.name
        expected = {"_background_noise_": "silence"} | dict.fromkeys(OTHER_WORDS, "unknown")
        assert entry["label"] == expected.get(word, word)


def test_unknown_words_are_drawn_from_all_of_them() -> None:
    words = [
        Entry(f"{word}/{number}", Path(f"{word}/{number}.wav"), 16_000, 16_000, {"word": word})
        for word in ("bed", "cat", "yes")
        for number in range(200)
    ]
    noise = Entry("tap", Path("tap.wav"), 16_000, 160_000)
    chosen, again = (
        [
            e.id
            for e in of_prepare("twelve_classes")("train", clips, [noise])
            if e["label"] == "unknown"
        ]
        for clips in (words, words[::-1])
    )
    assert len(chosen) == 20
    assert chosen == again
    assert 5 <= sum(name.startswith("bed/") for name in chosen) <= 15


@pytest.mark.parametrize(("one", "other"), [SPLITS[:2], SPLITS[1:], SPLITS[::2]])
def test_no_speaker_is_in_two_splits(
    manifests: dict[str, list[Entry]], one: str, other: str
) -> None:
    words = [[e for e in manifests[split] if e["label"] != "silence"] for split in (one, other)]
    assert overlap_problems(*words, ("id", "path", "speaker")) == []
    assert overlap_problems(manifests[one], manifests[other], ("id",)) == []


def test_no_moment_of_noise_is_in_two_splits(corpus: Path) -> None:
    [noise] = [Entry("tap", corpus / "tap.wav", 16_000, 160_009)]
    spans = []
    for split in SPLITS:
        starts = [e["start"] for e in of_prepare("silences")(split, [noise], 5)]
        spans.append((min(starts), max(starts) + 16_000))
    assert spans[0][0] == 0
    assert spans[2][1] == 160_009
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_silences_are_spread_over_all_recordings() -> None:
    noises = [Entry(name, Path(f"{name}.wav"), 16_000, 480_000) for name in ("hum", "tap")]
    entries = of_prepare("silences")("valid", noises, 5)
    assert [(entry.id, entry["start"]) for entry in entries] == [
        ("hum/valid_0000", 384_000),
        ("tap/valid_0000", 384_000),
        ("hum/valid_0001", 400_000),
        ("tap/valid_0001", 416_000),
        ("hum/valid_0002", 416_000),
    ]


def test_noise_of_training_is_its_own_part(manifests: dict[str, list[Entry]]) -> None:
    for entry in manifests["noise_train"]:
        assert (entry["start"], entry["stop"]) == (0, 128_000)


def test_same_folder_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        of_prepare("prepare")(corpus, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_classes_are_those_of_the_experiment() -> None:
    experiment = Experiment.from_file(RECIPES / "bc_resnet" / "baseline.toml")
    assert tuple(experiment.config.model.args["classes"]) == of_prepare("CLASSES")
    assert of_prepare("KEYWORDS") == KEYWORDS


# What is missing ----------------------------------------------------------------------------------


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        of_prepare("prepare")(folder, folder)
    assert not list(folder.glob("*.jsonl"))
    first, *problems = str(caught.value).split("\n  ")
    assert first.startswith(f"{folder} has ")
    return problems


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path / "nowhere")
    assert problem == "there is no such folder; unpack the archive there"


def test_everything_that_is_missing_is_told_at_once(broken: Path) -> None:
    shutil.rmtree(broken / "yes")
    for path in (broken / "no").iterdir():
        path.unlink()
    shutil.rmtree(broken / "_background_noise_")
    (broken / "testing_list.txt").unlink()
    assert problems_of(broken) == [
        "yes/: no such folder",
        "no/: has no wav file",
        "_background_noise_/: no such folder",
        "testing_list.txt: no such file",
        "validation_list.txt names files that are not there: yes/b1_nohash_0, no/b1_nohash_0",
    ]


def test_only_some_of_many_lost_files_are_named(broken: Path) -> None:
    with (broken / "testing_list.txt").open("a") as file:
        file.writelines(f"up/lost_{number}.wav\n" for number in range(5))
    [problem] = problems_of(broken)
    assert problem.endswith(": up/lost_0, up/lost_1, up/lost_2 and 2 more")


def test_no_other_word_is_told(broken: Path) -> None:
    for word in ("bed", "cat", "happy"):
        shutil.rmtree(broken / word)
    for name in ("validation_list.txt", "testing_list.txt"):
        (broken / name).write_text("")
    [problem] = problems_of(broken)
    assert problem == "no folder of another word, of which the class 'unknown' is made"


def test_a_clip_in_both_lists_is_told(broken: Path) -> None:
    with (broken / "testing_list.txt").open("a") as file:
        file.write("go/b1_nohash_0.wav\n")
    [problem] = problems_of(broken)
    assert problem == "validation_list.txt and testing_list.txt both name go/b1_nohash_0"


def test_other_rates_and_short_noises_are_told(broken: Path) -> None:
    write_audio(broken / "up" / "d1_nohash_0.wav", tone(300), 8000)
    write_audio(broken / "_background_noise_" / "tap.wav", tone(300, 32_000), 16_000)
    assert problems_of(broken) == [
        f"{broken}/up/d1_nohash_0.wav: 8000 Hz; 16000 Hz are wanted",
        f"{broken}/_background_noise_/tap.wav: 2.00 s; noise of at least 10 s is wanted",
    ]


def test_a_file_that_is_no_sound_is_told(broken: Path) -> None:
    (broken / "up" / "a1_nohash_0.wav").write_bytes(b"no sound")
    [problem] = problems_of(broken)
    assert "up/a1_nohash_0.wav" in problem


def test_command_writes_beside_the_sounds_and_counts(
    broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert of_prepare("main")([str(broken)]) == 0
    assert len(read_manifest(broken / "train.jsonl")) == 24
    assert [record.message.split()[:2] for record in caplog.records] == [
        ["train", "24"],
        ["valid", "12"],
        ["test", "12"],
        ["noise_train", "2"],
    ]
    assert of_prepare("main")([str(broken)]) == 0, "its own manifests do not disturb it"


def test_command_tells_what_is_missing_and_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert of_prepare("main")([str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in caplog.text
