"""Signals that belong together, each kind in files of its own: noisy and clean speech, a mixture and its sources.

Each kind has a manifest; what belongs together has the same id in all of them. So they can be packed and checked like
any other manifest. ::

    manifests = ["noisy_train.jsonl", "clean_train.jsonl"]
    dataset = AlignedSignals(manifests, "voicebank_demand", sample_rate=16_000, num_seconds=2.0)
    noisy, clean = dataset[0]
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiozen.data.audio import read_audio
from audiozen.data.manifest import Entry, faulty, read_manifest
from audiozen.data.mixing import fit_length
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AlignedSignals"]

NUM_TOLD = 5
"""Problems of so many ids are told, and the number of the others."""


class AlignedSignals(Dataset[tuple[Any, ...]]):
    """What is heard, and what it is to be: signals of the same length, cut at the same places.

    A sample is ``(mixture, reference)`` with random segments, and ``(mixture, reference, labels)`` with whole signals.
    The mixture has shape ``(time,)``; so has the reference where there is one, and several of them have shape
    ``(sources, time)``. The labels are those of the mixture and its ``id``, all of them strings.

    Args:
        manifests: file names: of the mixtures first, then of each reference.
        root: folder of the manifests.
        sample_rate: in Hz; files of another rate are resampled.
        num_seconds: length of the segments, drawn from the generator of PyTorch, which the trainer seeds for each
            sample. A signal that is too short is repeated. None: whole signals.
        num_signals: take only so many, spread evenly over the manifest. None: all.

    Raises:
        RequestError: there is no reference.
        ManifestError: a manifest cannot be read, or an id is not in all of them or has another length in one.
    """

    def __init__(
        self,
        manifests: Sequence[str],
        root: str | Path,
        *,
        sample_rate: int,
        num_seconds: float | None = None,
        num_signals: int | None = None,
    ) -> None:
        if len(manifests) < 2:
            raise RequestError(
                f"manifests: name that of the mixtures and that of a reference at least, got {list(manifests)}"
            )
        paths = [Path(root) / manifest for manifest in manifests]
        aligned = _aligned(paths, [read_manifest(path) for path in paths])
        num_taken = min(num_signals or len(aligned), len(aligned))
        self.entries = [aligned[i * len(aligned) // num_taken] for i in range(num_taken)]
        self.sample_rate = sample_rate
        self.num_samples = None if num_seconds is None else round(num_seconds * sample_rate)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        entries = self.entries[index]
        if self.num_samples is not None:
            return _paired(self._segments(entries, self.num_samples))
        labels = {name: str(value) for name, value in entries[0].labels.items()}
        signals = [read_audio(entry.path, sample_rate=self.sample_rate) for entry in entries]
        return *_paired(signals), labels | {"id": entries[0].id}

    def fingerprint(self) -> str:
        """Changes with the manifests and the settings. No sound is read, and the folder may have moved."""
        told = [
            (entry.id, entry.path.name, entry.sample_rate, entry.num_samples)
            for entries in self.entries
            for entry in entries
        ]
        settings = (self.sample_rate, self.num_samples, told)
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def _segments(self, entries: Sequence[Entry], num_samples: int) -> list[Tensor]:
        """The same random place of each; of a file, nothing else is read."""
        there, rate = entries[0].num_samples, entries[0].sample_rate
        length = -(-num_samples * rate // self.sample_rate)  # of the file, rounded up
        if there <= length:
            start, part = 0, None
        else:
            start, part = int(torch.randint(there - length + 1, ())), length
        return [
            fit_length(
                read_audio(entry.path, start=start, num_samples=part, sample_rate=self.sample_rate),
                num_samples,
            )
            for entry in entries
        ]


def _aligned(paths: Sequence[Path], manifests: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """Entries of one id from each manifest, in the order of the first."""
    by_id = [{entry.id: entry for entry in entries} for entries in manifests]
    problems = []
    for path, others in zip(paths[1:], by_id[1:]):
        for name in by_id[0] | others:
            problem = _difference(by_id[0].get(name), others.get(name))
            if problem:
                problems.append(f"{name}: {problem} {path.name}")
    if problems:
        rest = len(problems) - NUM_TOLD
        told = problems[:NUM_TOLD] + ([f"and {rest} more"] if rest > 0 else [])
        raise faulty(paths[0], told)
    return [[entries[entry.id] for entries in by_id] for entry in manifests[0]]


def _difference(mixture: Entry | None, reference: Entry | None) -> str | None:
    if mixture is None:
        return "is only in"
    if reference is None:
        return "is not in"
    lengths = [(entry.num_samples, entry.sample_rate) for entry in (mixture, reference)]
    if lengths[0] == lengths[1]:
        return None
    (here, rate), (there, other_rate) = lengths
    return f"has {here} samples at {rate} Hz, and {there} at {other_rate} Hz in"


def _paired(signals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mixture, *references = signals
    return mixture, references[0] if len(references) == 1 else torch.stack(references)
