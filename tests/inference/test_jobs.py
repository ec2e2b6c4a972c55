from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiozen.data.audio import write_audio
from audiozen.errors import RequestError
from audiozen.inference.jobs import (
    Job,
    check_targets,
    find_jobs,
    paths_of_sources,
    split_complete,
)


def write(path: Path, length: int = 100, rate: int = 8000, channels: int = 1) -> Path:
    write_audio(path, torch.zeros(channels, length), rate)
    return path


def test_files_and_trees_get_targets_of_the_same_name(tmp_path: Path) -> None:
    inputs = [write(tmp_path / "in" / name) for name in ("a.wav", "deep/er/b.flac")]
    single = write(tmp_path / "c.WAV")
    jobs = find_jobs([tmp_path / "in", single], tmp_path / "out")
    targets = [tmp_path / "out" / name for name in ("a.wav", "deep/er/b.flac", "c.WAV")]
    assert jobs == [Job(*pair) for pair in zip([*inputs, single], targets)]


def test_all_that_is_wrong_with_inputs_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    with pytest.raises(RequestError, match=r"gone\.wav does not exist\n.*a\.mp3 is not named as"):
        find_jobs([tmp_path / "gone.wav", tmp_path / "a.mp3"], tmp_path)


def test_one_source_goes_to_the_target_and_several_beside_it() -> None:
    target = Path("out/mix.tone.flac")
    assert paths_of_sources(target, 1) == [target]
    names = [path.name for path in paths_of_sources(target, 3)]
    assert names == [f"mix.tone_source{number}.flac" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["a.wav", "a_source1.wav"])
def test_result_that_is_there_is_refused_unless_it_may_be(name: str, tmp_path: Path) -> None:
    jobs = [Job(write(tmp_path / "a.wav"), tmp_path / "out" / "a.wav")]
    check_targets(jobs)
    write(tmp_path / "out" / name)
    with pytest.raises(RequestError, match=rf"{name} exists already; .* --skip-existing"):
        check_targets(jobs)
    check_targets(jobs, may_exist=True)


def test_inputs_are_safe_under_any_name(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    jobs = find_jobs([tmp_path / "in"], tmp_path / "link")
    with pytest.raises(RequestError, match="is an input itself"):
        check_targets(jobs, may_exist=True)
    # a source of one result would be written over another input
    other = write(tmp_path / "in" / "a_source1.wav")
    jobs = [Job(tmp_path / "in" / "a.wav", tmp_path / "out" / "a.wav"), Job(other, other)]
    with pytest.raises(RequestError, match=r"a_source1\.wav is an input itself"):
        check_targets(jobs, may_exist=True)


def complete(jobs: list[Job], **options: bool) -> list[str]:
    to_do, done = split_complete(jobs, **options)
    assert len(to_do) + len(done) == len(jobs)
    return [job.source.name for job in done]


def test_what_is_there_with_rate_and_length_of_its_input_is_complete(tmp_path: Path) -> None:
    for name in ("good.wav", "short.wav", "slow.wav", "broken.wav", "missing.wav"):
        write(tmp_path / "in" / name)
    write(tmp_path / "out" / "good.wav")
    write(tmp_path / "out" / "short.wav", length=99)
    write(tmp_path / "out" / "slow.wav", rate=4000)
    (tmp_path / "out" / "broken.wav").write_bytes(b"RIFF")
    jobs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert complete(jobs) == ["good.wav"]


def test_channels_are_part_of_a_complete_result(tmp_path: Path) -> None:
    for name, channels in (("one.wav", 1), ("two.wav", 2)):
        write(tmp_path / "in" / name, channels=2)
        write(tmp_path / "out" / name, channels=channels)
    jobs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert complete(jobs) == ["one.wav"]
    assert complete(jobs, keeps_channels=True) == ["two.wav"]


def test_first_of_several_sources_tells_that_all_are_there(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav")
    write(tmp_path / "in" / "b.wav")
    write(tmp_path / "out" / "a_source1.wav")
    write(tmp_path / "out" / "b_source2.wav")  # its first one has not got its name yet
    assert complete(find_jobs([tmp_path / "in"], tmp_path / "out")) == ["a.wav"]


def test_result_of_another_input_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav")
    write(tmp_path / "in" / "a_source1.wav")
    write(tmp_path / "out" / "a_source1.wav")
    assert complete(find_jobs([tmp_path / "in"], tmp_path / "out")) == ["a_source1.wav"]
