"""A folder laid out as WSJ0-2mix is."""

from __future__ import annotations

from pathlib import Path

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from tests.recipes.made_up_sound import voice

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "wsj0_2mix"
SAMPLE_RATE = 8000
MIXTURES = {
    "tr": ("011a0101_1.3286_01xo030b_-1.3286", "019o031a_0.27588_01vo030q_-0.27588"),
    "cv": ("011o0310_0_019c020t_0", "01to030v_-2.2109_01xo030b_2.2109"),
    "tt": ("050a0501_1.7783_442o030z_-1.7783", "051a050c_0.5_050o020d_-0.5"),
}


def make_wsj0_2mix(folder: Path) -> Path:
    """Two mixtures of each split."""
    for split, names in MIXTURES.items():
        for number, name in enumerate(names):
            make_mixture(folder / split, name, 9000 + 1000 * number)
    return folder


def make_mixture(folder: Path, name: str, length: int, mixture: str = "mix") -> None:
    sources = [voice(f"{name}{source}", length) for source in "12"]
    for kind, signal in zip((mixture, "s1", "s2"), (sum(sources), *sources)):
        write_audio(folder / kind / f"{name}.wav", signal, SAMPLE_RATE)


def make_manifests(folder: Path) -> Path:
    """A corpus with the manifests beside the sounds."""
    locate("prepare.prepare", [RECIPES])(make_wsj0_2mix(folder), folder)
    return folder
