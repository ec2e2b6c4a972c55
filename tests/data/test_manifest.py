from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiozen.data.audio import write_audio
from audiozen.data.manifest import (
    Entry,
    manifest_problems,
    overlap_problems,
    read_manifest,
    scan_audio,
    write_manifest,
)
from audiozen.errors import AudioError, ManifestError

TEXT = "must be a string that is not empty"
COUNT = "must be a whole number above 0"


@pytest.fixture
def corpus(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name, num_samples in (("bob/2.wav", 800), ("ann/1.flac", 1600), ("ann/3.wav", 400)):
        write_audio(
            tmp_path / "audio" / name, 0.1 * torch.randn(num_samples, generator=generator), 16_000
        )
    return tmp_path / "audio"


def entry(id_="a", path="a.wav", sample_rate=16_000, num_samples=100, **labels) -> Entry:
    return Entry(id_, Path(path), sample_rate, num_samples, labels)


def line(**changes) -> str:
    fields = {"id": "a", "path": "a.wav", "sample_rate": 16_000, "num_samples": 100} | changes
    return json.dumps({key: value for key, value in fields.items() if value != "leave out"})


# ---- reading and writing ----------------------------------------------------------------------


def test_scanned_corpus_is_written_and_read_back(corpus, tmp_path):
    entries = scan_audio(corpus, lambda path: {"speaker": path.parts[0]})
    assert [found.id for found in entries] == ["ann/1", "ann/3", "bob/2"]
    assert [found["speaker"] for found in entries] == ["ann", "ann", "bob"]
    assert [found.num_samples for found in entries] == [1600, 400, 800]
    assert entries[0].duration == 0.1
    write_manifest(tmp_path / "lists" / "all.jsonl", entries)
    back = read_manifest(tmp_path / "lists" / "all.jsonl")
    assert [found.path.resolve() for found in back] == [found.path for found in entries]
    assert [(found.id, found.labels) for found in back] == [
        (found.id, found.labels) for found in entries
    ]


def test_manifest_moves_with_its_folder(corpus, tmp_path):
    write_manifest(tmp_path / "all.jsonl", scan_audio(corpus))
    moved = tmp_path.parent / f"{tmp_path.name}_moved"
    tmp_path.rename(moved)
    entries = read_manifest(moved / "all.jsonl")
    assert manifest_problems(entries) == []
    moved.rename(tmp_path)


def test_order_of_the_entries_does_not_change_the_bytes(tmp_path):
    entries = [entry("b", "/x/b.wav", z=1, a="ü\u2028"), entry("a", "/x/a.wav")]
    for name, given in (("1", entries), ("2", reversed(entries))):
        write_manifest(tmp_path / name, given)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert [found.id for found in read_manifest(tmp_path / "1")] == ["a", "b"]
    assert read_manifest(tmp_path / "1")[1]["a"] == "ü\u2028"


def test_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(f"\n{line()}\n\n")
    assert len(read_manifest(path)) == 1


def test_all_wrong_lines_are_named_at_once(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(
        "\n".join(
            [
                line(),
                "{not json",
                "[1, 2]",
                line(id="", num_samples=0),
                line(path="leave out", sample_rate="16000"),
                line(id="b", num_samples=True),
                line(id="a"),
            ]
        )
    )
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    told = str(caught.value).splitlines()
    assert told[0] == f"{path} has 6 problems:"
    assert told[1].startswith("  line 2: is not JSON: ")
    assert told[2:] == [
        "  line 3: is not a JSON object but [1, 2]",
        f'  line 4: id {TEXT}, got ""; num_samples {COUNT}, got 0',
        f'  line 5: path {TEXT}, got none; sample_rate {COUNT}, got "16000"',
        f"  line 6: num_samples {COUNT}, got true",
        "  id 'a' comes 2 times",
    ]


def test_missing_manifest_is_refused(tmp_path):
    with pytest.raises(
        ManifestError, match=r"cannot read the manifest .*gone\.jsonl.*No such file"
    ):
        read_manifest(tmp_path / "gone.jsonl")


def test_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        read_manifest(tmp_path / "m.jsonl")


def test_empty_manifest_is_refused(tmp_path):
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(ManifestError, match="has no entries"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"id": 1}, "entry 'a': a label cannot be called id"),
        ({"snr": float("nan")}, "entry 'a': Out of range float values are not JSON compliant"),
        ({"thing": object()}, "entry 'a': Object of type object is not JSON serializable"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_written(tmp_path, labels, problem):
    wrong = Entry("a", tmp_path / "a.wav", 16_000, 100, labels)
    with pytest.raises(ManifestError, match=problem):
        write_manifest(tmp_path / "m.jsonl", [wrong])
    assert list(tmp_path.iterdir()) == []


def test_one_id_for_two_entries_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="id 'a' comes 2 times"):
        write_manifest(tmp_path / "m.jsonl", [entry(), entry(path="b.wav")])


def test_unknown_label_is_refused_with_those_there_are():
    with pytest.raises(
        ManifestError, match="entry 'a' has no label 'speker'; there: speaker, split"
    ):
        entry(speaker="ann", split="train")["speker"]


# ---- scanning ---------------------------------------------------------------------------------


def test_all_files_that_cannot_be_read_are_named_at_once(corpus):
    (corpus / "empty.wav").touch()
    (corpus / "page.flac").write_text("no audio")
    with pytest.raises(ManifestError, match="has 2 problems") as caught:
        scan_audio(corpus)
    assert "empty.wav is empty" in str(caught.value)
    assert "page.flac as audio" in str(caught.value)


def test_two_formats_of_one_name_are_refused(corpus):
    write_audio(corpus / "ann" / "1.wav", torch.rand(10), 16_000)
    with pytest.raises(ManifestError, match="id 'ann/1' comes 2 times"):
        scan_audio(corpus)


def test_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(AudioError, match="no such folder"):
        scan_audio(tmp_path / "gone")


# ---- problems ---------------------------------------------------------------------------------


def test_good_corpus_has_no_problems(corpus):
    assert manifest_problems(scan_audio(corpus), sample_rate=16_000) == []


def test_every_problem_of_every_file_is_told(corpus, tmp_path):
    good = scan_audio(corpus)[0]
    write_audio(tmp_path / "zero.wav", torch.zeros(50), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16_000, "FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    write_audio(tmp_path / "slow.wav", torch.rand(60), 8000)
    write_audio(tmp_path / "two.wav", torch.rand(2, 60), 16_000)
    (tmp_path / "short.wav").write_bytes((tmp_path / "zero.wav").read_bytes()[:-10])
    entries = [
        good,
        good,
        entry("zero", tmp_path / "zero.wav", num_samples=50),
        entry("nan", tmp_path / "nan.wav", num_samples=2),
        entry("none", tmp_path / "none.wav", num_samples=1),
        entry("slow", tmp_path / "slow.wav", num_samples=61),
        entry("two", tmp_path / "two.wav", num_samples=60),
        entry("short", tmp_path / "short.wav", num_samples=50),
        entry("gone", tmp_path / "gone.wav"),
    ]
    expected = [
        "id 'ann/1' comes 2 times",
        f"zero: {tmp_path}/zero.wav is silent",
        f"nan: {tmp_path}/nan.wav has samples that are NaN or infinite",
        f"none: num_samples is 0 in {tmp_path}/none.wav, and 1 in the manifest",
        f"none: {tmp_path}/none.wav has no samples",
        f"slow: sample_rate is 8000 in {tmp_path}/slow.wav, and 16000 in the manifest",
        f"slow: num_samples is 60 in {tmp_path}/slow.wav, and 61 in the manifest",
        f"slow: {tmp_path}/slow.wav has 8000 Hz; 16000 Hz are wanted",
        f"short: {tmp_path}/short.wav is truncated: ",
        f"gone: cannot read {tmp_path}/gone.wav: No such file or directory",
    ]
    problems = manifest_problems(entries, sample_rate=16_000)
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected):
        assert problem.startswith(start)


def test_training_and_test_data_apart_have_no_overlap():
    train, test = [entry("a", "a.wav", speaker="ann")], [entry("b", "b.wav", speaker="bob")]
    assert overlap_problems(train, test, keys=("id", "path", "speaker")) == []
    assert overlap_problems(train, []) == []


def test_everything_shared_is_told(tmp_path):
    (tmp_path / "real.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    train = [entry("a", tmp_path / "real.wav", speaker="ann"), entry("b", "b.wav", speaker="bob")]
    test = [entry("c", tmp_path / "link.wav", speaker="bob"), entry("b", "d.wav", speaker="cid")]
    assert overlap_problems(train, test, keys=("id", "path", "speaker")) == [
        "id b is in training and in test data",
        f"path {tmp_path / 'real.wav'} is in training and in test data",
        "speaker bob is in training and in test data",
    ]


def test_label_that_one_side_lacks_is_a_problem():
    train, test = [entry("a", "a.wav", speaker="ann")], [entry("b", "b.wav")]
    assert overlap_problems(train, test, keys=("speaker",)) == [
        "no test entry has the label 'speaker'; is it spelt right?"
    ]
