from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from audiozen.data.manifest import manifest_problems, overlap_problems, read_manifest
from audiozen.errors import ManifestError
from tests.recipes.made_up_sound import noise
from tests.recipes.voicebank_demand.made_up import RECIPES, make_voicebank_demand

if TYPE_CHECKING:
    from audiozen.data.manifest import Entry

SPLITS = ("train", "valid", "test")
KINDS = ("noisy", "clean")


def prepare(folder: Path, out: Path) -> Any:
    return locate("prepare.prepare", [RECIPES])(folder, out)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """At a low rate, which is quicker: the rate is not prescribed."""
    return make_voicebank_demand(tmp_path / "corpus", 8000)


def problems_of(corpus: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        prepare(corpus, corpus / "lists")
    assert not (corpus / "lists").exists()
    return str(caught.value).split("\n  ")[1:]


def test_manifests_match_their_files_and_splits_share_no_speaker(corpus, tmp_path):
    prepare(corpus, tmp_path)
    manifests: dict[str, list[Entry]] = {}
    for split, speakers in zip(SPLITS, ({"p228", "p243"}, {"p226", "p287"}, {"p232", "p257"})):
        for kind in KINDS:
            entries = manifests[f"{kind}_{split}"] = read_manifest(
                tmp_path / f"{kind}_{split}.jsonl"
            )
            assert manifest_problems(entries, sample_rate=8000) == []
            assert {entry["speaker"] for entry in entries} == speakers
            assert {entry.path.parent.name.partition("_")[0] for entry in entries} == {kind}
        assert [e.id for e in manifests[f"noisy_{split}"]] == [
            e.id for e in manifests[f"clean_{split}"]
        ]
    for one, other in zip(SPLITS, (*SPLITS[1:], SPLITS[0])):
        keys = ("id", "path", "speaker")
        assert overlap_problems(manifests[f"noisy_{one}"], manifests[f"noisy_{other}"], keys) == []


@pytest.mark.parametrize("place", ["", "logfiles", "trainset_28spk_txt"])
def test_noise_and_ratio_come_from_the_logs_wherever_they_were_unpacked(corpus, tmp_path, place):
    (corpus / place).mkdir(exist_ok=True)
    (corpus / "log_testset.txt").rename(corpus / place / "log_testset.txt")
    prepare(corpus, tmp_path)
    entries = {entry.id: entry for entry in read_manifest(tmp_path / "noisy_test.jsonl")}
    assert entries["p257_002"].labels == {"speaker": "p257", "noise_type": "bus", "snr_db": "7.5"}


def test_logs_can_be_left_out(corpus, tmp_path):
    (corpus / "log_testset.txt").unlink()
    prepare(corpus, tmp_path)
    assert read_manifest(tmp_path / "noisy_test.jsonl")[0]["noise_type"] == "unknown"


def test_a_line_of_a_log_that_is_not_understood_is_told(corpus):
    (corpus / "log_testset.txt").write_text("p232_001 bus\n")
    assert problems_of(corpus) == [
        "log_testset.txt: expected utterance, noise and ratio, got 'p232_001 bus'"
    ]


def test_everything_that_is_missing_is_told_at_once(corpus):
    (corpus / "clean_trainset_28spk_wav" / "p228_001.wav").unlink()
    (corpus / "clean_trainset_28spk_wav" / "p243_001.wav").write_bytes(b"")
    write_audio(corpus / "noisy_testset_wav" / "p232_001.wav", noise("x", 9700), 8000)
    write_audio(corpus / "noisy_testset_wav" / "p232_002.wav", noise("x", 9600), 4000)
    missing, empty, rate, length = problems_of(corpus)
    assert missing == "clean_trainset_28spk_wav/: missing, though a partner is there: p228_001"
    assert "clean_trainset_28spk_wav/p243_001.wav is empty" in empty
    assert rate == "not of 8000 Hz: noisy_testset_wav/p232_002.wav (4000 Hz)"
    assert length.endswith("noisy_testset_wav/: p232_001 (9600 and 9700 samples)")


def test_folders_that_are_not_there_are_told(tmp_path):
    assert problems_of(tmp_path) == [
        f"{kind}_{name}_wav/: no such folder"
        for name in ("trainset_28spk", "testset")
        for kind in KINDS
    ]


def test_training_and_validation_need_speakers(corpus):
    for path in corpus.glob("*_trainset_28spk_wav/p2[28][67]_*.wav"):
        path.unlink()
    assert problems_of(corpus) == [
        "training needs other speakers than p226 and p287, and validation these; there: p228, p243"
    ]


def test_missing_pairs_are_named_by_the_log_and_are_no_problem(corpus, tmp_path, caplog):
    for kind in KINDS:
        (corpus / f"{kind}_testset_wav" / "p232_002.wav").unlink()
    prepare(corpus, tmp_path)
    assert caplog.messages == [
        "found 8 of the 11,572 pairs of trainset_28spk",
        "found 3 of the 824 pairs of testset; missing: p232_002",
    ]


def test_command_tells_what_is_wrong_and_fails(corpus):
    (corpus / "clean_testset_wav" / "p232_001.wav").unlink()
    command = [sys.executable, str(RECIPES / "prepare.py"), str(corpus)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "clean_testset_wav/: missing, though a partner is there: p232_001" in done.stderr
    assert "Traceback" not in done.stderr
