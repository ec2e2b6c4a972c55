from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from audiozen.cli.main import main
from audiozen.data.audio import read_audio, write_audio
from audiozen.data.manifest import read_manifest, scan_audio, write_manifest

OUTPUT = ("--output", "packed", "--workers", "1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Manifests of two corpora; the current folder is beside them."""
    generator = torch.Generator().manual_seed(0)
    for part, rate in (("speech", 16_000), ("noise", 48_000)):
        for number in range(3):
            waveform = torch.rand(360_000, generator=generator) - 0.5
            write_audio(tmp_path / part / f"{number}.wav", waveform, rate)
        entries = scan_audio(tmp_path / part, lambda _: {"start": 0})
        write_manifest(tmp_path / f"{part}.jsonl", entries)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_packed_manifests_are_read_like_those_of_files(folder, capsys):
    assert main(["pack", "speech.jsonl", "noise.jsonl", *OUTPUT, "--shard-size", "1"]) == 0
    told = capsys.readouterr()
    assert told.out == (
        "packed/speech.jsonl: 3 signals, 0.02 h, 2.1 MB in 3 shards (3 made now)\n"
        "  3 bit for bit, 0 rounded to 16 bits\n"
        "packed/noise.jsonl: 3 signals, 0.01 h, 2.1 MB in 3 shards (3 made now)\n"
        "  3 bit for bit, 0 rounded to 16 bits\n"
    )
    assert "speech.jsonl: 2 of 3 shards\n" in told.err
    for part in ("speech", "noise"):
        for old, new in zip(read_manifest(f"{part}.jsonl"), read_manifest(f"packed/{part}.jsonl")):
            assert torch.equal(read_audio(old.path), read_audio(new.path))
    assert main(["pack", "speech.jsonl", *OUTPUT, "--shard-size", "1"]) == 0
    assert "3 shards (0 made now)" in capsys.readouterr().out


def test_all_is_brought_to_one_rate_and_labels_that_count_are_told(folder, capsys):
    assert main(["pack", "speech.jsonl", "noise.jsonl", *OUTPUT, "--sample-rate", "16000"]) == 0
    speech, noise = capsys.readouterr().out.split("packed/noise.jsonl")
    assert "labels" not in speech
    assert "  0 bit for bit, 3 rounded to 16 bits (3 of them resampled)\n" in noise
    assert "what they count in samples is at the old rate: start\n" in noise
    assert {entry.sample_rate for entry in read_manifest("packed/noise.jsonl")} == {16_000}


def test_channel_is_chosen(folder, capsys):
    write_audio("speech/0.wav", torch.stack([torch.zeros(100), torch.full((100,), 0.5)]), 16_000)
    write_manifest("speech.jsonl", scan_audio("speech"))
    assert main(["pack", "speech.jsonl", *OUTPUT]) == 1
    assert "0.wav has 2 channels, and one was expected" in capsys.readouterr().err
    assert main(["pack", "speech.jsonl", *OUTPUT, "--channel", "1"]) == 0
    assert read_audio(read_manifest("packed/speech.jsonl")[0].path)[0] == 0.5


def test_good_packs_are_verified(folder, capsys):
    assert main(["pack", "speech.jsonl", "noise.jsonl", *OUTPUT]) == 0
    capsys.readouterr()
    assert main(["pack", "--verify", "packed"]) == 0
    assert capsys.readouterr().out == (
        "packed/noise.audiopack: as it was written\npacked/speech.audiopack: as it was written\n"
    )


def test_damage_is_found_and_repaired(folder, capsys):
    assert main(["pack", "speech.jsonl", "noise.jsonl", *OUTPUT]) == 0
    [shard] = Path("packed/speech.audiopack").glob("*.pcm")
    good = shard.read_bytes()
    shard.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    capsys.readouterr()
    assert main(["pack", "--verify", "packed"]) == 1
    told = capsys.readouterr()
    assert told.out == "packed/noise.audiopack: as it was written\n"
    assert "1 of the files are not as they were written:" in told.err
    assert f"{shard} is not as it was written (SHA-256); remove it and pack again" in told.err
    assert "damaged: signal 0" in told.err
    shard.unlink()
    assert main(["pack", "speech.jsonl", *OUTPUT]) == 0
    assert shard.read_bytes() == good


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["speech.jsonl"], "where to? Say it with --output DIR"),
        (["speech.jsonl", *OUTPUT, "--channel", "left"], "--channel left: expected a number"),
        (["speech.jsonl", "speech.jsonl", *OUTPUT], "names come more than once (speech)"),
        (["speech.jsonl", "--output", "."], "would be replaced by that of its pack"),
        (["--verify", "speech"], "speech has no packs"),
        (["speech.jsonl", *OUTPUT, "--sample-rate", "0"], "--sample-rate"),
    ],
)
def test_wrong_request_is_refused(folder, capsys, arguments, reason):
    assert main(["pack", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("packed").exists()


def test_faulty_corpus_is_told_without_a_traceback(folder, audiozen):
    os.truncate("speech/1.wav", 1000)
    result = audiozen("pack", "speech.jsonl", "--output", "packed", "--workers", "2")
    assert result.returncode == 1
    assert "speech.jsonl has 1 problem" in result.stderr
    assert "1.wav is truncated: its header promises 720000 bytes" in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("packed/speech.jsonl").exists()


def test_missing_manifest_is_told(folder, capsys):
    assert main(["pack", "gone.jsonl", *OUTPUT]) == 1
    assert "cannot read the manifest gone.jsonl" in capsys.readouterr().err


def test_command_alone_imports_nothing_heavy():
    code = "import sys, audiozen.cli.pack; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0
