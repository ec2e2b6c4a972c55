from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from audiozen.data.content import content_of
from audiozen.data.large_manifest import Manifest, open_manifest
from audiozen.data.manifest import Entry, manifest_problems, read_manifest, write_manifest
from audiozen.errors import ManifestError

NUM_ENTRIES = 500


def entry(number: int) -> Entry:
    split = "valid" if number % 5 == 0 else "train"
    labels = {"split": split, "take": number % 3, "notes": ["ü", number]}
    return Entry(f"{number:04}", Path(f"{number:04}.wav"), 16_000, 100 + number, labels)


def write(folder: Path, numbers: range = range(NUM_ENTRIES)) -> Path:
    entries = [entry(number) for number in numbers]
    placed = [Entry(e.id, folder / e.path, e.sample_rate, e.num_samples, e.labels) for e in entries]
    write_manifest(folder / "all.jsonl", placed)
    return folder / "all.jsonl"


def line(**changes: Any) -> str:
    return json.dumps({"id": "a", "path": "a.wav", "sample_rate": 1, "num_samples": 1} | changes)


@pytest.fixture
def path(tmp_path) -> Path:
    return write(tmp_path)


def ids(entries) -> list[str]:
    return [found.id for found in entries]


# ---- the same entries as read_manifest gives --------------------------------------------------


def test_entries_are_those_of_read_manifest(path):
    manifest, expected = open_manifest(path), read_manifest(path)
    assert list(manifest) == expected
    assert [manifest[index] for index in range(len(manifest))] == expected
    assert [manifest[-index] for index in range(1, NUM_ENTRIES + 1)] == expected[::-1]
    assert manifest[np.int64(3)] == expected[3]
    assert expected[7] in manifest
    assert repr(manifest) == f"Manifest('{path}', 500 entries)"


@pytest.mark.parametrize("cut", [slice(3, 9), slice(None, -450), slice(None, None, -7), slice(0)])
def test_slice_is_a_manifest_of_those_entries(path, cut):
    part, expected = open_manifest(str(path))[cut], read_manifest(path)[cut]
    assert isinstance(part, Manifest)
    assert list(part) == expected
    assert [part[index] for index in range(len(part))] == expected


@pytest.mark.parametrize("index", [NUM_ENTRIES, -NUM_ENTRIES - 1])
def test_index_outside_is_refused(path, index):
    with pytest.raises(IndexError):
        open_manifest(path)[index]


def test_index_that_is_no_number_is_refused(path):
    with pytest.raises(TypeError, match="float"):
        open_manifest(path)[1.0]


def test_blank_lines_are_skipped_and_counted(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(f"\n \t\n{line()}\r\n\n{line(id='b')}\n\n{{wrong\n\n")
    manifest = open_manifest(path)
    assert ids(manifest[:2]) == ["a", "b"]
    with pytest.raises(ManifestError, match=f"{path} has 1 problem:\n  line 7: is not JSON"):
        manifest[2]


@pytest.mark.parametrize(
    "wrong", ["{not json", "[1, 2]", line(id=""), line(num_samples=True), "\x00" * 9, "\u2003"]
)
def test_wrong_line_is_refused_when_it_is_read_as_read_manifest_does(tmp_path, wrong):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{line()}\n{wrong}\n", encoding="utf-8")
    manifest = open_manifest(path)
    assert manifest[0].id == "a"
    with pytest.raises(ManifestError) as expected:
        read_manifest(path)
    for read in (lambda: manifest[1], lambda: list(manifest), lambda: manifest.where(a=1)):
        with pytest.raises(ManifestError) as caught:
            read()
        assert str(caught.value) == str(expected.value)


def test_line_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(line().encode() + b"\n\xff\xfe\n")
    manifest = open_manifest(tmp_path / "m.jsonl")
    with pytest.raises(ManifestError, match="line 2: 'utf-8' codec can't decode byte 0xff"):
        manifest[1]


@pytest.mark.parametrize("content", [None, "", "\n \n"])
def test_what_cannot_be_opened_is_refused_as_read_manifest_does(tmp_path, content):
    path = tmp_path / "m.jsonl"
    if content is not None:
        path.write_text(content)
    told = []
    for read in (open_manifest, read_manifest):
        with pytest.raises(ManifestError) as caught:
            read(path)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert told[0].startswith(("cannot read the manifest", "the manifest"))


def test_problems_of_the_files_are_found_as_in_a_list(path):
    problems = manifest_problems(open_manifest(path)[:3])
    assert problems == manifest_problems(read_manifest(path)[:3])
    assert len(problems) == 3


# ---- some of the entries ----------------------------------------------------------------------


def test_selected_entries_come_in_the_order_of_their_indices(path):
    manifest = open_manifest(path)
    chosen = manifest.select([400, 3, 3, 0])
    assert ids(chosen) == ["0400", "0003", "0003", "0000"]
    assert ids(chosen.select(np.array([2, 0], np.uint8))) == ["0003", "0400"]
    assert ids(chosen[1:].select([0])) == ["0003"]
    assert ids(manifest[10:20].select(range(9, -1, -4))) == ["0019", "0015", "0011"]
    assert len(manifest.select([])) == 0


@pytest.mark.parametrize("index", [-1, 10])
def test_selecting_what_is_not_there_is_refused(path, index):
    with pytest.raises(IndexError, match=f"index {index} is not in 0 … 9"):
        open_manifest(path)[:10].select([0, index])


@pytest.mark.parametrize("indices", [[0.5], [True, False], 3, [[1, 2]], ["0001"]])
def test_indices_that_are_no_whole_numbers_are_refused(path, indices):
    with pytest.raises(TypeError, match="indices must be whole numbers in a row, got "):
        open_manifest(path).select(indices)


def test_entries_with_certain_labels_are_found(path):
    manifest, entries = open_manifest(path), read_manifest(path)
    valid = manifest.where(split="valid")
    assert list(valid) == [found for found in entries if found["split"] == "valid"]
    assert valid[7].id == "0035"
    assert list(valid.where(take=0)) == list(manifest.where(take=0, split="valid"))
    assert ids(manifest.where(notes=["ü", 9])) == ["0009"]
    assert list(manifest.where()) == entries


def test_labels_that_no_entry_has_are_refused_with_those_there_are(path):
    manifest = open_manifest(path)
    for wrong in ({"split": "trian"}, {"spilt": "train"}):
        with pytest.raises(ManifestError, match="labels of the first ones: notes, split, take"):
            manifest.where(**wrong)
    with pytest.raises(ManifestError, match=r"no entry of Manifest.*all.jsonl', 0 entries"):
        manifest[:0].where(split="train")


# ---- while it is in use -----------------------------------------------------------------------


def test_manifest_that_is_replaced_keeps_its_entries(path):
    manifest, expected = open_manifest(path), read_manifest(path)
    train = manifest.where(split="train")
    write(path.parent, range(100, 150))
    assert list(manifest) == expected
    assert train[0].id == "0001"
    assert len(open_manifest(path)) == 50


def test_manifest_that_is_written_over_is_an_error(path):
    manifest = open_manifest(path)
    path.write_bytes(path.read_bytes().replace(b"train", b"TRAIN"))
    for read in (lambda: manifest[0], lambda: list(manifest)):
        with pytest.raises(ManifestError, match="was written to while it was in use"):
            read()


# ---- fingerprints -----------------------------------------------------------------------------


class Lengths(Dataset[int]):
    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> int:
        return self.manifest[index].num_samples

    def fingerprint(self) -> str:
        return self.manifest.fingerprint()


def test_fingerprint_is_the_same_in_another_folder_at_another_time(path, tmp_path):
    (tmp_path / "moved").mkdir()
    other = tmp_path / "moved" / "other.jsonl"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(5, 5))
    for part in (slice(None), slice(3, 40), slice(None, None, 2)):
        prints = {open_manifest(file)[part].fingerprint() for file in (path, path, other)}
        assert len(prints) == 1
    assert content_of(Lengths(open_manifest(path)), 0) == open_manifest(path).fingerprint()


def test_fingerprint_changes_with_the_entries(path):
    manifest = open_manifest(path)
    parts = [manifest, manifest[:-1], manifest[1:], manifest[::-1], manifest.select([0, 1])]
    parts += [manifest.select([1, 0]), manifest.where(split="train"), manifest[:0]]
    prints = [part.fingerprint() for part in parts]
    assert manifest.select([0, 1]).fingerprint() == manifest[:2].fingerprint()
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"take": 1', b'"take": 2', 1))
    prints.append(open_manifest(path).fingerprint())
    assert len(set(prints)) == len(prints)


# ---- pickling and workers ---------------------------------------------------------------------


def test_pickled_manifest_is_opened_again_by_its_name(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    manifest = open_manifest("all.jsonl")
    pickled = pickle.dumps([manifest, manifest[5:9], manifest.select([7, 1]), manifest[:0]])
    assert len(pickled) < 2000
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert [ids(part) for part in again[1:]] == [
        ["0005", "0006", "0007", "0008"],
        ["0007", "0001"],
        [],
    ]
    assert again[0][7] == read_manifest(path)[7]
    assert ids(copy.deepcopy(again[2])) == ["0007", "0001"]


def test_pickled_manifest_that_has_changed_is_refused(path):
    pickled = pickle.dumps(open_manifest(path))
    write(path.parent, range(400))
    with pytest.raises(ManifestError, match=r"all\.jsonl has changed since it was pickled"):
        pickle.loads(pickled)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_read_what_was_opened(path, method):
    part = open_manifest(path).where(split="train")
    expected = [found.num_samples for found in part]
    path.unlink()  # so that nothing can be opened again
    path.with_name("all.jsonl.index").unlink()
    loader = DataLoader(Lengths(part), batch_size=50, num_workers=2, multiprocessing_context=method)
    for _ in range(2 if method == "fork" else 1):
        assert [int(length) for batch in loader for length in batch] == expected
