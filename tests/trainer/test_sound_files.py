"""The sound that a test leaves behind."""

from __future__ import annotations

import pytest
import torch

from audiozen.data.audio import read_audio
from audiozen.errors import AudioError, RequestError
from audiozen.run_folder import RunFolder
from audiozen.trainer.sound_files import write_sounds

SAMPLE_RATE = 8000


def test_levels_and_lengths_are_kept_and_roles_have_folders(tmp_path):
    folder = RunFolder(tmp_path)
    noisy = [torch.full((100,), 0.25), torch.full((70,), -1.5)]
    write_sounds(
        folder, ["a", "x/y"], {"noisy": noisy, "enhanced": torch.zeros(2, 50)}, SAMPLE_RATE
    )
    assert torch.equal(read_audio(tmp_path / "sounds/noisy/a.wav"), noisy[0])
    beyond_full_scale = read_audio(tmp_path / "sounds/noisy/x%2Fy.wav")
    assert torch.equal(beyond_full_scale, noisy[1])
    assert sorted(path.name for path in (tmp_path / "enhanced").iterdir()) == ["a.wav", "x%2Fy.wav"]


def test_several_datasets_have_folders_of_their_own(tmp_path):
    write_sounds(
        RunFolder(tmp_path), ["a"], {"clean": torch.zeros(1, 9)}, SAMPLE_RATE, dataset="seen"
    )
    assert (tmp_path / "sounds" / "clean" / "seen" / "a.wav").is_file()


def test_number_of_signals_that_is_not_that_of_ids_is_refused(tmp_path):
    with pytest.raises(RequestError, match="3 signals of 'noisy' for 2 ids"):
        write_sounds(RunFolder(tmp_path), ["a", "b"], {"noisy": torch.zeros(3, 9)}, SAMPLE_RATE)


def test_signal_that_is_not_finite_is_refused_by_name(tmp_path):
    signals = {"enhanced": torch.full((1, 9), float("nan"))}
    with pytest.raises(AudioError, match=r"enhanced/a\.wav.*NaN"):
        write_sounds(RunFolder(tmp_path), ["a"], signals, SAMPLE_RATE)
