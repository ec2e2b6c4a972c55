"""A folder laid out as VoiceBank+DEMAND is."""

from __future__ import annotations

from pathlib import Path

from audiozen.config.locate import locate
from tests.recipes.made_up_sound import write_pair

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "voicebank_demand"
SPEAKERS = {"trainset_28spk": ("p226", "p228", "p243", "p287"), "testset": ("p232", "p257")}
SAMPLE_RATE = 48000


def make_voicebank_demand(folder: Path, sample_rate: int = SAMPLE_RATE) -> Path:
    """Two utterances of each speaker, and the logs."""
    for name, speakers in SPEAKERS.items():
        lines = []
        for number, speaker in enumerate(speakers):
            for utterance in (f"{speaker}_001", f"{speaker}_002"):
                folders = (folder / f"noisy_{name}_wav", folder / f"clean_{name}_wav")
                length = round((1.2 + 0.1 * number) * sample_rate)
                write_pair(folders, (utterance, utterance), length, sample_rate)
                lines.append(f"{utterance} bus {2.5 + 5 * number:g}\n")
        (folder / f"log_{name}.txt").write_text("".join(lines))
    return folder


def make_manifests(folder: Path) -> Path:
    """A corpus with the manifests beside the sounds."""
    locate("prepare.prepare", [RECIPES])(make_voicebank_demand(folder), folder)
    return folder
