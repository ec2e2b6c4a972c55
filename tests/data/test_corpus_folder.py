from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import torch

from audiozen.data import corpus_folder
from audiozen.data.audio import write_audio
from audiozen.data.corpus_folder import CorpusFolder, by_hash, run_prepare, some
from audiozen.data.manifest import Entry, read_manifest
from audiozen.errors import ManifestError

FOLDERS = {"noisy": "loud/noisy", "clean": "clean"}


def write(path: Path, num_samples: int = 100, rate: int = 16_000, channels: int = 1) -> None:
    write_audio(path, torch.full((channels, num_samples), 0.5), rate)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        for folder in FOLDERS.values():
            write(tmp_path / folder / f"{name}.wav", 100 + number)
    return tmp_path


def problems_of(corpus: CorpusFolder) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        corpus.write(corpus.root, {"clean": []})
    assert not list(corpus.root.glob("*.jsonl"))
    first, *problems = str(caught.value).split("\n  ")
    assert first.startswith(f"{corpus.root} has ")
    return problems


# What is there ------------------------------------------------------------------------------------


def test_partners_have_the_same_ids_in_the_same_order(root):
    corpus = CorpusFolder(root)
    entries = corpus.aligned(FOLDERS, labels_of=lambda name: {"speaker": name.upper()})
    assert corpus.problems == []
    assert list(entries) == ["noisy", "clean"]
    for kind, found in entries.items():
        assert [(e.id, e["speaker"], e.num_samples) for e in found] == [
            ("a", "A", 100),
            ("b", "B", 101),
            ("c", "C", 102),
        ]
        assert found[1].path == root / FOLDERS[kind] / "b.wav"


def test_ids_are_paths_without_their_endings_or_what_is_made_of_them(root):
    write(root / "loud" / "d.flac")
    corpus = CorpusFolder(root)
    assert list(corpus.find("loud")) == ["d", "noisy/a", "noisy/b", "noisy/c"]
    assert list(corpus.find("loud", lambda path: path.stem * 2)) == ["dd", "aa", "bb", "cc"]
    assert corpus.problems == []


def test_manifests_are_written_where_they_are_wanted(root):
    corpus = CorpusFolder(root)
    found = corpus.write(root / "lists", corpus.aligned(FOLDERS))
    for kind, entries in found.items():
        back = read_manifest(root / "lists" / f"{kind}.jsonl")
        assert [e.path.resolve() for e in back] == [e.path for e in entries]


def test_a_rate_is_taken_as_it_is_where_all_have_it(root):
    corpus = CorpusFolder(root)
    corpus.aligned(FOLDERS)
    assert corpus.sample_rate == 16_000


def test_headers_are_read_by_several_threads_at_once(root, monkeypatch):
    """Each waits until another one reads as well."""
    barrier = threading.Barrier(3, timeout=20)
    read = corpus_folder.audio_info
    monkeypatch.setattr(corpus_folder, "audio_info", lambda path: (barrier.wait(), read(path))[1])
    corpus = CorpusFolder(root)
    assert [e.id for e in corpus.entries(corpus.find("clean"))] == ["a", "b", "c"]


def test_progress_is_told(root, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(corpus_folder, "NUM_HEADERS_TOLD", 2)
    corpus = CorpusFolder(root)
    corpus.entries(corpus.find("loud"))
    assert caplog.messages == ["read 2 of 3 headers"]


# What is wrong ------------------------------------------------------------------------------------


def test_no_such_corpus_is_told_at_once(tmp_path):
    with pytest.raises(ManifestError, match="nowhere has 1 problem:\n  there is no such folder"):
        CorpusFolder(tmp_path / "nowhere")


def test_everything_is_told_at_once_and_nothing_is_written(root):
    (root / "empty").mkdir()
    (root / "clean" / "a.wav").unlink()
    (root / "loud" / "noisy" / "c.wav").unlink()
    corpus = CorpusFolder(root)
    corpus.aligned(FOLDERS)
    corpus.aligned({"noisy": "loud/noisy", "clean": "nowhere"})
    corpus.find("empty")
    assert problems_of(corpus) == [
        "loud/noisy/: missing, though a partner is there: c",
        "clean/: missing, though a partner is there: a",
        "nowhere/: no such folder",
        "empty/: has no wav or flac file",
    ]


def test_partners_of_other_lengths_are_told(root):
    write(root / "clean" / "b.wav", 99)
    corpus = CorpusFolder(root)
    corpus.aligned(FOLDERS)
    assert problems_of(corpus) == ["clean/: not as long as in loud/noisy/: b (99 and 101 samples)"]


def test_other_rates_and_channels_are_told(root):
    write(root / "clean" / "b.wav", 101, 8_000)
    write(root / "clean" / "c.wav", 102, channels=2)
    for expected, others in ((None, "b"), (16_000, "b"), (8_000, "ac")):
        corpus = CorpusFolder(root, expected)
        corpus.entries(corpus.find("clean"))
        rates = {"a": 16_000, "b": 8_000, "c": 16_000}
        told = ", ".join(f"clean/{name}.wav ({rates[name]} Hz)" for name in others)
        assert problems_of(corpus) == [
            f"not of {expected or 16_000} Hz: {told}",
            "more than one channel: clean/c.wav",
        ]


def test_more_channels_can_be_allowed(root):
    write(root / "clean" / "c.wav", 102, channels=2)
    corpus = CorpusFolder(root)
    assert len(corpus.entries(corpus.find("clean"), mono=False)) == 3
    assert corpus.problems == []


def test_what_cannot_be_read_is_told_with_the_reason(root):
    (root / "clean" / "a.wav").write_bytes(b"")
    (root / "clean" / "b.wav").write_bytes(b"no sound")
    corpus = CorpusFolder(root)
    assert [e.id for e in corpus.aligned(FOLDERS)["clean"]] == ["c"]
    empty, strange = problems_of(corpus)
    assert empty.startswith(f"{root}/clean/a.wav is empty")
    assert strange.startswith(f"cannot read {root}/clean/b.wav as audio")


def test_only_some_of_many_that_cannot_be_read_are_told(root):
    for number in range(12):
        (root / "clean" / f"x{number:02}.wav").write_bytes(b"")
    corpus = CorpusFolder(root)
    corpus.entries(corpus.find("clean"))
    *told, rest = problems_of(corpus)
    assert ["x09.wav is empty" in text for text in told] == [False] * 9 + [True]
    assert rest == "and 2 more that cannot be read"


def test_a_file_without_samples_is_told(root):
    header = (root / "clean" / "a.wav").read_bytes()[:44]
    (root / "clean" / "a.wav").write_bytes(
        header[:4] + (36).to_bytes(4, "little") + header[8:40] + bytes(4)
    )
    corpus = CorpusFolder(root)
    assert [e.id for e in corpus.entries(corpus.find("clean"))] == ["b", "c"]
    assert problems_of(corpus) == ["without samples: clean/a.wav"]


def test_names_that_are_not_understood_or_come_twice_are_told(root):
    corpus = CorpusFolder(root)
    corpus.find("loud/noisy", lambda path: None if path.stem == "b" else "x")
    assert problems_of(corpus) == [
        "loud/noisy/: names that are not understood: b.wav",
        "loud/noisy/: names that come more than once: x",
    ]


# What is worth knowing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "listed", "told"),
    [
        ("abc", "", []),
        ("abc", "cba", []),
        ("ab", "", ["found 2 of the 3 pairs"]),
        ("ab", "abc", ["found 2 of the 3 pairs; missing: c"]),
        ("abx", "abc", ["found 3 of the 3 pairs; missing: c"]),
        ("abcd", "", ["found 4 of the 3 pairs"]),
    ],
)
def test_another_number_than_was_published_is_told_and_no_problem(
    tmp_path, caplog, found, listed, told
):
    corpus = CorpusFolder(tmp_path)
    corpus.tell_number("pairs", found, 3, listed)
    assert caplog.messages == told
    assert corpus.problems == []


def test_numbers_are_readable(tmp_path, caplog):
    CorpusFolder(tmp_path).tell_number("pairs for training", range(11570), 11572)
    assert caplog.messages == ["found 11,570 of the 11,572 pairs for training"]


def test_only_some_of_many_names_are_told():
    names = [f"n{number}" for number in range(12)]
    assert some(names[:10]) == ", ".join(names[:10])
    assert some(names) == ", ".join(names[:10]) + " and 2 more"


def test_order_by_hash_does_not_depend_on_order_or_on_who_else_is_there():
    names = [f"n{number}" for number in range(50)]
    order = by_hash(names)
    assert order != names
    assert sorted(order) == sorted(names)
    assert by_hash(reversed(names)) == order
    assert by_hash(names[:20]) == [name for name in order if name in names[:20]]


# The command --------------------------------------------------------------------------------------


def test_command_counts_what_it_wrote(root, caplog):
    def prepare(folder: Path, out: Path) -> dict[str, list[Entry]]:
        corpus = CorpusFolder(folder)
        return corpus.write(out, corpus.aligned(FOLDERS))

    caplog.set_level(logging.INFO)
    assert run_prepare(prepare, "Write.", [str(root)]) == 0
    assert caplog.messages == [f"{kind:<24}       3 entries" for kind in FOLDERS]
    assert len(read_manifest(root / "clean.jsonl")) == 3
    assert run_prepare(prepare, "Write.", [str(root), "--out", str(root / "lists")]) == 0
    assert len(read_manifest(root / "lists" / "noisy.jsonl")) == 3


def test_command_tells_what_is_wrong_and_fails(tmp_path, caplog):
    assert (
        run_prepare(lambda folder, out: CorpusFolder(folder), "Write.", [str(tmp_path / "x")]) == 1
    )
    assert "no such folder" in caplog.text
