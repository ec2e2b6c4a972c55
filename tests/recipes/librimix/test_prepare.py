from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from audiozen.config.locate import locate
from audiozen.data.aligned import AlignedSignals
from audiozen.data.manifest import manifest_problems, read_manifest
from audiozen.errors import ManifestError
from tests.recipes.librimix.made_up import MINI, MIXTURES, RECIPES, make_librimix

SOURCES = ("source_1", "source_2")
MIXED = ("mixture_clean", "mixture_both")


def prepare(folder: Path, out: Path) -> Any:
    return locate("prepare.prepare", [RECIPES])(folder, out)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_librimix(tmp_path / "corpus")


def problems_of(corpus: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        prepare(corpus, corpus / "lists")
    assert not (corpus / "lists").exists()
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    ("splits", "named"),
    [
        (("train-100", "dev", "test"), ("train_100", "valid", "test")),
        (("train-360", "dev"), ("train_360", "valid")),
        (MINI, ("train", "valid")),
    ],
)
def test_manifests_match_their_files(tmp_path, splits, named):
    corpus = make_librimix(tmp_path / "corpus", splits)
    prepare(corpus, tmp_path)
    expected = {f"{kind}_{name}" for kind in SOURCES + MIXED for name in named}
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == expected
    for split, name in zip(splits, named):
        for kind in SOURCES + MIXED:
            entries = read_manifest(tmp_path / f"{kind}_{name}.jsonl")
            assert manifest_problems(entries, sample_rate=8000) == []
            assert [e.id for e in entries] == sorted(MIXTURES)
            assert {e.path.parent.parent.name for e in entries} == {split}


def test_sources_add_up_to_the_clean_mixture(corpus, tmp_path):
    prepare(corpus, tmp_path)
    for kind, close in zip(MIXED, (True, False)):
        manifests = [f"{kind}_test.jsonl", "source_1_test.jsonl", "source_2_test.jsonl"]
        mixture, sources, _ = AlignedSignals(manifests, tmp_path, sample_rate=8000)[0]
        assert ((mixture - sources.sum(0)).abs().max() < 1e-4) == close


def test_speakers_come_from_the_name_and_the_ratio_from_the_table(corpus, tmp_path):
    prepare(corpus, tmp_path)
    labels = [entry.labels for entry in read_manifest(tmp_path / "mixture_clean_test.jsonl")]
    assert labels == [
        {"speakers": "100+718", "ratio_db": "2"},
        {"speakers": "1025+8410", "ratio_db": "-1"},
    ]


def test_tables_can_be_left_out(corpus, tmp_path):
    shutil.rmtree(corpus / "metadata")
    prepare(corpus, tmp_path)
    assert read_manifest(tmp_path / "mixture_clean_test.jsonl")[0]["ratio_db"] == "unknown"


def test_one_kind_of_mixture_is_enough(corpus, tmp_path):
    for split in ("train-100", "dev", "test"):
        shutil.rmtree(corpus / split / "mix_clean")
    prepare(corpus, tmp_path)
    assert not list(tmp_path.glob("mixture_clean_*"))
    assert len(list(tmp_path.glob("mixture_both_*"))) == 3


def test_everything_that_is_missing_is_told_at_once(corpus):
    shutil.rmtree(corpus / "dev")
    (corpus / "train-100" / "s1" / f"{MIXTURES[0]}.wav").unlink()
    shutil.rmtree(corpus / "test" / "s2")
    for kind in ("mix_clean", "mix_both"):
        shutil.rmtree(corpus / "test" / kind)
    (corpus / "train-100" / "s2" / "1-2-3_4-5-6_7-8-9.wav").write_bytes(b"of three")
    assert problems_of(corpus) == [
        "nothing for validation: no folder dev or val",
        "train-100/s2/: names that are not understood: 1-2-3_4-5-6_7-8-9.wav",
        f"train-100/s1/: missing, though a partner is there: {MIXTURES[0]}",
        "test/: has none of mix_clean, mix_both, mix_single",
        "test/s2/: no such folder",
    ]


def test_mixtures_that_a_table_names_and_nobody_has_are_no_problem(corpus, tmp_path, caplog):
    for path in (corpus / "test").rglob(f"{MIXTURES[1]}.wav"):
        path.unlink()
    prepare(corpus, tmp_path)
    assert caplog.messages == [
        "found 2 of the 13,900 mixtures of train-100",
        "found 2 of the 3,000 mixtures of dev",
        f"found 1 of the 3,000 mixtures of test; missing: {MIXTURES[1]}",
    ]


def test_mini_librimix_is_compared_with_its_own_tables(tmp_path, caplog):
    corpus = make_librimix(tmp_path / "corpus", MINI)
    prepare(corpus, tmp_path)
    assert caplog.messages == []
    for path in (corpus / "val").rglob(f"{MIXTURES[1]}.wav"):
        path.unlink()
    prepare(corpus, tmp_path)
    assert caplog.messages == [f"found 1 of the 2 mixtures of val; missing: {MIXTURES[1]}"]
