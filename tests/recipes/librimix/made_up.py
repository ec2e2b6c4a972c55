"""Folders laid out as Libri2Mix and MiniLibriMix are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from tests.recipes.made_up_sound import noise, voice

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "librimix"
SAMPLE_RATE = 8000
LIBRIMIX, MINI = ("train-100", "dev", "test"), ("train", "val")
MIXTURES = ("100-121669-0026_718-129597-0003", "1025-92820-0032_8410-278217-0015")


def make_librimix(folder: Path, splits: Sequence[str] = LIBRIMIX) -> Path:
    """Two mixtures of each split, with and without noise, and the tables of the authors."""
    for split in splits:
        for number, name in enumerate(MIXTURES):
            length = 9000 + 1000 * number
            first, second, added = (
                voice(f"{name}1", length),
                voice(f"{name}2", length),
                noise("n", length),
            )
            kinds = {"s1": first, "s2": second, "noise": added, "mix_clean": first + second}
            kinds["mix_both"] = first + second + added
            for kind, signal in kinds.items():
                write_audio(folder / split / kind / f"{name}.wav", signal, SAMPLE_RATE)
        write_tables(folder / "metadata", split)
    return folder


def write_tables(folder: Path, split: str) -> None:
    folder.mkdir(exist_ok=True)
    rows = [f"{name},{folder.parent}/{split}/mix_clean/{name}.wav,9000\n" for name in MIXTURES]
    head = "mixture_ID,mixture_path,length\n"
    (folder / f"mixture_{split}_mix_clean.csv").write_text(head + "".join(rows))
    if split not in MINI:
        rows = [f"{name},{1.7 - 3 * number},-1.7\n" for number, name in enumerate(MIXTURES)]
        head = "mixture_ID,source_1_SNR,source_2_SNR\n"
        (folder / f"metrics_{split}_mix_clean.csv").write_text(head + "".join(rows))


def make_manifests(folder: Path, splits: Sequence[str] = LIBRIMIX) -> Path:
    """A corpus with the manifests beside the sounds."""
    locate("prepare.prepare", [RECIPES])(make_librimix(folder, splits), folder)
    return folder
