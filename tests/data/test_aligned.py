from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from audiozen.data.aligned import AlignedSignals
from audiozen.data.audio import read_audio, resample, write_audio
from audiozen.data.manifest import read_manifest, scan_audio, write_manifest
from audiozen.data.packing import pack
from audiozen.errors import ManifestError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("mixture", "first", "second")
LENGTHS = {"a": 800, "b": 1000, "c": 1200, "d": 1600, "e": 2000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Mixtures that are the sums of their sources, to the bit."""
    generator = torch.Generator().manual_seed(0)
    for name, length in LENGTHS.items():
        first, second = torch.randint(-9999, 9999, (2, length), generator=generator) / 32768
        for kind, signal in zip(KINDS, (first + second, first, second)):
            write_audio(tmp_path / kind / f"{name}.wav", signal, 8000)
    for kind in KINDS:
        entries = scan_audio(tmp_path / kind, lambda path: {"snr_db": 2.5})
        write_manifest(tmp_path / f"{kind}.jsonl", entries)
    return tmp_path


def aligned(root: Path, *kinds: str, **settings) -> AlignedSignals:
    manifests = [f"{kind}.jsonl" for kind in kinds or KINDS]
    return AlignedSignals(manifests, root, **({"sample_rate": 8000} | settings))


def change(root: Path, kind: str, changed) -> None:
    entries = read_manifest(root / f"{kind}.jsonl")
    write_manifest(root / f"{kind}.jsonl", changed(entries))


def test_whole_signals_come_with_their_labels(root):
    dataset = aligned(root)
    assert len(dataset) == 5
    mixture, sources, labels = dataset[2]
    assert labels == {"id": "c", "snr_db": "2.5"}
    assert sources.shape == (2, 1200)
    assert sources[1].equal(read_audio(root / "second" / "c.wav"))
    assert mixture.equal(sources.sum(0))


def test_one_reference_has_no_axis_of_its_own(root):
    assert aligned(root, "mixture", "first")[0][1].shape == (800,)
    assert aligned(root, "mixture", "first", num_seconds=0.05)[0][1].shape == (400,)


@pytest.mark.parametrize("num_seconds", [0.05, 0.125, 0.3])
def test_segments_are_of_the_same_place_in_all_files(root, num_seconds):
    dataset = aligned(root, num_seconds=num_seconds)
    for index in range(5):
        mixture, sources = dataset[index]
        assert sources.shape == (2, round(8000 * num_seconds))
        assert mixture.equal(sources.sum(0))


def test_segments_are_drawn_from_all_of_a_signal(root):
    whole = read_audio(root / "mixture" / "a.wav")
    dataset = aligned(root, num_seconds=0.0995)  # 796 of 800 samples: 5 places
    torch.manual_seed(0)
    firsts = {dataset[0][0][0].item() for _ in range(100)}
    assert firsts == set(whole[:5].tolist())


def test_short_signal_is_repeated(root):
    mixture, sources = aligned(root, num_seconds=0.15)[0]  # 1200 samples, of 800
    assert mixture[800:].equal(mixture[:400])
    assert sources[:, 800:].equal(sources[:, :400])


def test_other_rates_are_resampled(root):
    whole = aligned(root, sample_rate=4000)[3][0]
    assert whole.equal(resample(read_audio(root / "mixture" / "d.wav"), 8000, 4000))
    for rate in (4000, 5512, 16000):
        segment, references = aligned(root, sample_rate=rate, num_seconds=0.04)[3]
        assert segment.shape == (round(0.04 * rate),)
        torch.testing.assert_close(segment, references.sum(0), atol=1e-5, rtol=0)


def test_resampled_segment_is_a_stretch_of_the_file(root):
    """Nothing of a repeated beginning is in it, and its length in the file is that in seconds."""
    write_audio(root / "mixture" / "a.wav", torch.arange(800) / 1000, 8000)
    segment, _ = aligned(root, sample_rate=4000, num_seconds=0.05)[0]
    middle = segment[50:150].diff()
    torch.testing.assert_close(middle, torch.full_like(middle, 0.002), atol=2e-4, rtol=0)


def test_some_are_spread_over_the_manifest(root):
    assert [e[0].id for e in aligned(root, num_signals=2).entries] == ["a", "c"]
    assert len(aligned(root, num_signals=9)) == 5


def test_packs_are_read_like_files(root):
    for kind in KINDS:
        pack(root / f"{kind}.jsonl", root / "packed", num_workers=1)
    for index in range(5):
        mixture, sources, labels = aligned(root / "packed")[index]
        expected, expected_sources, expected_labels = aligned(root)[index]
        assert labels == expected_labels
        assert mixture.equal(expected)
        assert sources.equal(expected_sources)


def test_partners_that_are_not_there_are_told(root):
    change(root, "first", lambda entries: entries[1:])
    change(root, "second", lambda entries: [*entries, replace(entries[0], id="extra")])
    with pytest.raises(ManifestError) as caught:
        aligned(root)
    assert str(caught.value).split("\n  ") == [
        f"{root / 'mixture.jsonl'} has 2 problems:",
        "a: is not in first.jsonl",
        "extra: is only in second.jsonl",
    ]


def test_other_lengths_and_rates_are_told(root):
    change(root, "first", lambda e: [replace(e[0], num_samples=799), *e[1:]])
    change(root, "second", lambda e: [replace(e[0], sample_rate=16000), *e[1:]])
    with pytest.raises(ManifestError) as caught:
        aligned(root)
    assert str(caught.value).split("\n  ")[1:] == [
        "a: has 800 samples at 8000 Hz, and 799 at 8000 Hz in first.jsonl",
        "a: has 800 samples at 8000 Hz, and 800 at 16000 Hz in second.jsonl",
    ]


def test_only_the_first_of_many_problems_are_told(root):
    change(root, "first", lambda entries: [replace(e, num_samples=1) for e in entries])
    change(root, "second", lambda entries: entries[:-1])
    with pytest.raises(ManifestError, match=r"e: has 2000 samples.*\n  and 1 more$"):
        aligned(root)


def test_a_mixture_alone_is_refused(root):
    with pytest.raises(
        RequestError, match=r"that of a reference at least, got \['mixture.jsonl'\]"
    ):
        aligned(root, "mixture")


def test_fingerprint_follows_manifests_and_settings_and_not_the_folder(root, tmp_path_factory):
    first = aligned(root).fingerprint()
    moved = tmp_path_factory.mktemp("moved") / "corpus"
    root.rename(moved)
    assert aligned(moved).fingerprint() == first
    others = [
        aligned(moved, "mixture", "first"),
        aligned(moved, sample_rate=4000),
        aligned(moved, num_seconds=0.1),
        aligned(moved, num_signals=4),
    ]
    assert len({first, *(other.fingerprint() for other in others)}) == 5
