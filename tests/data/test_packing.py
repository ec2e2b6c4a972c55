from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audiozen.data import packing, packing_shards
from audiozen.data.audio import audio_info, read_audio, resample, write_audio
from audiozen.data.manifest import Entry, read_manifest, scan_audio, write_manifest
from audiozen.data.packed import PackedAudio
from audiozen.data.packing import find_packs, pack, pack_problems
from audiozen.data.packing_shards import quantise
from audiozen.data.seeded_batches import load_sample
from audiozen.durable_files import partial_name
from audiozen.errors import AudioZENError, ManifestError, RequestError
from recipes.debian_noisy_speech.data import PACK as SOUND
from recipes.debian_noisy_speech.data import TrainingMixtures

LENGTHS = (3000, 5000, 100, 4000, 2000)
OPTIONS = {"shard_size": 11_000, "num_workers": 1}
NUM_SHARDS = 4


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for number, length in enumerate(LENGTHS):
        noise = torch.rand(length, generator=generator) - 0.5
        suffix = "wav" if number % 2 else "flac"
        write_audio(tmp_path / f"corpus/{number}.{suffix}", noise, 16_000)
    return listed(tmp_path)


def listed(folder: Path) -> Path:
    """The manifest of all files in ``corpus``."""
    path = folder / "corpus.jsonl"
    write_manifest(path, scan_audio(folder / "corpus", lambda path: {"suffix": path.suffix}))
    return path


def write(folder: Path, samples: np.ndarray, subtype: str = "FLOAT", rate: int = 16_000) -> Path:
    """A corpus of one file."""
    path = folder / "corpus/a.wav"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, samples, rate, subtype)
    return listed(folder)


def packed_signal(manifest: Path, **options: object) -> torch.Tensor:
    """The first signal, after packing."""
    report = pack(manifest, manifest.parent / "packed", **OPTIONS | options)
    return read_audio(read_manifest(report.manifest)[0].path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- what is kept ------------------------------------------------------------------------------


def test_manifest_is_as_it_was_but_for_the_paths(manifest):
    lines = [
        {"id": "b", "path": "corpus/1.wav", "sample_rate": 16_000, "num_samples": 5000, "z": [1]},
        {"id": "a", "path": "corpus/0.flac", "sample_rate": 16_000, "num_samples": 3000, "é": "ü"},
        {"id": "c", "path": "corpus/1.wav", "sample_rate": 16_000, "num_samples": 5000, "s": 1.5},
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = pack(manifest, manifest.parent / "packed", **OPTIONS)
    before, after = read_manifest(manifest), read_manifest(report.manifest)
    for old, new in zip(before, after):
        assert new == Entry(old.id, new.path, old.sample_rate, old.num_samples, old.labels)
        assert torch.equal(read_audio(new.path), read_audio(old.path))
    assert [entry.id for entry in after] == ["b", "a", "c"]
    assert after[0].path == after[2].path
    assert report.num_signals == 2


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_16_bits_are_kept_bit_for_bit(tmp_path, suffix):
    codes = np.arange(-(2**15), 2**15).astype(np.int16)
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / f"corpus/a.{suffix}", codes, 16_000, "PCM_16")
    report = pack(listed(tmp_path), tmp_path / "packed", **OPTIONS)
    [shard] = (tmp_path / "packed/corpus.audiopack").glob("*.pcm")
    assert shard.read_bytes() == codes.astype("<i2").tobytes()
    assert (report.num_rounded, report.num_resampled) == (0, 0)


def test_channel_of_16_bits_is_kept_bit_for_bit(tmp_path):
    channels = np.random.default_rng(0).integers(-(2**15), 2**15, (500, 2)).astype(np.int16)
    manifest = write(tmp_path, channels, "PCM_16")
    for channel in (0, 1):
        expected = torch.from_numpy(channels[:, channel] / np.float32(2**15))
        assert torch.equal(packed_signal(manifest, channel=channel), expected)
    mean = torch.from_numpy(channels.mean(1).astype(np.float32) / 2**15)
    error = (packed_signal(manifest, channel="mean") - mean).abs().max()
    assert 0 < error <= 2**-16


@pytest.mark.parametrize("gain", [1e-6, 0.3, 0.9999999, 1.0, 7.3, 1e30])
def test_what_16_bits_cannot_hold_is_within_90_db_of_the_peak_and_never_clipped(tmp_path, gain):
    noise = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)
    noise[5], noise[6] = 1, -1
    signal = torch.from_numpy(noise * np.float32(gain))
    manifest = write(tmp_path, signal.numpy())
    assert (packed_signal(manifest) - signal).abs().max() <= gain / 32767


def test_signal_of_another_rate_is_resampled_once(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4801)
    manifest = write(tmp_path, noise, "PCM_16", rate=48_000)
    report = pack(manifest, tmp_path / "packed", sample_rate=16_000, **OPTIONS)
    [entry] = read_manifest(report.manifest)
    expected = resample(read_audio(tmp_path / "corpus/a.wav"), 48_000, 16_000)
    assert (entry.sample_rate, entry.num_samples) == (16_000, len(expected))
    assert audio_info(entry.path) == (16_000, len(expected), 1)
    assert (read_audio(entry.path) - expected).abs().max() <= 2**-16
    assert (report.num_rounded, report.num_resampled) == (1, 1)


def test_labels_with_whole_numbers_are_told_where_they_may_count_samples(tmp_path):
    write(tmp_path, np.zeros(4800), rate=48_000)
    entry = scan_audio(tmp_path / "corpus", lambda _: {"start": 5, "snr_db": 1.5, "ok": True})
    write_manifest(tmp_path / "corpus.jsonl", entry)
    told = [
        pack(tmp_path / "corpus.jsonl", tmp_path / "packed", sample_rate=rate).counting_labels
        for rate in (None, 16_000)
    ]
    assert told == [(), ("start",)]


def test_silence_is_kept(tmp_path):
    assert packed_signal(write(tmp_path, np.zeros(10))).tolist() == [0.0] * 10


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, st.integers(1, 30), elements=FLOATS))
def test_any_signal_is_within_its_bound(waveform):
    codes, exponent, is_exact = quantise(waveform)
    found = codes.astype(np.float64) * 2.0 ** (exponent - 15)
    error, peak = np.abs(found - waveform).max(), np.abs(waveform).max()
    assert codes.dtype == np.int16
    assert error <= max(float(peak), 2.0**-100) / 32767
    assert is_exact == (error == 0)


@given(arrays(np.int16, st.integers(1, 30)))
def test_any_16_bits_are_exact(codes):
    assert quantise(codes / np.float32(2**15))[1:] == (0, True)
    assert np.array_equal(quantise(codes / np.float32(2**15))[0], codes)


# ---- again, interrupted, by many -----------------------------------------------------------------


def test_bytes_are_the_same_for_any_number_of_workers(manifest):
    told: list[str] = []
    for workers in (1, 2, 3):
        options = OPTIONS | {"num_workers": workers}
        pack(manifest, manifest.parent / f"by{workers}", **options, tell=told.append)
    alone = contents(manifest.parent / "by1")
    assert len(alone) == 2 * NUM_SHARDS + 2
    assert contents(manifest.parent / "by2") == contents(manifest.parent / "by3") == alone
    assert told[:NUM_SHARDS] == [
        f"corpus.jsonl: {number} of {NUM_SHARDS} shards" for number in range(1, NUM_SHARDS + 1)
    ]


def test_second_run_makes_nothing(manifest, monkeypatch):
    report = pack(manifest, manifest.parent / "packed", **OPTIONS)
    before = contents(manifest.parent / "packed")
    assert (report.num_made, report.num_shards) == (NUM_SHARDS, NUM_SHARDS)
    monkeypatch.setattr(packing_shards, "read_audio", None)
    assert pack(manifest, manifest.parent / "packed", **OPTIONS).num_made == 0
    assert contents(manifest.parent / "packed") == before


@pytest.mark.parametrize("num_written", range(1, 2 * NUM_SHARDS + 2))
def test_interrupted_run_is_finished_by_the_next_one(manifest, monkeypatch, num_written):
    """It ends before each of its files gets its name, in turn."""
    pack(manifest, manifest.parent / "whole", **OPTIONS)
    renamed, really = [], os.replace

    def replace(source: object, target: object) -> None:
        if len(renamed) == num_written:
            raise KeyboardInterrupt
        really(source, target)
        renamed.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            pack(manifest, manifest.parent / "packed", **OPTIONS)
    report = pack(manifest, manifest.parent / "packed", **OPTIONS)
    assert report.num_made == NUM_SHARDS - min(num_written // 2, NUM_SHARDS)
    assert contents(manifest.parent / "packed") == contents(manifest.parent / "whole")


def test_killed_run_is_finished_by_the_next_one_and_its_workers_end(manifest):
    """Killed by the system when its first shard is there; what it was writing is swept."""
    pack(manifest, manifest.parent / "whole", **OPTIONS)
    program = (
        "import sys, time\n"
        "from audiozen.data import packing\n"
        "if __name__ == '__main__':\n"
        f"    packing.pack({str(manifest)!r}, {str(manifest.parent / 'packed')!r}, shard_size=11_000,\n"
        "        num_workers=2, tell=lambda text: (print(text, flush=True), time.sleep(60)))\n"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"corpus.jsonl: 1 of {NUM_SHARDS} shards\n"
    process.kill()
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 30
    while others_of(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert others_of(process.pid) == []
    left = partial_name(manifest.parent / "packed/corpus.audiopack/00003.pcm")
    left = left.with_name(left.name.replace(str(os.getpid()), str(process.pid)))
    left.write_bytes(b"half")
    report = pack(manifest, manifest.parent / "packed", **OPTIONS)
    assert report.num_made < NUM_SHARDS
    assert contents(manifest.parent / "packed") == contents(manifest.parent / "whole")


def others_of(session: int) -> list[int]:
    """Processes of a session that are there, also those that have ended and nobody has asked how."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(int(status.parent.name))
    return found


def test_killed_worker_is_told(manifest):
    """All are killed when one shard is there, and another waits for what a pipe never gives."""
    (manifest.parent / "corpus/4.flac").unlink()
    os.mkfifo(manifest.parent / "corpus/4.flac")

    def kill(_: str) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()

    with pytest.raises(AudioZENError, match=r"a process that packed was killed .* fewer workers"):
        pack(manifest, manifest.parent / "packed", **OPTIONS | {"num_workers": 2}, tell=kill)


def test_only_the_shards_of_files_that_changed_are_made_again(manifest):
    folder = manifest.parent / "packed"
    pack(manifest, folder, **OPTIONS)
    before = set(contents(folder / "corpus.audiopack"))
    write_audio(manifest.parent / "corpus/1.wav", torch.full((5000,), 0.25), 16_000)
    assert pack(manifest, folder, **OPTIONS).num_made == 1
    assert read_audio(read_manifest(folder / "corpus.jsonl")[1].path)[3] == 0.25
    after = set(contents(folder / "corpus.audiopack"))
    assert len(after) == len(before)
    assert len(after - before) == 1


def test_other_settings_make_all_again_and_leave_nothing_behind(manifest):
    folder = manifest.parent / "packed"
    pack(manifest, folder, **OPTIONS)
    for options in ({"sample_rate": 8000}, {"shard_size": 10**6}):
        pack(manifest, folder, **OPTIONS | options)
        pack(manifest, manifest.parent / str(options), **OPTIONS | options)
        assert contents(folder) == contents(manifest.parent / str(options))


def test_missing_and_truncated_shards_are_made_again(manifest):
    folder = manifest.parent / "packed"
    pack(manifest, folder, **OPTIONS)
    before = contents(folder)
    first, second, *_ = sorted((folder / "corpus.audiopack").glob("*.pcm"))
    first.unlink()
    os.truncate(second, 10)
    (folder / "corpus.audiopack/00002.json").write_text("{")
    assert pack(manifest, folder, **OPTIONS).num_made == 3
    assert contents(folder) == before


def test_recipe_trains_on_packs_as_on_files(tmp_path):
    """The same mixtures, and a fingerprint that lets a run go on with them."""
    for name in ("speech_train", "noise_train"):
        pack(SOUND / f"{name}.jsonl", tmp_path, num_workers=1)
    options = {"num_mixtures": 4, "keep_in_memory": False}
    files, packed = TrainingMixtures(**options), TrainingMixtures(str(tmp_path), **options)
    assert packed.fingerprint() == files.fingerprint()
    for index in range(4):
        expected, found = (load_sample(dataset, 0, 0, index) for dataset in (files, packed))
        assert all(map(torch.equal, expected, found))


def test_several_manifests_share_a_folder(manifest):
    entries = read_manifest(manifest)
    folder = manifest.parent / "packed"
    for name, part in (("train", entries[:3]), ("valid", entries[3:])):
        write_manifest(manifest.with_name(f"{name}.jsonl"), part)
        pack(manifest.with_name(f"{name}.jsonl"), folder, **OPTIONS)
    assert [found.name for found in find_packs(folder)] == ["train.audiopack", "valid.audiopack"]
    assert find_packs(folder / "train.audiopack") == [folder / "train.audiopack"]
    for name, part in (("train", entries[:3]), ("valid", entries[3:])):
        for old, new in zip(part, read_manifest(folder / f"{name}.jsonl")):
            assert torch.equal(read_audio(old.path), read_audio(new.path))


# ---- refusals ------------------------------------------------------------------------------------


def test_all_files_that_cannot_be_packed_are_named_and_the_others_finished(manifest):
    corpus = manifest.parent / "corpus"
    soundfile.write(corpus / "1.wav", np.full(5000, np.nan), 16_000, "FLOAT")
    (corpus / "2.flac").write_bytes(b"")
    soundfile.write(corpus / "4.flac", np.zeros((2000, 2)), 16_000)
    with pytest.raises(ManifestError) as caught:
        pack(manifest, manifest.parent / "packed", **OPTIONS)
    text = str(caught.value)
    assert text.startswith(f"{manifest} has 3 problems:")
    assert "1.wav has samples that are NaN or infinite: 5000 of 5000" in text
    assert "2.flac is empty (0 bytes)" in text
    assert "4.flac has 2 channels, and one was expected" in text
    assert not (manifest.parent / "packed/corpus.jsonl").exists()
    assert not (manifest.parent / "packed/corpus.audiopack/index").exists()
    for number in (1, 2, 4):
        write_audio(corpus / f"{number}.flac", torch.zeros(LENGTHS[number]), 16_000)
    (corpus / "1.wav").unlink()
    (corpus / "1.flac").rename(corpus / "1.wav")
    assert pack(manifest, manifest.parent / "packed", **OPTIONS).num_made < NUM_SHARDS


def test_file_that_is_not_what_the_manifest_states_is_refused(manifest):
    write_audio(manifest.parent / "corpus/1.wav", torch.zeros(4999), 16_000)
    write_audio(manifest.parent / "corpus/3.wav", torch.zeros(4000), 8000)
    (manifest.parent / "corpus/0.flac").unlink()
    with pytest.raises(ManifestError) as caught:
        pack(manifest, manifest.parent / "packed", **OPTIONS)
    text = str(caught.value)
    assert "1.wav has 4999 samples at 16000 Hz, and the manifest states 5000 at 16000 Hz" in text
    assert "3.wav has 4000 samples at 8000 Hz, and the manifest states 4000 at 16000 Hz" in text
    assert "0.flac: No such file or directory" in text


def test_file_that_is_written_to_meanwhile_is_refused(manifest, monkeypatch):
    def read_and_touch(path: Path, **options: object) -> torch.Tensor:
        waveform = read_audio(path, **options)
        os.utime(path, (1, 1))
        return waveform

    monkeypatch.setattr(packing_shards, "read_audio", read_and_touch)
    with pytest.raises(ManifestError, match=r"1\.wav was written to while it was packed; run"):
        pack(manifest, manifest.parent / "packed", **OPTIONS)


def test_file_too_short_to_be_resampled_is_refused(tmp_path):
    manifest = write(tmp_path, np.zeros(1), rate=48_000)
    with pytest.raises(ManifestError, match=r"a\.wav has no samples at 16000 Hz"):
        pack(manifest, tmp_path / "packed", sample_rate=16_000)


def test_manifest_is_never_replaced_by_that_of_its_pack(manifest):
    before = manifest.read_bytes()
    with pytest.raises(RequestError, match=r"corpus\.jsonl would be replaced .*; choose another"):
        pack(manifest, manifest.parent)
    assert manifest.read_bytes() == before


def test_pack_of_another_corpus_is_never_replaced(manifest):
    folder = manifest.parent / "packed"
    pack(manifest, folder, **OPTIONS)
    before = contents(folder)
    other = manifest.parent / "other/corpus.jsonl"
    write_audio(other.with_name("x.wav"), torch.zeros(5), 16_000)
    write_manifest(other, scan_audio(other.parent))
    with pytest.raises(RequestError, match=r"is of another corpus: no entry of .* is in it"):
        pack(other, folder)
    assert contents(folder) == before


def test_packed_manifest_is_not_packed_again(manifest):
    report = pack(manifest, manifest.parent / "packed", **OPTIONS)
    with pytest.raises(ManifestError, match="0: is packed already; pack the manifest of the files"):
        pack(report.manifest, manifest.parent / "again")


def test_entries_that_contradict_each_other_are_refused(manifest):
    [first, *_] = read_manifest(manifest)
    write_manifest(manifest, [first, Entry("x", first.path, 16_000, 7)])
    with pytest.raises(ManifestError, match="x: another entry states another length of"):
        pack(manifest, manifest.parent / "packed")


def test_folder_without_packs_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "gone.audiopack"):
        with pytest.raises(RequestError, match=r"has no packs \(folders called NAME\.audiopack\)"):
            find_packs(folder)


# ---- looking for damage --------------------------------------------------------------------------


def test_good_pack_has_no_problems(manifest):
    pack(manifest, manifest.parent / "packed", **OPTIONS)
    assert pack_problems(manifest.parent / "packed/corpus.audiopack") == []


def test_every_flipped_bit_is_found_and_its_signal_named(manifest):
    pack(manifest, manifest.parent / "packed", **OPTIONS | {"shard_size": 10**6})
    folder = manifest.parent / "packed/corpus.audiopack"
    [shard] = folder.glob("*.pcm")
    for place, text in ((2 * 3000, "damaged: signal 1"), (-1, "damaged: signal 4")):
        with flipped(shard, place):
            [problem] = pack_problems(folder)
        assert (
            problem
            == f"{shard} is not as it was written (SHA-256); remove it and pack again; {text}"
        )
    for place in (64, -1):
        with flipped(folder / "index", place):
            assert pack_problems(folder)
    assert pack_problems(folder) == []


class flipped:  # noqa: N801 - reads like a verb
    """One bit of a file is another one."""

    def __init__(self, path: Path, place: int) -> None:
        self.path, self.place = path, place

    def __enter__(self) -> None:
        content = bytearray(self.path.read_bytes())
        content[self.place] ^= 1
        self.path.write_bytes(content)

    def __exit__(self, *_: object) -> None:
        self.__enter__()


def test_truncated_shard_is_found(manifest):
    pack(manifest, manifest.parent / "packed", **OPTIONS)
    folder = manifest.parent / "packed/corpus.audiopack"
    os.truncate(min(folder.glob("*.pcm")), 10)
    [problem] = pack_problems(folder)
    assert "is truncated or damaged: it has 10 bytes, and was written with 6000" in problem


def test_index_names_what_is_in_the_shards(manifest):
    pack(manifest, manifest.parent / "packed", **OPTIONS)
    signals = [PackedAudio(manifest.parent / "packed/corpus.audiopack").signal(k) for k in range(5)]
    assert [found.num_samples for found in signals] == list(LENGTHS)
    assert [found.shard for found in signals] == [0, 1, 1, 2, 3]
    assert [found.first for found in signals] == [0, 0, 5000, 0, 0]
    assert {found.sample_rate for found in signals} == {16_000}


def test_workers_ignore_ctrl_c(monkeypatch):
    called = []
    monkeypatch.setattr(signal, "signal", lambda *words: called.append(words))
    monkeypatch.setattr(packing.threading, "Thread", lambda **_: called[0] and _Started())
    monkeypatch.setattr(packing.multiprocessing, "parent_process", object)
    packing._settle_down()
    assert called == [(signal.SIGINT, signal.SIG_IGN)]


class _Started:
    def start(self) -> None:
        pass
