from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audiozen.config.locate import locate
from audiozen.data.aligned import AlignedSignals
from audiozen.data.manifest import manifest_problems, read_manifest
from audiozen.errors import ManifestError
from tests.recipes.wsj0_2mix.made_up import MIXTURES, RECIPES, make_mixture, make_wsj0_2mix

SPLITS = {"train": "tr", "valid": "cv", "test": "tt"}
KINDS = {"mixture": "mix", "source_1": "s1", "source_2": "s2"}


def of_prepare(name: str) -> Any:
    return locate(f"prepare.{name}", [RECIPES])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_wsj0_2mix(tmp_path / "min")


def problems_of(corpus: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        of_prepare("prepare")(corpus, corpus / "lists")
    assert not (corpus / "lists").exists()
    return str(caught.value).split("\n  ")[1:]


def test_manifests_match_their_files(corpus, tmp_path):
    of_prepare("prepare")(corpus, tmp_path)
    for split, folder in SPLITS.items():
        for kind, place in KINDS.items():
            entries = read_manifest(tmp_path / f"{kind}_{split}.jsonl")
            assert manifest_problems(entries, sample_rate=8000) == []
            assert [e.id for e in entries] == sorted(MIXTURES[folder])
            assert {e.path.parent.resolve() for e in entries} == {corpus / folder / place}


def test_sources_add_up_to_the_mixture(corpus, tmp_path):
    of_prepare("prepare")(corpus, tmp_path)
    manifests = [f"{kind}_test.jsonl" for kind in KINDS]
    for mixture, sources, labels in AlignedSignals(manifests, tmp_path, sample_rate=8000):
        assert (mixture - sources.sum(0)).abs().max() < 1e-4
        assert len(labels["speakers"].split("+")) == 2


@pytest.mark.parametrize(
    ("name", "speakers", "ratio_db"),
    [
        ("011a0101_1.3286_01xo030b_-1.3286", "011+01x", "3"),
        ("01to030v_-2.2109_01xo030b_2.2109", "01t+01x", "-4"),
        ("011o0310_0_019c020t_0", "011+019", "0"),
        ("011o0310_8.6e-05_019c020t_-8.6e-05", "011+019", "0"),
    ],
)
def test_speakers_and_ratio_come_from_the_name(name, speakers, ratio_db):
    assert of_prepare("id_of")(Path(f"{name}.wav")) == name
    assert of_prepare("labels_of")(name) == {"speakers": speakers, "ratio_db": ratio_db}


def test_everything_that_is_missing_is_told_at_once(corpus):
    first = MIXTURES["tr"][0]
    (corpus / "tr" / "s2" / f"{first}.wav").unlink()
    for path in (corpus / "cv" / "mix").iterdir():
        path.unlink()
    make_mixture(corpus / "tt", "a song", 8000)
    (corpus / "tt" / "s1" / "a song.wav").unlink()
    (corpus / "tt" / "s2" / "a song.wav").unlink()
    assert problems_of(corpus) == [
        f"tr/s2/: missing, though a partner is there: {first}",
        "cv/mix/: has no wav or flac file",
        "tt/mix/: names that are not understood: a song.wav",
    ]


def test_numbers_of_mixtures_are_compared_with_the_published_ones(corpus, tmp_path, caplog):
    of_prepare("prepare")(corpus, tmp_path)
    assert caplog.messages == [
        "found 2 of the 20,000 mixtures for train (tr)",
        "found 2 of the 5,000 mixtures for valid (cv)",
        "found 2 of the 3,000 mixtures for test (tt)",
    ]
