"""The sound files that come with the repository, and the manifests of them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from audiozen.config.locate import locate
from audiozen.data.manifest import Entry, manifest_problems, overlap_problems, read_manifest

CORPUS = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"
PACK = CORPUS / "audio"
SPEECH = ("speech_train", "speech_valid", "speech_test")
NOISE = ("noise_train", "noise_valid", "noise_test_seen", "noise_test_unseen")
MIXTURES = {
    "mixtures_valid": ("speech_valid", "noise_valid"),
    "mixtures_test_seen": ("speech_test", "noise_test_seen"),
    "mixtures_test_unseen": ("speech_test", "noise_test_unseen"),
}


def entries_of(name: str) -> list[Entry]:
    return read_manifest(PACK / f"{name}.jsonl")


@pytest.mark.parametrize("name", [*SPEECH, *NOISE])
def test_manifest_matches_its_files(name: str) -> None:
    assert manifest_problems(entries_of(name), sample_rate=16_000) == []


def test_every_sound_file_is_in_a_manifest() -> None:
    listed = {entry.path.resolve() for name in (*SPEECH, *NOISE) for entry in entries_of(name)}
    assert listed == {path.resolve() for path in PACK.rglob("*.flac")}


@pytest.mark.parametrize(("one", "other"), list(combinations(SPEECH, 2)))
def test_no_voice_is_in_two_splits(one: str, other: str) -> None:
    keys = ("id", "path", "speaker")
    assert overlap_problems(entries_of(one), entries_of(other), keys) == []


@pytest.mark.parametrize(("one", "other"), list(combinations(NOISE, 2)))
def test_no_moment_of_noise_is_in_two_splits(one: str, other: str) -> None:
    for entry in entries_of(one):
        for another in entries_of(other):
            if entry.path.resolve() == another.path.resolve():
                assert entry["stop"] <= another["start"] or another["stop"] <= entry["start"]


def test_unseen_noise_shares_neither_type_nor_recording_with_the_others() -> None:
    keys = ("id", "path", "noise_type")
    for name in ("noise_train", "noise_valid", "noise_test_seen"):
        assert overlap_problems(entries_of(name), entries_of("noise_test_unseen"), keys) == []


def test_seen_noise_has_the_types_of_training() -> None:
    types = [
        {entry["noise_type"] for entry in entries_of(name)}
        for name in ("noise_train", "noise_test_seen")
    ]
    assert types[0] == types[1]


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_use_speech_and_noise_of_their_split(name: str) -> None:
    speech, noise = (entries_of(part) for part in MIXTURES[name])
    types = {entry.id: entry["noise_type"] for entry in noise}
    lengths = {entry.path: entry.num_samples for entry in speech}
    for entry in entries_of(name):
        assert entry["noise_type"] == types[entry["noise"]]
        assert 0 < entry["speech_samples"] <= lengths[entry.path]


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_meet_each_voice_type_and_ratio_equally_often(name: str) -> None:
    cells: dict[tuple[str, str, float], int] = {}
    for entry in entries_of(name):
        cell = (entry["speaker"], entry["noise_type"], entry["snr_db"])
        cells[cell] = cells.get(cell, 0) + 1
    sizes = [len(set(axis)) for axis in zip(*cells)]
    assert len(cells) == sizes[0] * sizes[1] * sizes[2]
    assert len(set(cells.values())) == 1


def test_manifests_are_what_prepare_makes(tmp_path: Path) -> None:
    for name in ("speech", "noise", "manifest.json"):
        (tmp_path / name).symlink_to(PACK / name)
    locate("prepare.prepare_pack", [CORPUS])(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert made == {path.name: path.read_bytes() for path in PACK.glob("*.jsonl")}


def test_attribution_names_every_source_and_the_licence() -> None:
    text = (PACK / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "CC-BY-SA-3.0" in text
    for file in json.loads((PACK / "manifest.json").read_text(encoding="utf-8")):
        package = file["pkg"].removesuffix("-g722")
        name, _, language = package.rpartition("-")
        assert package in text or (name in text and f"/-{language}" in text)
