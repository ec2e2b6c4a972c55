"""What builds the larger corpus, on files made here: no package is fetched."""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiozen.config.locate import locate
from audiozen.data.manifest import Entry, write_manifest

CORPUS = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"
RATE = 16_000


def find(path: str) -> Any:
    return locate(path, [CORPUS])


def bursts(num_seconds: float, seed: int, level: float = 0.1) -> np.ndarray[Any, Any]:
    """Noise that comes and goes three times a second, as syllables do."""
    time = np.arange(round(num_seconds * RATE)) / RATE
    envelope = np.clip(np.sin(2 * np.pi * 3 * time), 1e-4, None)
    carrier = np.random.default_rng(seed).standard_normal(len(time))
    return (level * envelope * carrier).clip(-0.9, 0.9).astype(np.float32)


def hiss(num_seconds: float) -> np.ndarray[Any, Any]:
    """Noise without a pause."""
    samples = np.random.default_rng(0).standard_normal(round(num_seconds * RATE))
    return (0.1 * samples).astype(np.float32)


# Tables -------------------------------------------------------------------------------------------


def test_each_voice_and_each_type_of_noise_is_on_one_side_of_the_split() -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for voice in find("corpus.sources.VOICES"):
        splits[voice.speaker].add(voice.split)
    for noise in find("corpus.sources.NOISES"):
        splits[f"noise {noise.noise_type}"].add(noise.split)
    assert {name: sides for name, sides in splits.items() if len(sides) > 1} == {}


def test_each_source_comes_from_a_listed_package() -> None:
    listed = {package.name for package in find("corpus.sources.PACKAGES")}
    used = {source.package for source in find("corpus.sources.VOICES")}
    used |= {source.package for source in find("corpus.sources.NOISES")}
    used |= {name for pool in find("corpus.sources.BABBLE").values() for name, _ in pool}
    assert used <= listed


def test_small_profile_is_a_part_of_the_full_one() -> None:
    packages_of = find("corpus.sources.packages_of")
    small, full = ({p.name for p in packages_of(profile)} for profile in ("small", "full"))
    assert small < full


# Cleaning -----------------------------------------------------------------------------------------


def test_high_pass_removes_rumble_and_keeps_speech() -> None:
    time = np.arange(RATE) / RATE
    for frequency, kept in ((0, 0.0), (20, 0.0), (100, 1.0), (5000, 1.0)):
        tone = np.cos(2 * np.pi * frequency * time).astype(np.float32)
        filtered = find("corpus.cleaning.highpass")(tone)[RATE // 4 : -RATE // 4]
        middle = tone[RATE // 4 : -RATE // 4]
        assert np.std(filtered) == pytest.approx(kept * np.std(middle), abs=0.02)


def test_trim_keeps_a_margin_of_80_ms() -> None:
    silence = np.zeros(RATE, np.float32)
    clip = find("corpus.cleaning.trim")(np.concatenate([silence, bursts(1, 0) + 0.01, silence]))
    assert len(clip) == pytest.approx(RATE + 2 * 0.08 * RATE, abs=640)


def test_split_pieces_are_short_enough_and_lose_nothing() -> None:
    waveform = bursts(30, 1)
    pieces = find("corpus.cleaning.split_long")(waveform)
    assert all(3 * RATE <= len(piece) <= 8 * RATE for piece in pieces[:-1])
    assert len(pieces[-1]) <= 8 * RATE
    assert np.array_equal(np.concatenate(pieces), waveform)


def test_cuts_fall_into_pauses() -> None:
    pieces = find("corpus.cleaning.split_long")(bursts(30, 2))
    assert all(np.abs(piece[-80:]).max() < 1e-3 for piece in pieces[:-1])


@pytest.mark.parametrize(
    ("clip", "clipped", "reason"),
    [
        (bursts(1, 3), 0.0, None),
        (bursts(0.2, 3), 0.0, "short"),
        (bursts(1, 3, level=1e-4), 0.0, "quiet"),
        (bursts(1, 3), 0.01, "clipped"),
        (hiss(1), 0.0, "noisy"),
    ],
)
def test_unusable_clips_are_told_by_their_reason(
    clip: np.ndarray[Any, Any], clipped: float, reason: str | None
) -> None:
    assert find("corpus.cleaning.why_unusable")(clip, clipped) == reason


def test_long_silence_is_cut_out_of_noise() -> None:
    waveform = np.concatenate([hiss(1), np.zeros(5 * RATE, np.float32), hiss(1)])
    assert len(find("corpus.cleaning.drop_silence")(waveform)) == pytest.approx(2 * RATE, abs=RATE)


# Speech and noise ---------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked package: ten short clips of a voice, one of them twice, and one that is all noise."""
    folder = tmp_path / "package" / "usr" / "share"
    folder.mkdir(parents=True)
    for number in range(10):
        soundfile.write(folder / f"{number:02d}.wav", bursts(1.5, number), RATE)
    soundfile.write(folder / "10.wav", bursts(1.5, 4), RATE)
    soundfile.write(folder / "11.wav", hiss(1.5), RATE)
    (folder / "12.wav").write_bytes(b"no sound")
    (folder / "link.wav").symlink_to(folder / "01.wav")
    return tmp_path / "package"


def voice(**changes: Any) -> Any:
    settings = {"speaker": "ann", "sex": "f", "language": "en", "split": "test"} | changes
    return find("corpus.sources.Voice")("package", r"\.wav$", **settings)


def test_short_clips_are_joined_to_utterances_at_one_level(package: Path, tmp_path: Path) -> None:
    made = find("corpus.speech.make_speech")(voice(), package, tmp_path, set())
    assert made["dropped"] == {"duplicate": 1, "noisy": 1, "unreadable": 1}
    assert [record["id"] for record in made["records"]][:2] == ["ann_en_0000", "ann_en_0001"]
    for record in made["records"]:
        waveform, rate = soundfile.read(tmp_path / record["path"], dtype="float32")
        assert (rate, len(waveform)) == (RATE, record["num_samples"])
        level = 20 * np.log10(find("corpus.cleaning.active_rms")(waveform))
        assert level == pytest.approx(-26, abs=0.1)
        assert np.abs(waveform).max() <= 0.97
    assert all(record["num_samples"] >= 3 * RATE for record in made["records"][:-1])


def test_clips_of_another_voice_are_not_taken_again(package: Path, tmp_path: Path) -> None:
    make_speech = find("corpus.speech.make_speech")
    first = make_speech(voice(), package, tmp_path, set())
    second = make_speech(voice(speaker="bea"), package, tmp_path, set(first["hashes"]))
    assert second["records"] == []


def test_no_more_is_taken_of_a_voice_than_stated(package: Path, tmp_path: Path) -> None:
    made = find("corpus.speech.make_speech")(voice(minutes=0.05), package, tmp_path, set())
    assert len(made["records"]) == 1


def test_sounds_are_found_in_order_and_links_are_left_out(package: Path) -> None:
    found = find("corpus.packages.sounds")(package, r"/0\d\.wav$")
    assert [path.name for path in found] == [f"{number:02d}.wav" for number in range(10)]


def test_recorded_noise_is_written_at_one_level(package: Path, tmp_path: Path) -> None:
    source = find("corpus.sources.Noise")("package", r"11\.wav$", "hiss", "train")
    (record,) = find("corpus.noise.make_noise")(source, package, tmp_path)["records"]
    assert (record["id"], record["noise_type"]) == ("hiss_package_11", "hiss")
    waveform, _ = soundfile.read(tmp_path / record["path"])
    assert 20 * np.log10(np.sqrt(np.mean(waveform**2))) == pytest.approx(-26, abs=0.01)


def test_later_sound_of_a_name_stands_in_the_place_of_both(tmp_path: Path) -> None:
    entries = [
        Entry(name, tmp_path / f"{name}.wav", RATE, length, {})
        for name, length in (("engine", 1), ("fan", 2), ("engine", 3))
    ]
    drawn_from = find("corpus.build._last_of_each_name")(entries)
    assert [entry.num_samples for entry in drawn_from] == [3, 2, 3]
    assert [e.num_samples for e in find("corpus.build._without_doubles")(drawn_from)] == [3, 2]


def test_finished_stage_is_not_made_again(tmp_path: Path) -> None:
    stage = find("corpus.build._stage")
    assert stage(tmp_path, "one", dict, [("records", [1])]) == {"records": [1]}
    assert stage(tmp_path, "one", pytest.fail) == {"records": [1]}
    assert json.loads((tmp_path / "stages" / "one.json").read_text()) == {"records": [1]}


def test_interrupted_stage_is_made_again(tmp_path: Path) -> None:
    stage = find("corpus.build._stage")
    with pytest.raises(TypeError):
        stage(tmp_path, "one", dict, 3)
    assert stage(tmp_path, "one", dict) == {}


def test_only_sounds_inside_of_an_archive_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "noise-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("noise-1.0/rain.ogg", "noise-1.0/setup.py", "../escaped.ogg", "/tmp/root.ogg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    folder = find("corpus.packages.unpack")("noise", archive, tmp_path / "unpacked")
    files = [path for path in (tmp_path / "unpacked").parent.rglob("*") if path.is_file()]
    assert sorted(files) == [archive, folder / "noise-1.0" / "rain.ogg"]


# Mixtures -----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[list[Entry], list[Entry]]:
    labels = {"speaker": "ann", "language": "en"}
    speech = [
        Entry(f"u{n:02d}", tmp_path / f"u{n:02d}.wav", RATE, 4 * RATE + n, labels)
        for n in range(40)
    ]
    noise = []
    for name, noise_type in (("a", "rain"), ("b", "rain"), ("c", "wind")):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, bursts(10, ord(name)), RATE)
        noise.append(Entry(name, path, RATE, 10 * RATE, {"noise_type": noise_type}))
    return speech, noise


def test_each_test_utterance_meets_the_same_noise_at_each_ratio(
    recorded: tuple[list[Entry], list[Entry]],
) -> None:
    plan = find("corpus.mixtures.plan_mixtures")("test", *recorded)
    assert len(plan) == 25 * 3
    for start in range(0, len(plan), 3):
        three = plan[start : start + 3]
        assert [entry["snr_db"] for entry in three] == [0, 5, 10]
        assert len({(entry.path, entry["noise"], entry["noise_offset"]) for entry in three}) == 1


def test_validation_utterances_take_turns_with_the_ratios(
    recorded: tuple[list[Entry], list[Entry]],
) -> None:
    plan = find("corpus.mixtures.plan_mixtures")("valid", *recorded)
    assert [entry["snr_db"] for entry in plan[:4]] == [2.5, 7.5, 12.5, -2.5]
    assert len(plan) == 30


def test_plan_can_be_written_as_a_manifest(
    recorded: tuple[list[Entry], list[Entry]], tmp_path: Path
) -> None:
    plan = find("corpus.mixtures.plan_mixtures")("test", *recorded)
    write_manifest(tmp_path / "mixtures.jsonl", plan)
    assert len((tmp_path / "mixtures.jsonl").read_text().splitlines()) == len(plan)
