"""Every exception of AudioZEN. Imports nothing.

AudioZENError               exit code 1: the run failed
├── RequestError            exit code 2: what was asked for is wrong; nothing was started
│   └── ConfigError         all problems of one experiment file, or of one set of settings
├── AudioError              sound that cannot be read, written, mixed or resampled
├── ManifestError           a list of sound files with something wrong in it
├── ShapeError              tensors that do not fit together
├── MetricError             a metric that is undefined for this pair of signals (strict mode), or not installed
├── WorkerDied              a process that computed metrics beside the model ended before it had a result
├── CheckpointError         a checkpoint that is missing, does not fit, or cannot be written
│   └── DamagedCheckpointError  a file of one is missing, unreadable, or not as it was written
├── TrainingError           training cannot go on, or a hook returned what it must not
└── Preempted               exit code 75: stopped by a signal with everything saved
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AudioError",
    "AudioZENError",
    "CheckpointError",
    "ConfigError",
    "DamagedCheckpointError",
    "ManifestError",
    "MetricError",
    "Preempted",
    "RequestError",
    "ShapeError",
    "TrainingError",
    "WorkerDied",
]


class AudioZENError(Exception):
    """Something that a user, a disk or a signal did. The text says what, where, and what to do."""

    exit_code = 1
    speaks_for_all = False
    """Whether all other processes of the run are silent, because this one tells."""


class RequestError(AudioZENError):
    """What was asked for is wrong. Nothing was started."""

    exit_code = 2


class ConfigError(RequestError):
    """Everything that is wrong with one configuration.

    Args:
        source: file or object that the settings came from.
        problems: one sentence each, starting with the place (``[table] key: ...``).
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n  ".join([f"{source} has {count}:", *self.problems]))


class AudioError(AudioZENError):
    """Sound that cannot be read, written, mixed or resampled. The text names the file and the reason."""


class ManifestError(AudioZENError):
    """A manifest with something wrong in it. The text names file, line and entry."""


class ShapeError(AudioZENError, ValueError):
    """Tensors that do not fit together. The text gives both shapes."""


class MetricError(AudioZENError):
    """A metric that has no value: undefined for this pair of signals (raised only in strict mode), or not installed.

    Args:
        reason: a short machine-readable word, such as ``"silent_reference"``.
        detail: a sentence for people; the reason where left out.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        self.reason = reason
        super().__init__(detail or reason)

    def __reduce__(self) -> tuple[type[MetricError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class WorkerDied(AudioZENError):
    """A process that computed metrics beside the model ended before it had a result. The text says how."""


class CheckpointError(AudioZENError):
    """A checkpoint that is missing, does not fit, or cannot be written. The text says which and what exists."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is missing, unreadable, or not as it was written. The text says which."""


class TrainingError(AudioZENError):
    """Training cannot go on, or a hook returned what it must not."""


class Preempted(AudioZENError):
    """A signal asked the run to stop, and everything was saved. Resume to go on."""

    exit_code = 75
