"""Which sound files are to be read, and where their results go."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from audiozen.data.audio import AUDIO_SUFFIXES, audio_info, find_audio
from audiozen.errors import AudioError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Job", "find_jobs"]


class Job(NamedTuple):
    """One file to read, and where its result goes."""

    source: Path
    target: Path


def find_jobs(paths: Sequence[Path], output: Path) -> list[Job]:
    """All files, each with a target of the same name; below a folder, in the same tree.

    Raises:
        RequestError: a path does not exist or is no sound file by its name, or there is no file.
    """
    jobs, problems = [], []
    for path in paths:
        if path.is_dir():
            jobs += [Job(file, output / file.relative_to(path)) for file in find_audio(path)]
        elif not path.exists():
            problems.append(f"{path} does not exist")
        elif path.suffix.lower() not in AUDIO_SUFFIXES:
            problems.append(f"{path} is not named as wav or flac; convert it first")
        else:
            jobs.append(Job(path, output / path.name))
    if not jobs and not problems:
        problems.append(f"no wav or flac files in {', '.join(map(str, paths))}")
    if problems:
        raise RequestError("\n  ".join(["nothing was started:", *problems]))
    return jobs


def check_targets(jobs: Sequence[Job], *, may_exist: bool = False) -> None:
    """Refuse to write over inputs, over each other, and unasked over what is there.

    Args:
        jobs: all that are to be done.
        may_exist: whether results may be there already.

    Raises:
        RequestError: names the first such file.
    """
    taken: dict[Path, Path] = {}
    for source, target in jobs:
        if target in taken:
            raise RequestError(
                f"{taken[target]} and {source} would both be written to {target}; run them apart"
            )
        taken[target] = source
    there = [path for job in jobs for path in results_of(job, taken) if path.exists()]
    inputs = {_identity(job.source) for job in jobs} if there else set()
    for path in there:
        if _identity(path) in inputs:
            raise RequestError(f"{path} is an input itself; choose another --output")
    if there and not may_exist:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise RequestError(
            f"{there[0]}{others} exists already; choose another --output, or give --overwrite or "
            "--skip-existing"
        )


def split_complete(
    jobs: Sequence[Job], *, keeps_channels: bool = False
) -> tuple[list[Job], list[Job]]:
    """Jobs that are to be done, and those whose result is there, with rate and length of the input.

    Results get their name when they are complete, so a killed run leaves none that is cut off.

    Args:
        jobs: all of them.
        keeps_channels: whether results have the channels of their input, and not one.
    """
    targets = {job.target for job in jobs}
    to_do: list[Job] = []
    done: list[Job] = []
    for job in jobs:
        is_done = any(
            _is_result(path, job.source, keeps_channels) for path in results_of(job, targets)
        )
        (done if is_done else to_do).append(job)
    return to_do, done


def paths_of_sources(target: Path, num_sources: int) -> list[Path]:
    """Where the sources go that a model finds in one file: one of them to the target, several beside it.

    >>> from pathlib import Path
    >>> [path.name for path in paths_of_sources(Path("out/mixture.wav"), 2)]
    ['mixture_source1.wav', 'mixture_source2.wav']
    """
    if num_sources == 1:
        return [target]
    return [_path_of_source(target, number) for number in range(1, num_sources + 1)]


def results_of(job: Job, targets: Iterable[Path]) -> list[Path]:
    """Paths that exist when a job is done, whatever the model; either of them.

    The first of several sources is the last to get its name. Where another job writes to that path, it tells nothing.
    """
    first_source = _path_of_source(job.target, 1)
    return [job.target] if first_source in targets else [job.target, first_source]


def _path_of_source(target: Path, number: int) -> Path:
    return target.with_name(f"{target.stem}_source{number}{target.suffix}")


def _is_result(path: Path, source: Path, keeps_channels: bool) -> bool:
    if not path.exists():
        return False
    try:
        result, wanted = audio_info(path), audio_info(source)
    except AudioError:
        return False
    return result == (wanted if keeps_channels else wanted._replace(num_channels=1))


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for all names of a file; None where it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
