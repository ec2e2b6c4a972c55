"""Bad samples as a list; and bad sound files, as a training meets them."""

from __future__ import annotations

import json
import logging
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from audiozen.data.audio import read_audio, write_audio
from audiozen.data.bad_samples import BadSample, BadSamples, bad_sample
from audiozen.data.loader import EvaluationLoader, TrainingLoader
from audiozen.data.sampler import isolated_generators, seed_sample
from audiozen.errors import AudioError, AudioZENError, TrainingError

NUM_FILES = 20
WORKERS = pytest.mark.parametrize("num_workers", [0, 2])

# ---- the list ---------------------------------------------------------------------------------


def listed(*samples: BadSample) -> BadSamples:
    bad = BadSamples()
    for sample in samples:
        bad.add(sample)
    return bad


def test_sample_that_is_met_again_counts_once():
    bad = listed(BadSample(0, 3, "first"), BadSample(1, 3, "x"), BadSample(0, 3, "again"))
    assert len(bad) == 2
    assert list(bad) == [BadSample(0, 3, "first"), BadSample(1, 3, "x")]


def test_state_is_json_and_comes_back_without_being_told_again(caplog):
    bad = listed(BadSample(1, 2, "b"), BadSample(0, 5, "ä"))
    back = listed(BadSample(9, 9, "of a run that was given up"))
    caplog.clear()
    back.load_state_dict(json.loads(json.dumps(bad.state_dict())))
    assert list(back) == list(bad) == [BadSample(0, 5, "ä"), BadSample(1, 2, "b")]
    back.add(BadSample(1, 2, "b"))
    assert len(back) == 2
    assert caplog.records == []


def test_list_is_written_as_csv_in_order(tmp_path):
    bad = listed(BadSample(1, 2, 'a "b", c'), BadSample(0, 5, "d"))
    bad.write(tmp_path / "new" / "bad_samples.csv")
    written = (tmp_path / "new" / "bad_samples.csv").read_bytes().decode()
    assert written == 'epoch,index,reason\n0,5,d\n1,2,"a ""b"", c"\n'
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bad_samples.csv"]


def test_reason_is_one_line_and_names_errors_of_others():
    assert bad_sample(0, 1, AudioError("a\n  b")).reason == "a b"
    assert bad_sample(0, 1, ValueError("no")).reason == "ValueError: no"


def test_file_name_that_is_no_text_can_be_written(tmp_path):
    error = AudioError(f"cannot read {os.fsdecode(bytes([0xFF]))}.wav")
    listed(bad_sample(0, 1, error)).write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().endswith("\n0,1,cannot read \\udcff.wav\n")


def test_first_ones_are_told_by_name_and_then_each_doubling(caplog):
    bad = BadSamples()
    for index in range(100):
        bad.add(BadSample(3, index, "gone"))
    texts = [record.getMessage() for record in caplog.records]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert texts[7] == ("sample 7 cannot be loaded in epoch 3, another one takes its place: gone")
    assert texts[20:] == [
        "40 samples could not be loaded and were replaced so far",
        "80 samples could not be loaded and were replaced so far",
    ]


# ---- bad files ----------------------------------------------------------------------------------


class Files(Dataset):
    """A sample is the number of a sound file, a random number, and its loudest sample."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / f"{number:02}.wav" for number in range(NUM_FILES)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        waveform = read_audio(self.paths[index], expected_rate=16_000)
        return index, random.random(), float(waveform.abs().max())


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(NUM_FILES):
        write_audio(tmp_path / f"{number:02}.wav", torch.full((50,), 0.01 * (number + 1)), 16_000)
    return tmp_path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def leave_no_sample(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_name_below_a_file(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("00.wav") / "below.wav")


def put_a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


BAD = {
    "truncated": (truncate, "is truncated: its header promises 100 bytes of samples, there are 80"),
    "empty": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "no samples": (leave_no_sample, "has no samples"),
    "NaN": (
        lambda path: soundfile.write(path, np.array([0.1, np.nan]), 16_000, "FLOAT"),
        "has samples that are NaN or infinite: 1 of 2 read, the first at 1",
    ),
    "wrong rate": (
        lambda path: write_audio(path, torch.ones(9), 8000),
        "has 8000 Hz, and 16000 Hz were expected",
    ),
    "text": (lambda path: path.write_text("<html>" * 50), r"as audio \(truncated or no audio\)"),
    "vanished": (Path.unlink, "No such file or directory"),
    "folder": (put_a_folder, "Is a directory"),
    "below a file": (put_a_name_below_a_file, "Not a directory"),
    "link to itself": (put_a_link_to_itself, "Too many levels of symbolic links"),
}


def loader(folder: Path, on_bad_sample: Any = "skip", **options: Any) -> TrainingLoader:
    options = {"batch_size": 4, "shuffle": True, **options}
    dataloader = DataLoader(Files(folder), **options)
    return TrainingLoader(dataloader, seed=3, on_bad_sample=on_bad_sample)


def drawn(dealt) -> list[list[list[float]]]:
    return [[part.tolist() for part in one.batch] for one in dealt]


def error_of(batches) -> AudioZENError:
    with pytest.raises(AudioZENError) as caught:
        list(batches)
    return caught.value


@pytest.mark.parametrize("kind", BAD)
def test_bad_file_is_refused_with_its_name_and_the_reason(folder, kind):
    spoil, reason = BAD[kind]
    spoil(folder / "07.wav")
    with pytest.raises(AudioError, match=rf"07\.wav.*{reason}"):
        _ = Files(folder)[7]


@WORKERS
def test_bad_file_ends_the_training_with_a_text_for_people(folder, num_workers):
    truncate(folder / "07.wav")
    error = error_of(loader(folder, "raise", num_workers=num_workers).batches(5))
    assert type(error) is AudioError
    assert str(error) == (
        f"{folder}/07.wav is truncated: its header promises 100 bytes of samples, there are 80; "
        "fetch or make it again"
    )
    assert error.__notes__ == ["This was sample 7 in epoch 5, seed 3."]


def test_where_it_was_in_a_worker_is_kept_for_those_who_look(folder):
    truncate(folder / "07.wav")
    error = error_of(loader(folder, "raise", num_workers=1).batches(0))
    assert "in read_audio" in str(error.__cause__)


class NeedsMore(AudioZENError):
    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"{name} {number}")


class Refusing(Files):
    def __getitem__(self, index: int) -> Any:
        raise NeedsMore("nothing", 7)


def test_error_that_is_not_made_from_a_text_comes_out_of_a_worker(tmp_path):
    dataloader = DataLoader(Refusing(tmp_path), num_workers=1)
    error = error_of(TrainingLoader(dataloader, seed=0).batches(0))
    assert (type(error), str(error)) == (NeedsMore, "nothing 7")


@WORKERS
def test_evaluation_never_takes_another_file(folder, num_workers):
    truncate(folder / "07.wav")
    dataloader = DataLoader(Files(folder), num_workers=num_workers)
    error = error_of(EvaluationLoader(dataloader, seed=0))
    assert (type(error), "07.wav is truncated" in str(error)) == (AudioError, True)


@pytest.mark.parametrize("kind", BAD)
def test_bad_file_is_replaced_and_listed(folder, kind):
    spoil, _ = BAD[kind]
    before = drawn(loader(folder).batches(2))
    spoil(folder / "07.wav")
    some = loader(folder)
    after = drawn(some.batches(2))
    (bad,) = some.bad_samples
    assert (bad.epoch, bad.index) == (2, 7)
    assert "07.wav" in bad.reason
    changed = [
        (old, new)
        for old_batch, new_batch in zip(before, after, strict=True)
        for old, new in zip(zip(*old_batch), zip(*new_batch), strict=True)
        if old != new
    ]
    ((old, new),) = changed
    assert old[0] == 7
    assert new[0] != 7


def spoil_some(folder: Path) -> None:
    for number, kind in zip(range(0, NUM_FILES, 2), BAD):
        BAD[kind][0](folder / f"{number:02}.wav")


def test_replacements_and_the_list_do_not_depend_on_the_number_of_workers(folder):
    spoil_some(folder)
    alone, helped = loader(folder), loader(folder, num_workers=2)
    for epoch in range(2):
        assert drawn(alone.batches(epoch)) == drawn(helped.batches(epoch))
    assert list(alone.bad_samples) == list(helped.bad_samples)
    assert {bad.index for bad in alone.bad_samples if bad.epoch == 1} == set(range(0, 20, 2))


@WORKERS
def test_resumed_epoch_has_the_batches_and_the_list_of_an_uninterrupted_one(folder, num_workers):
    spoil_some(folder)
    whole = loader(folder)
    batches = drawn(whole.batches(1))
    for consumed in range(len(batches)):
        killed, resumed = (loader(folder, num_workers=num_workers) for _ in range(2))
        for _ in zip(range(consumed), killed.batches(1)):
            pass
        resumed.bad_samples.load_state_dict(killed.bad_samples.state_dict())
        rest = drawn(resumed.batches(1, start=consumed * resumed.stride))
        assert rest == batches[consumed:]
        assert list(resumed.bad_samples) == list(whole.bad_samples)


def test_bad_sample_counts_when_its_batch_is_handed_out_and_not_when_it_is_fetched(folder):
    truncate(folder / "07.wav")
    some = loader(folder, shuffle=False, num_workers=1)
    batches = some.batches(0)
    next(batches)
    assert len(some.bad_samples) == 0
    next(batches)
    assert len(some.bad_samples) == 1


@WORKERS
def test_file_that_vanishes_between_two_epochs_is_replaced_from_then_on(folder, num_workers):
    some = loader(folder, num_workers=num_workers, persistent_workers=num_workers > 0)
    assert len(list(some.batches(0))) == 5
    (folder / "07.wav").unlink()
    assert len(list(some.batches(1))) == 5
    assert [(bad.epoch, bad.index) for bad in some.bad_samples] == [(1, 7)]


def test_replacement_is_the_sample_that_it_is_in_its_own_place(folder):
    usual = {
        sample[0]: sample for batch in drawn(loader(folder).batches(0)) for sample in zip(*batch)
    }
    truncate(folder / "07.wav")
    for batch in drawn(loader(folder).batches(0)):
        for sample in zip(*batch):
            assert sample == usual[sample[0]]


def test_other_epochs_and_other_samples_get_other_replacements(folder):
    truncate(folder / "07.wav")
    some = loader(folder, shuffle=False)
    taken = {drawn(some.batches(epoch))[1][0][3] for epoch in range(8)}
    assert len(taken) > 3
    truncate(folder / "08.wav")
    pairs = [drawn(some.batches(epoch)) for epoch in range(8)]
    assert any(batches[1][0][3] != batches[2][0][0] for batches in pairs)


@WORKERS
def test_training_on_bad_files_only_ends_and_says_so(folder, num_workers):
    for path in folder.iterdir():
        truncate(path)
    some = loader(folder, shuffle=False, num_workers=num_workers)
    error = error_of(some.batches(0))
    assert type(error) is AudioError
    assert "00.wav is truncated" in str(error)
    first, second = error.__notes__
    assert first == "This was sample 0 in epoch 0, seed 3."
    assert second.startswith(
        "10 other samples were tried in its place, and none could be loaded; the last one: "
    )
    assert second.endswith(
        ".wav is truncated: its header promises 100 bytes of samples, there are 80; "
        "fetch or make it again"
    )


class Pair(Dataset):
    """Of two samples, the first is bad."""

    def __init__(self, error: Exception, num_samples: int = 2) -> None:
        self.error, self.num_samples = error, num_samples
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        if index == 0:
            raise self.error
        return index


def test_the_only_other_sample_is_found_at_once():
    for seed in range(20):
        pair = Pair(KeyError("x"))
        some = TrainingLoader(DataLoader(pair), seed=seed, on_bad_sample="skip")
        assert [int(dealt.batch) for dealt in some.batches(0)] == [1, 1]
        assert pair.loaded == [0, 1, 1]
        assert list(some.bad_samples) == [BadSample(0, 0, "KeyError: 'x'")]


def test_dataset_of_one_bad_sample_ends_the_training():
    some = TrainingLoader(DataLoader(Pair(KeyError("x"), 1)), seed=0, on_bad_sample="skip")
    with pytest.raises(KeyError, match="x"):
        list(some.batches(0))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StopIteration(), TrainingError),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), RuntimeError),
    ],
)
def test_what_is_not_about_a_sample_is_never_skipped(error, kind):
    some = TrainingLoader(DataLoader(Pair(error)), seed=0, on_bad_sample="skip")
    with pytest.raises(kind):
        list(some.batches(0))
    assert len(some.bad_samples) == 0


def test_skipping_leaves_the_generators_of_the_process_alone(folder):
    truncate(folder / "07.wav")
    before = random.getstate()
    list(loader(folder).batches(0))
    assert random.getstate() == before


def test_dataloader_that_is_used_as_it_is_says_that_nothing_can_be_replaced(caplog):
    some = TrainingLoader({"a": 1}, seed=0, on_bad_sample="skip")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'on_bad_sample = "skip" has no effect' in record.getMessage()
    assert record.getMessage().endswith("it is a dict, not a torch DataLoader")
    assert ([dealt.batch for dealt in some.batches(0)], len(some.bad_samples)) == (["a"], 0)


def test_replacement_has_the_random_numbers_of_its_index(folder):
    truncate(folder / "07.wav")
    index, number, _ = (part[3] for part in drawn(loader(folder, shuffle=False).batches(4))[1])
    with isolated_generators():
        seed_sample(3, 4, index)
        assert number == random.random()
