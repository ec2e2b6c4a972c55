from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader

from audiozen.acoustics import active_rms, amplitude_to_db
from audiozen.config.locate import locate
from audiozen.data.audio import read_audio
from audiozen.data.loader import TrainingLoader
from audiozen.data.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from torch import Tensor

CORPUS = Path(__file__).resolve().parents[3] / "recipes" / "two_speakers"
PACK = CORPUS.parent / "debian_noisy_speech" / "audio"
TRAIN = {"speech_train.jsonl": "train"}
VALID = {"speech_valid.jsonl": "all", "speech_train.jsonl": "valid"}
SEEN = {"speech_train.jsonl": "test"}
UNSEEN = {"speech_test.jsonl": "all"}


def build(name: str, *args: Any, **kwargs: Any) -> Any:
    return locate(f"data.{name}", [CORPUS])(*args, **kwargs)


def drawn(dataset: Any, seed: int) -> tuple[Tensor, Tensor]:
    random.seed(seed)
    torch.manual_seed(seed)
    mixture, sources = dataset[0]
    return mixture, sources


def utterances(speech: dict[str, str]) -> set[str]:
    voices = build("Voices", speech)
    return {entry.id for entries in voices.utterances.values() for entry in entries}


def level_db(waveform: Tensor) -> Tensor:
    return amplitude_to_db(active_rms(waveform, 8000))


# Who is in which set ------------------------------------------------------------------------------


def test_no_utterance_is_in_two_sets() -> None:
    sets = [utterances(speech) for speech in (TRAIN, VALID, SEEN, UNSEEN)]
    assert all(sets)
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_parts_of_a_manifest_are_all_of_it() -> None:
    everything = {entry.id for entry in read_manifest(PACK / "speech_train.jsonl")}
    parts = [utterances({"speech_train.jsonl": part}) for part in ("train", "valid", "test")]
    assert set.union(*parts) == everything == utterances({"speech_train.jsonl": "all"})


def test_unseen_voices_are_not_trained_on() -> None:
    seen, unseen = build("Voices", TRAIN).speakers, build("Voices", UNSEEN).speakers
    assert len(seen) == len(unseen) == 2
    assert not set(seen) & set(unseen)


# Mixing -------------------------------------------------------------------------------------------


def test_mixture_is_the_sum_at_the_ratio_and_level_that_were_asked_for() -> None:
    first, second = torch.randn(2, 8000)
    mixture, sources = build("mix", first, 0.01 * second, 3.0, -30.0)
    assert torch.equal(mixture, sources.sum(0))
    torch.testing.assert_close(level_db(sources), torch.tensor([-28.5, -31.5]), atol=1e-3, rtol=0)


def test_nothing_exceeds_full_scale_and_the_ratio_stays() -> None:
    mixture, sources = build("mix", *torch.randn(2, 8000), 5.0, 0.0)
    assert max(mixture.abs().max(), sources.abs().max()) <= 0.9801
    assert float(level_db(sources[0]) - level_db(sources[1])) == pytest.approx(5.0, abs=1e-3)


def test_silence_stays_silence() -> None:
    mixture, sources = build("mix", torch.zeros(800), torch.randn(800), 0.0, -25.0)
    assert sources[0].abs().max() == 0
    assert torch.equal(mixture, sources[1])


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed_augmentation", [0.0, 1.0])
def test_training_mixtures_have_the_ratio_level_and_length_that_were_asked_for(
    speed_augmentation: float,
) -> None:
    dataset = build(
        "TrainingMixtures",
        TRAIN,
        num_mixtures=7,
        num_seconds=1.5,
        ratio_db=(4.0, 4.0),
        level_dbfs=(-33.0, -32.0),
        speed_augmentation=speed_augmentation,
    )
    assert len(dataset) == 7
    for seed in range(5):
        mixture, sources = drawn(dataset, seed)
        assert mixture.shape == (12_000,)
        assert sources.shape == (2, 12_000)
        assert torch.equal(mixture, sources.sum(0))
        levels = level_db(sources)
        assert -33.001 < levels.mean() < -31.999
        assert float(levels[0] - levels[1]) == pytest.approx(4.0, abs=1e-3)


def test_speakers_of_a_mixture_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build("TrainingMixtures", TRAIN, num_seconds=0.1)
    asked: list[str] = []
    monkeypatch.setattr(dataset, "_draw", lambda speaker: asked.append(speaker) or torch.randn(800))
    for seed in range(20):
        drawn(dataset, seed)
    assert all(first != second for first, second in zip(asked[::2], asked[1::2]))
    assert set(asked[::2]) == set(asked[1::2])  # either may be the first


def test_same_generators_give_the_same_mixture_and_others_another() -> None:
    dataset, again = build("TrainingMixtures", TRAIN), build("TrainingMixtures", TRAIN)
    first = drawn(dataset, 1)
    drawn(again, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(again, 1)))
    assert not torch.equal(first[0], drawn(dataset, 2)[0])


def test_mixtures_do_not_depend_on_the_number_of_workers() -> None:
    batches = []
    for num_workers in (0, 2):
        dataset = build("TrainingMixtures", TRAIN, num_mixtures=8, num_seconds=0.5)
        loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=num_workers)
        batches.append(list(TrainingLoader(loader, seed=3).batches(epoch=1)))
    for alone, shared in zip(*batches, strict=True):
        assert torch.equal(alone.batch[1], shared.batch[1])


def test_fingerprint_changes_with_utterances_and_settings_only(tmp_path: Path) -> None:
    entries = read_manifest(PACK / "speech_train.jsonl")
    write_manifest(tmp_path / "speech_train.jsonl", entries)
    heard = build("TrainingMixtures", TRAIN)
    drawn(heard, 0)
    moved = build("TrainingMixtures", TRAIN, str(tmp_path))
    texts = {build("TrainingMixtures", TRAIN).fingerprint()}
    assert texts == {heard.fingerprint()} == {moved.fingerprint()}
    for settings in ({"ratio_db": (0.0, 1.0)}, {"num_seconds": 1.0}, {"speed_augmentation": 0.0}):
        texts.add(build("TrainingMixtures", TRAIN, **settings).fingerprint())
    texts.add(build("TrainingMixtures", {"speech_train.jsonl": "all"}).fingerprint())
    write_manifest(tmp_path / "speech_train.jsonl", entries[:-1])
    texts.add(build("TrainingMixtures", TRAIN, str(tmp_path)).fingerprint())
    assert len(texts) == 6


# Evaluation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("speech", [VALID, SEEN, UNSEEN])
def test_frozen_mixtures_are_the_same_twice_and_in_any_order(speech: dict[str, str]) -> None:
    first, second = (build("FrozenMixtures", speech) for _ in range(2))
    indices = range(0, len(first), 5)
    forward = {index: first[index] for index in indices}
    for index in reversed(indices):
        mixture, sources, labels = second[index]
        assert torch.equal(mixture, forward[index][0])
        assert torch.equal(sources, forward[index][1])
        assert labels == forward[index][2]


@pytest.mark.parametrize(("speech", "num_pairs"), [(VALID, 3), (SEEN, 1), (UNSEEN, 1)])
def test_each_two_speakers_meet_and_no_two_mixtures_are_of_the_same_utterances(
    speech: dict[str, str], num_pairs: int
) -> None:
    dataset = build("FrozenMixtures", speech, num_mixtures_per_pair=40)
    assert len(dataset) == 40 * num_pairs
    assert len({tuple(entry.id for entry in pair) for pair in dataset.pairs}) == len(dataset)
    assert all(first["speaker"] != second["speaker"] for first, second in dataset.pairs)


def test_every_utterance_of_the_test_is_heard() -> None:
    heard = {entry.id for pair in build("FrozenMixtures", UNSEEN).pairs for entry in pair}
    assert heard == utterances(UNSEEN)


def test_frozen_mixture_is_what_its_labels_say() -> None:
    dataset = build("FrozenMixtures", UNSEEN)
    for index in range(5):
        mixture, sources, labels = dataset[index]
        assert torch.equal(mixture, sources.sum(0))
        ratio = level_db(sources[0]) - level_db(sources[1])
        assert float(ratio) == pytest.approx(float(labels["ratio_db"]), abs=1e-3)
        for source, entry in zip(sources, dataset.pairs[index]):
            speech = read_audio(entry.path, sample_rate=8000)[: len(source)]
            torch.testing.assert_close(source / source.norm(), speech / speech.norm())
        assert labels["id"] == "+".join(entry.id for entry in dataset.pairs[index])
        assert labels["speakers"] == "carlo+ivrru"
