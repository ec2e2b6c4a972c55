"""A folder laid out as the data of the DNS Challenge 2020 are."""

from __future__ import annotations

from pathlib import Path

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from tests.recipes.made_up_sound import noise, voice, write_pair

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "dns"
SAMPLE_RATE = 16000
READERS = ("00119", "01326", "06709")
NOISES = (
    "door_Freesound_validated_388338_0",
    "door_Freesound_validated_388338_1",
    "fan_Freesound_validated_361372_4",
    "_cCGK4M1x-0",
    "wntLte49djU",
)
PAIRS = {3: "clnsp44_wind_97396_2_snr14_tl-26", 158: "clnsp1_train_69005_1_snr15_tl-21"}


def make_dns(folder: Path) -> Path:
    """Two clips of each reader, a few noises, and two pairs of each half of the test."""
    for reader in READERS:
        for number in range(2):
            name = f"book_00000_chp_0009_reader_{reader}_{number}"
            write_audio(folder / "clean" / f"{name}.wav", voice(name, 20000), SAMPLE_RATE)
    for name in NOISES:
        write_audio(folder / "noise" / f"{name}.wav", noise(name, 18000), SAMPLE_RATE)
    for half in ("no_reverb", "with_reverb"):
        place = folder / "test_set" / "synthetic" / half
        for number, name in PAIRS.items():
            names = (f"{name}_fileid_{number}", f"clean_fileid_{number}")
            write_pair((place / "noisy", place / "clean"), names, 24000, SAMPLE_RATE)
    return folder


def make_manifests(folder: Path) -> Path:
    """A corpus with the manifests beside the sounds."""
    locate("prepare.prepare", [RECIPES])(make_dns(folder), folder)
    return folder
