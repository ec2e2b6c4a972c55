from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.data.aligned import AlignedSignals
from audiozen.data.audio import write_audio
from audiozen.data.corpus_folder import CorpusFolder, by_hash
from audiozen.data.manifest import Entry, manifest_problems, overlap_problems, read_manifest
from audiozen.errors import ManifestError
from tests.recipes.dns.made_up import NOISES, RECIPES, make_dns
from tests.recipes.made_up_sound import noise

BASE = RECIPES.parent / "debian_noisy_speech"
HALVES = ("no_reverb", "with_reverb")


def of_prepare(name: str) -> Any:
    return locate(f"prepare.{name}", [RECIPES])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_dns(tmp_path / "datasets")


def problems_of(corpus: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        of_prepare("prepare")(corpus, corpus / "lists")
    assert not (corpus / "lists").exists()
    return str(caught.value).split("\n  ")[1:]


def written(corpus: Path, out: Path) -> dict[str, list[Entry]]:
    of_prepare("prepare")(corpus, out)
    return {path.stem: read_manifest(path) for path in out.glob("*.jsonl")}


def test_manifests_match_their_files(corpus, tmp_path):
    manifests = written(corpus, tmp_path)
    assert manifests.keys() == {
        *(f"{kind}_{split}" for kind in ("speech", "noise") for split in ("train", "valid")),
        *(f"{kind}_test_{half}" for kind in ("noisy", "clean") for half in HALVES),
        "mixtures_valid",
    }
    for entries in manifests.values():
        assert manifest_problems(entries, sample_rate=16_000) == []


def test_no_reader_and_no_recording_of_noise_is_in_training_and_validation(corpus, tmp_path):
    manifests = written(corpus, tmp_path)
    for kind, label, number in (("speech", "speaker", 6), ("noise", "recording", 5)):
        train, valid = (manifests[f"{kind}_{split}"] for split in ("train", "valid"))
        assert overlap_problems(train, valid, ("id", "path", label)) == []
        assert len(train) + len(valid) == number


def test_a_hundredth_is_held_out_and_always_the_same(tmp_path):
    corpus = CorpusFolder(tmp_path)
    entries = [
        Entry(f"{k}", Path(f"{k}.wav"), 16_000, 16_000, {"speaker": f"{k // 10}"})
        for k in range(3000)
    ]
    train, valid = of_prepare("divided")(corpus, entries, "speaker")
    assert len({entry["speaker"] for entry in valid}) == 3
    assert len(valid) == 30
    assert len(train) == 2970
    again = of_prepare("divided")(corpus, entries[::-1], "speaker")[1]
    assert {entry.id for entry in again} == {entry.id for entry in valid}


def test_clips_of_one_recording_are_told_by_their_names():
    of_noise = of_prepare("of_noise")
    assert [of_noise(name)["recording"] for name in NOISES] == [
        "door_Freesound_validated_388338",
        "door_Freesound_validated_388338",
        "fan_Freesound_validated_361372",
        "_cCGK4M1x-0",
        "wntLte49djU",
    ]


def test_unknown_readers_are_never_held_out(tmp_path):
    corpus = CorpusFolder(tmp_path)
    later = [name for name in map(str, range(50)) if by_hash([name, "unknown"])[1] == name]
    labels = [{"speaker": name} for name in ("unknown", *later[:2])]
    entries = [
        Entry(f"{k}", Path("a.wav"), 16_000, 16_000, label) for k, label in enumerate(labels)
    ]
    train, valid = of_prepare("divided")(corpus, entries, "speaker")
    assert [entry.id for entry in train][:1] == ["0"]
    assert len(valid) == 1
    assert corpus.problems == []


def test_pairs_of_the_test_belong_together_by_their_number(corpus, tmp_path):
    written(corpus, tmp_path)
    for half in HALVES:
        manifests = [f"{kind}_test_{half}.jsonl" for kind in ("noisy", "clean")]
        dataset = AlignedSignals(manifests, tmp_path, sample_rate=16_000)
        assert [labels for _, _, labels in dataset] == [
            {"id": "158", "snr_db": "15"},
            {"id": "3", "snr_db": "14"},
        ]
        for noisy, clean, _ in dataset:
            torch.testing.assert_close(
                noisy - clean, 0.3 * noise("noise", 24_000), atol=1e-4, rtol=0
            )


def test_validation_is_read_by_the_frozen_mixtures(corpus, tmp_path):
    written(corpus, tmp_path)
    dataset = locate("data.FrozenMixtures", [BASE])(
        "mixtures_valid.jsonl", "noise_valid.jsonl", str(tmp_path)
    )
    assert [dataset[index][2]["snr_db"] for index in range(len(dataset))] == ["0", "5"]
    noisy, clean, labels = dataset[0]
    assert noisy.shape == clean.shape == (20_000,)
    assert labels["id"].startswith("book_00000_chp_0009_reader_")


def test_validation_leaves_out_what_begins_with_silence(corpus, tmp_path):
    before = written(corpus, tmp_path)
    silent = before["speech_valid"][0].path
    write_audio(silent, torch.cat([torch.zeros(16_000), noise("x", 4_000)]), 16_000)
    after = written(corpus, tmp_path)
    assert [entry.path for entry in after["mixtures_valid"]] == [before["speech_valid"][1].path]
    assert len(after["speech_valid"]) == 2


def test_impulse_responses_of_any_number_of_channels_are_listed(corpus, tmp_path):
    write_audio(corpus / "impulse_responses" / "small" / "a.wav", torch.eye(4, 800), 16_000)
    [entry] = written(corpus, tmp_path)["impulse_responses"]
    assert entry.id == "small/a"


def test_everything_that_is_missing_is_told_at_once(corpus):
    place = corpus / "test_set" / "synthetic"
    (place / "no_reverb" / "clean" / "clean_fileid_3.wav").unlink()
    (place / "with_reverb" / "noisy" / "noise.wav").write_bytes(b"")
    (corpus / "clean" / "book_00000_chp_0009_reader_06709_0.wav").write_bytes(b"")
    write_audio(corpus / "noise" / "wntLte49djU.wav", noise("x", 8000), 48_000)
    empty, *others = problems_of(corpus)
    assert "reader_06709_0.wav is empty" in empty
    assert others == [
        "not of 16000 Hz: noise/wntLte49djU.wav (48000 Hz)",
        "test_set/synthetic/no_reverb/clean/: missing, though a partner is there: 3",
        "test_set/synthetic/with_reverb/noisy/: names that are not understood: noise.wav",
    ]


def test_what_cannot_be_divided_is_told(corpus):
    for path in (corpus / "clean").glob("*_reader_0[06]*"):
        path.unlink()
    assert problems_of(corpus) == [
        "nothing can be held out for validation: there is one speaker only"
    ]
