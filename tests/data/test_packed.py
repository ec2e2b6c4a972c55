from __future__ import annotations

import gc
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from audiozen.data import packed
from audiozen.data.audio import AudioInfo, audio_info, read_audio, write_audio
from audiozen.data.large_manifest import open_manifest
from audiozen.data.loader import TrainingLoader
from audiozen.data.manifest import (
    manifest_problems,
    overlap_problems,
    read_manifest,
    scan_audio,
    write_manifest,
)
from audiozen.data.packed import PackedAudio, find_packed
from audiozen.data.packing import pack
from audiozen.errors import AudioError, ShapeError

LENGTHS = (3000, 5000, 100, 4000)
LARGEST_SHARD = 16_500  # bytes, so that there are two shards with two signals


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files in ``files.jsonl``, and the same packed in ``packed``."""
    generator = torch.Generator().manual_seed(0)
    for number, length in enumerate(LENGTHS):
        noise = torch.rand(length, generator=generator) - 0.5
        write_audio(tmp_path / f"files/{number}.wav", noise, 16_000)
    write_manifest(tmp_path / "files.jsonl", scan_audio(tmp_path / "files"))
    pack_anew(tmp_path)
    return tmp_path


def pack_anew(folder: Path, **options: object) -> None:
    options = {"shard_size": LARGEST_SHARD, "num_workers": 1} | options
    pack(folder / "files.jsonl", folder / "packed", **options)


def files(folder: Path) -> list[Path]:
    return [entry.path for entry in read_manifest(folder / "files.jsonl")]


def paths(folder: Path) -> list[Path]:
    return [entry.path for entry in read_manifest(folder / "packed/files.jsonl")]


def opened(folder: Path) -> PackedAudio:
    return PackedAudio(folder / "packed/files.audiopack")


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "packed/files.audiopack").glob("*.pcm"))


# ---- like files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": 7},
        {"start": 7, "num_samples": 50},
        {"num_samples": 1},
        {"channel": 0, "expected_rate": 16_000},
        {"channel": "mean", "sample_rate": 8000},
    ],
)
def test_packed_signal_is_read_like_its_file(folder, options):
    for path, file in zip(paths(folder), files(folder)):
        assert path.name == file.name
        assert torch.equal(read_audio(path, **options), read_audio(file, **options))
        assert torch.equal(read_audio(str(path), **options), read_audio(file, **options))
        assert audio_info(path) == audio_info(file)


@pytest.mark.parametrize(
    "options",
    [
        {"start": -1},
        {"start": 90, "num_samples": 11},
        {"num_samples": 0},
        {"expected_rate": 8000},
        {"channel": 1},
    ],
)
def test_errors_are_those_of_files(folder, options):
    texts = []
    for path in (paths(folder)[2], files(folder)[2]):
        with pytest.raises(AudioError) as caught:
            read_audio(path, **options)
        texts.append(str(caught.value).replace(str(path), "PATH"))
    assert texts[0] == texts[1]


def test_result_may_be_written_to_and_the_pack_stays_as_it_is(folder):
    path = paths(folder)[0]
    before = read_audio(path)
    read_audio(path).fill_(1)
    assert torch.equal(read_audio(path), before)
    with pytest.raises(ValueError, match="read-only"):
        opened(folder)._codes(find_packed(path)[1], 0, 5)[0] = 1


def test_manifest_tools_understand_packed_paths(folder):
    entries = read_manifest(folder / "packed/files.jsonl")
    assert manifest_problems(entries, sample_rate=16_000) == []
    assert [entry.path for entry in open_manifest(folder / "packed/files.jsonl")] == paths(folder)
    shards(folder)[0].write_bytes(b"")
    problems = manifest_problems(entries)
    assert len(problems) == len(entries)  # not one signal is read of a pack that is not whole
    assert "0: " in problems[0]
    assert "is truncated or damaged: it has 0 bytes, and was written with" in problems[0]


def test_part_of_a_manifest_may_be_written_elsewhere(folder):
    entries = read_manifest(folder / "packed/files.jsonl")
    write_manifest(folder / "lists/train.jsonl", entries[1:3])
    [entry, _] = read_manifest(folder / "lists/train.jsonl")
    assert torch.equal(read_audio(entry.path), read_audio(files(folder)[1]))


def test_signal_that_two_packs_have_is_found_as_an_overlap(folder):
    pack(folder / "files.jsonl", folder / "other", num_workers=1)
    here, there = (read_manifest(folder / name / "files.jsonl") for name in ("packed", "other"))
    assert [entry.path for entry in here] != [entry.path for entry in there]
    assert len(overlap_problems(here[:2], there[1:], ["path"])) == 1
    assert overlap_problems(here[:2], there[2:], ["path"]) == []


def test_moved_folder_is_read(folder):
    expected = read_audio(paths(folder)[1])
    (folder / "packed").rename(folder / "moved")
    [_, entry, *_] = read_manifest(folder / "moved/files.jsonl")
    assert torch.equal(read_audio(entry.path), expected)


# ---- many at once --------------------------------------------------------------------------------


def test_batch_has_the_bits_of_the_files(folder):
    pack, order, starts = opened(folder), [3, 0, 1, 0], [10, 0, 4950, 2950]
    expected = torch.stack(
        [
            read_audio(files(folder)[number], start=start, num_samples=50)
            for number, start in zip(order, starts)
        ]
    )
    assert torch.equal(pack.read_batch(order, starts, 50), expected)
    assert torch.equal(pack.read_batch([paths(folder)[k] for k in order], starts, 50), expected)
    assert torch.equal(pack.read_batch(np.array(order), torch.tensor(starts), 50), expected)
    gains = torch.rand(4)
    scaled = pack.read_batch(order, starts, 50, gains=gains.tolist())
    assert torch.equal(scaled, gains[:, None] * expected)


def test_batch_is_written_where_it_is_wanted(folder):
    pack, out = opened(folder), torch.full((4, 20), torch.nan)
    assert pack.read_batch([0, 1], [5, 6], 20, out=out[1:3]).data_ptr() == out[1:3].data_ptr()
    assert torch.equal(out[1:3], pack.read_batch([0, 1], [5, 6], 20))
    assert out[[0, 3]].isnan().all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (([0, 4], [0, 0], 5), {}, AudioError, "has no signal 4: it has 4, counted from 0"),
        (([-1], [0], 5), {}, AudioError, "has no signal -1"),
        (([0, 2], [0, 96], 5), {}, AudioError, "signal 2 of .* has 100 samples, so 5 from sample"),
        (([0], [-1], 5), {}, AudioError, "so 5 from sample -1 cannot be read"),
        (([0], [0], 0), {}, AudioError, "so 0 from sample 0 cannot be read"),
        (([0, 1], [0], 5), {}, ShapeError, "2 keys, 1 starts and 2 gains"),
        (([0], [0], 5), {"gains": [1, 1]}, ShapeError, "1 keys, 1 starts and 2 gains"),
        (([0], [0], 5), {"out": torch.empty(5)}, ShapeError, r"shape \(5,\).*\(1, 5\)"),
        (([0], [0], 5), {"out": torch.empty(1, 5).double()}, ShapeError, "float64"),
    ],
)
def test_batch_that_cannot_be_read_is_refused(folder, arguments, options, error, text):
    with pytest.raises(error, match=text):
        opened(folder).read_batch(*arguments, **options)


def test_batch_of_several_rates_is_refused(tmp_path):
    for rate in (8000, 16_000):
        write_audio(tmp_path / f"files/{rate}.wav", torch.zeros(10), rate)
    write_manifest(tmp_path / "files.jsonl", scan_audio(tmp_path / "files"))
    pack_anew(tmp_path)
    with pytest.raises(AudioError, match=r"different sample rates: 8000 Hz \(1\), 16000 Hz \(0\)"):
        opened(tmp_path).read_batch([0, 1], [0, 0], 5)


class Plans(Dataset):
    """Draws what is to be read, as the page and the docstring say."""

    def __init__(self, manifest: Path) -> None:
        self.entries = open_manifest(manifest)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        entry = self.entries[index]
        return entry.path, random.randint(0, entry.num_samples - 64)


class ReadCrops:
    def __init__(self, pack: PackedAudio) -> None:
        self.pack = pack

    def __call__(self, plans: list[tuple[Path, int]]) -> torch.Tensor:
        paths, starts = zip(*plans)
        return self.pack.read_batch(paths, starts, num_samples=64)


def batches(folder: Path, num_workers: int, method: str | None) -> list[torch.Tensor]:
    loader = DataLoader(
        Plans(folder / "packed/files.jsonl"),
        batch_size=2,
        shuffle=True,
        collate_fn=ReadCrops(opened(folder)),
        num_workers=num_workers,
        multiprocessing_context=method,
    )
    return [dealt.batch for dealt in TrainingLoader(loader, seed=0).batches(0, 0)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_batches_that_one_process_reads(folder, method):
    alone, by_workers = batches(folder, 0, None), batches(folder, 2, method)
    assert [batch.shape for batch in alone] == [(2, 64), (2, 64)]
    assert all(map(torch.equal, alone, by_workers))


def test_seeds_decide_what_is_read(folder):
    assert all(map(torch.equal, batches(folder, 0, None), batches(folder, 0, None)))


def test_mapped_pack_is_read_after_a_fork(folder):
    path = paths(folder)[0]
    expected = read_audio(path)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(read_audio(path), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---- costs ---------------------------------------------------------------------------------------


def test_shards_hold_no_file_open_and_closed_packs_nothing(folder):
    before = num_descriptors()
    pack = opened(folder)
    pack.read_batch([0, 1, 2, 3], [0, 0, 0, 0], 5)
    assert len(shards(folder)) == 2
    assert num_descriptors() == before + 1  # the index
    del pack
    gc.collect()
    assert num_descriptors() == before


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_reading_again_opens_nothing(folder, monkeypatch):
    path = paths(folder)[0]
    read_audio(path)
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(packed, "PackedAudio", None)
    monkeypatch.setattr(torch, "from_file", None)
    read_audio(path, start=5, num_samples=20)


# ---- what is not as it was -----------------------------------------------------------------------


def test_truncated_shard_is_refused_when_it_is_opened_and_when_it_is_read(folder):
    pack, path = opened(folder), paths(folder)[0]
    pack.read(0)
    read_audio(path)
    shard = shards(folder)[0]
    os.truncate(shard, shard.stat().st_size - 2)
    expected = rf"{shard.name} is truncated or damaged: it has \d+ bytes, .* pack again"
    for action in (
        lambda: pack.read(0),
        lambda: pack.read_batch([0], [0], 5),
        lambda: read_audio(path),
        lambda: opened(folder),
    ):
        with pytest.raises(AudioError, match=expected):
            action()


def test_missing_shard_is_refused(folder):
    shards(folder)[1].unlink()
    with pytest.raises(AudioError, match=r"cannot read .*\.pcm: No such file.*; pack again"):
        read_audio(paths(folder)[0])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (lambda content: content[:-1], "is no index of a pack, or truncated; pack again"),
        (lambda content: content[:20], "is no index of a pack, or truncated; pack again"),
        (lambda content: b"x" + content[1:], "is no index of a pack"),
        (lambda content: b"", r"index is empty \(0 bytes\); pack again"),
    ],
)
def test_damaged_index_is_refused(folder, content, text):
    index = folder / "packed/files.audiopack/index"
    index.write_bytes(content(index.read_bytes()))
    with pytest.raises(AudioError, match=text):
        opened(folder)


def test_index_that_points_outside_of_its_shard_is_refused(folder):
    index = folder / "packed/files.audiopack/index"
    content = bytearray(index.read_bytes())
    content[-40:-32] = (5000).to_bytes(8, "little")  # where the last signal begins
    index.write_bytes(content)
    with pytest.raises(AudioError, match="index is damaged at signal 3; pack again"):
        opened(folder).read(3)


def test_folder_that_is_no_pack_is_refused(tmp_path):
    with pytest.raises(AudioError, match=r"cannot open the pack .*gone\.audiopack: No such file"):
        PackedAudio(tmp_path / "gone.audiopack")
    with pytest.raises(AudioError, match=r"cannot open the pack .*gone\.audiopack: No such file"):
        read_audio(tmp_path / "gone.audiopack/0-0123/a.wav")


@pytest.mark.parametrize("place", ["0", "x-0123", "0-wxyz", "-1-12", ""])
def test_path_that_names_no_signal_is_refused(folder, place):
    with pytest.raises(AudioError, match=r"path into a pack is NAME\.audiopack/NUMBER-HASH/NAME"):
        read_audio(f"{folder}/packed/files.audiopack/{place}/a.wav")


def test_path_from_before_a_corpus_changed_is_refused_and_a_new_one_read(folder):
    old = paths(folder)
    read_audio(old[0])
    write_audio(folder / "files/0.wav", torch.full((3000,), 0.5), 16_000)
    pack_anew(folder)
    with pytest.raises(AudioError, match=r"another signal there, as it was packed anew.*; read"):
        read_audio(old[0])
    assert read_audio(paths(folder)[0])[7] == 0.5
    assert paths(folder)[1:] == old[1:]
    assert torch.equal(read_audio(old[1]), read_audio(files(folder)[1]))


def test_signals_that_did_not_change_are_read_after_the_shards_did(folder):
    path = paths(folder)[0]
    expected = read_audio(path)
    pack_anew(folder, shard_size=1)
    assert len(shards(folder)) == 4
    assert torch.equal(read_audio(path), expected)


def test_pickled_pack_is_refused_where_it_was_packed_anew(folder):
    pack = opened(folder)
    content = pickle.dumps(pack)
    assert torch.equal(pickle.loads(content).read(1), pack.read(1))
    pack_anew(folder, sample_rate=8000)
    with pytest.raises(AudioError, match="packed anew while it was in use; start again"):
        pickle.loads(content)


def test_fingerprint_tells_packs_apart_wherever_they_are(folder):
    before = opened(folder).fingerprint()
    (folder / "packed").rename(folder / "moved")
    assert PackedAudio(folder / "moved/files.audiopack").fingerprint() == before
    pack_anew(folder, sample_rate=8000)
    assert opened(folder).fingerprint() != before


def test_information_is_that_of_the_pack(folder):
    pack_anew(folder, sample_rate=8000)
    assert audio_info(paths(folder)[2]) == AudioInfo(8000, 50, 1)
    assert len(opened(folder)) == 4
    assert repr(opened(folder)).endswith("files.audiopack', 4 signals)")
