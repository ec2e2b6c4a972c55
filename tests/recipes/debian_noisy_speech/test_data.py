from __future__ import annotations

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader

from audiozen.acoustics import active_rms, amplitude_to_db, rms
from audiozen.config.locate import locate
from audiozen.data.audio import read_audio, write_audio
from audiozen.data.loader import TrainingLoader
from audiozen.data.manifest import Entry, read_manifest, write_manifest
from audiozen.errors import AudioError

if TYPE_CHECKING:
    from torch import Tensor

CORPUS = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"
SETS = [
    ("mixtures_valid.jsonl", "noise_valid.jsonl"),
    ("mixtures_test_seen.jsonl", "noise_test_seen.jsonl"),
    ("mixtures_test_unseen.jsonl", "noise_test_unseen.jsonl"),
]


def build(name: str, *args: Any, **kwargs: Any) -> Any:
    return locate(f"data.{name}", [CORPUS])(*args, **kwargs)


def drawn(dataset: Any, seed: int, index: int = 0) -> tuple[Tensor, Tensor]:
    random.seed(seed)
    torch.manual_seed(seed)
    noisy, clean = dataset[index]
    return noisy, clean


# Recordings ---------------------------------------------------------------------------------------


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """A manifest of one recording whose samples tell their place, of which 1000 … 3000 may be heard."""
    path = tmp_path / "ramp.wav"
    write_audio(path, torch.arange(1, 4001) / 2**15, 16_000)
    entry = Entry("ramp", path, 16_000, 4000, {"noise_type": "ramp", "start": 1000, "stop": 3000})
    write_manifest(tmp_path / "noise.jsonl", [entry])
    return tmp_path / "noise.jsonl"


@pytest.mark.parametrize("keep_in_memory", [True, False])
@pytest.mark.parametrize("num_samples", [1, 500, 1999, 2000, 5000])
def test_segments_stay_within_start_and_stop(
    ramp: Path, num_samples: int, keep_in_memory: bool
) -> None:
    recordings = build("Recordings", ramp, keep_in_memory=keep_in_memory)
    places = torch.cat([recordings.segment(0, num_samples) for _ in range(100)]) * 2**15
    assert places.shape == (100 * num_samples,)
    assert places.min() >= 1001
    assert places.max() <= 3000


def test_segments_come_from_everywhere(ramp: Path) -> None:
    for keep_in_memory in (True, False):
        recordings = build("Recordings", ramp, keep_in_memory=keep_in_memory)
        places = torch.cat([recordings.segment(0, 1) for _ in range(500)]) * 2**15
        assert places.min() < 1100
        assert places.max() > 2900


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"synthetic_noise": 1.0},
        {"synthetic_noise": 0.0, "babble": 1.0},
        {"synthetic_noise": 0.0, "babble": 0.0, "noise_augmentation": 1.0, "second_noise": 1.0},
        {"synthetic_noise": 0.0, "babble": 0.0, "noise_augmentation": 0.0, "second_noise": 0.0},
        {"speech_augmentation": 0.0},
        {"speech_augmentation": 1.0},
        {"keep_in_memory": False},
        {"band_limit": 1.0},
    ],
    ids=str,
)
def test_mixtures_have_the_ratio_level_and_length_that_were_asked_for(
    settings: dict[str, Any],
) -> None:
    dataset = build(
        "TrainingMixtures",
        num_seconds=1.5,
        snr_db=(4.0, 4.0),
        level_dbfs=(-31.0, -30.0),
        **settings,
    )
    for seed in range(5):
        noisy, clean = drawn(dataset, seed)
        assert noisy.shape == clean.shape == (24_000,)
        level = active_rms(clean, 16_000)
        assert -31.001 < amplitude_to_db(level) < -29.999
        torch.testing.assert_close(
            amplitude_to_db(level / rms(noisy - clean)), torch.tensor(4.0), atol=1e-3, rtol=0
        )


def test_nothing_exceeds_full_scale() -> None:
    dataset = build("TrainingMixtures", snr_db=(-20.0, -20.0), level_dbfs=(-5.0, -5.0))
    for seed in range(5):
        assert max(part.abs().max() for part in drawn(dataset, seed)) <= 0.9801


def test_what_never_comes_draws_nothing_and_leaves_the_fingerprint() -> None:
    comes = locate("data._comes", [CORPUS])
    random.seed(1)
    before = random.getstate()
    assert not comes(0.0)
    assert random.getstate() == before
    assert sum(comes(0.3) for _ in range(1000)) == pytest.approx(300, abs=50)
    off = dict.fromkeys(("reverberation", "band_limit", "clipping"), 0.0)
    fingerprints = [build("TrainingMixtures", **each).fingerprint() for each in ({}, off)]
    assert fingerprints[0] == fingerprints[1]


def test_fingerprint_is_the_one_from_before_there_were_rooms() -> None:
    dataset = build("TrainingMixtures")
    for name in ("reverberation", "band_limit", "clipping"):
        fingerprint = dataset.fingerprint()
        delattr(dataset, name)
        assert dataset.fingerprint() == fingerprint


def test_target_in_a_room_is_the_speech_with_its_first_reflections() -> None:
    """Without noise, what is to be removed begins 50 ms after each click, and decays."""
    dataset = build(
        "TrainingMixtures", reverberation=1.0, snr_db=(300.0, 300.0), speech_augmentation=0.0
    )
    click = torch.zeros(dataset.num_samples)
    click[5000] = 1.0
    dataset._draw_speech = lambda: click  # the voice
    for seed in range(5):
        noisy, clean = drawn(dataset, seed)
        late = noisy - clean
        assert clean[:5000].abs().max() < 1e-6
        assert clean[5000:5800].square().sum() > 0.99 * clean.square().sum()
        assert late[:5800].abs().max() < 1e-5
        assert late[5800:9000].square().sum() > 10 * late[17_800:].square().sum()
        assert late.square().sum() > 1e-4 * noisy.square().sum()


def test_ratio_in_a_room_is_that_of_all_the_speech_that_arrives() -> None:
    dataset = build("TrainingMixtures", reverberation=1.0, snr_db=(4.0, 4.0))
    heard = {}
    dataset._in_a_room = lambda speech, inside=dataset._in_a_room: heard.setdefault(
        "speech", inside(speech)
    )
    for seed in range(3):
        heard.clear()
        noisy, clean = drawn(dataset, seed)
        speech, late = heard["speech"]
        gain = (clean * (speech - late)).sum() / (speech - late).square().sum()
        noise = noisy - gain * speech
        ratio_db = amplitude_to_db(active_rms(gain * speech, 16_000) / rms(noise))
        assert float(ratio_db) == pytest.approx(4.0, abs=0.01)
        torch.testing.assert_close(clean, gain * (speech - late), rtol=0, atol=1e-5)


def test_narrow_channel_limits_both_signals_at_one_frequency() -> None:
    dataset = build("TrainingMixtures", band_limit=1.0, synthetic_noise=1.0)
    for seed in range(5):
        edges = []
        for signal in drawn(dataset, seed):
            power = torch.fft.rfft(signal).abs().square()
            edges.append(int((power > 1e-9 * power.max()).nonzero().max()) / 2)  # bins of 0.5 Hz
        assert 3000 < min(edges) <= max(edges) <= 8000
        assert edges[0] == pytest.approx(edges[1], rel=0.1)


def test_clipping_cuts_the_noisy_signal_and_not_its_target() -> None:
    plain, clipping = build("TrainingMixtures"), build("TrainingMixtures", clipping=1.0)
    for seed in range(5):
        noisy, clean = drawn(plain, seed)
        clipped, target = drawn(clipping, seed)
        assert torch.equal(target, clean)
        limit = float(clipped.abs().max())
        torch.testing.assert_close(clipped, noisy.clamp(-limit, limit))
        assert -12.01 < 20 * math.log10(limit / float(noisy.abs().max())) < -2.99


def test_settings_of_the_channel_change_the_fingerprint() -> None:
    settings = ({}, {"reverberation": 0.5}, {"band_limit": 0.5}, {"clipping": 0.5})
    assert len({build("TrainingMixtures", **each).fingerprint() for each in settings}) == 4


def test_same_generators_give_the_same_mixture_and_others_another() -> None:
    dataset = build("TrainingMixtures", reverberation=0.5, band_limit=0.5, clipping=0.5)
    first, again, other = drawn(dataset, 1), drawn(dataset, 1), drawn(dataset, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])


def test_mixtures_do_not_depend_on_what_was_heard_before() -> None:
    fresh, used = build("TrainingMixtures"), build("TrainingMixtures")
    for seed in range(10):
        drawn(used, seed)
    assert torch.equal(drawn(fresh, 77)[0], drawn(used, 77)[0])


def test_mixtures_do_not_depend_on_the_number_of_workers() -> None:
    batches = []
    for num_workers in (0, 2):
        dataset = build("TrainingMixtures", num_mixtures=8)
        loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=num_workers)
        batches.append(list(TrainingLoader(loader, seed=3).batches(epoch=1)))
    for alone, shared in zip(*batches, strict=True):
        assert torch.equal(alone.batch[0], shared.batch[0])


def test_an_epoch_has_as_many_mixtures_as_were_asked_for() -> None:
    assert len(build("TrainingMixtures", num_mixtures=12)) == 12


def test_sound_of_another_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    write_audio(path, torch.full((400,), 0.5), 8000)
    write_manifest(tmp_path / "slow.jsonl", [Entry("slow", path, 8000, 400)])
    for keep_in_memory in (True, False):
        recordings = build("Recordings", tmp_path / "slow.jsonl", keep_in_memory=keep_in_memory)
        with pytest.raises(AudioError, match=r"slow\.wav has 8000 Hz, and 16000 Hz were expected"):
            recordings.segment(0, 100)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The manifests of training, with paths to the sound."""
    for name in ("speech_train.jsonl", "noise_train.jsonl"):
        write_manifest(tmp_path / name, read_manifest(CORPUS / "audio" / name))
    return tmp_path


def test_fingerprint_stays_in_another_folder(corpus: Path) -> None:
    there, moved = build("TrainingMixtures"), build("TrainingMixtures", str(corpus))
    assert there.fingerprint() == moved.fingerprint()


def test_fingerprint_changes_with_manifests_and_settings(corpus: Path) -> None:
    texts = {build("TrainingMixtures").fingerprint()}
    for settings in ({"snr_db": (0.0, 1.0)}, {"babble": 0.5}, {"num_seconds": 1.0}):
        texts.add(build("TrainingMixtures", **settings).fingerprint())
    for name in ("speech_train.jsonl", "noise_train.jsonl"):
        write_manifest(corpus / name, read_manifest(corpus / name)[1:])
        texts.add(build("TrainingMixtures", str(corpus)).fingerprint())
    assert len(texts) == 6


def test_keeping_sound_in_memory_does_not_change_the_fingerprint() -> None:
    kept, again = (build("TrainingMixtures", keep_in_memory=keep) for keep in (True, False))
    drawn(kept, seed=0)
    assert kept.fingerprint() == again.fingerprint()


# Evaluation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mixtures", "noise"), SETS)
def test_frozen_mixtures_are_the_same_twice_and_in_any_order(mixtures: str, noise: str) -> None:
    first, second = (build("FrozenMixtures", mixtures, noise) for _ in range(2))
    indices = range(0, len(first), 4)
    forward = {index: first[index] for index in indices}
    random.seed(1)
    torch.manual_seed(1)
    for index in reversed(indices):
        noisy, clean, labels = second[index]
        assert torch.equal(noisy, forward[index][0])
        assert torch.equal(clean, forward[index][1])
        assert labels == forward[index][2]


def test_frozen_mixture_has_the_ratio_and_the_labels_of_its_manifest() -> None:
    mixtures, noise = SETS[0]
    dataset = build("FrozenMixtures", mixtures, noise)
    for index, entry in enumerate(read_manifest(CORPUS / "audio" / mixtures)[:5]):
        noisy, clean, labels = dataset[index]
        ratio = active_rms(clean, 16_000) / rms(noisy - clean)
        assert abs(amplitude_to_db(ratio) - entry["snr_db"]) < 1e-3
        assert labels == {
            "id": entry.id,
            "snr_db": f"{entry['snr_db']:g}",
            "noise_type": entry["noise_type"],
            "speaker": entry["speaker"],
            "language": entry["language"],
        }
        speech = read_audio(entry.path)[: entry["speech_samples"]]
        torch.testing.assert_close(clean / rms(clean), speech / rms(speech))


def test_fewer_mixtures_are_spread_over_the_list() -> None:
    every, few = (build("FrozenMixtures", *SETS[1], num_mixtures=n) for n in (None, 4))
    assert [few[i][2]["id"] for i in range(4)] == [every[i][2]["id"] for i in (0, 12, 24, 36)]
    assert len(build("FrozenMixtures", *SETS[1], num_mixtures=10_000)) == len(every)
